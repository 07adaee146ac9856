package source

import (
	"bufio"
	"context"
	"io"

	"thinpool/jsonfmt"
	"thinpool/metadata"
	"thinpool/xmlfmt"
)

// ReadDump reads a dump of either format.
func ReadDump(ctx context.Context, in io.Reader, v metadata.Visitor, o metadata.Overrides, note func(string)) error {
	text := bufio.NewReader(in)
	if IsJSON(text) {
		return jsonfmt.Read(ctx, text, v, jsonfmt.Options{Overrides: o, Note: note})
	}
	return xmlfmt.Read(ctx, text, v, xmlfmt.Options{Overrides: o, Note: note})
}

// IsJSON reports whether a dump is JSON rather than XML.
func IsJSON(text *bufio.Reader) bool {
	start, _ := text.Peek(1)
	return len(start) == 1 && start[0] == '{'
}
