package repair

import (
	"testing"

	"thinpool/metadata"
)

// A report stays readable however many devices have the same problem.
func TestLabels(t *testing.T) {
	ids := make([]metadata.DevID, 300)
	for i := range ids {
		ids[i] = metadata.DevID(i)
	}
	named := Options{Name: func(metadata.DevID) string { return "vg/a" }}
	for _, test := range []struct {
		opt  Options
		ids  []metadata.DevID
		want string
	}{
		{named, ids[7:8], "vg/a (device 7)"},
		{Options{}, ids[:2], "device 0, device 1"},
		{Options{}, ids[:8], "device 0, device 1, device 2, device 3, device 4, device 5, device 6, device 7"},
		{Options{}, ids, "device 0, device 1, device 2, device 3, device 4, device 5, device 6, device 7 and 292 more"},
	} {
		if got := test.opt.labels(test.ids); got != test.want {
			t.Errorf("%d ids: %q, want %q", len(test.ids), got, test.want)
		}
	}
}
