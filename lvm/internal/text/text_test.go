package text_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/lvm/internal/text"
)

// Values parse as in LVM.
func TestValues(t *testing.T) {
	integer := func(n int64) text.Value { return text.Value{Items: []text.Scalar{{Kind: text.Integer, Int: n}}} }
	str := func(s string) text.Value { return text.Value{Items: []text.Scalar{{Kind: text.String, Str: s}}} }
	pair := text.Value{List: true, Items: []text.Scalar{{Kind: text.String, Str: "pv0"}, {Kind: text.Integer}}}
	for in, want := range map[string]text.Value{
		`k = 2048`:                    integer(2048),
		`k = 04000`:                   integer(2048),
		`k = 0`:                       integer(0),
		`k = +2048`:                   integer(2048),
		`k = -1`:                      integer(-1),
		`k=5#comment`:                 integer(5),
		`k = 9223372036854775807`:     integer(1<<63 - 1),
		`k = 1.5`:                     {Items: []text.Scalar{{Kind: text.Float, Float: 1.5}}},
		`k = ["pv0", 0]`:              pair,
		`k = ["pv0", 0,]`:             pair,
		"k\n=\n[ 'pv0' , # first\n0]": pair,
		`k = []`:                      {List: true},
		`k = auto`:                    str("auto"),
		`"k" = "v"`:                   str("v"),
		`'k' = 'a"b\'`:                str(`a"b\`),
		`k = "\"q\\ \n"`:              str(`"q\ \n`),
		`k = "\"\\"`:                  str(`"\`),
		"k = \"a\nb\"":                str("a\nb"),
		"k = 1\x00}}} not read":       integer(1),
	} {
		root, problems, err := text.Parse([]byte(in))
		if err != nil || len(problems) > 0 || root.Get("k") == nil {
			t.Errorf("%q: %v %v", in, problems, err)
			continue
		}
		if diff := cmp.Diff(want, root.Get("k").Value); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

// Text that LVM refuses, or accepts but never writes, is an error with the right line.
func TestRefused(t *testing.T) {
	for in, line := range map[string]int{
		"\nk = 0x800":               2,
		"k = 0999":                  1,
		"k = [\n\"pv0\" 0]":         2,
		"k = [\"pv0\",, 0]":         1,
		"k = [,]":                   1,
		"k = [pv0, 0]":              1,
		"k = [1, 2":                 1,
		"k = [[1]]":                 1,
		"k = ":                      1,
		"k":                         1,
		"= 1":                       1,
		"k 1":                       1,
		"k = 9223372036854775808":   1,
		"k = --1":                   1,
		"k = 1.2.3":                 1,
		"k = 12ab":                  1,
		"k = \"a\n":                 1,
		"a {\n b {\n}\n":            4,
		"a {\n}\n}":                 3,
		"a//b = 1":                  1,
		"{ }":                       1,
		"a { b = { c = 1 } }":       1,
		strings.Repeat("a {", 5000): 1,
		strings.Repeat("a/", 5000):  1,
	} {
		_, _, err := text.Parse([]byte(in))
		if e, ok := errors.AsType[*text.Error](err); !ok || e.Line != line {
			t.Errorf("%.40q: %v, want an error in line %d", in, err, line)
		}
	}
}

// Sections nest, keys with slashes create sections, and lines are counted.
func TestSections(t *testing.T) {
	root, _, err := text.Parse([]byte("vg {\n\tid = \"x\" # \"y\"\n\ta/b = 3\n\ta/c = 4\n\n\tlv { n = [1,\n2]\n m = 5 } }\nlast = 1"))
	if err != nil {
		t.Fatal(err)
	}
	vg := root.Section("vg")
	if n, ok, err := vg.Section("a").Uint("c"); n != 4 || !ok || err != nil {
		t.Errorf("a/c is %d, %v, %v", n, ok, err)
	}
	var found []string
	for _, e := range vg.Sections() {
		found = append(found, fmt.Sprint(e.Key, e.Line))
	}
	if diff := cmp.Diff([]string{"a3", "lv6"}, found); diff != "" {
		t.Error(diff)
	}
	if line := vg.Section("lv").Get("m").Line; line != 8 {
		t.Errorf("m is in line %d", line)
	}
	if root.Get("last").Line != 9 {
		t.Errorf("last is in line %d", root.Get("last").Line)
	}
}

// Of repeated keys, the first counts on disk and the last in a file; both are reported.
func TestTwice(t *testing.T) {
	in := []byte("a = 1\na = 2\ns { b = 1 }\ns { b = 2\nc = 3 }")
	disk, problems, err := text.Parse(in)
	if err != nil || len(problems) != 2 || problems[0].Line != 2 || problems[1].Line != 4 {
		t.Errorf("on disk: %v, %v", problems, err)
	}
	file, problems, err := text.ParseFile(in)
	if err != nil || len(problems) != 3 {
		t.Errorf("in a file: %v, %v", problems, err)
	}
	for _, tc := range []struct {
		root *text.Section
		a, b int64
		c    bool
	}{{disk, 1, 1, false}, {file, 2, 2, true}} {
		a, _, _ := tc.root.Int("a")
		b, _, _ := tc.root.Section("s").Int("b")
		_, c, _ := tc.root.Section("s").Int("c")
		if a != tc.a || b != tc.b || c != tc.c {
			t.Errorf("a is %d, b %d, c there: %v; want %+v", a, b, c, tc)
		}
	}
}

// Values of the wrong kind give errors with key and line.
func TestKinds(t *testing.T) {
	root, _, err := text.Parse([]byte("f = 1.5\ns = \"x\"\nl = [1, \"a\"]\nn = -1\nsec { }\none = \"A\"\np = [\"pv0\", 3, \"pv1\", 4]"))
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"line 1: f is a float, want an integer":          second(root.Int("f")),
		"line 2: s is a string, want an integer":         second(root.Uint("s")),
		"line 3: l is a list, want a string":             second(root.Str("l")),
		"line 4: n is -1":                                second(root.Uint("n")),
		"line 5: sec is a section":                       second(root.Int("sec")),
		"line 3: item 1 of l is an integer, want":        last(root.Strings("l")),
		"line 3: pair 1 of l is an integer and a string": last(root.Pairs("l")),
		"line 6: one is not a list of names and numbers": last(root.Pairs("one")),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
	}
	if one, err := root.Strings("one"); err != nil || len(one) != 1 || one[0] != "A" || !root.Has("one", "A") || root.Has("l", "a") {
		t.Errorf("a single string is the list %q, %v", one, err)
	}
	if p, err := root.Pairs("p"); err != nil || len(p) != 2 || p[1] != (text.Pair{Name: "pv1", Number: 4}) {
		t.Errorf("pairs %v, %v", p, err)
	}
	if n, ok, err := root.Uint("none"); n != 0 || ok || err != nil {
		t.Errorf("without a key: %d, %v, %v", n, ok, err)
	}
}

func second[T any](_ T, _ bool, err error) error { return err }
func last[T any](_ T, err error) error           { return err }

// The size and the number of keys are limited.
func TestBounds(t *testing.T) {
	if _, _, err := text.Parse(make([]byte, text.MaxSize+1)); err != nil {
		t.Errorf("what follows a NUL counts: %v", err)
	}
	for name, in := range map[string]string{
		"size":  strings.Repeat(" ", text.MaxSize+1),
		"keys":  strings.Repeat("a=1 ", 3<<20),
		"items": "a=[" + strings.Repeat("1,", 3<<20) + "]",
	} {
		if _, _, err := text.Parse([]byte(in)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	_, problems, err := text.Parse([]byte(strings.Repeat("a=1 ", 10000)))
	if err != nil || len(problems) != 100 {
		t.Errorf("%d problems, %v", len(problems), err)
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("vg {\nid = \"a\\\"b\"\nstatus = [\"READ\", 'WRITE',]\na/b = 04 # c\n}\ncontents = \"x\"\nx = -1.5\ny=z\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		root, problems, err := text.Parse(p)
		file, others, fileErr := text.ParseFile(p)
		if (err == nil) != (fileErr == nil) {
			t.Fatalf("as a text %v, as a file %v", err, fileErr)
		}
		if err != nil {
			return
		}
		if len(problems) == 0 && len(others) == 0 && !same(root, file) {
			t.Error("without equal keys both are the same")
		}
	})
}

// same compares sections through their methods.
func same(a, b *text.Section) bool {
	if len(a.Entries) != len(b.Entries) {
		return false
	}
	for i, e := range a.Entries {
		o := b.Entries[i]
		if e.Key != o.Key || a.Get(e.Key) != e || e.Line != o.Line || (e.Section == nil) != (o.Section == nil) {
			return false
		}
		if e.Section != nil && !same(e.Section, o.Section) {
			return false
		}
		x, errX := a.Strings(e.Key)
		y, errY := b.Strings(e.Key)
		if !cmp.Equal(x, y) || (errX == nil) != (errY == nil) {
			return false
		}
	}
	return true
}
