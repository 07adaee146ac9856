package btree

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// device is an Allocator over a device in memory. It never allocates block 0.
type device struct {
	*blocktest.Mem
	next block.Nr
}

func newDevice(blocks int) *device {
	return &device{blocktest.NewMem(int64(blocks) * block.Size), 1}
}

func (d *device) Alloc() (block.Nr, error) {
	if d.next >= block.Blocks(d) {
		return 0, errors.New("full")
	}
	d.next++
	return d.next - 1, nil
}

func (d *device) Write(nr block.Nr, b *block.Data) error { return block.Write(d.Mem, nr, b) }

// leaf returns a sealed leaf at loc with the given keys, changed by spoil.
func leaf(loc block.Nr, spoil func(*block.Data), keys ...uint64) *block.Data {
	b := new(block.Data)
	d := NewNodeBuilder(b, true, 8)
	for _, k := range keys {
		d.AddUint64(k, k*10)
	}
	d.Seal(loc)
	if spoil != nil {
		spoil(b)
		block.Reseal(b, block.Node)
	}
	return b
}

func TestCapacity(t *testing.T) {
	for size, want := range map[int]int{4: 336, 8: 252, 16: 168, 24: 126} {
		if got := MaxEntries(size); got != want {
			t.Errorf("values of %d bytes: %d, want %d", size, got, want)
		}
	}
}

func TestDecodeRejects(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*block.Data)
		field string
	}{
		"moved block":          {func(b *block.Data) { b[8]++ }, "blocknr"},
		"no kind":              {func(b *block.Data) { b[offFlags] = 0 }, "flags"},
		"both kinds":           {func(b *block.Data) { b[offFlags] = 3 }, "flags"},
		"value size":           {func(b *block.Data) { b[offValueSize] = 4 }, "value_size"},
		"too much room":        {func(b *block.Data) { le.PutUint32(b[offMaxEntries:], 255) }, "max_entries"},
		"room overflows":       {func(b *block.Data) { le.PutUint32(b[offMaxEntries:], 1<<31) }, "max_entries"},
		"more than room":       {func(b *block.Data) { le.PutUint32(b[offNrEntries:], 253) }, "nr_entries"},
		"internal without any": {func(b *block.Data) { b[offFlags] = 1; le.PutUint32(b[offNrEntries:], 0) }, "nr_entries of an internal node"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(7, leaf(7, tc.spoil, 1, 2, 3), 8)
			if fe, ok := errors.AsType[*block.FormatError](err); !ok || fe.Field != tc.field || !errors.Is(err, block.ErrCorrupt) {
				t.Errorf("Decode: %v, want a format error in %s", err, tc.field)
			}
		})
	}
	_, err := Decode(7, leaf(7, func(b *block.Data) { le.PutUint64(b[headerSize+8:], 1) }, 1, 2, 3), 8)
	if oe, ok := errors.AsType[*OrderError](err); !ok || oe.Entry != 1 {
		t.Errorf("equal keys: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(leaf(7, nil, 1, 2, 3)[:], 8)
	f.Add(leaf(7, func(b *block.Data) { b[offFlags] = 1 }, 1, 2, 3)[:], 24)
	f.Fuzz(func(t *testing.T, p []byte, size int) {
		if size < 1 || size > 64 {
			return
		}
		b := new(block.Data)
		copy(b[:], p)
		block.Seal(7, b, block.Node)
		n, err := Decode(7, b, size)
		if err != nil { // an error is fine, a panic is not
			return
		}
		last := -1
		for key := range n.All() {
			if n.Search(key) != last+1 {
				t.Errorf("key %d is not found at %d", key, last+1)
			}
			last++
		}
		if last+1 != n.Len() || n.Len() > n.Cap() {
			t.Errorf("%d entries of %d in room for %d", last+1, n.Len(), n.Cap())
		}
	})
}

func TestSizes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, most := rapid.IntRange(0, 5000).Draw(t, "n"), rapid.IntRange(2, 400).Draw(t, "most")
		sum, nodes := 0, 0
		for size := range FillSizes(n, most) {
			if size > most || n > most && size < most/2 {
				t.Errorf("a node of %d", size)
			}
			sum += size
			nodes++
		}
		if sum != n || nodes != NodesFor(n, most) {
			t.Errorf("%d entries in %d nodes, want %d in %d", sum, nodes, n, NodesFor(n, most))
		}
	})
}

// A built tree holds its entries, uses as many blocks as planned, and is sound.
func TestBuildAndRead(t *testing.T) {
	for _, n := range []int{0, 1, 252, 253, 504, 505, 70000} {
		d := newDevice(1000)
		root, err := Build(d, 8, n, func(i int, value []byte) uint64 {
			le.PutUint64(value, uint64(i))
			return uint64(3 * i)
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := int(d.next) - 1; got != NodesInTree(n, 8) {
			t.Errorf("%d entries take %d blocks, %d were planned", n, got, NodesInTree(n, 8))
		}
		r := block.NewReader(d, 2)
		i := 0
		for e, err := range LeafValues(t.Context(), r, d.next, root, 8) {
			if err != nil || e.Key != uint64(3*i) || le.Uint64(e.Value) != uint64(i) {
				t.Fatalf("entry %d: %+v, %v", i, e, err)
			}
			i++
		}
		if i != n {
			t.Errorf("%d entries of %d", i, n)
		}
		tree, findings := judge(t, d, root)
		if tree.N != uint64(n) || tree.Damaged || len(findings) > 0 {
			t.Errorf("%d entries: %+v, %v", n, tree, findings)
		}
		last, ok, err := Last(r, d.next, root, 8)
		if err != nil || ok != (n > 0) || ok && last != uint64(3*(n-1)) {
			t.Errorf("last key %d, %v, %v", last, ok, err)
		}
		for _, key := range []uint64{0, 1, 3 * uint64(n/2), 3 * uint64(n)} {
			v, ok, err := Lookup(r, d.next, root, 8, key)
			if want := key%3 == 0 && key < 3*uint64(n); err != nil || ok != want || ok && le.Uint64(v) != key/3 {
				t.Errorf("lookup of %d in %d: %v, %v, %v", key, n, v, ok, err)
			}
		}
	}
}

func judge(t *testing.T, d *device, roots ...block.Nr) (TreeSummary, []string) {
	t.Helper()
	f, err := Load(t.Context(), block.NewReader(d, 2), d.next, 8, roots...)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.EachLeaf(t.Context(), func(int, int, Node, error) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var findings []string
	j := NewChecker(f, func(f Finding) { findings = append(findings, f.Err.Error()) })
	var tree TreeSummary
	for _, root := range roots {
		tree = j.CheckTree(root)
	}
	return tree, findings
}

// put writes an internal node with the given children.
func (d *device) put(t *testing.T, nr block.Nr, keys []uint64, children []block.Nr) {
	t.Helper()
	var b block.Data
	builder := NewNodeBuilder(&b, false, 8)
	for i, k := range keys {
		builder.AddUint64(k, uint64(children[i]))
	}
	builder.Seal(nr)
	if err := d.Write(nr, &b); err != nil {
		t.Fatal(err)
	}
}

func ascending(n int) []uint64 {
	keys := make([]uint64, n)
	for i := range keys {
		keys[i] = uint64(i)
	}
	return keys
}

// Trees that loop back to themselves, or fan out and in again at each level, may only take time
// proportional to the number of blocks.
func TestHostile(t *testing.T) {
	t.Run("loop", func(t *testing.T) {
		d := newDevice(10)
		d.next = 10
		d.put(t, 1, []uint64{0, 5}, []block.Nr{2, 1})
		d.put(t, 2, []uint64{0, 2}, []block.Nr{1, 2})
		tree, findings := judge(t, d, 1)
		if !tree.Damaged || !slices.ContainsFunc(findings, func(s string) bool { return strings.Contains(s, "back to itself") }) {
			t.Errorf("%+v %q", tree, findings)
		}
		for _, err := range LeafValues(t.Context(), block.NewReader(d, 1), 10, 1, 8) {
			if err == nil {
				t.Error("an entry of a loop")
			}
		}
		if _, _, err := Lookup(block.NewReader(d, 1), 10, 1, 8, 9); err == nil {
			t.Error("a lookup in a loop finds something")
		}
	})
	t.Run("fan", func(t *testing.T) {
		const levels = 60
		d := newDevice(levels + 10)
		d.next = levels + 10
		for nr := block.Nr(1); nr < levels; nr++ {
			d.put(t, nr, ascending(252), slices.Repeat([]block.Nr{nr + 1}, 252))
		}
		if err := d.Write(levels, leaf(levels, nil)); err != nil { // an empty leaf never has keys out of order
			t.Fatal(err)
		}
		judge(t, d, 1)
		for _, err := range LeafValues(t.Context(), block.NewReader(d, 1), d.next, 1, 8) {
			if err == nil {
				t.Error("an entry where there is none")
			}
		}
		if _, _, err := Last(block.NewReader(d, 1), d.next, 1, 8); err == nil {
			t.Error("Last goes through it all")
		}
	})
	t.Run("deep", func(t *testing.T) {
		const levels = 5000
		d := newDevice(levels + 2)
		d.next = levels + 2
		for nr := block.Nr(1); nr <= levels; nr++ {
			d.put(t, nr, []uint64{0}, []block.Nr{nr + 1})
		}
		if err := d.Write(levels+1, leaf(levels+1, nil, 1)); err != nil {
			t.Fatal(err)
		}
		if tree, findings := judge(t, d, 1); !tree.Damaged || len(findings) == 0 {
			t.Errorf("a tree of %d levels passes: %+v", levels, tree)
		}
	})
}

// A subtree shared by two trees is read once. A leaf among internal nodes does not stop the read.
func TestForestShares(t *testing.T) {
	d := newDevice(100)
	root, err := Build(d, 8, 2000, func(i int, _ []byte) uint64 { return uint64(i) })
	if err != nil {
		t.Fatal(err)
	}
	second := d.next
	d.next++
	d.put(t, second, []uint64{0, 5000}, []block.Nr{root, root - 1})
	f, err := Load(t.Context(), block.NewReader(d, 3), d.next, 8, root, second, root)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]int{}
	one := f.r
	f.r = block.NewReader(d, 1) // so that seen needs no lock
	if err := f.EachLeaf(t.Context(), func(_, leaf int, _ Node, err error) error { seen[leaf]++; return err }); err != nil {
		t.Fatal(err)
	}
	f.r = one
	for leaf, n := range seen {
		if n != 1 {
			t.Errorf("leaf %d is read %d times", leaf, n)
		}
	}
	if want := NodesFor(2000, 252); len(seen) != want {
		t.Errorf("%d leaves are read, want %d", len(seen), want)
	}
	parts := 0
	for part := range f.LeafRanges(second) {
		if part.Err != nil {
			t.Error(part.Err)
		}
		parts++
	}
	if parts != len(seen)+1 {
		t.Errorf("%d parts, want %d", parts, len(seen)+1)
	}
}

// Damage only costs its own key range.
func TestPartsLost(t *testing.T) {
	d := newDevice(100)
	root, err := Build(d, 8, 1000, func(i int, _ []byte) uint64 { return uint64(i) })
	if err != nil {
		t.Fatal(err)
	}
	d.FailReads(2)
	f, err := Load(t.Context(), block.NewReader(d, 2), d.next, 8, root)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.EachLeaf(context.Background(), func(int, int, Node, error) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var lost []KeyRange
	for part := range f.LeafRanges(root) {
		if part.Err != nil {
			lost = append(lost, part.Keys)
		}
	}
	if !slices.Equal(lost, []KeyRange{{252, 503}}) {
		t.Errorf("lost %v, want keys 252..503", lost)
	}
}
