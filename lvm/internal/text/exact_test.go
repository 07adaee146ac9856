package text_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/lvm/internal/text"
)

// 32 levels of sections are allowed, in any notation.
func TestDepth(t *testing.T) {
	braces := func(n int) string { return strings.Repeat("a {", n) + " k = 1 " + strings.Repeat("}", n) }
	slashes := func(n int) string { return strings.Repeat("a/", n) + "k = 1" }
	for name, tc := range map[string]struct {
		in string
		ok bool
	}{
		"braces":                  {braces(31), true},
		"braces, empty":           {strings.Repeat("a {", 32) + strings.Repeat("}", 32), true},
		"braces, empty, too deep": {strings.Repeat("a {", 33) + strings.Repeat("}", 33), false},
		"braces, too deep":        {braces(32), false},
		"slashes":                 {slashes(31), true},
		"slashes, too deep":       {slashes(32), false},
		"both":                    {"b { " + slashes(30) + " }", true},
		"both, too deep":          {"b { " + slashes(31) + " }", false},
		"slashes before braces":   {"a/a/a { " + slashes(28) + " }", true},
		"the same, too deep":      {"a/a/a { " + slashes(29) + " }", false},
		"in an older section":     {"a/a/a { } a/a/a { " + slashes(29) + " }", false},
		"in an older section, as deep as allowed": {"a/a/a { } a/a/a { " + slashes(28) + " }", true},
	} {
		if _, _, err := text.ParseFile([]byte(tc.in)); (err == nil) != tc.ok || err != nil && !strings.Contains(err.Error(), "nested more than 32 deep") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The characters that end a word, a number or a line.
func TestTokens(t *testing.T) {
	scalar := func(s text.Scalar) text.Value { return text.Value{Items: []text.Scalar{s}} }
	integers := func(n ...int64) text.Value {
		v := text.Value{List: true}
		for _, i := range n {
			v.Items = append(v.Items, text.Scalar{Int: i})
		}
		return v
	}
	for in, want := range map[string]text.Value{
		"k=[1,2]":                    integers(1, 2),
		"k=[ 1 , 2 , ]":              integers(1, 2),
		"k=[01,0]":                   integers(1, 0),
		"k=-9223372036854775808":     scalar(text.Scalar{Int: -1 << 63}),
		"k=-010":                     scalar(text.Scalar{Int: -8}),
		"k=-.5":                      scalar(text.Scalar{Kind: text.Float, Float: -.5}),
		"k=09.5":                     scalar(text.Scalar{Kind: text.Float, Float: 9.5}),
		"k=1\tx=2":                   scalar(text.Scalar{Int: 1}),
		"k=1\rx=2":                   scalar(text.Scalar{Int: 1}),
		"k=1\vx=2":                   scalar(text.Scalar{Int: 1}),
		"k=1# last":                  scalar(text.Scalar{Int: 1}),
		"# first\nk=1":               scalar(text.Scalar{Int: 1}),
		"#\n#\nk=1":                  scalar(text.Scalar{Int: 1}),
		"k=ab#cd":                    scalar(text.Scalar{Kind: text.String, Str: "ab"}),
		"k=a,b":                      scalar(text.Scalar{Kind: text.String, Str: "a,b"}),
		"k=''":                       scalar(text.Scalar{Kind: text.String}),
		`k="\n\\n"`:                  scalar(text.Scalar{Kind: text.String, Str: `\n\n`}),
		`k='\\'`:                     scalar(text.Scalar{Kind: text.String, Str: `\\`}),
		`k="a\"b\"c"`:                scalar(text.Scalar{Kind: text.String, Str: `a"b"c`}),
		"s{k=2}k=1":                  scalar(text.Scalar{Int: 1}),
		"k=x}":                       {}, // refused
		"k=1\x08":                    {},
		"k=1\x0e":                    {},
		"k=+":                        {},
		"k=.":                        {},
		"k=+-1":                      {},
		"k=1-":                       {},
		"k=-9223372036854775809":     {},
		"k=-01777777777777777777777": {},
		"k=[1 2]":                    {},
		"k=[1,":                      {},
		"k=[":                        {},
		"k=]":                        {},
		"k=,":                        {},
		"k==1":                       {},
		"[=1":                        {},
		",=1":                        {},
		"]=1":                        {},
		`k="\`:                       {},
		`k="\"`:                      {},
		"/k=1":                       {},
		"k/=1":                       {},
	} {
		root, _, err := text.Parse([]byte(in))
		if (err != nil) != (len(want.Items) == 0) {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if err == nil {
			if diff := cmp.Diff(want, root.Get("k").Value); diff != "" {
				t.Errorf("%q (-want +got):\n%s", in, diff)
			}
		}
	}
}

// Errors give the line of the fault, also after strings and comments of several lines.
func TestErrorText(t *testing.T) {
	for in, want := range map[string]string{
		"a {\nb = 1\n":       "line 3: the text ends within the section of line 1",
		"a = \"x\ny\"\n}":    "line 3: unexpected closing brace",
		"a = \"x\\\ny\"\n}":  "line 3: unexpected closing brace",
		`a = "x\ny"` + "\n}": "line 2: unexpected closing brace", // not a newline, but a backslash and an n
		"# x\n# y\n}":        "line 3: unexpected closing brace",
		"a = 1 # x\n}":       "line 2: unexpected closing brace",
		"\na = \"x\ny\n":     "line 2: unterminated string",
		"a\n\nb = 1":         "line 3: neither = nor { follows \"a\"",
		"a = [1\n2]":         "line 2: '2' in a list where a comma should be",
		"a = [1\n":           "line 2: the text ends within a list",
		"a = [1,\n":          "line 2: the text ends within a list",
		"a = [\nb]":          "line 2: 'b' where a value should be",
		"a = \n":             "line 2: the text ends where a value should be",
		"\n= 1":              "line 2: '=' where a key should be",
		"a//b = 1":           "line 1: \"a//b\" is not a key",
		"a = 08":             "line 1: \"08\" is not a number, or too large",
		"a = 1.2.3":          "line 1: \"1.2.3\" is not a number",
	} {
		if _, _, err := text.Parse([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// A repeated key that changes between a value and a section: the last one counts in a file, the
// first one on disk. Keys with slashes extend existing sections.
func TestTwiceMixed(t *testing.T) {
	const in = "a = 1\na { b = 2 }\nc { d = 3 }\nc = 4\ne { f = 5 }\ne/g = 6\ne/h = 7"
	const twice = "line 2: a was already set in line 1; line 4: c was already set in line 3"
	joined := func(problems []text.Problem) string {
		var all []string
		for _, p := range problems {
			all = append(all, p.String())
		}
		return strings.Join(all, "; ")
	}
	disk, problems, err := text.Parse([]byte(in))
	if err != nil || joined(problems) != twice {
		t.Errorf("on disk: %v, %v", problems, err)
	}
	file, problems, err := text.ParseFile([]byte(in))
	if err != nil || joined(problems) != twice {
		t.Errorf("in a file: %v, %v", problems, err)
	}
	if n, ok, err := disk.Int("a"); n != 1 || !ok || err != nil || disk.Section("a") != nil || disk.Section("c") == nil {
		t.Errorf("on disk, a is %d, %v, %v", n, ok, err)
	}
	if n, ok, err := file.Int("c"); n != 4 || !ok || err != nil || file.Section("c") != nil || file.Section("a") == nil {
		t.Errorf("in a file, c is %d, %v, %v", n, ok, err)
	}
	for _, root := range []*text.Section{disk, file} {
		if len(root.Entries) != 3 || len(root.Section("e").Entries) != 3 {
			t.Errorf("%d entries, %d in e", len(root.Entries), len(root.Section("e").Entries))
		}
	}
}

// Getters at the limits of their ranges, and with keys that are missing, empty or of another kind.
func TestGetters(t *testing.T) {
	root, _, err := text.Parse([]byte("zero = 0\nodd = [\"a\", 1, \"b\"]\nnone = []\nnames = [1, 2]\nmixed = [\"a\", \"b\"]\ns { }\nf = 1.5\nstrings = [\"a\", \"b\"]"))
	if err != nil {
		t.Fatal(err)
	}
	if n, ok, err := root.Uint("zero"); n != 0 || !ok || err != nil {
		t.Errorf("zero is %d, %v, %v", n, ok, err)
	}
	if s, ok, err := root.Str("missing"); s != "" || ok || err != nil {
		t.Errorf("a missing string is %q, %v, %v", s, ok, err)
	}
	if p, err := root.Pairs("none"); len(p) != 0 || err != nil {
		t.Errorf("pairs of nothing: %v, %v", p, err)
	}
	if p, err := root.Pairs("missing"); p != nil || err != nil {
		t.Errorf("missing pairs: %v, %v", p, err)
	}
	if s, err := root.Strings("missing"); s != nil || err != nil {
		t.Errorf("missing strings: %v, %v", s, err)
	}
	for want, err := range map[string]error{
		"line 2: odd is not a list of names and numbers":                                     last(root.Pairs("odd")),
		"line 4: pair 1 of names is an integer and an integer, want a string and an integer": last(root.Pairs("names")),
		"line 5: pair 1 of mixed is a string and a string, want a string and an integer":     last(root.Pairs("mixed")),
		"line 2: item 2 of odd is an integer, want a string":                                 last(root.Strings("odd")),
		"line 6: s is a section":                last(root.Strings("s")),
		"line 6: s is a section ":               last(root.Pairs("s")),
		"line 7: f is a float, want a string":   second(root.Str("f")),
		"line 7: f is a float, want an integer": second(root.Uint("f")),
	} {
		if err == nil || err.Error() != strings.TrimSpace(want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if !root.Has("strings", "b") || root.Has("strings", "c") || root.Has("s", "a") || root.Has("missing", "") {
		t.Error("Has is wrong")
	}
	if root.Line != 1 {
		t.Errorf("the text begins in line %d", root.Line)
	}
	if root.Section("f") != nil || root.Section("missing") != nil || root.Get("missing") != nil {
		t.Error("a section that is not there")
	}
}
