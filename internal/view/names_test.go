package view

import (
	"errors"
	"fmt"
	"testing"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

func nameThree(id metadata.DevID) string {
	return map[metadata.DevID]string{3: "vg/data"}[id]
}

// Errors about a device mention its name, however they are wrapped. No other text changes.
func TestNamed(t *testing.T) {
	none := &metadata.DeviceError{ID: 3, Err: metadata.ErrNoDevice}
	lost := &metadata.LostError{ID: 3, Keys: btree.KeyRange{First: 1, Last: 2}, Err: block.ErrCorrupt}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{none, "vg/data (device 3): no such device"},
		{fmt.Errorf("device 3: %w", none), "device 3: vg/data (device 3): no such device"},
		{fmt.Errorf("/srv/device 3/file: %w; device 3 is lost", none), "/srv/device 3/file: vg/data (device 3): no such device; device 3 is lost"},
		{fmt.Errorf("device 3: %w", errors.New("device 3 is a file")), "device 3: device 3 is a file"},
		{&metadata.DeviceError{ID: 4, Err: metadata.ErrNoDevice}, "device 4: no such device"},
		{&metadata.MismatchError{ID: 3, Has: "details", Lacks: "mappings"}, "vg/data (device 3) has details but no mappings"},
		{errors.Join(none, fmt.Errorf("x: %w", lost)), "vg/data (device 3): no such device\nx: " + lost.Named("vg/data")},
	} {
		got := Named(tc.err, nameThree)
		if got.Error() != tc.want {
			t.Errorf("got  %q\nwant %q", got, tc.want)
		}
		for _, is := range []error{metadata.ErrNoDevice, block.ErrCorrupt} {
			if errors.Is(got, is) != errors.Is(tc.err, is) {
				t.Errorf("%q: is %v: %v", got, is, errors.Is(got, is))
			}
		}
	}
	if got := Named(none, nil); got != error(none) {
		t.Errorf("without names: %v", got)
	}
	if got := Named(nil, nameThree); got != nil {
		t.Errorf("no error becomes %v", got)
	}
}
