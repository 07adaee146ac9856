package survey_test

import (
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

func read(t *testing.T, dev block.Device) *survey.Survey {
	t.Helper()
	s, err := survey.Read(t.Context(), block.NewReader(dev, 2))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The trees of the superblock are whole, hold what the pool holds, and are among the roots found
// without it.
func TestKernelImages(t *testing.T) {
	for _, name := range fixtures.Names() {
		dev := fixtures.Mem(t, name)
		s := read(t, dev)
		p, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		truth := fixtures.TruthOf(t, name)
		devices, mappings := uint64(0), uint64(0)
		for d, err := range p.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			devices++
			tree := s.Subtree(d.Root)
			if !tree.Whole || tree.N != d.MappedBlocks || tree.Kind != survey.MappingLeaf || tree.Time > p.Live.Time {
				t.Errorf("%s: device %d: tree %+v, want %d mappings", name, d.ID, tree, d.MappedBlocks)
			}
			mappings += tree.N
		}
		if mappings != uint64(truth.Mappings) {
			t.Errorf("%s: %d mappings, want %d", name, mappings, truth.Mappings)
		}
		for kind, root := range map[survey.Kind]block.Nr{survey.TopLeaf: p.Live.MappingRoot, survey.DetailsLeaf: p.Live.DetailsRoot} {
			if devices == 0 {
				continue // an empty leaf does not tell its kind
			}
			tree, isRoot := s.Subtree(root), false
			for _, nr := range s.Roots(kind) {
				isRoot = isRoot || nr == root
			}
			if tree.Kind != kind || tree.N != devices || !tree.Whole || !isRoot {
				t.Errorf("%s: block %d: %+v, a root: %v; want %v of %d devices", name, root, tree, isRoot, kind, devices)
			}
		}
		if s.Kinds[0] != survey.Superblock || len(s.Corrected) > 0 {
			t.Errorf("%s: block 0 is %v; %d flips", name, s.Kinds[0], len(s.Corrected))
		}
	}
}

// A damaged tree is not whole, and what is left of it is still counted.
func TestDamage(t *testing.T) {
	dev := fixtures.Mem(t, "odd-blocks")
	const leaf, mappings = 81, 251
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.Device(2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind  survey.Kind
		spoil func()
	}{
		{survey.Unknown, func() {
			fixtures.Edit(t, dev, leaf, func(b *block.Data) { b[8]++ }) // sealed, but as another block
		}},
		{survey.Empty, func() {
			if err := block.Write(dev, leaf, new(block.Data)); err != nil {
				t.Fatal(err)
			}
		}},
		{survey.Unreadable, func() { dev.FailReads(leaf) }},
	} {
		c.spoil()
		s := read(t, dev)
		tree := s.Subtree(d.Root)
		if s.Kinds[leaf] != c.kind || tree.Whole || tree.N != d.MappedBlocks-mappings {
			t.Errorf("%v: block is %v, tree %+v, want %d mappings", c.kind, s.Kinds[leaf], tree, d.MappedBlocks-mappings)
		}
		n := uint64(0)
		for l := range s.Leaves(d.Root) {
			n += uint64(l.N)
		}
		if n != tree.N {
			t.Errorf("leaves have %d mappings, the tree %d", n, tree.N)
		}
	}
}

// A flipped bit is corrected and reported.
func TestFlip(t *testing.T) {
	dev := fixtures.Mem(t, "odd-blocks")
	var b block.Data
	if err := block.Read(dev, 81, &b); err != nil {
		t.Fatal(err)
	}
	want := b
	b[1000] ^= 4
	if err := block.Write(dev, 81, &b); err != nil {
		t.Fatal(err)
	}
	s := read(t, dev)
	if len(s.Corrected) != 1 || s.Corrected[0].Correction != (block.Correction{Block: 81, Kind: block.Node, Byte: 1000, Mask: 1 << 2}) ||
		*s.Corrected[0].Content != want || s.Kinds[81] != survey.MappingLeaf {
		t.Errorf("%d corrected, block is %v", len(s.Corrected), s.Kinds[81])
	}
}

// The survey terminates with internal nodes that point to each other and with chains deeper than
// any tree.
func TestHostile(t *testing.T) {
	f := fixtures.NewForge(t, 256, 1000)
	nr := f.Leaf(metadata.Run{Len: 1})
	for range 200 {
		nr = f.Inner(nr)
	}
	f.Device(1, nr)
	s := read(t, f.Finish())
	if tree := s.Subtree(nr); tree.Whole {
		t.Errorf("a chain of 200 nodes is whole: %+v", tree)
	}
	for range s.Leaves(nr) {
	}
}
