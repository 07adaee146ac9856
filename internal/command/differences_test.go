package command

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every documented difference names a test, and that test exists.
func TestDifferences(t *testing.T) {
	doc, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([^` ]+) ([^`]+)`")
	rows := 0
	for line := range strings.Lines(string(doc)) {
		cells := strings.Split(strings.TrimSpace(strings.ReplaceAll(line, `\|`, "")), "|")
		if len(cells) < 2 || strings.HasPrefix(line, "| tool ") || strings.HasPrefix(line, "| --- ") {
			continue
		}
		rows++
		const cellsOfRow = 5
		if len(cells) != cellsOfRow+2 {
			t.Errorf("%d cells in %s", len(cells)-2, line)
			continue
		}
		tests := named.FindAllStringSubmatch(cells[cellsOfRow], -1)
		if len(tests) == 0 {
			t.Errorf("no test of %s", line)
		}
		for _, m := range tests {
			if !hasTest(t, m[1], m[2]) {
				t.Errorf("there is no test %s %s", m[1], m[2])
			}
		}
	}
	if rows < 40 {
		t.Errorf("only %d rows", rows)
	}
}

// hasTest reports whether a folder has a Go test of that name, or a script has a comment with it.
func hasTest(t *testing.T, where, name string) bool {
	t.Helper()
	files, text := []string{filepath.Join("testdata", where)}, "\n# "+name
	if !strings.HasSuffix(where, ".txtar") {
		files, _ = filepath.Glob(filepath.Join("../..", where, "*_test.go"))
		text = "\nfunc " + name + "("
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		if strings.Contains("\n"+string(content), text) {
			return true
		}
	}
	return false
}
