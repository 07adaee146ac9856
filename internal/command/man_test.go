package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"thinpool/internal/cli"
)

// manPages returns all man pages by path.
func manPages(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../man[1-8]/*.[1-8]")
	if err != nil || len(paths) != len(Tools())+len(Apart())+2 { // plus thinpool(7) and thin_tools(8)
		t.Fatalf("%d pages (%v)", len(paths), err)
	}
	pages := map[string]string{}
	for _, path := range paths {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pages[path] = strings.ReplaceAll(string(page), `\-`, "-")
	}
	return pages
}

// manSection returns the text of a section; "" if there is none of that name.
func manSection(page, name string) string {
	_, text, _ := strings.Cut(page, "\n.SH "+name+"\n")
	text, _, _ = strings.Cut(text, "\n.SH ")
	return text
}

// The man page documents exactly the options in the help, with the same spelling and the same
// summary of the tool.
func TestManPages(t *testing.T) {
	option := regexp.MustCompile(`(?m)^\.B (-.*)$`)
	pages := manPages(t)
	for _, tool := range slices.Concat(Tools(), Apart()) {
		text, ok := pages["../../man8/"+tool.Name+".8"]
		if !ok {
			t.Errorf("%s has no man page", tool.Name)
			continue
		}
		parser, err := kong.New(tool.New(), kong.NoDefaultHelp())
		if err != nil {
			t.Fatal(err)
		}
		var documented, there []string
		for _, m := range option.FindAllStringSubmatch(text, -1) {
			documented = append(documented, m[1])
		}
		for _, f := range parser.Model.Flags {
			if !f.Hidden {
				there = append(there, strings.TrimSpace(cli.Spelling(f)))
			}
		}
		slices.Sort(documented)
		slices.Sort(there)
		if !slices.Equal(documented, there) {
			t.Errorf("%s: the man page has\n%q\nand the tool\n%q", tool.Name, documented, there)
		}
		summary := strings.ToLower(tool.Summary[:1]) + strings.TrimSuffix(tool.Summary[1:], ".")
		if name := manSection(text, "NAME"); name != tool.Name+" - "+summary {
			t.Errorf("%s: the man page says %q, and the help %q", tool.Name, name, summary)
		}
	}
}

// thin_tools(8) documents all options of the commands that only thin_tools has, spelled as in their
// help.
func TestManOwn(t *testing.T) {
	page := manPages(t)["../../man8/thin_tools.8"]
	for _, tool := range Multi().Own {
		_, text, _ := strings.Cut(page, "\n.SS "+tool.Name+"\n")
		text, _, _ = strings.Cut(text, "\n.SH ")
		for _, f := range modelOf(t, tool).Flags {
			if common := f.Group != nil && f.Group.Key == "common"; !f.Hidden && !common && !strings.Contains(text, "\n.B "+strings.TrimSpace(cli.Spelling(f))+"\n") {
				t.Errorf("thin_tools.8 does not have --%s below %s", f.Name, tool.Name)
			}
		}
	}
}

// Every page has the expected sections in the usual order, all exit codes, and references to all
// other pages.
func TestManSections(t *testing.T) {
	section := regexp.MustCompile(`(?m)^\.SH (.*)$`)
	page := regexp.MustCompile(`\\fB([a-z_]+)\\fP\(([1-8])\)`)
	order := []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"}
	pages := manPages(t)
	var names []string
	for path := range pages {
		names = append(names, filepath.Base(path))
	}
	for path, text := range pages {
		if !strings.Contains(text, "thinpool "+cli.Version) {
			t.Errorf("%s: the man page is of another version", path)
		}
		linked := []string{filepath.Base(path)}
		for _, m := range page.FindAllStringSubmatch(manSection(text, "SEE ALSO"), -1) {
			linked = append(linked, m[1]+"."+m[2])
		}
		for _, name := range names {
			if !slices.Contains(linked, name) {
				t.Errorf("%s does not name %s", path, name)
			}
		}
		for _, m := range page.FindAllStringSubmatch(text, -1) {
			if name := m[1] + "." + m[2]; strings.HasPrefix(name, "thin") && !slices.Contains(names, name) {
				t.Errorf("%s names %s, which there is not", path, name)
			}
		}
		if strings.HasSuffix(path, ".7") {
			continue
		}
		var found []string
		for _, m := range section.FindAllStringSubmatch(text, -1) {
			if slices.Contains(order, m[1]) {
				found = append(found, m[1])
			}
		}
		if !slices.Equal(found, order) {
			t.Errorf("%s has the sections %q, want %q", path, found, order)
		}
		for _, tool := range slices.Concat(Tools(), Apart()) {
			if filepath.Base(path) == "thin_tools.8" && !strings.Contains(manSection(text, "TOOLS"), ".TP\n.B "+tool.Name+"\n") {
				t.Errorf("%s does not list %s", path, tool.Name)
			}
		}
		for _, code := range []string{"0", "1", "2", "3"} {
			if !strings.Contains("\n"+manSection(text, "EXIT STATUS"), "\n.B "+code+"\n") {
				t.Errorf("%s lacks exit code %s", path, code)
			}
		}
	}
}

// The tools can parse the examples on all pages. Each page has two to five.
func TestManExamples(t *testing.T) {
	shown := regexp.MustCompile(`(?ms)^\.nf\n(.*?)^\.fi\n`)
	all := 0
	for path, text := range manPages(t) {
		text = strings.ReplaceAll(text, `\e`, `\`)
		for _, m := range shown.FindAllStringSubmatch(text, -1) {
			commands := toolCommands(strings.ReplaceAll(m[1], "./thin_", "thin_"))
			for i, words := range commands {
				if words[0] == "thin_tools" && strings.HasPrefix(words[1], "thin_") {
					commands[i] = words[1:]
				}
			}
			all += len(commands)
			checkCommands(t, commands)
		}
		if n := len(shown.FindAllString(manSection(text, "EXAMPLES")+"\n", -1)); strings.HasSuffix(path, ".8") && (n < 2 || n > 5) {
			t.Errorf("%s has %d examples", path, n)
		}
	}
	if all < 60 {
		t.Errorf("only %d command lines", all)
	}
}

// mandoc finds no errors in the pages.
func TestManLint(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("mandoc is not installed")
	}
	for path := range manPages(t) {
		if out, err := exec.CommandContext(t.Context(), mandoc, "-T", "lint", "-W", "warning", path).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// Options that all tools share have the same text on all pages. thin_volumes takes images
// differently, and thin_export its volume.
func TestManSameWords(t *testing.T) {
	const options = `--pv=IMAGE|--lv=VG/LV|--backing=FILE|--lvm-metadata=FILE|--drop-device=ID|--keep-partial|--drop-partial|-h, --help|-V, --version`
	item := regexp.MustCompile(`(?m)^\.B (` + options + `)\n((?:[^.].*\n)+)`)
	words := map[string]string{}
	for path, text := range manPages(t) {
		for _, m := range item.FindAllStringSubmatch(text, -1) {
			if base := filepath.Base(path); base == "thin_volumes.8" || base == "thin_tools.8" || base == "thin_export.8" && m[1] == "--lv=VG/LV" {
				continue
			}
			if before, ok := words[m[1]]; ok && before != m[2] {
				t.Errorf("%s: %s is %q here, and was %q", path, m[1], m[2], before)
			}
			words[m[1]] = m[2]
		}
	}
	if want := strings.Count(options, "|") + 1; len(words) != want {
		t.Errorf("%d options were found, want %d", len(words), want)
	}
}
