package view

import (
	"sync/atomic"

	"thinpool/internal/textenc"
	"thinpool/metadata"
	"thinpool/tool/rmap"
)

// RmapLine is the line that programs expect: five words, both ranges without their ends.
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

// RmapObjects makes rows JSON, and counts them for the summary. It may be used concurrently.
type RmapObjects struct {
	Name           func(metadata.DevID) string // what LVM calls a device; nil: it is not known
	ranges, blocks atomic.Uint64
}

// Append appends a row.
func (o *RmapObjects) Append(dst []byte, r rmap.Row) []byte {
	o.ranges.Add(1)
	o.blocks.Add(r.Len)
	name := ""
	if o.Name != nil {
		name = o.Name(r.ID)
	}
	return RmapObject(dst, r, name)
}

// Summary is the last line.
func (o *RmapObjects) Summary() any {
	return rangesEndRecord{"summary", o.ranges.Load(), o.blocks.Load()}
}

// rangesEndRecord is how many ranges there are, and the sum of their lengths.
type rangesEndRecord struct {
	Type   string `json:"type"` // "summary"
	Ranges uint64 `json:"ranges"`
	Blocks uint64 `json:"blocks"`
}

// RmapObject is a row in JSON; name is that of its device, if it has one.
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
