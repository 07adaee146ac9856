package view

import (
	"thinpool/internal/textenc"
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

// RmapObject is a row in JSON.
func RmapObject(dst []byte, r rmap.Row) []byte {
	field := func(name string, n uint64) { dst = textenc.AppendUint(append(dst, name...), n) }
	field(`{"data_begin":`, uint64(r.Data))
	field(`,"data_end":`, uint64(r.Data)+r.Len)
	field(`,"dev_id":`, uint64(r.ID))
	field(`,"thin_begin":`, uint64(r.Thin))
	field(`,"thin_end":`, uint64(r.Thin)+r.Len)
	return append(dst, "}\n"...)
}
