package write_test

import (
	"errors"
	"runtime"
	"strconv"
	"testing"

	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// Devices that refer to empty defs share one leaf, however many such defs there are. Empty devices
// without references have one leaf each.
func TestEmptyDefs(t *testing.T) {
	b := write.New(write.Options{})
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	must(b.Begin(metadata.Header{DataBlockSize: metadata.MinDataBlockSize, NrDataBlocks: 10, Version: 2}))
	for _, name := range []string{"1", "one"} {
		must(b.BeginDef(name), b.EndDef())
	}
	for id, name := range []string{"", "1", "one", "", "1"} {
		must(b.BeginDevice(metadata.DevID(id), metadata.Details{}))
		if name != "" {
			must(b.Ref(name))
		}
		must(b.EndDevice())
	}
	must(b.End())
	dev := blocktest.NewMem(int64(b.Least()) * block.Size)
	must(b.Write(t.Context(), dev))
	p, err := metadata.Open(dev, metadata.Options{})
	must(err)
	var roots []block.Nr
	for d, err := range p.Devices(t.Context()) {
		must(err)
		roots = append(roots, d.Root)
	}
	if roots[1] != roots[2] || roots[1] != roots[4] || roots[0] == roots[1] || roots[3] == roots[0] || roots[3] == roots[1] {
		t.Errorf("roots %v", roots)
	}
}

// The memory for a description grows with the size of the result: an empty def needs nothing, and
// an empty device needs a leaf and two entries.
func TestEmptyElementsAreCheap(t *testing.T) {
	const n = 100000
	var before, after runtime.MemStats
	b := write.New(write.Options{})
	if err := b.Begin(metadata.Header{DataBlockSize: metadata.MinDataBlockSize, NrDataBlocks: 10, Version: 2}); err != nil {
		t.Fatal(err)
	}
	inUse := func() uint64 {
		runtime.GC()
		runtime.ReadMemStats(&after)
		return after.HeapAlloc - min(after.HeapAlloc, before.HeapAlloc)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		if err := errors.Join(b.BeginDef(strconv.Itoa(i)), b.EndDef()); err != nil {
			t.Fatal(err)
		}
	}
	if per := inUse() / n; per > 64 {
		t.Errorf("%d bytes a def", per)
	}
	runtime.ReadMemStats(&before)
	for i := range n {
		if err := errors.Join(b.BeginDevice(metadata.DevID(i), metadata.Details{}), b.EndDevice()); err != nil {
			t.Fatal(err)
		}
	}
	if per := inUse() / n; per > 160 {
		t.Errorf("%d bytes a device", per)
	}
	runtime.KeepAlive(b)
}
