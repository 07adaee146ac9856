// Package browser, whose API may change, loads pages in the system's chromium. It is a module of its
// own, because only tests and the pictures in the documents need it.
package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Find returns the path of the browser; "" if there is none.
func Find() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// Start starts the browser at path. It ends when stop is called.
func Start(ctx context.Context, path string) (tab context.Context, stop context.CancelFunc) {
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.Headless, chromedp.DisableGPU}
	if os.Geteuid() == 0 { // the sandbox refuses to run as root
		options = append(options, chromedp.NoSandbox)
	}
	ctx, end := chromedp.NewExecAllocator(ctx, options...)
	tab, closeTab := chromedp.NewContext(ctx)
	return tab, func() { closeTab(); end() }
}

// Skip skips a test if there is no browser.
func Skip(tb testing.TB) string {
	path := Find()
	if path == "" {
		tb.Skip("chromium is not installed")
	}
	return path
}

// A View is the size and style to show a page in.
type View struct {
	Width, Height int64
	Dark, Print   bool
}

// Show loads the page in the file at path.
func Show(tab context.Context, path string, v View) error {
	scheme, media := "light", "screen"
	if v.Dark {
		scheme = "dark"
	}
	if v.Print {
		media = "print"
	}
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if err := chromedp.Do(tab, chromedp.EmulateViewport(v.Width, v.Height)); err != nil {
		return err
	}
	if _, err := chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: media, Features: features}); err != nil {
		return err
	}
	return chromedp.Do(tab, chromedp.Navigate((&url.URL{Scheme: "file", Path: path}).String()))
}

// Noise lists what pages must not cause: requests, and messages on the console.
type Noise struct {
	mu  sync.Mutex
	all []string
}

// Hear records the noise in a tab from now on.
func Hear(tab context.Context) (*Noise, error) {
	n := &Noise{}
	err := chromedp.Listen(tab, func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; e.Type != network.ResourceTypeDocument && !strings.HasPrefix(u, "data:") {
				n.add("request of %s", u)
			}
		case *runtime.EventConsoleAPICalled:
			n.add("console.%s", e.Type)
		case *runtime.EventExceptionThrown:
			n.add("exception: %s", e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			n.add("log: %s", e.Entry.Text)
		}
	})
	if err == nil {
		_, err = chromedp.Call(tab, network.Enable, network.EnableParams{})
	}
	if err == nil {
		_, err = chromedp.Call(tab, log.Enable, struct{}{})
	}
	if err == nil {
		_, err = chromedp.Call(tab, runtime.Enable, struct{}{})
	}
	return n, err
}

func (n *Noise) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, fmt.Sprintf(format, args...))
}

// All returns the noise since the last call.
func (n *Noise) All() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.all
	n.all = nil
	return all
}
