package view

import (
	"sync/atomic"

	"thinpool/internal/textenc"
	"thinpool/metadata"
	"thinpool/tool/rmap"
)

// RmapLine appends the line that programs parse: five words, with both ranges half-open.
func RmapLine(dst []byte, r rmap.Row) []byte {
	dst = appendRange(append(dst, "data "...), uint64(r.Data), r.Len)
	dst = textenc.AppendUint(append(dst, " -> thin("...), uint64(r.ID))
	dst = appendRange(append(dst, ") "...), uint64(r.Thin), r.Len)
	return append(dst, '\n')
}

func appendRange(dst []byte, begin, length uint64) []byte {
	dst = append(textenc.AppendUint(dst, begin), ".."...)
	return textenc.AppendUint(dst, begin+length)
}

// RmapObjects formats rows as JSON and counts them for the summary. It is safe for concurrent use.
type RmapObjects struct {
	Name           func(metadata.DevID) string // LVM's name for a device; nil: unknown
	ranges, blocks atomic.Uint64
}

func (o *RmapObjects) Append(dst []byte, r rmap.Row) []byte {
	o.ranges.Add(1)
	o.blocks.Add(r.Len)
	name := ""
	if o.Name != nil {
		name = o.Name(r.ID)
	}
	return RmapObject(dst, r, name)
}

// Summary returns the last line.
func (o *RmapObjects) Summary() any {
	return rangesEndRecord{"summary", o.ranges.Load(), o.blocks.Load()}
}

// rangesEndRecord has the number of ranges and their total length.
type rangesEndRecord struct {
	Type   string `json:"type"` // "summary"
	Ranges uint64 `json:"ranges"`
	Blocks uint64 `json:"blocks"`
}

// RmapObject appends a row as JSON. name is the device's volume name, or empty.
func RmapObject(dst []byte, r rmap.Row, name string) []byte {
	field := func(name string, n uint64) { dst = textenc.AppendUint(append(dst, name...), n) }
	field(`{"type":"range","data_begin":`, uint64(r.Data))
	field(`,"dev_id":`, uint64(r.ID))
	field(`,"thin_begin":`, uint64(r.Thin))
	field(`,"length":`, r.Len)
	if name != "" {
		dst = appendJSON(append(dst, `,"name":`...), name)
	}
	return append(dst, "}\n"...)
}
