package command

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"thinpool/metadata"
	"thinpool/tool/rmap"
)

// Lines are what the plain way of writing them gives.
func TestRmapLine(t *testing.T) {
	number := rapid.OneOf(rapid.Uint64Range(0, 1001), rapid.Uint64Range(1<<62, 1<<63), rapid.Uint64Max(math.MaxUint64>>1))
	rapid.Check(t, func(t *rapid.T) {
		r := rmap.Row{
			Data: metadata.DataBlock(number.Draw(t, "data")), Thin: metadata.ThinBlock(number.Draw(t, "thin")),
			ID: metadata.DevID(number.Draw(t, "device")), Len: number.Draw(t, "length"),
		}
		dataEnd, thinEnd := uint64(r.Data)+r.Len, uint64(r.Thin)+r.Len
		want := fmt.Sprintf("before data %d..%d -> thin(%d) %d..%d\n", r.Data, dataEnd, r.ID, r.Thin, thinEnd)
		if got := string(rmapLine([]byte("before "), r)); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
		want = fmt.Sprintf(`{"type":"range","data_begin":%d,"dev_id":%d,"thin_begin":%d,"length":%d}`+"\n", r.Data, r.ID, r.Thin, r.Len)
		if got := string(rmapObject(nil, r)); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	})
}

func BenchmarkRmapLine(b *testing.B) {
	text := rmapLine(nil, rmap.Row{Data: 47_100_000, Len: 1, ID: 19, Thin: 1_234_567})
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for data := metadata.DataBlock(1); b.Loop(); data = data * 7 % 47_999_999 {
		text = rmapLine(text[:0], rmap.Row{Data: data, Len: 1, ID: 19, Thin: metadata.ThinBlock(data) / 8})
	}
}

func TestRegion(t *testing.T) {
	for in, want := range map[string]rmap.Region{
		"5..45":            {Begin: 5, End: 45},
		"+5..+45":          {Begin: 5, End: 45},
		"0..-1":            {Begin: 0, End: math.MaxUint64},
		"128s..129s":       {Begin: 1, End: 2},
		"127s..129s":       {Begin: 0, End: 2},
		"64k..128k":        {Begin: 1, End: 2},
		"0b..1b":           {Begin: 0, End: 1},
		"65535b..65537b":   {Begin: 0, End: 2},
		"1GiB..1049600KiB": {Begin: 16384, End: 16400},
		"64k..-1":          {Begin: 1, End: math.MaxUint64/65536 + 1},
	} {
		var r region
		if err := r.UnmarshalText([]byte(in)); err != nil {
			t.Error(err)
			continue
		}
		if got := r.blocks(metadata.MinDataBlockSize); got != want {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
	for _, in := range []string{
		"", "..", "5", "5..", "..5", "5..5", "45..5", "0...1", "00", "-1..5", "5..-2", "5..45x", "a..b", "5..45s", "5s..45",
		"1..2..3", "0x1..0x2", " 1..2", "1.. 2", "++1..2", "s..2s", "1..18446744073709551616", "1s..99999999999999999999s",
	} {
		var r region
		if err := r.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q: taken as %v", in, r)
		}
	}
}
