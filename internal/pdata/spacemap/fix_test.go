package spacemap

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// A ward is a device with both space maps. Some of their counts may be too high.
type ward struct {
	*device
	data, metadata Root
	right, refs    *Counter // right counts of data blocks and of metadata blocks
}

// newWard writes maps with the right counts plus the surplus and the leaks.
func newWard(t rapid.TB, metadataBlocks, dataBlocks uint64, right, surplus, leaks map[uint64]uint32) *ward {
	t.Helper()
	w := &ward{device: newDevice(metadataBlocks), right: NewCounter(dataBlocks)}
	stored := NewCounter(dataBlocks)
	for b, n := range right {
		w.right.Add(b, n)
		stored.Add(b, n)
	}
	for b, n := range surplus {
		stored.Add(b, n)
	}
	var err error
	if w.data, err = WriteData(w, stored); err != nil {
		t.Fatal(err)
	}
	for b, n := range leaks {
		w.counts.Add(b, n)
	}
	if w.metadata, err = WriteMetadata(w, w.counts); err != nil {
		t.Fatal(err)
	}
	w.refs = NewCounter(metadataBlocks)
	for b := range metadataBlocks {
		w.refs.Set(b, w.counts.Get(b)-leaks[b])
	}
	return w
}

// load loads both maps, compares them with the right counts and returns the findings.
func (w *ward) load(t rapid.TB) (data, metadata *Comparison, findings []Finding) {
	t.Helper()
	ctx := context.Background()
	r, limit := block.NewReader(w, 1), block.Blocks(w)
	dataMap, err := LoadData(ctx, r, limit, w.data)
	if err != nil {
		t.Fatal(err)
	}
	metadataMap, err := LoadMetadata(ctx, r, limit, w.metadata)
	if err != nil {
		t.Fatal(err)
	}
	note := func(f Finding) { findings = append(findings, f) }
	if data, err = dataMap.Compare(ctx, w.right, true, note); err != nil {
		t.Fatal(err)
	}
	if metadata, err = metadataMap.Compare(ctx, w.refs, true, note); err != nil {
		t.Fatal(err)
	}
	return data, metadata, findings
}

// parts returns the blocks of a map.
func parts(m *Map) (all []block.Nr) {
	for _, f := range []*btree.Forest{m.Index, m.Overflow} {
		if f == nil {
			all = append(all, m.Root.BitmapRoot)
			continue
		}
		for _, in := range f.Inner() {
			all = append(all, in.Block)
		}
		for _, l := range f.Leaves() {
			all = append(all, l.Block)
		}
	}
	for _, e := range m.Entries {
		all = append(all, e.Block)
	}
	return all
}

// fix fixes both maps. It overwrites nothing that the old maps use. Afterwards both new maps have the
// right counts, and blocks that no longer belong to them are free.
func (w *ward) fix(t rapid.TB, change Change) {
	t.Helper()
	data, metadata, _ := w.load(t)
	old := slices.Concat(parts(data.m), parts(metadata.m))
	p, err := PlanFix(data, metadata, block.Blocks(w), change)
	if err != nil {
		t.Fatal(err)
	}
	var written []block.Nr
	w.data, w.metadata, err = p.Write(func(nr block.Nr, b *block.Data) error {
		written = append(written, nr)
		return w.Write(nr, b)
	})
	slices.Sort(written)
	if err != nil || !slices.Equal(written, p.Blocks()) {
		t.Fatalf("%v; blocks %v are written, %v were planned", err, written, p.Blocks())
	}
	for _, nr := range written {
		if slices.Contains(old, nr) {
			t.Errorf("block %d is of the old maps, and is written over", nr)
		}
	}
	for _, nr := range p.Released() {
		if n := w.refs.Get(uint64(nr)); n != 0 {
			t.Errorf("block %d is released, but has count %d", nr, n)
		}
	}
	data, metadata, findings := w.load(t)
	for _, f := range findings {
		t.Errorf("left: %+v", f)
	}
	for _, nr := range slices.Concat(parts(data.m), parts(metadata.m)) {
		if w.refs.Get(uint64(nr)) != 1 {
			t.Errorf("block %d is of the new maps, and has count %d", nr, w.refs.Get(uint64(nr)))
		}
	}
}

// A fix gives both maps the right counts, with any surplus and any leaks.
func TestFix(t *testing.T) {
	const metadataBlocks = 600
	rapid.Check(t, func(t *rapid.T) {
		blocks := rapid.SampledFrom([]uint64{1, 33, 1000, PerBitmap, PerBitmap + 1, 40000}).Draw(t, "blocks")
		counts := func(what string) map[uint64]uint32 {
			at := rapid.OneOf(rapid.Uint64Range(0, min(100, blocks-1)), rapid.Uint64Range(0, blocks-1), rapid.Just(blocks-1))
			return rapid.MapOfN(at, rapid.Uint32Range(1, 5), 0, 20).Draw(t, what)
		}
		right, surplus := counts("right"), counts("surplus")
		leaks := rapid.MapOfN(rapid.Uint64Range(metadataBlocks/2, metadataBlocks-1), rapid.Uint32Range(1, 5), 0, 20).Draw(t, "leaks")
		newWard(t, metadataBlocks, blocks, right, surplus, leaks).fix(t, Change{})
	})
}

// A fix also corrects other non-fatal faults of a map.
func TestFixOddities(t *testing.T) {
	const indexNrFree = 32 + 8*168 + 8 // in a leaf of the index tree
	for name, tc := range map[string]struct {
		spoil func(*testing.T, *ward)
		kinds []FindingKind
	}{
		"counter": {func(t *testing.T, w *ward) {
			w.edit(t, w.data.BitmapRoot, func(b *block.Data) { b[indexNrFree]++ })
		}, []FindingKind{WrongNrFree}},
		"tail of the index": {func(t *testing.T, w *ward) {
			w.edit(t, w.metadata.BitmapRoot, func(b *block.Data) { b[block.Size-9] = 1 })
		}, []FindingKind{NonZeroTail}},
		"total": {func(_ *testing.T, w *ward) { w.data.NrAllocated++ }, []FindingKind{WrongNrAllocated}},
		"high count in the overflow tree alone": {func(t *testing.T, w *ward) {
			data, _, _ := w.load(t)
			w.edit(t, data.m.Entries[0].Block, func(b *block.Data) { Bitmap{b}.Set(7, 1) })
			w.right.Set(7, 1)
		}, []FindingKind{StrayOverflow}},
		"counts beyond the end": {func(_ *testing.T, w *ward) {
			w.data.NrBlocks = PerBitmap + 100
			w.right = cut(w.right, w.data.NrBlocks)
		}, []FindingKind{SurplusEntry, OverflowBeyond, CountBeyond, WrongNrAllocated}},
	} {
		t.Run(name, func(t *testing.T) {
			counts := map[uint64]uint32{7: 4, 20: 1, PerBitmap + 200: 1, 3 * PerBitmap: 5}
			w := newWard(t, 100, 3*PerBitmap+10, counts, nil, nil)
			tc.spoil(t, w)
			w.dropUnused(t)
			_, _, findings := w.load(t)
			kinds := map[FindingKind]bool{}
			for _, f := range findings {
				kinds[f.Kind] = true
			}
			for _, kind := range tc.kinds {
				if !kinds[kind] {
					t.Errorf("no finding of kind %d among %+v", kind, findings)
				}
			}
			w.fix(t, Change{})
		})
	}
}

// edit changes a block and reseals it as its kind.
func (w *ward) edit(t *testing.T, nr block.Nr, change func(*block.Data)) {
	t.Helper()
	var b block.Data
	if err := block.Read(w, nr, &b); err != nil {
		t.Fatal(err)
	}
	kind := block.KindOf(&b)
	change(&b)
	block.Reseal(&b, kind)
	if err := w.Write(nr, &b); err != nil {
		t.Fatal(err)
	}
}

// wipe zeroes a block.
func (w *ward) wipe(t *testing.T, nr block.Nr) {
	t.Helper()
	if err := w.Write(nr, new(block.Data)); err != nil {
		t.Fatal(err)
	}
}

// dropUnused turns the blocks that neither map uses into leaks.
func (w *ward) dropUnused(t *testing.T) {
	t.Helper()
	data, metadata, _ := w.load(t)
	used := slices.Concat(parts(data.m), parts(metadata.m))
	for nr := block.Nr(1); nr < w.next; nr++ {
		if !slices.Contains(used, nr) {
			w.refs.Set(uint64(nr), 0)
		}
	}
}

// cut returns the counts of the first n blocks.
func cut(c *Counter, n uint64) *Counter {
	made := NewCounter(n)
	for b := range n {
		made.Set(b, c.Get(b))
	}
	return made
}

// A fix with a change writes the blocks of the change first, puts its counts into the new maps, and
// frees its released blocks.
func TestFixChange(t *testing.T) {
	w := newWard(t, 100, 1000, map[uint64]uint32{7: 4}, map[uint64]uint32{8: 1}, nil)
	var old, twice block.Nr
	for _, nr := range []*block.Nr{&old, &twice} { // metadata blocks that do not belong to the maps
		*nr = w.next + 5
		w.next += 10
		w.refs.Add(uint64(*nr), 1)
		w.counts.Add(uint64(*nr), 1)
	}
	var err error
	if w.metadata, err = WriteMetadata(w, w.counts); err != nil {
		t.Fatal(err)
	}
	w.refs = cut(w.counts, w.counts.Len())
	var made block.Nr
	w.fix(t, Change{
		Blocks: 1,
		Write: func(a btree.Allocator) error {
			if made, err = a.Alloc(); err != nil {
				return err
			}
			return a.Write(made, &block.Data{1})
		},
		Released: []block.Nr{old},
		Counts:   map[block.Nr]uint32{twice: 4},
	})
	got := map[string]uint32{"new": w.refs.Get(uint64(made)), "old": w.refs.Get(uint64(old)), "twice": w.refs.Get(uint64(twice))}
	if diff := cmp.Diff(map[string]uint32{"new": 1, "old": 0, "twice": 4}, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// With too few free blocks, nothing is planned, and the error gives the number needed.
func TestFixNoRoom(t *testing.T) {
	surplus := map[uint64]uint32{8: 1, 9: 7}
	w := newWard(t, 100, 1000, nil, surplus, nil)
	data, metadata, _ := w.load(t)
	p, err := PlanFix(data, metadata, block.Blocks(w), Change{})
	if err != nil {
		t.Fatal(err)
	}
	needed := uint64(len(p.Blocks()))
	for spare := range needed + 1 {
		w := newWard(t, 100, 1000, nil, surplus, nil)
		data, metadata, _ := w.load(t)
		_, err := PlanFix(data, metadata, w.next+block.Nr(spare), Change{})
		if spare == needed {
			if err != nil {
				t.Errorf("%d free blocks do not suffice: %v", spare, err)
			}
			continue
		}
		var space *SpaceError
		if !errors.As(err, &space) || *space != (SpaceError{needed, spare}) {
			t.Errorf("%d free blocks: %v, want that %d are needed", spare, err, needed)
		} else if !strings.Contains(err.Error(), "free metadata blocks") || !strings.Contains(err.Error(), "thin_repair") {
			t.Errorf("%q does not say what to do", err)
		}
	}
}

// A second comparison does not change the result of an earlier one.
func TestFixOfEarlierComparison(t *testing.T) {
	w := newWard(t, 100, 1000, nil, map[uint64]uint32{8: 1, 9: 7}, nil)
	want, metadata, _ := w.load(t)
	blocks := func() int {
		p, err := PlanFix(want, metadata, block.Blocks(w), Change{})
		if err != nil {
			t.Fatal(err)
		}
		return len(p.Blocks())
	}
	planned := blocks()
	w = newWard(t, 100, 1000, nil, map[uint64]uint32{8: 1, 9: 7}, nil)
	want, metadata, _ = w.load(t)
	ignore := func(Finding) {}
	if _, err := want.m.Compare(t.Context(), want.counted, false, ignore); err != nil { // finds nothing too high
		t.Fatal(err)
	}
	if got := blocks(); got != planned {
		t.Errorf("%d blocks are planned, want %d", got, planned)
	}
}

// A write error at any point stops the fix. So does a change that writes more or fewer blocks than it
// announced.
func TestFixWriteErrors(t *testing.T) {
	plan := func(change Change) *Fix {
		w := newWard(t, 100, 1000, nil, map[uint64]uint32{8: 1, 9: 7}, map[uint64]uint32{50: 5})
		data, metadata, _ := w.load(t)
		p, err := PlanFix(data, metadata, block.Blocks(w), change)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	full := errors.New("no more")
	p := plan(Change{})
	for n := range p.Blocks() {
		left := n
		_, _, err := p.Write(func(block.Nr, *block.Data) error {
			if left--; left < 0 {
				return full
			}
			return nil
		})
		if !errors.Is(err, full) {
			t.Errorf("write %d fails: %v", n, err)
		}
	}
	ignore := func(block.Nr, *block.Data) error { return nil }
	if _, _, err := plan(Change{Blocks: 1, Write: func(btree.Allocator) error { return full }}).Write(ignore); !errors.Is(err, full) {
		t.Errorf("the change fails: %v", err)
	}
	if _, _, err := plan(Change{Blocks: 1}).Write(ignore); !errors.Is(err, errPlan) {
		t.Errorf("a block is left over: %v", err)
	}
	for taken := 1; taken <= len(p.Blocks()); taken++ {
		take := func(a btree.Allocator) error {
			for range taken {
				if _, err := a.Alloc(); err != nil {
					return err
				}
			}
			return nil
		}
		if _, _, err := plan(Change{Write: take}).Write(ignore); !errors.Is(err, errPlan) {
			t.Errorf("%d blocks too many: %v", taken, err)
		}
	}
}

// On a device of any size that is too small, writing maps returns an error.
func TestWriteFull(t *testing.T) {
	counts := map[uint64]uint32{3: 3, 2 * PerBitmap: 9}
	needed := uint64(newWard(t, 100, 3*PerBitmap, counts, nil, nil).next)
	for blocks := uint64(1); blocks < needed; blocks++ {
		d, c := newDevice(blocks), NewCounter(3*PerBitmap)
		for b, n := range counts {
			c.Add(b, n)
		}
		_, err := WriteData(d, c)
		if err == nil {
			_, err = WriteMetadata(d, d.counts)
		}
		if err == nil {
			t.Errorf("%d blocks suffice, want %d", blocks, needed)
		}
	}
}

// Load finds and names the unreadable and impossible parts of a map.
func TestLoadDamage(t *testing.T) {
	const overflowValues = 32 + 8*336
	for name, tc := range map[string]struct {
		spoil func(*testing.T, *ward)
		kind  FindingKind
		want  string
	}{
		"index block":          {func(t *testing.T, w *ward) { w.wipe(t, w.metadata.BitmapRoot) }, Unreadable, "all zero, want"},
		"index block, nowhere": {func(_ *testing.T, w *ward) { w.metadata.BitmapRoot = 1 << 40 }, Unreadable, "want 1..99"},
		"index block, block 0": {func(_ *testing.T, w *ward) { w.metadata.BitmapRoot = 0 }, Unreadable, "want 1..99"},
		"overflow tree":        {func(t *testing.T, w *ward) { w.wipe(t, w.data.RefCountRoot) }, InTree, "overflow tree"},
		"index tree":           {func(t *testing.T, w *ward) { w.wipe(t, w.data.BitmapRoot) }, InTree, "index tree"},
		"low count in the tree": {func(t *testing.T, w *ward) {
			w.edit(t, w.data.RefCountRoot, func(b *block.Data) { b[overflowValues] = 2 })
		}, LowOverflow, "want at least 3"},
		"no count in the tree": {func(t *testing.T, w *ward) { w.edit(t, w.data.RefCountRoot, func(b *block.Data) { b[16] = 0 }) }, NoOverflow, "the overflow tree has none"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t, 100, 1000, map[uint64]uint32{7: 4}, nil, nil)
			tc.spoil(t, w)
			_, _, findings := w.load(t)
			if !slices.ContainsFunc(findings, func(f Finding) bool {
				return f.Kind == tc.kind && f.Err != nil && strings.Contains(f.Err.Error(), tc.want)
			}) {
				t.Errorf("findings %+v, want %q", findings, tc.want)
			}
		})
	}
}

// A Histogram counts the blocks with each count.
func TestHistogram(t *testing.T) {
	const n = 2*regionSize + 100
	c := NewCounter(n)
	for b, count := range map[uint64]uint32{0: 1, 5: 1, 9: 300, n - 1: 2} {
		c.Add(b, count)
	}
	want := map[uint32]uint64{0: n - 4, 1: 2, 2: 1, 300: 1}
	if diff := cmp.Diff(want, c.Histogram()); diff != "" || c.Overflowing() != 1 {
		t.Errorf("%d high counts; blocks by count (-want +got):\n%s", c.Overflowing(), diff)
	}
}

// Used has one bit for each non-zero count.
func TestUsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b block.Data
		counts := rapid.MapOfN(rapid.IntRange(0, PerBitmap-1), rapid.Uint32Range(1, 9), 0, 40).Draw(t, "counts")
		for i, n := range counts {
			Bitmap{&b}.Set(i, n)
		}
		used, got := Bitmap{&b}.Used(), map[int]bool{}
		for i := range PerBitmap {
			if used[i/64]>>(i%64)&1 != 0 {
				got[i] = true
			}
		}
		if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(counts))) {
			t.Errorf("used %v, want %v", got, counts)
		}
	})
}
