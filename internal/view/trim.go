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

// Free prints free ranges: as lines, or as JSON. size is that of a data block in bytes.
func Free(w io.Writer, free []trim.Range, size uint64, json bool) error {
	out := bufio.NewWriter(w)
	enc := NewEncoder(out)
	for _, r := range free {
		begin, end := uint64(r.Begin), uint64(r.End)
		var err error
		if json {
			err = enc.Encode(freeRecord{begin, end, begin * size, end * size})
		} else {
			_, err = fmt.Fprintf(out, "free %d..%d bytes %d..%d\n", begin, end, begin*size, end*size)
		}
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

// freeRecord is a free range in JSON: data blocks, and bytes on the data device.
type freeRecord struct {
	Begin     uint64 `json:"begin"`
	End       uint64 `json:"end"`
	ByteBegin uint64 `json:"byte_begin"`
	ByteEnd   uint64 `json:"byte_end"`
}
