// Package printable makes text from outside safe to display: names in volume groups, file names,
// anything an image says. A terminal obeys control characters, and invisible characters or changes
// of writing direction mislead readers. These are escaped: \u001b for a character, \x9b for a byte
// that is not UTF-8. Everything else stays as it is.
//
// Use [Text] for a single name or text. [NewWriter] is the last line of defence for a stream; it
// keeps the newlines and tabs of tables and messages. The escapes of a [Writer] are valid in JSON
// strings, so it also works for JSON, behind an encoder that escapes newlines itself.
package printable

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns s with everything unsafe escaped, including newlines and tabs. If anything is
// escaped, backslashes are doubled.
func Text(s string) string {
	if strings.IndexFunc(s, hidden) < 0 && utf8.ValidString(s) {
		return s
	}
	return string(appendEscaped(nil, []byte(strings.ReplaceAll(s, `\`, `\\`)), hidden))
}

// Lines returns what a [Writer] writes for s: like [Text], but newlines, tabs and backslashes are
// kept.
func Lines(s string) string { return string(appendEscaped(nil, []byte(s), hiddenInLines)) }

// hidden reports whether a character must be escaped: controls, direction marks, characters without
// width, unassigned ones, and unusual white space.
func hidden(r rune) bool {
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// hiddenInLines is hidden for text with several lines.
func hiddenInLines(r rune) bool { return r != '\n' && r != '\t' && hidden(r) }

func appendEscaped(dst, p []byte, hidden func(rune) bool) []byte {
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		switch {
		case r == utf8.RuneError && n == 1:
			dst = fmt.Appendf(dst, `\x%02x`, p[0])
		case !hidden(r):
			dst = append(dst, p[:n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		p = p[n:]
	}
	return dst
}

// A Writer escapes everything unsafe except newlines and tabs. It is safe for concurrent use.
type Writer struct {
	w    io.Writer
	mu   sync.Mutex
	part []byte // start of an incomplete character
}

// NewWriter returns a Writer to w. It holds back an incomplete character until [Writer.Flush] ends
// the text.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write implements [io.Writer].
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) == 0 && plain(p) {
		return w.w.Write(p)
	}
	text := append(w.part, p...)
	end := len(text) - incomplete(text)
	w.part = append([]byte(nil), text[end:]...)
	if _, err := w.w.Write(appendEscaped(nil, text[:end], hiddenInLines)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes the rest of a text that ends within a character.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) == 0 {
		return nil
	}
	_, err := w.w.Write(appendEscaped(nil, w.part, hiddenInLines))
	w.part = nil
	return err
}

// plain reports whether p is printable ASCII, newlines and tabs, like nearly all output.
func plain(p []byte) bool {
	for _, c := range p {
		if (c < ' ' || c > '~') && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// incomplete returns how many bytes at the end of p start a character that may be completed later.
func incomplete(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if tail := p[len(p)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
