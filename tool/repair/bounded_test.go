package repair_test

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
)

// allocated returns how many bytes f allocates in total.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Damage that devices share is salvaged once, however many devices there are. Each device has all
// its mappings and the same thousands of lost ranges as the others.
func TestManyDevicesShareDamage(t *testing.T) {
	const devices, levels = 5000, 6
	dev := fixtures.Web(t, devices, levels)
	var found *repair.Result
	if n := allocated(func() { found = find(t, dev, repair.Options{}) }); n > 100<<20 {
		t.Errorf("%d MiB were allocated", n>>20)
	}
	if n := len(found.Report.Devices); n != devices {
		t.Fatalf("%d devices", n)
	}
	for i := range found.Report.Devices {
		if d := &found.Report.Devices[i]; d.Read != 252 || d.LostRanges != levels*251 {
			t.Fatalf("%+v", d)
		}
	}
	ranges := 0
	for range found.Report.Devices[devices-1].Holes() {
		ranges++
	}
	if ranges != levels*251 {
		t.Errorf("%d lost ranges", ranges)
	}
	rebuilt(t, found)
}

// noFatal checks that new metadata written from the result has no fatal fault. The devices' own
// details and guessed mappings may be odd.
func noFatal(t *testing.T, found *repair.Result, seed uint64) {
	t.Helper()
	pool, err := metadata.Open(found.Device, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := write.New(write.Options{})
	if err := dump.Run(t.Context(), pool, dump.Options{}, b); err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return
	}
	dev := blocktest.NewMem(int64(b.Least()) * block.Size)
	if err := b.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	fatal := 0
	if _, err := check.Run(t.Context(), dev, check.Options{}, func(f check.Fault) {
		if f.Severity != check.Fatal {
			return
		}
		if fatal++; fatal == 1 {
			t.Errorf("seed %d: the repaired metadata: %s", seed, &f)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// Every hostile image is either repaired or refused, and a repaired one is whole. THINPOOL_LONG
// tries more images.
func TestHostile(t *testing.T) {
	seeds := uint64(8)
	switch {
	case os.Getenv("THINPOOL_LONG") != "":
		seeds = 64
	case testing.Short():
		seeds = 1
	}
	for seed := range seeds {
		found, err := repair.Find(t.Context(), fixtures.Hostile(t, seed, 256), repair.Options{})
		switch {
		case err == nil:
			noFatal(t, found, seed)
		case !errors.Is(err, block.ErrCorrupt) && !errors.Is(err, repair.ErrNoRoots):
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// A truncated leaf has zero as its last value. This says nothing about data block 0, even if that
// block is counted more often than it is mapped.
func TestCutLeafSaysNothing(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	lost := f.Leaf(metadata.Run{Thin: 0, Data: 200, Len: 10})
	f.Device(1, f.Inner(lost, f.Leaf(metadata.Run{Thin: 500, Data: 500, Len: 100})))
	f.LeakData(0)
	dev := f.Finish()
	fixtures.Edit(t, dev, lost, func(b *block.Data) { clear(b[32+8*252+8*9:]) })
	var b block.Data
	if err := block.Read(dev, lost, &b); err != nil {
		t.Fatal(err)
	}
	block.Invalidate(&b)
	if err := block.Write(dev, lost, &b); err != nil {
		t.Fatal(err)
	}
	found := find(t, dev, repair.Options{})
	if d := found.Report.Devices[0]; d.Read != 100 || d.Guessed != 9 || d.Lost != 1 {
		t.Errorf("%+v", d)
	} else if got := slices.Collect(d.Guesses()); !slices.Equal(got, []metadata.KeyRange{{First: 0, Last: 8}}) {
		t.Errorf("guessed: %v", got)
	}
}
