package repair_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/repair"
)

func edit(t *testing.T, dev *blocktest.Mem, nr block.Nr, change func(*block.Data)) {
	t.Helper()
	fixtures.Edit(t, dev, nr, change)
}

// Block 0 is there but cannot be used. Its other fields are only hints.
func TestSuperblockUnusable(t *testing.T) {
	size := uint64(128)
	for name, spoil := range map[string]func(*blocktest.Mem){
		"unreadable": func(dev *blocktest.Mem) { dev.FailReads(0) },
		"incompatible features": func(dev *blocktest.Mem) {
			edit(t, dev, 0, func(b *block.Data) { b[360] = 1 })
		},
		"impossible block size": func(dev *blocktest.Mem) {
			edit(t, dev, 0, func(b *block.Data) { b[336] = 1 })
		},
		"two wrong bits": func(dev *blocktest.Mem) {
			var b block.Data
			if err := block.Read(dev, 0, &b); err != nil {
				t.Fatal(err)
			}
			b[400] ^= 1
			b[3000] ^= 1
			if err := block.Write(dev, 0, &b); err != nil {
				t.Fatal(err)
			}
		},
	} {
		image, truth := open(t, "layers")
		dev := blocktest.NewMemFrom(image)
		spoil(dev)
		_, err := repair.Find(t.Context(), dev, repair.Options{})
		if !errors.Is(err, repair.ErrNoBlockSize) || name == "two wrong bits" && !strings.Contains(err.Error(), "says 128 sectors") {
			t.Errorf("%s: %v", name, err)
		}
		found := find(t, dev, repair.Options{Overrides: metadata.Overrides{DataBlockSize: &size}})
		if right, _ := truth.compare(contentOf(t, found.Device)); right != truth.len() {
			t.Errorf("%s: %d of %d mappings", name, right, truth.len())
		}
	}
}

// A lost block is found elsewhere, once or twice. Two copies that differ cancel each other out.
func TestMisplacedCopies(t *testing.T) {
	const lost = 81
	for name, c := range map[string]struct {
		copies   [][]byte // of changes
		complete bool
	}{
		"one":         {[][]byte{nil}, true},
		"two":         {[][]byte{nil, nil}, true},
		"two, differ": {[][]byte{nil, {1}}, false},
	} {
		image, truth := open(t, "odd-blocks")
		content := block.Data(image[lost*block.Size:][:block.Size])
		clear(image[lost*block.Size:][:block.Size])
		for i, change := range c.copies {
			b := content
			copy(b[4000:], change)
			block.Reseal(&b, block.Node)
			copy(image[(900+i)*block.Size:], b[:])
		}
		found := find(t, blocktest.NewMemFrom(image), repair.Options{})
		if right, _ := truth.compare(contentOf(t, found.Device)); (right == truth.len()) != c.complete || found.Report.Lossless() != c.complete {
			t.Errorf("%s: %d of %d mappings, lossless %v", name, right, truth.len(), found.Report.Lossless())
		}
	}
}

// Times that no pool can reach are replaced, so that snapshots can be taken again.
func TestImpossibleTimes(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 10}))
	dev := f.Finish()
	edit(t, dev, f.Superblock.DetailsRoot, func(b *block.Data) {
		n, err := btree.Decode(f.Superblock.DetailsRoot, b, metadata.DetailsSize)
		if err != nil {
			t.Fatal(err)
		}
		d := metadata.DecodeDetails(n.Value(0))
		d.SnapshottedTime = 1 << 30
		d.Encode(n.Value(0))
	})
	edit(t, dev, 0, func(b *block.Data) { b[44+3] = 0x40 })
	found := find(t, dev, repair.Options{})
	if h := found.Report.Header; h.Time > 1 {
		t.Errorf("time %d", h.Time)
	}
	rebuilt(t, found)
}

// Both device trees are lost, and LVM knows which devices there are.
func TestBothRootsLostWithLVM(t *testing.T) {
	h := history(t, "deletes")
	last := h.Commits[len(h.Commits)-1]
	dev := blocktest.NewMemFrom(h.Image)
	truth := contentOf(t, dev)
	lvm := &repair.LVM{ChunkSize: 128, Volumes: map[metadata.DevID]repair.LVMThin{}}
	for id := range truth {
		lvm.Volumes[id] = repair.LVMThin{}
	}
	dev.FailReads(last.MappingRoot, last.DetailsRoot)
	found := find(t, dev, repair.Options{LVM: lvm})
	if right, _ := truth.compare(contentOf(t, found.Device)); right != truth.len() || len(found.Report.LostVolumes) > 0 {
		t.Errorf("%d of %d mappings; missing %v", right, truth.len(), found.Report.LostVolumes)
	}
	if found.Report.Lossless() {
		t.Error("that is not certain")
	}
}

// Leaves with misplaced keys do no harm to their neighbours.
func TestKeysOutOfPlace(t *testing.T) {
	f := fixtures.NewForge(t, 64, 10000)
	a := f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 100})
	b := f.Leaf(metadata.Run{Thin: 1000, Data: 1000, Len: 100})
	c := f.Leaf(metadata.Run{Thin: 500, Data: 2000, Len: 100}) // should lie after b
	d := f.Leaf(metadata.Run{Thin: 3000, Data: 3000, Len: 100})
	f.Device(1, f.InnerAt(f.Next(), btree.Child{Key: 0, Block: a}, btree.Child{Key: 1000, Block: b}, btree.Child{Key: 2000, Block: c}, btree.Child{Key: 3000, Block: d}))
	found := find(t, f.Finish(), repair.Options{})
	r := found.Report.Devices[0]
	if r.Read != 300 || r.Lost+r.Guessed != 100 || found.Report.Lossless() {
		t.Errorf("%+v", r)
	}
	rebuilt(t, found)
}

// An internal node that two devices share is lost. Its children are counted for both.
func TestSharedInnerLost(t *testing.T) {
	f := fixtures.NewForge(t, 64, 10000)
	a := f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 100})
	b := f.Leaf(metadata.Run{Thin: 1000, Data: 1000, Len: 100})
	shared := f.Inner(a, b)
	f.DeviceAt(1, shared, 0)
	f.DeviceAt(2, shared, 0)
	dev := f.Finish()
	truth := contentOf(t, dev)
	if err := block.Write(dev, shared, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	found := find(t, dev, repair.Options{})
	if right, _ := truth.compare(contentOf(t, found.Device)); right != 400 {
		t.Errorf("%d of 400 mappings; %+v", right, found.Report.Devices)
	}
	rebuilt(t, found)
}

// Two devices lost internal nodes over the same keys. Earlier commits tell who owned the children.
func TestTwoInnerNodesLost(t *testing.T) {
	h := history(t, "snapshots")
	truth := contentOf(t, blocktest.NewMemFrom(slices.Clone(h.Image)))
	s, err := survey.Read(t.Context(), block.NewReader(blocktest.NewMemFrom(slices.Clone(h.Image)), 0))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := metadata.Open(blocktest.NewMemFrom(slices.Clone(h.Image)), metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	wiped := 0
	for d, err := range pool.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := s.Node(d.Root); ok && n.Kind == survey.Inner && wiped < 2 {
			clear(h.Image[d.Root*block.Size:][:block.Size])
			wiped++
		}
	}
	if wiped < 2 {
		t.Fatal("there are no two devices with internal nodes")
	}
	found := find(t, blocktest.NewMemFrom(h.Image), repair.Options{})
	for _, d := range found.Report.Devices {
		if _, wrong := truth.compare(content{d.ID: contentOf(t, found.Device)[d.ID]}); uint64(wrong) > d.Guessed {
			t.Errorf("device %d: %d wrong, %d guessed", d.ID, wrong, d.Guessed)
		}
	}
	rebuilt(t, found)
}

// The errors for lost parts wrap the error for damaged metadata.
func TestReasons(t *testing.T) {
	for _, d := range find(t, orphans(t), repair.Options{}).Report.Devices[:2] {
		for hole := range d.Holes() {
			if !errors.Is(hole.Err, block.ErrCorrupt) || hole.Err.Error() == "" {
				t.Errorf("%v", hole.Err)
			}
		}
	}
	// The top level points to a mapping leaf instead of one of its own leaves.
	image, _ := open(t, "many-devices")
	dev := blocktest.NewMemFrom(image)
	pool, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	edit(t, dev, pool.Live.MappingRoot, func(b *block.Data) {
		n, err := btree.DecodeAny(pool.Live.MappingRoot, b)
		if err != nil || n.Leaf() {
			t.Fatalf("block %d: %v", pool.Live.MappingRoot, err)
		}
		s, err := survey.Read(t.Context(), block.NewReader(dev, 0))
		if err != nil {
			t.Fatal(err)
		}
		for _, leaf := range s.Nodes {
			if leaf.Kind == survey.MappingLeaf && leaf.N > 2 {
				binary.LittleEndian.PutUint64(n.Value(0), uint64(leaf.Block))
			}
		}
	})
	found := find(t, dev, repair.Options{})
	if got := contentOf(t, found.Device); len(got) != 400 || found.Report.Empty() {
		t.Errorf("%d devices, want 400", len(got))
	}
	rebuilt(t, found)
}

// The lost ranges listed for a device add up and name the blocks.
func TestHoles(t *testing.T) {
	image, _ := open(t, "odd-blocks")
	clear(image[81*block.Size:][:block.Size])
	r := find(t, blocktest.NewMemFrom(image), repair.Options{}).Report
	holes := slices.Collect(r.Devices[1].Holes())
	if len(holes) != 1 || holes[0].Block != 81 || holes[0].Keys != (btree.KeyRange{First: 45614, Last: 50906}) || !errors.Is(holes[0].Err, block.ErrCorrupt) {
		t.Errorf("%+v", holes)
	}
	if !slices.IsSortedFunc(r.Devices, func(a, b repair.DeviceReport) int { return int(a.ID) - int(b.ID) }) {
		t.Error("devices are not in order")
	}
}
