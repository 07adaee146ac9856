package repair_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/repair"
)

// orphans returns metadata with a lost top level. Devices 1 and 2 have the same number of
// mappings, in blocks 1 and 2. Device 5 has a different number, in block 3.
func orphans(t *testing.T) *blocktest.Mem {
	t.Helper()
	f := fixtures.NewForge(t, 64, 10000)
	for i, id := range []metadata.DevID{1, 2, 5} {
		n := uint64(100)
		if id == 5 {
			n = 50
		}
		f.Device(id, f.Leaf(metadata.Run{Thin: metadata.ThinBlock(i * 500), Data: metadata.DataBlock(i * 1000), Len: n}))
	}
	dev := f.Finish()
	if err := block.Write(dev, f.Superblock.MappingRoot, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	return dev
}

// Trees that may belong to several devices are listed, not assigned.
func TestOrphans(t *testing.T) {
	r := find(t, orphans(t), repair.Options{}).Report
	if len(r.Orphans) != 2 || r.Lossless() {
		t.Fatalf("%+v", r)
	}
	for i, o := range r.Orphans {
		if o.Root != block.Nr(i+1) || o.Mappings != 100 || !slices.Equal(o.Devices, []metadata.DevID{1, 2}) || o.Kept {
			t.Errorf("%+v", o)
		}
	}
	// It is the only tree with as many mappings, but the books do not balance, so this is a guess.
	if d := r.Devices[2]; d.Guessed != 50 || d.Read+d.Confirmed != 0 {
		t.Errorf("%+v", d)
	}
}

// Orphans can be given to devices, old or new. The result stays a guess.
func TestAdopt(t *testing.T) {
	found := find(t, orphans(t), repair.Options{Adopt: map[block.Nr]metadata.DevID{1: 1, 2: 2}})
	if r := found.Report; len(r.Orphans) > 0 || r.Lossless() || r.Devices[0].Guessed != 100 || !r.Devices[0].Assigned {
		t.Errorf("%+v", r)
	}
	rebuilt(t, found)
	found = find(t, orphans(t), repair.Options{Adopt: map[block.Nr]metadata.DevID{2: 9}})
	got := contentOf(t, found.Device)
	if got.of(9) != 100 || got.of(2) != 0 || !found.Report.Devices[3].TimesGuessed {
		t.Errorf("%+v", found.Report.Devices)
	}
	rebuilt(t, found)
	for root, id := range map[block.Nr]metadata.DevID{40: 1, 1000: 1} {
		if _, err := repair.Find(t.Context(), orphans(t), repair.Options{Adopt: map[block.Nr]metadata.DevID{root: id}}); err == nil {
			t.Errorf("block %d is not an orphan", root)
		}
	}
	// A device with known mappings has no room for others.
	sound := fixtures.Mem(t, "odd-blocks")
	if _, err := repair.Find(t.Context(), sound, repair.Options{Adopt: map[block.Nr]metadata.DevID{68: 1}}); err == nil {
		t.Error("the tree of a device was adopted by another")
	}
}

// All orphans are kept under unused ids.
func TestKeepOrphans(t *testing.T) {
	lvm := &repair.LVM{ChunkSize: 128, Volumes: map[metadata.DevID]repair.LVMThin{1: {}, 2: {}, 5: {}, 30: {}}}
	for _, c := range []struct {
		lvm   *repair.LVM
		first metadata.DevID
	}{{nil, 6}, {lvm, 31}} {
		found := find(t, orphans(t), repair.Options{KeepOrphans: true, LVM: c.lvm})
		got := contentOf(t, found.Device)
		if got.of(c.first) != 100 || got.of(c.first+1) != 100 || found.Report.Orphans[1].Assigned != c.first+1 {
			t.Errorf("%+v", found.Report.Orphans)
		}
		rebuilt(t, found)
	}
}

// Mappings beyond the end of the data device are dropped and reported.
func TestMappingsBeyondEnd(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 990, Len: 20}))
	found := find(t, f.Finish(), repair.Options{})
	d := found.Report.Devices[0]
	if d.Found() != 10 || found.Report.Lossless() || !strings.Contains(strings.Join(found.Report.Notes, "\n"), "dropped 10 mappings") {
		t.Errorf("%+v", found.Report)
	}
	rebuilt(t, found)
	nr := uint64(995)
	f = fixtures.NewForge(t, 64, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 990, Len: 10}))
	found = find(t, f.Finish(), repair.Options{Overrides: metadata.Overrides{NrDataBlocks: &nr}})
	if d := found.Report.Devices[0]; d.Found() != 5 || found.Report.Header.NrDataBlocks != nr {
		t.Errorf("%+v", d)
	}
}

// Without space maps, the trees of an earlier commit are used as a guess.
func TestRootsWithoutSpaceMap(t *testing.T) {
	h := history(t, "snapshots")
	dev := blocktest.NewMemFrom(h.Image)
	sb, err := metadata.DecodeSuperblock(0, &h.Supers[len(h.Supers)-1])
	if err != nil {
		t.Fatal(err)
	}
	dev.FailReads(sb.MappingRoot, sb.MetadataSpaceMap.BitmapRoot)
	r := find(t, dev, repair.Options{}).Report
	guessed := uint64(0)
	for _, d := range r.Devices {
		guessed += d.Guessed
	}
	if r.Lossless() || guessed == 0 {
		t.Errorf("%d guessed, lossless %v; %v", guessed, r.Lossless(), r.Notes)
	}
}

// One or both roots can be given. A root of the wrong kind is not followed blindly.
func TestRootsGiven(t *testing.T) {
	image, truth := open(t, "layers")
	dev := blocktest.NewMemFrom(image)
	for _, opt := range []repair.Options{{MappingRoot: 880}, {DetailsRoot: 952}, {MappingRoot: 880, DetailsRoot: 952}} {
		found := find(t, dev, opt)
		if right, wrong := truth.compare(contentOf(t, found.Device)); right != truth.len() || wrong > 0 || found.Report.Chosen {
			t.Errorf("%+v: %d right, %d wrong, chosen %v", opt, right, wrong, found.Report.Chosen)
		}
	}
	if found, err := repair.Find(t.Context(), dev, repair.Options{MappingRoot: 1}); err == nil && found.Report.Lossless() {
		t.Error("block 1 is not a top level")
	}
}

// A superblock that was set back is detected without a repair.
func TestNewer(t *testing.T) {
	h := history(t, "provision")
	last := h.Commits[len(h.Commits)-1]
	newer, err := repair.Newer(t.Context(), blocktest.NewMemFrom(slices.Clone(h.Image)), repair.Options{})
	if newer != nil || err != nil {
		t.Errorf("sound: %v, %v", newer, err)
	}
	copy(h.Image, h.Supers[2][:])
	newer, err = repair.Newer(t.Context(), blocktest.NewMemFrom(slices.Clone(h.Image)), repair.Options{})
	if err != nil || newer == nil || newer.Mapping != last.MappingRoot || newer.Details != last.DetailsRoot {
		t.Errorf("set back: %+v, %v", newer, err)
	}
	clear(h.Image[:block.Size])
	if newer, err = repair.Newer(t.Context(), blocktest.NewMemFrom(h.Image), repair.Options{}); newer != nil || err != nil {
		t.Errorf("lost: %v, %v", newer, err)
	}
}

// Origins have names.
func TestOrigin(t *testing.T) {
	for o, want := range map[repair.Origin]string{repair.FromScan: "scan", repair.FromSuperblock: "superblock", repair.FromRequest: "request"} {
		if o.String() != want {
			t.Errorf("%v, want %s", o, want)
		}
	}
}

// A stopper is a device that cancels a context on one of its reads.
type stopper struct {
	block.Device
	left atomic.Int64 // reads before that
	end  context.CancelFunc
}

func (d *stopper) ReadAt(p []byte, off int64) (int, error) {
	if d.left.Add(-1) == -1 {
		d.end()
	}
	return d.Device.ReadAt(p, off)
}

// A repair that is stopped, at any point, ends with the context's error or is done.
func TestStop(t *testing.T) {
	for _, spoil := range []func(h *fixtures.History){
		func(h *fixtures.History) { clear(h.Image[:block.Size]) },
		func(h *fixtures.History) {
			clear(h.Image[block.Size*int(h.Commits[len(h.Commits)-1].MappingRoot):][:block.Size])
		},
		func(h *fixtures.History) {
			last := h.Commits[len(h.Commits)-1]
			for _, nr := range []block.Nr{last.MappingRoot, last.DetailsRoot, 150} {
				clear(h.Image[block.Size*int(nr):][:block.Size])
			}
		},
		func(h *fixtures.History) { copy(h.Image, h.Supers[0][:]) },
	} {
		h := history(t, "discards")
		spoil(h)
		size := uint64(128)
		listed, compared := false, false
		step := int64(1)
		if testing.Short() {
			step = 7
		}
		for n := int64(0); ; n += step {
			opt := repair.Options{Parallel: 1, Overrides: metadata.Overrides{DataBlockSize: &size}, Progress: func(string, uint64, uint64) {}}
			if n%3 == 1 {
				opt.State = 2
			}
			stop := func(run func(context.Context, block.Device) error) (done bool) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				dev := &stopper{Device: blocktest.NewMemFrom(slices.Clone(h.Image)), end: cancel}
				dev.left.Store(n)
				err := run(ctx, dev)
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Fatalf("stopped at read %d: %v", n, err)
				}
				return dev.left.Load() >= 0 // it made fewer reads
			}
			found := stop(func(ctx context.Context, dev block.Device) error {
				_, err := repair.Find(ctx, dev, opt)
				return err
			})
			listed = listed || stop(func(ctx context.Context, dev block.Device) error {
				_, _, err := repair.States(ctx, dev, opt)
				return err
			})
			compared = compared || stop(func(ctx context.Context, dev block.Device) error {
				_, err := repair.Newer(ctx, dev, opt)
				return err
			})
			if found && listed && compared {
				break
			}
		}
	}
}
