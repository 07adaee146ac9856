package printable

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"pool_tmeta.1+x-y":     "pool_tmeta.1+x-y",
		`a \ b`:                `a \ b`,
		"Übung 日本 ☃ é €":       "Übung 日本 ☃ é €",
		"\x1b]0;pwned\a":       `\u001b]0;pwned\u0007`,
		"a\nb\tc\r":            `a\u000ab\u0009c\u000d`,
		"\x7f\u0080\u009b":     `\u007f\u0080\u009b`,
		"\x9b1m":               `\x9b1m`,
		"a\xc3":                `a\xc3`,
		`\u001b` + "\x1b":      `\\u001b\u001b`,
		"\u061c\u200e\u202e":   `\u061c\u200e\u202e`,
		"\u2066\u2069":         `\u2066\u2069`,
		"\u2028\u2029":         `\u2028\u2029`,
		"a\u200bb\ufeff":       `a\u200bb\ufeff`,
		"\u00ad\u034f\u3164":   `\u00ad\u034f\u3164`,
		"\ufe0f\u180b":         `\ufe0f\u180b`,
		"\U000e0041\U000e01ef": `\udb40\udc41\udb40\uddef`,
		"\U0001f600":           "\U0001f600",
		"\ufffd":               "\ufffd",
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// The output does not depend on how the text is split into writes.
func TestWriter(t *testing.T) {
	const in = "ü\t日本\n\x1b[31m\u202e\U0001f600\U000e0041\xe6\x97\r\x80\xf0\x9f"
	const want = "ü\t日本\n" + `\u001b[31m\u202e` + "\U0001f600" + `\udb40\udc41\xe6\x97\u000d\x80\xf0\x9f`
	for size := 1; size <= len(in); size++ {
		var out strings.Builder
		w := NewWriter(&out)
		for at := 0; at < len(in); at += size {
			p := in[at:min(at+size, len(in))]
			if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
		}
		if err := w.Flush(); err != nil || out.String() != want {
			t.Errorf("%d bytes at a time: %q, want %q (%v)", size, out.String(), want, err)
		}
	}
}

// The writer uses JSON escapes for everything a JSON encoder lets through.
func FuzzJSON(f *testing.F) {
	f.Add("\x1b\x7f\u009b\u202e\U000e0041 \"\\ <ü>\n")
	f.Add("\xff\xe6\x97")
	f.Fuzz(func(t *testing.T, text string) {
		var out strings.Builder
		w := NewWriter(&out)
		if err := json.NewEncoder(w).Encode(text); err != nil || w.Flush() != nil {
			t.Fatal(err)
		}
		line := strings.TrimSuffix(out.String(), "\n")
		var back string
		if err := json.Unmarshal([]byte(line), &back); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if want := strings.ToValidUTF8(text, "\ufffd"); utf8.ValidString(text) && back != want {
			t.Errorf("%q: %q", text, back)
		}
		if strings.ContainsFunc(line, hidden) || strings.ContainsFunc(Text(text), hidden) {
			t.Errorf("%q: %q, %q", text, line, Text(text))
		}
	})
}
