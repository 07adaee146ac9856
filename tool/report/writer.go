package report

import (
	"bytes"
	"fmt"
	"html"
	"strconv"
	"unicode/utf8"

	"thinpool/internal/printable"
)

// A page is an HTML page being written. Only text of type markup is written unescaped.
type page struct{ bytes.Buffer }

// markup is text that is already HTML.
type markup string

// put appends format, which is HTML, with args, which are escaped unless they are markup.
func (p *page) put(format string, args ...any) {
	for i, a := range args {
		switch a := a.(type) {
		case markup, int, uint64, uint32, float64:
		case string:
			args[i] = safe(a)
		default:
			args[i] = safe(fmt.Sprint(a))
		}
	}
	fmt.Fprintf(p, format, args...)
}

// safe returns text as HTML. Unprintable characters are escaped as everywhere else.
func safe(text string) markup { return markup(html.EscapeString(printable.Text(text))) }

// short cuts text of any length to what fits on a page.
func short(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// count formats a number with commas.
func count(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// number formats a number of things.
func number(n uint64, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + several
}

// bytesText formats a number of bytes with three digits.
func bytesText(n float64) string {
	units := [...]string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for ; n >= 1000 && i < len(units)-1; i++ {
		n /= 1024
	}
	switch {
	case i == 0 || n >= 100:
		return fmt.Sprintf("%.0f %s", n, units[i])
	case n >= 10:
		return fmt.Sprintf("%.1f %s", n, units[i])
	}
	return fmt.Sprintf("%.2f %s", n, units[i])
}

// percent formats a share of a whole. 0 and 100 are only used for nothing and everything.
func percent(part, whole uint64) string {
	switch {
	case part == 0 || whole == 0:
		return "0%"
	case part >= whole:
		return "100%"
	}
	return fmt.Sprintf("%.1f%%", min(max(float64(part)/float64(whole)*100, 0.1), 99.9))
}
