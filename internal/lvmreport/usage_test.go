package lvmreport_test

import (
	"encoding/json"
	"testing"

	"thinpool/internal/lvmreport"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
)

// Percentages are rounded like in lvs: only empty gives 0 and only full gives 100.
func TestPercent(t *testing.T) {
	for _, c := range []struct {
		used, total uint64
		want        string
	}{
		{0, 100, "0.00"},
		{0, 0, "0.00"},
		{1, 0, "100.00"},
		{100, 100, "100.00"},
		{101, 100, "100.00"},
		{1, 1 << 60, "0.01"},
		{1<<60 - 1, 1 << 60, "99.99"},
		{511, 1536, "33.27"},
		{119, 1024, "11.62"},
		{1, 3, "33.33"},
		{2, 3, "66.67"},
		{192, 240, "80.00"},
	} {
		p := lvmreport.Usage{Used: c.used, Total: c.total}.Percent()
		text, err := json.Marshal(p)
		if p.String() != c.want || err != nil || string(text) != c.want {
			t.Errorf("%d of %d: %v, in JSON %s (%v), want %s", c.used, c.total, p, text, err, c.want)
		}
	}
}

// The kernel counts its reserve as used, up to the total.
func TestMetadataUsage(t *testing.T) {
	for _, c := range []struct{ allocated, blocks, want uint64 }{
		{17, 1024, 119}, {14, 1280, 142}, {10, 512, 61}, {1000, 1024, 1024}, {2000, 1024, 1024}, {100, 1 << 20, 4196}, {1, 9, 1},
	} {
		sb := metadata.Superblock{MetadataSpaceMap: spacemap.Root{NrAllocated: c.allocated, NrBlocks: c.blocks}}
		if got := lvmreport.MetadataUsage(&sb); got != (lvmreport.Usage{Used: c.want, Total: c.blocks}) {
			t.Errorf("%d of %d: %v, want %d used", c.allocated, c.blocks, got, c.want)
		}
	}
}

// A partial chunk at the end of a volume counts as a whole one.
func TestVolumeUsage(t *testing.T) {
	for _, c := range []struct {
		mapped uint64
		size   int64
		chunk  uint64
		want   string
	}{
		{244, 80 << 20, 64 << 10, "19.06"}, {3, 5 << 20, 2 << 20, "100.00"}, {1, 4 << 20, 3 << 20, "50.00"}, {1, 4 << 20, 0, "0.01"},
	} {
		if got := lvmreport.VolumeUsage(c.mapped, c.size, c.chunk).Percent().String(); got != c.want {
			t.Errorf("%d chunks of %d in %d: %s, want %s", c.mapped, c.chunk, c.size, got, c.want)
		}
	}
}
