package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"thinpool/jsonfmt"
	"thinpool/metadata"
	"thinpool/xmlfmt"
)

// ReadDump reads a dump of either format.
func ReadDump(ctx context.Context, in io.Reader, v metadata.Visitor, o metadata.Overrides, note func(string)) error {
	text := bufio.NewReader(in)
	if err := otherTarget(text); err != nil {
		return err
	}
	if IsJSON(text) {
		return jsonfmt.Read(ctx, text, v, jsonfmt.Options{Overrides: o, Note: note})
	}
	return xmlfmt.Read(ctx, text, v, xmlfmt.Options{Overrides: o, Note: note})
}

// otherTarget refuses a dump of dm-cache or dm-era, which starts like one of a pool.
func otherTarget(text *bufio.Reader) error {
	const superblock = 512 // longer than the tag
	start, _ := text.Peek(superblock)
	tag, _, _ := bytes.Cut(start, []byte(">"))
	switch {
	case !bytes.Contains(tag, []byte("<superblock")):
	case bytes.Contains(tag, []byte(" nr_cache_blocks=")):
		return errors.New("this is a dump of dm-cache, not of a thin pool: use cache_restore to turn it into metadata")
	case bytes.Contains(tag, []byte(" current_era=")):
		return errors.New("this is a dump of dm-era, not of a thin pool: use era_restore to turn it into metadata")
	}
	return nil
}

// IsJSON reports whether a dump is JSON rather than XML.
func IsJSON(text *bufio.Reader) bool {
	start, _ := text.Peek(1)
	return len(start) == 1 && start[0] == '{'
}
