package view

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"thinpool/metadata"
	"thinpool/tool/rmap"
)

// Device names are quoted.
func TestRmapObjectName(t *testing.T) {
	var o RmapObjects
	o.Name = func(id metadata.DevID) string { return map[metadata.DevID]string{1: "vg/a", 2: "\"\x1b"}[id] }
	for id, want := range []string{"", `,"name":"vg/a"`, `,"name":"\"\u001b"`} {
		got := string(o.Append(nil, rmap.Row{ID: metadata.DevID(id), Len: 3}))
		if want = fmt.Sprintf(`{"type":"range","data_begin":0,"dev_id":%d,"thin_begin":0,"length":3%s}`+"\n", id, want); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

// The fast formatter writes the same lines as fmt.
func TestRmapLine(t *testing.T) {
	number := rapid.OneOf(rapid.Uint64Range(0, 1001), rapid.Uint64Range(1<<62, 1<<63), rapid.Uint64Max(math.MaxUint64>>1))
	rapid.Check(t, func(t *rapid.T) {
		r := rmap.Row{
			Data: metadata.DataBlock(number.Draw(t, "data")), Thin: metadata.ThinBlock(number.Draw(t, "thin")),
			ID: metadata.DevID(number.Draw(t, "device")), Len: number.Draw(t, "length"),
		}
		dataEnd, thinEnd := uint64(r.Data)+r.Len, uint64(r.Thin)+r.Len
		want := fmt.Sprintf("before data %d..%d -> thin(%d) %d..%d\n", r.Data, dataEnd, r.ID, r.Thin, thinEnd)
		if got := string(RmapLine([]byte("before "), r)); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
		want = fmt.Sprintf(`{"type":"range","data_begin":%d,"dev_id":%d,"thin_begin":%d,"length":%d}`+"\n", r.Data, r.ID, r.Thin, r.Len)
		if got := string(RmapObject(nil, r, "")); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	})
}

func BenchmarkRmapLine(b *testing.B) {
	text := RmapLine(nil, rmap.Row{Data: 47_100_000, Len: 1, ID: 19, Thin: 1_234_567})
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for data := metadata.DataBlock(1); b.Loop(); data = data * 7 % 47_999_999 {
		text = RmapLine(text[:0], rmap.Row{Data: data, Len: 1, ID: 19, Thin: metadata.ThinBlock(data) / 8})
	}
}
