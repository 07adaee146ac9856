// Package printable makes text from outside safe to show: names in volume groups, names of
// files, whatever an image says. A terminal obeys control characters, and a reader is misled by
// characters that cannot be seen or that change the direction of writing. These are escaped:
// \u001b for a character, \x9b for a byte that is not UTF-8. Everything else stays as it is.
//
// [Text] is for one name or text; [NewWriter] is the last line of defence of a stream, which
// leaves the newlines and tabs of tables and messages. In JSON the escapes of a [Writer] mean
// what they stand for, so it serves JSON as well, behind an encoder that escapes newlines itself.
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

// Text is s with all escaped that must not be shown, newlines and tabs too. If anything is
// escaped, backslashes are doubled.
func Text(s string) string {
	if strings.IndexFunc(s, hidden) < 0 && utf8.ValidString(s) {
		return s
	}
	return string(appendEscaped(nil, []byte(strings.ReplaceAll(s, `\`, `\\`)), hidden))
}

// Lines is what a [Writer] makes of s: [Text] but for newlines, tabs and backslashes.
func Lines(s string) string { return string(appendEscaped(nil, []byte(s), hiddenInLines)) }

// hidden reports whether a character must not be shown: controls, marks of direction, what has
// no width, what is not assigned, and white space other than the usual.
func hidden(r rune) bool {
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// hiddenInLines is hidden for text of several lines.
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

// A Writer passes text on with all escaped that must not be shown, but for newlines and tabs. It
// may be used concurrently.
type Writer struct {
	w    io.Writer
	mu   sync.Mutex
	part []byte // the first bytes of a character
}

// NewWriter returns a Writer to w. It holds back a character that is not complete: [Writer.Flush]
// ends the text.
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

// Flush writes what is left of a text that ends within a character.
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

// plain reports whether p is printable ASCII and newlines: nearly all that is written is.
func plain(p []byte) bool {
	for _, c := range p {
		if (c < ' ' || c > '~') && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// incomplete is how many bytes at the end of p begin a character that may go on.
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
