package command

import (
	"math"
	"testing"

	"thinpool/metadata"
	"thinpool/tool/rmap"
)

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
