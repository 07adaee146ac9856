package browser

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// evaluate returns the value of an expression in the page.
func evaluate[T any](t *testing.T, tab context.Context, expression string) T {
	t.Helper()
	value, err := chromedp.Run(tab, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// start starts a browser, and listens for noise.
func start(t *testing.T) (context.Context, *Noise) {
	t.Helper()
	tab, stop := Start(t.Context(), Skip(t))
	t.Cleanup(stop)
	noise, err := Hear(tab)
	if err != nil {
		t.Fatal(err)
	}
	return tab, noise
}

func show(t *testing.T, tab context.Context, path string, v View) {
	t.Helper()
	if err := Show(tab, path, v); err != nil {
		t.Fatal(err)
	}
}

// Hear notices what a page must not do.
func TestNoise(t *testing.T) {
	tab, noise := start(t)
	path := filepath.Join(t.TempDir(), "noisy.html")
	const page = `<img src="http://127.0.0.1:1/x.png"><script>console.log("x"); undefined.x</script><div style="width:900px">wide</div>`
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	show(t, tab, path, View{Width: 400, Height: 800})
	all := strings.Join(noise.All(), "\n")
	for _, want := range []string{"request of http://127.0.0.1:1/x.png", "console.log", "exception: "} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
	if evaluate[int](t, tab, overflow) < 100 {
		t.Error("nothing scrolls sideways")
	}
}

// overflow is the number of pixels by which a page is too wide.
const overflow = `document.documentElement.scrollWidth - document.documentElement.clientWidth`

// The pages of thin_report and thin_repair in light and dark, on a telephone and on paper.
// BROWSER_PICTURES names a folder for pictures of them.
func TestPages(t *testing.T) {
	tab, noise := start(t)
	pages, err := Pages(t.Context(), "../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pages {
		name := strings.TrimSuffix(filepath.Base(path), ".html")
		t.Run(name, func(t *testing.T) {
			for view, v := range map[string]View{
				"light": {Width: 1200, Height: 900}, "dark": {Width: 1200, Height: 900, Dark: true},
				"narrow": {Width: 400, Height: 800}, "print": {Width: 720, Height: 1000, Print: true},
			} {
				show(t, tab, path, v)
				if n := evaluate[int](t, tab, overflow); n > 0 {
					t.Errorf("%s: %d pixels too wide", view, n)
				}
				background := "rgb(255, 255, 255)"
				if v.Dark {
					background = "rgb(22, 22, 22)"
				}
				if got := evaluate[string](t, tab, `getComputedStyle(document.body).backgroundColor`); got != background {
					t.Errorf("%s: the background is %s, want %s", view, got, background)
				}
				// Tables that are folded on the screen appear on paper.
				const hidden = `[...document.querySelectorAll("details table")].filter(t => !t.checkVisibility({contentVisibilityAuto: true})).length`
				folded := evaluate[int](t, tab, `document.querySelectorAll("details table").length`)
				if got, want := evaluate[int](t, tab, hidden), map[bool]int{false: folded, true: 0}[v.Print]; got != want {
					t.Errorf("%s: %d of %d tables are hidden, want %d", view, got, folded, want)
				}
				picture(t, tab, name+"-"+view)
			}
			content, err := chromedp.Run(tab, chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4)))
			if err != nil || !bytes.HasPrefix(content, []byte("%PDF-")) || bytes.Count(content, []byte("/Type /Page\n")) < 1 {
				t.Errorf("the PDF has %d bytes (%v)", len(content), err)
			}
			for _, what := range noise.All() {
				t.Error(what)
			}
		})
	}
}

// picture takes a picture of the whole page, if asked.
func picture(t *testing.T, tab context.Context, name string) {
	t.Helper()
	folder := os.Getenv("BROWSER_PICTURES")
	if folder == "" {
		return
	}
	content, err := chromedp.Run(tab, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, name+".png"), content, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// Without a browser, the tests say so.
func TestSkip(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestNoise$", "-test.v")
	cmd.Env = append(os.Environ(), "PATH=")
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("chromium is not installed")) {
		t.Errorf("%v\n%s", err, out)
	}
}
