package view

import (
	"bufio"
	"fmt"
	"io"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/tool/trim"
)

// BlockBytes is the size of a data block in bytes.
func BlockBytes(sb metadata.Superblock) uint64 { return uint64(sb.DataBlockSize) * cli.SectorSize }

// Free prints free ranges as lines or as JSON. size is the data block size in bytes.
func Free(w io.Writer, free []trim.Range, size uint64, json bool) error {
	out := bufio.NewWriter(w)
	enc := NewEncoder(out)
	blocks := uint64(0)
	for _, r := range free {
		begin, end := uint64(r.Begin), uint64(r.End)
		blocks += end - begin
		var err error
		if json {
			err = enc.Encode(freeRecord{"free", begin, end - begin, begin * size, (end - begin) * size})
		} else {
			_, err = fmt.Fprintf(out, "free %d..%d bytes %d..%d\n", begin, end, begin*size, end*size)
		}
		if err != nil {
			return err
		}
	}
	if json {
		if err := enc.Encode(freeEndRecord{"summary", len(free), blocks, blocks * size}); err != nil {
			return err
		}
	}
	return out.Flush()
}

// freeRecord is a free range in JSON: data blocks, and bytes on the data device.
type freeRecord struct {
	Type       string `json:"type"` // "free"
	Begin      uint64 `json:"begin"`
	Length     uint64 `json:"length"`
	ByteBegin  uint64 `json:"byte_begin"`
	ByteLength uint64 `json:"byte_length"`
}

// freeEndRecord is the last line: the number of free ranges and their total lengths.
type freeEndRecord struct {
	Type   string `json:"type"` // "summary"
	Ranges int    `json:"ranges"`
	Blocks uint64 `json:"blocks"`
	Bytes  uint64 `json:"bytes"`
}
