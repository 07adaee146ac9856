package stat_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/stat"
)

func open(t testing.TB, name string) (*blocktest.Mem, *metadata.Pool) {
	t.Helper()
	dev := fixtures.Mem(t, name)
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return dev, p
}

// The measurements agree with the pool's own numbers, and with a separate walk of every device.
func TestKernelImages(t *testing.T) {
	for _, name := range fixtures.Names() {
		_, p := open(t, name)
		data, err := stat.DataCounts(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		meta, err := stat.MetadataCounts(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if used, _ := data.Total(); used != p.Live.DataSpaceMap.NrAllocated {
			t.Errorf("%s: %d data blocks in use, want %d", name, used, p.Live.DataSpaceMap.NrAllocated)
		}
		if used, _ := meta.Total(); used != p.Live.MetadataSpaceMap.NrAllocated {
			t.Errorf("%s: %d metadata blocks in use, want %d", name, used, p.Live.MetadataSpaceMap.NrAllocated)
		}
		devices, err := stat.Devices(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for d, err := range p.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			runs := uint64(0)
			for _, err := range p.Runs(t.Context(), d) {
				if err != nil {
					t.Fatal(err)
				}
				runs++
			}
			if got := devices[i]; got.ID != d.ID || got.Mappings != d.MappedBlocks || got.Runs != runs || got.Shared > got.Leaves || got.Fill() > 1 {
				t.Errorf("%s: %+v, want device %d with %d mappings in %d runs", name, got, d.ID, d.MappedBlocks, runs)
			}
			i++
		}
		if i != len(devices) {
			t.Errorf("%s: %d devices, want %d", name, len(devices), i)
		}
	}
}

// The lengths of runs match the runs of single devices; shared leaves count once.
func TestRunLengths(t *testing.T) {
	f := fixtures.NewForge(t, 64, 100_000)
	run := func(thin, data, n uint64) metadata.Run {
		return metadata.Run{Thin: metadata.ThinBlock(thin), Data: metadata.DataBlock(data), Len: n}
	}
	a := f.Leaf(run(0, 1000, 200), run(300, 5000, 3)) // 200, and 3 that continue in b
	b := f.Leaf(run(303, 5003, 100), run(500, 9000, 100))
	c := f.Leaf(run(1000, 20000, 150))
	f.Device(1, f.Inner(a, b))
	f.Device(2, f.Inner(a, b, c))
	f.Device(3, f.Leaf())
	p, err := metadata.Open(f.Finish(), metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := stat.RunLengths(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	want := stat.Histogram{{Value: 100, Times: 1}, {Value: 103, Times: 1}, {Value: 150, Times: 1}, {Value: 200, Times: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	devices, err := stat.Devices(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]stat.Device{
		{ID: 1, Mappings: 403, Runs: 3, Leaves: 2, Shared: 2, Nodes: 1, Depth: 1, Room: 504},
		{ID: 2, Mappings: 553, Runs: 4, Leaves: 3, Shared: 2, Nodes: 1, Depth: 1, Room: 756},
		{ID: 3, Leaves: 1, Room: 252},
	}, devices); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Damage is an error that names the device.
func TestDamage(t *testing.T) {
	dev, p := open(t, "odd-blocks")
	dev.FailReads(81)
	_, err := stat.Devices(t.Context(), p)
	if lost, ok := errors.AsType[*metadata.LostError](err); !ok || lost.ID != 2 || !errors.Is(err, blocktest.ErrFailed) {
		t.Errorf("Devices: %v", err)
	}
	if _, err := stat.RunLengths(t.Context(), p); !errors.Is(err, blocktest.ErrFailed) {
		t.Errorf("RunLengths: %v", err)
	}
	dev.FailReads(p.Live.DataSpaceMap.BitmapRoot)
	if _, err := stat.DataCounts(t.Context(), p); err == nil {
		t.Error("DataCounts: no error")
	}
}
