package cli

import (
	"io"
	"slices"
	"sort"
	"strings"

	"thinpool/internal/printable"
)

// textWriter is a text stream that is safe on a terminal. Of all control characters, only newlines
// and tabs pass, and these must be our own: those in file names on the command line are escaped
// separately.
type textWriter struct {
	safe  *printable.Writer
	names *strings.Replacer // nil: no name needs escaping
}

func newText(w io.Writer, args []string) *textWriter {
	return &textWriter{safe: printable.NewWriter(w), names: escapeNames(args)}
}

// Write implements io.Writer. Each message must be a single write, so that names are found.
func (t *textWriter) Write(p []byte) (int, error) {
	if t.names == nil {
		return t.safe.Write(p)
	}
	message := string(p)
	line := strings.TrimSuffix(message, "\n") // keep the final newline even if a name ends in one
	_, err := io.WriteString(t.safe, t.names.Replace(line)+message[len(line):])
	return len(p), err
}

// flush ends the text. Errors are remembered by the underlying writer.
func (t *textWriter) flush() { _ = t.safe.Flush() }

// escapeNames escapes newlines and tabs in command line words. It works on the parts of file names,
// because tools split and join names.
func escapeNames(args []string) *strings.Replacer {
	var parts []string
	for _, word := range args {
		parts = append(parts, strings.FieldsFunc(word, func(r rune) bool { return strings.ContainsRune("/=@", r) })...)
	}
	parts = slices.DeleteFunc(parts, func(part string) bool {
		return !strings.ContainsAny(part, "\n\t") || strings.TrimSpace(part) == "" // these occur everywhere in our own text
	})
	if len(parts) == 0 {
		return nil
	}
	// Longest first: a prefix would hide a longer part.
	sort.Slice(parts, func(i, j int) bool { return len(parts[i]) > len(parts[j]) })
	var pairs []string
	for _, part := range parts {
		pairs = append(pairs, part, printable.Text(part))
	}
	return strings.NewReplacer(pairs...)
}
