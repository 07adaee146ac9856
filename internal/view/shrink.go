package view

import (
	"bufio"
	"fmt"
	"io"

	"thinpool/tool/shrink"
)

// Records of a plan in JSON. Sizes and positions are in data blocks, and in bytes on the data
// device.
type (
	shrinkRecord struct {
		Type          string `json:"type"` // "shrink"
		Format        int    `json:"format"`
		DataBlockSize uint32 `json:"data_block_size"` // sectors
		OldBlocks     uint64 `json:"old_data_blocks"`
		NewBlocks     uint64 `json:"new_data_blocks"`
		NewBytes      uint64 `json:"new_bytes"`
		Used          uint64 `json:"data_used_blocks"`
	}
	moveRecord struct {
		Type            string `json:"type"` // "move"
		Source          uint64 `json:"source_begin"`
		Destination     uint64 `json:"destination_begin"`
		Length          uint64 `json:"length"`
		SourceByte      uint64 `json:"source_byte_begin"`
		DestinationByte uint64 `json:"destination_byte_begin"`
		LengthBytes     uint64 `json:"byte_length"`
	}
	shrinkEndRecord struct {
		Type   string `json:"type"` // "summary"
		Moves  uint64 `json:"moves"`
		Blocks uint64 `json:"blocks"`
		Bytes  uint64 `json:"bytes"`
	}
)

// Shrink prints a plan, for people or as JSON.
func Shrink(w io.Writer, p *shrink.Plan, json bool) error {
	out := bufio.NewWriter(w)
	list := shrinkText
	if json {
		list = shrinkJSON
	}
	if err := list(out, p); err != nil {
		return err
	}
	return out.Flush()
}

func shrinkText(w io.Writer, p *shrink.Plan) error {
	for _, m := range p.Moves {
		from, to := uint64(m.From), uint64(m.To)
		_, err := fmt.Fprintf(w, "move %d..%d to %d..%d bytes %d..%d to %d..%d\n", from, from+m.Len, to, to+m.Len,
			p.Bytes(from), p.Bytes(from+m.Len), p.Bytes(to), p.Bytes(to+m.Len))
		if err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d of %d data blocks in use move (%s), from %d data blocks to %d (%d bytes)\n",
		p.Moved, p.Used, PlainSize(p.Bytes(p.Moved)), p.OldBlocks, p.NewBlocks, p.Bytes(p.NewBlocks))
	return err
}

func shrinkJSON(w io.Writer, p *shrink.Plan) error {
	enc := NewEncoder(w)
	err := enc.Encode(shrinkRecord{"shrink", 1, p.DataBlockSize, p.OldBlocks, p.NewBlocks, p.Bytes(p.NewBlocks), p.Used})
	for _, m := range p.Moves {
		if err != nil {
			return err
		}
		from, to := uint64(m.From), uint64(m.To)
		err = enc.Encode(moveRecord{"move", from, to, m.Len, p.Bytes(from), p.Bytes(to), p.Bytes(m.Len)})
	}
	if err != nil {
		return err
	}
	return enc.Encode(shrinkEndRecord{"summary", uint64(len(p.Moves)), p.Moved, p.Bytes(p.Moved)})
}
