package check_test

import (
	"runtime"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/tool/check"
)

// Parts that devices share are checked once, and their owners are listed once, however many faults
// they have.
func TestManyDevicesShareFaults(t *testing.T) {
	const devices = 5000
	dev := fixtures.Web(t, devices, 6)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	faults := 0
	var owners []metadata.DevID
	_, err := check.Run(t.Context(), dev, check.Options{}, func(f check.Fault) {
		if f.Code == check.KeysOutOfBounds {
			faults++
			owners = f.Devices
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if faults != 6*251 || len(owners) != devices {
		t.Errorf("%d faults, %d owners", faults, len(owners))
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("%d MiB were allocated", n>>20)
	}
}

// A tree shared by many devices is searched once for data blocks it maps twice.
func TestManyDevicesMapTwice(t *testing.T) {
	f := fixtures.NewForge(t, 1024, 1000)
	a := f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 200})
	b := f.Leaf(metadata.Run{Thin: 200, Data: 0, Len: 200})
	root := f.Inner(a, b)
	const devices = 3000
	for id := range metadata.DevID(devices) {
		f.Device(id, root)
	}
	dev := f.Finish()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	faults := 0
	if _, err := check.Run(t.Context(), dev, check.Options{}, func(f check.Fault) {
		if f.Code == check.MappedTwice {
			faults++
		}
	}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if faults != devices {
		t.Errorf("%d faults", faults)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("%d MiB were allocated", n>>20)
	}
}
