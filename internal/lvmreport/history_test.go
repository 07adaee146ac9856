package lvmreport_test

import (
	"bytes"
	"context"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/lvmreport"
	"thinpool/lvm"
)

// A text on both disks is listed once, the newest come first, and different texts with the same
// seqno are told apart.
func TestHistory(t *testing.T) {
	paths, _ := fixtures.Disks(t, "two-pvs")
	var at int64
	for old, err := range scan(t, lvm.Options{}, paths[1]).History(t.Context()) {
		if err == nil && old.Group.Seqno == 5 {
			at = areaOffset + int64(old.Offset) + int64(bytes.Index(old.Group.Text, []byte(`description = "Write`)))
		}
	}
	change(t, paths[1], at, 20, func(p []byte) { copy(p[15:], "Wrote") })
	set := scan(t, lvm.Options{}, paths...)
	texts, err := lvmreport.History(t.Context(), set, func(err error) { t.Error(err) })
	if err != nil || len(texts) != 14 {
		t.Fatalf("%d texts, want 14; %v", len(texts), err)
	}
	seqno := uint64(13)
	for i, x := range texts {
		variant, places := 0, 2
		if x.Seqno == 5 {
			variant, places = i-7, 1
		}
		if x.Name != "vg2" || x.Seqno != seqno || x.Variant != variant || len(x.Places) != places || x.Live() != (seqno == 13) {
			t.Errorf("text %d: %s %d.%d in %d places, live %v; want vg2 %d.%d in %d", i, x.Name, x.Seqno, x.Variant, len(x.Places), x.Live(), seqno, variant, places)
		}
		raw, err := x.Read(t.Context(), set)
		g, parsed := lvm.ParseGroup(raw)
		if err != nil || parsed != nil || g.Seqno != x.Seqno || g.Description != x.Description || len(g.LVs) != len(x.Volumes) {
			t.Errorf("text %d: read as %+v (%v, %v)", i, g, err, parsed)
		}
		if x.Variant != 1 {
			seqno--
		}
	}
	if got := texts[9].Description[:5]; got != "Wrote" || texts[8].Description[:5] != "Write" {
		t.Errorf("variants are %.10q and %.10q", texts[8].Description, texts[9].Description)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lvmreport.History(ctx, set, func(error) {}); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}
