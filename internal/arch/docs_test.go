package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// README.md stays short.
func TestReadme(t *testing.T) {
	const maxLines, maxColumns = 150, 100
	lines := strings.Split(strings.TrimSuffix(read(t, filepath.Join(root, "README.md")), "\n"), "\n")
	if len(lines) > maxLines {
		t.Errorf("%d lines, at most %d", len(lines), maxLines)
	}
	for i, line := range lines {
		if n := utf8.RuneCountInString(line); n > maxColumns {
			t.Errorf("line %d has %d columns, at most %d", i+1, n, maxColumns)
		}
	}
}

// The figures in README.md match docs/damage.md and docs/performance.md.
func TestReadmeFigures(t *testing.T) {
	readme := read(t, filepath.Join(root, "README.md"))
	cells := func(path, row string) []string {
		m := regexp.MustCompile(`(?m)^\| ` + row + ` \|(.*)\|$`).FindStringSubmatch(read(t, filepath.Join(root, path)))
		if m == nil {
			t.Fatalf("%s: no row %q", path, row)
		}
		all := strings.Split(m[1], "|")
		for i := range all {
			all[i] = strings.TrimSpace(all[i])
		}
		return all
	}
	round := func(s, unit string, decimals int) string {
		f, err := strconv.ParseFloat(strings.TrimSuffix(s, " %"), 64)
		if err != nil {
			t.Fatal(err)
		}
		return strconv.FormatFloat(f, 'f', decimals, 64) + unit
	}
	damage := cells("docs/damage.md", "all")
	check, dump := cells("docs/performance.md", `XL \| thin_check`), cells("docs/performance.md", `XL \| thin_dump to /dev/null`)
	repair, restore := cells("docs/performance.md", `XL \| thin_repair`), cells("docs/performance.md", `XL \| thin_restore`)
	for _, row := range []string{
		"exit with 0, of " + damage[0] + " damaged images | " + strings.Join(damage[7:10], " | "),
		"saved by these repairs | " + round(damage[4], " %", 1) + " | " + round(damage[5], " %", 1) + " | " + round(damage[6], " %", 1),
		"processor time to check 40 million mappings | " + round(check[2], " s", 1) + " | | " + round(check[3], " s", 1),
		"processor time to dump them | " + round(dump[2], " s", 1) + " | | " + round(dump[3], " s", 1),
		"processor time to repair them | " + round(repair[2], " s", 1) + " | | " + round(repair[3], " s", 1),
		"memory to restore 40 million mappings | " + round(restore[5], " MiB", 0) + " | | " + round(restore[6], " MiB", 0),
	} {
		if !strings.Contains(readme, row+" |\n") {
			t.Errorf("README.md has not %q", row)
		}
	}
}

// documents returns the documents for people, except man pages.
func documents(t *testing.T) []string {
	t.Helper()
	top, _ := filepath.Glob(filepath.Join(root, "*.md"))
	docs, _ := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if len(top) < 4 || len(docs) < 10 {
		t.Fatalf("only %v and %v", top, docs)
	}
	return append(top, docs...)
}

var (
	clumsyWord = regexp.MustCompile(`(?i)\b(anew|mend(s|ed|ing)?|nobody|as who)\b`)
	isNo       = regexp.MustCompile(`(?i)\b(\w+) (is|are) no [a-z']+`)
	idiom      = regexp.MustCompile(`(?i) no (longer|more|shorter|mere|reason|excuse|obstacle|use|help|secret|such|device's)$`)
)

// clumsy finds what a native writer does not write. "There is no" and "is no longer" are fine.
func clumsy(text string) string {
	for _, m := range isNo.FindAllStringSubmatch(text, -1) {
		if !strings.EqualFold(m[1], "there") && !idiom.MatchString(m[0]) {
			return m[0]
		}
	}
	return clumsyWord.FindString(text)
}

func TestPlainEnglish(t *testing.T) {
	for _, path := range documents(t) {
		plain(t, path, withoutCode(read(t, path)))
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == "docs_test.go" {
			return err
		}
		switch filepath.Ext(path) {
		case ".go", ".txtar", ".8", ".7":
			plain(t, path, read(t, path))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for text, bad := range map[string]bool{"It is no volume": true, "It is no longer there": false, "There is no volume": false, "made anew": true, "recommended": false} {
		if (clumsy(text) != "") != bad {
			t.Errorf("%q: %v", text, !bad)
		}
	}
}

func plain(t *testing.T, path, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if found := clumsy(line); found != "" {
			t.Errorf("%s: %q in %s", path, found, line)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Every relative link points to an existing file and heading.
func TestLinks(t *testing.T) {
	for _, path := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(withoutCode(read(t, path)), -1) {
			if why := brokenLink(t, path, m[1]); why != "" {
				t.Errorf("%s: %s: %s", path, m[1], why)
			}
		}
	}
}

func brokenLink(t *testing.T, from, target string) string {
	t.Helper()
	if strings.Contains(target, "://") {
		return ""
	}
	file, anchor, hasAnchor := strings.Cut(target, "#")
	to := from
	if file != "" {
		to = filepath.Join(filepath.Dir(from), file)
	}
	if _, err := os.Stat(to); err != nil {
		return "there is no such file"
	}
	if hasAnchor && !anchors(read(t, to))[anchor] {
		return "there is no such heading"
	}
	return ""
}

// withoutCode removes fenced blocks and inline code.
func withoutCode(text string) string {
	text = regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "")
}

// anchors returns the names that Markdown renderers give to headings.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	text = regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(text, "")
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		for n, unique := 1, name; ; n++ {
			if !found[unique] {
				found[unique] = true
				break
			}
			unique = name + "-" + strconv.Itoa(n)
		}
	}
	return found
}

// Check that the link test itself can fail.
func TestBrokenLink(t *testing.T) {
	from := filepath.Join(root, "README.md")
	for target, broken := range map[string]bool{
		"docs/recovery.md":                          false,
		"docs/recovery.md#index":                    false,
		"docs/recovery.md#lvconvert---repair-fails": false,
		"docs/recovery.md#nowhere":                  true,
		"docs/nothing.md":                           true,
		"https://example.org/x#y":                   false,
	} {
		if why := brokenLink(t, from, target); (why != "") != broken {
			t.Errorf("%s: %q", target, why)
		}
	}
}

// docs/recovery.md links every fault code to a section.
func TestRecoveryCodes(t *testing.T) {
	index := read(t, filepath.Join(root, "docs/recovery.md"))
	codes := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(read(t, filepath.Join(root, "docs/faults.md")), -1)
	if len(codes) < 30 {
		t.Fatalf("only %d codes", len(codes))
	}
	for _, m := range codes {
		row := regexp.MustCompile("(?m)^\\|[^|]*`" + m[1] + "`[^|]*\\|[^|]*\\]\\(#")
		if !row.MatchString(index) {
			t.Errorf("no section for %s", m[1])
		}
	}
}

// The messages of these tools in the index of docs/recovery.md exist in the code.
func TestRecoveryMessages(t *testing.T) {
	_, table, _ := strings.Cut(read(t, filepath.Join(root, "docs/recovery.md")), "### Messages of these tools\n")
	table, _, _ = strings.Cut(table, "\n### ")
	all := stringLiterals(t)
	number := regexp.MustCompile(`\b[NM]\b`)
	messages := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || strings.Contains(cells[2], "#the-metadata-cannot-be-read") { // messages of the system
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(cells[1], -1) {
			messages++
			for _, part := range number.Split(m[1], -1) {
				if part = strings.TrimSpace(part); !strings.Contains(all, part) {
					t.Errorf("no tool says %q of %q", part, m[1])
				}
			}
		}
	}
	if messages < 20 {
		t.Errorf("only %d messages", messages)
	}
}

// stringLiterals returns all string literals in the program, one per line.
func stringLiterals(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				s, _ := strconv.Unquote(lit.Value)
				all.WriteString(s + "\n")
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
