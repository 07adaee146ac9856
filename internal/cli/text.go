package cli

import (
	"io"
	"slices"
	"sort"
	"strings"

	"thinpool/internal/printable"
)

// textWriter is a stream of text that a terminal may show. Whatever a command writes, no control
// character gets through but newlines and tabs: these are ours, so that those in the names of
// files on the command line have to be escaped apart.
type textWriter struct {
	safe  *printable.Writer
	names *strings.Replacer // nil: all are plain
}

func newText(w io.Writer, args []string) *textWriter {
	return &textWriter{safe: printable.NewWriter(w), names: escapeNames(args)}
}

// Write implements io.Writer. A name has to be in one write, which a message is.
func (t *textWriter) Write(p []byte) (int, error) {
	if t.names == nil {
		return t.safe.Write(p)
	}
	message := string(p)
	line := strings.TrimSuffix(message, "\n") // a name that ends in a newline must not take this one
	_, err := io.WriteString(t.safe, t.names.Replace(line)+message[len(line):])
	return len(p), err
}

// flush ends the text. Whether it could be written is known to what is below.
func (t *textWriter) flush() { _ = t.safe.Flush() }

// escapeNames escapes what on a command line would begin a new line, or a new column: in the parts
// of names of files, as these are taken apart and put together.
func escapeNames(args []string) *strings.Replacer {
	var parts []string
	for _, word := range args {
		parts = append(parts, strings.FieldsFunc(word, func(r rune) bool { return strings.ContainsRune("/=@", r) })...)
	}
	parts = slices.DeleteFunc(parts, func(part string) bool {
		return !strings.ContainsAny(part, "\n\t") || strings.TrimSpace(part) == "" // that is all over our own text
	})
	if len(parts) == 0 {
		return nil
	}
	// The longest first, as those that it begins with would hide it.
	sort.Slice(parts, func(i, j int) bool { return len(parts[i]) > len(parts[j]) })
	var pairs []string
	for _, part := range parts {
		pairs = append(pairs, part, printable.Text(part))
	}
	return strings.NewReplacer(pairs...)
}
