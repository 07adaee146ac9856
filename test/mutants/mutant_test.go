package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each mutant of a small function, applied.
func TestMutantsOf(t *testing.T) {
	const head, tail = "package p\n\nfunc f(a, b int) int {\n\t", "\n\treturn a\n}\n"
	for body, want := range map[string][]string{
		"if a < b { b++ }": {
			"if true || (a < b) { b++ }", "if false && (a < b) { b++ }", "if a <= b { b++ }", "if a >= b { b++ }", "if a < b { b-- }",
		},
		"a = b + 2":               {"", "a = b - 2", "a = b + 3"},
		"f(a, b)":                 {""},
		"for a == b { continue }": {"for a != b { continue }", "for a == b { break }"},
		"switch { case a != b: }": {"switch { case false && (a != b): }", "switch { case a == b: }"},
		"x := a; a += x":          {"x := a; a -= x"},
		"if a == b && b != a { a-- }": {
			"if true || (a == b && b != a) { a-- }", "if false && (a == b && b != a) { a-- }", "if a == b || b != a { a-- }",
			"if a != b && b != a { a-- }", "if a == b && b == a { a-- }", "if a == b && b != a { a++ }",
		},
	} {
		source := []byte(head + body + tail)
		mutants, err := mutantsOf("p.go", source)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range mutants {
			got = append(got, string(m.apply(source)))
		}
		for i := range want {
			want[i] = head + want[i] + tail
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// A mutant that a test notices, one that no test notices, one that does not end, and one that does
// not compile.
func TestTry(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles tests")
	}
	t.Parallel()
	const source = "package p\n\nfunc Half(n int) int {\n\tfor n%2 != 0 {\n\t\tn--\n\t}\n\treturn n / 2\n}\n"
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":    "module p\n",
		"p.go":      source,
		"p_test.go": "package p\n\nimport \"testing\"\n\nfunc TestHalf(t *testing.T) {\n\tif Half(7) != 3 {\n\t\tt.Fail()\n\t}\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		old, new string
		want     outcome
	}{
		"noticed":            {"n / 2", "n * 2", killed},
		"not noticed":        {"n%2 != 0", "n%4 != 2", survived},
		"without an end":     {"n--", "n -= 2", killed},
		"not to be compiled": {"return n", "return", invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trial := trial{timeout: 20 * time.Second}
			got, err := trial.try(filepath.Join(dir, "p.go"), []byte(strings.Replace(source, c.old, c.new, 1)))
			if err != nil || got != c.want {
				t.Errorf("%d, %v, want %d", got, err, c.want)
			}
		})
	}
}
