package metadata_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// mapped has the mappings of runs, by thin block.
type mapped map[metadata.ThinBlock]metadata.Run

func (m mapped) add(runs ...metadata.Run) {
	for _, r := range runs {
		for i := range r.Len {
			at := r.Thin + metadata.ThinBlock(i)
			m[at] = metadata.Run{Thin: at, Data: r.Data + metadata.DataBlock(i), Len: 1, Time: r.Time}
		}
	}
}

// What a pair has on each side and in common agrees with the devices.
func TestPair(t *testing.T) {
	for _, name := range []string{"layers", "wide-sharing", "transactions"} {
		t.Run(name, func(t *testing.T) {
			p := open(t, name, metadata.Options{})
			var devices []metadata.Device
			for d, err := range p.Devices(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				devices = append(devices, d)
			}
			testPair(t, p, devices[0], devices[1], false)
			testPair(t, p, devices[len(devices)-1], devices[0], true)
		})
	}
}

// testPair reads two devices; if loose is set, one of them as a tree known only by its root.
func testPair(t *testing.T, p *metadata.Pool, left, right metadata.Device, loose bool) {
	t.Helper()
	l, err := p.MappingTree(left.ID)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.MappingTree(right.ID)
	if loose {
		r, err = p.MappingTreeAt(right.Root)
	}
	if err != nil || r.ByRoot != loose || r.Root != right.Root {
		t.Fatalf("%+v, %v", r, err)
	}
	pair, err := p.TreePair(t.Context(), l, r, btree.PairOptions{Same: true})
	if err != nil {
		t.Fatal(err)
	}
	got, leaves := [2]mapped{{}, {}}, 0
	err = pair.Each(t.Context(), func(step *metadata.Step, runs []metadata.Run) error {
		leaves++
		if step.Side == btree.Right && (step.Root == right.Root) != loose {
			t.Errorf("a leaf of the right tree: %+v", step)
		}
		for side, i := range map[btree.Side]int{btree.Left: 0, btree.Right: 1} {
			if step.Side&side != 0 {
				got[i].add(runs...)
			}
		}
		return nil
	})
	if err != nil || leaves != pair.Len() || leaves == 0 {
		t.Fatalf("%d leaves, want %d; %v", leaves, pair.Len(), err)
	}
	for i, d := range []metadata.Device{left, right} {
		want := mapped{}
		for r, err := range p.Runs(t.Context(), d) {
			if err != nil {
				t.Fatal(err)
			}
			want.add(r)
		}
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("device %d (-want +got):\n%.500s", d.ID, diff)
		}
	}
}

// forged returns a pool with devices 1 and 2, which share one leaf and have one of their own each.
// It also returns these three leaves.
func forged(t *testing.T) (f *fixtures.Forge, leaves [3]block.Nr) {
	t.Helper()
	f = fixtures.NewForge(t, 64, 1000)
	for i := range leaves {
		leaves[i] = f.Leaf(metadata.Run{Thin: metadata.ThinBlock(100 * min(i, 1)), Data: metadata.DataBlock(100 * i), Len: 100})
	}
	f.Device(1, f.Inner(leaves[0], leaves[1]))
	f.Device(2, f.Inner(leaves[0], leaves[2]))
	return f, leaves
}

// A lost leaf ends the read of a pair. The error names the device or, without one, the tree.
func TestPairLost(t *testing.T) {
	f, leaves := forged(t)
	dev := f.Finish()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	one, err := p.MappingTree(1)
	if err != nil {
		t.Fatal(err)
	}
	two, err := p.MappingTree(2)
	if err != nil {
		t.Fatal(err)
	}
	loose, err := p.MappingTreeAt(two.Root)
	if err != nil {
		t.Fatal(err)
	}
	dev.FailReads(leaves[2])
	for want, right := range map[string]metadata.MappingTree{"device 2: lost the mappings of": two, "mapping tree at block 5: lost the mappings of": loose} {
		pair, err := p.TreePair(t.Context(), one, right, btree.PairOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = pair.Each(t.Context(), func(*metadata.Step, []metadata.Run) error { return nil })
		if _, ok := errors.AsType[*metadata.LostError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// Requests for trees that do not exist are refused. Errors name the missing or damaged tree.
func TestTreeErrors(t *testing.T) {
	f, leaves := forged(t)
	dev := f.Finish()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.MappingTree(3); !errors.Is(err, metadata.ErrNoDevice) || !strings.Contains(err.Error(), "device 3") {
		t.Errorf("a device that is not there: %v", err)
	}
	for what, root := range map[string]block.Nr{"superblock": 0, "beyond the end": 64, "a bitmap": f.Superblock.MetadataSpaceMap.BitmapRoot, "free": 63} {
		if _, err := p.MappingTreeAt(root); err == nil || !strings.Contains(err.Error(), "no mapping tree has its root in block") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if tree, err := p.MappingTreeAt(leaves[2]); err != nil || tree.Root != leaves[2] {
		t.Errorf("a leaf alone: %+v, %v", tree, err)
	}
	for what, root := range map[string]block.Nr{"mapping tree, top level": f.Superblock.MappingRoot, "device details": f.Superblock.DetailsRoot} {
		damaged := blocktest.NewMemFrom(dev.Contents())
		if err := block.Write(damaged, root, new(block.Data)); err != nil {
			t.Fatal(err)
		}
		p, err := metadata.Open(damaged, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Device(1); !errors.Is(err, block.ErrCorrupt) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: device 1: %v", what, err)
		}
		if _, err := p.Blocks(t.Context()); !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("%s: blocks: %v", what, err)
		}
		if _, err := p.MappingTree(1); errors.Is(err, block.ErrCorrupt) != (root == f.Superblock.MappingRoot) {
			t.Errorf("%s: tree of device 1: %v", what, err)
		}
	}
}

// A device that is only in one of the two trees is a fault, not an absent device.
func TestDeviceMismatch(t *testing.T) {
	const firstKey = 32
	f, _ := forged(t)
	dev := f.Finish()
	fixtures.Edit(t, dev, f.Superblock.DetailsRoot, func(b *block.Data) { b[firstKey+8] = 9 }) // device 2
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[metadata.DevID]string{2: "device 2 has mappings but no details", 9: "device 9 has details but no mappings"} {
		if _, err := p.Device(id); !errors.Is(err, block.ErrCorrupt) || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// A leaf with its neighbour's keys, or an internal node in place of a leaf, is lost. Nothing in it
// is used.
func TestWrongLeaves(t *testing.T) {
	for name, tc := range map[string]struct {
		root func(*fixtures.Forge) block.Nr
		want string
	}{
		"keys": {func(f *fixtures.Forge) block.Nr {
			leaf := f.Leaf(metadata.Run{Len: 100})
			return f.InnerAt(f.Next(), btree.Child{Key: 0, Block: leaf}, btree.Child{Key: 50, Block: f.Leaf(metadata.Run{Thin: 50, Len: 100})})
		}, "keys 0..99"},
		"depth": {func(f *fixtures.Forge) block.Nr {
			return f.Inner(f.Leaf(metadata.Run{Len: 100}), f.Inner(f.Leaf(metadata.Run{Thin: 200, Len: 100})))
		}, "is an internal node, but its siblings are leaves"},
	} {
		t.Run(name, func(t *testing.T) {
			f := fixtures.NewForge(t, 64, 1000)
			f.Device(1, tc.root(f))
			p, err := metadata.Open(f.Finish(), metadata.Options{})
			if err != nil {
				t.Fatal(err)
			}
			d, err := p.Device(1)
			if err != nil {
				t.Fatal(err)
			}
			var last error
			for _, err := range p.Runs(t.Context(), d) {
				last = err
			}
			if _, ok := errors.AsType[*metadata.LostError](last); !ok || !errors.Is(last, block.ErrCorrupt) || !strings.Contains(last.Error(), tc.want) {
				t.Errorf("error %v, want %q", last, tc.want)
			}
		})
	}
}

// Other data is told apart from a damaged superblock; both errors say where.
func TestSuperblockErrors(t *testing.T) {
	var b block.Data
	sb := metadata.Superblock{Magic: metadata.Magic + 1}
	sb.Encode(&b)
	if got, err := metadata.DecodeSuperblock(0, &b); !errors.Is(err, block.ErrCorrupt) || !strings.Contains(err.Error(), "magic") || got.Magic != sb.Magic {
		t.Errorf("another magic: %+v, %v", got, err)
	}
	for _, at := range []int{20, 110, 250, 1000, block.Size - 1} {
		sb.Encode(&b)
		b[at] = 1
		if odd := metadata.NonZeroTail(&b); odd != at {
			t.Errorf("byte %d has no meaning; found is %d", at, odd)
		}
	}
	sb.MetadataSpaceMap.NrBlocks, sb.MetadataSpaceMap.NrAllocated = 10, 4
	if n := sb.FreeMetadataBlocks(); n != 6 {
		t.Errorf("%d blocks are free, want 6", n)
	}
	if sb.MetadataSpaceMap.NrAllocated = 11; sb.FreeMetadataBlocks() != 0 {
		t.Errorf("%d blocks are free, although more are allocated than there are", sb.FreeMetadataBlocks())
	}
	dev := fixtures.Mem(t, "metadata-snap")
	fixtures.Edit(t, dev, 143, func(b *block.Data) { b[32]++ })
	if _, err := metadata.Open(dev, metadata.Options{Snapshot: true}); !errors.Is(err, block.ErrCorrupt) || !strings.Contains(err.Error(), "metadata snapshot") {
		t.Errorf("a damaged snapshot: %v", err)
	}
}
