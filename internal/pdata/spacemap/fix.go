package spacemap

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sort"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// stale lists the parts of a map that must be rewritten.
type stale struct {
	bitmaps         map[int]bool       // with wrong counts
	entries         map[int]IndexEntry // with wrong counters: the correct entries
	index, overflow bool
	used            []uint16 // counts above 0, by bitmap
	leaked          *Counter // 1 for metadata blocks that are counted but unused
}

// newStale returns what is known to be stale after m is loaded.
func newStale(m *Map) stale {
	s := stale{bitmaps: map[int]bool{}, entries: map[int]IndexEntry{}, index: m.odd.index, overflow: m.odd.overflow}
	s.used = make([]uint16, len(m.Entries))
	if m.Index == nil {
		s.leaked = NewCounter(m.covered())
	}
	return s
}

// note records which part holds the fault of f, except for wrong counters. Fatal faults are not
// fixed.
func (s *stale) note(f Finding) {
	switch f.Kind {
	case SurplusEntry, NonZeroTail:
		s.index = true
	case StrayOverflow, OverflowBeyond:
		s.overflow = true
	case CountBeyond:
		s.bitmaps[int(f.First/PerBitmap)] = true
	case TooHigh:
		if f.Counted < overflowCount {
			s.bitmaps[int(f.First/PerBitmap)] = true
		}
		if f.Stored >= overflowCount {
			s.overflow = true
		}
		if f.Counted == 0 && s.leaked != nil {
			for i := range f.N {
				s.leaked.Set(f.First+i, 1)
			}
		}
	}
}

// indexStale reports whether the index must be rewritten: its entries hold the locations and
// counters of the bitmaps.
func (s *stale) indexStale() bool { return s.index || len(s.bitmaps) > 0 || len(s.entries) > 0 }

// A SpaceError says that too few metadata blocks are free to fix the space maps.
type SpaceError struct{ Needed, Have uint64 }

func (e *SpaceError) Error() string {
	return fmt.Sprintf("fixing the space maps takes %d free metadata blocks, but there are %d; thin_repair into a larger device needs none",
		e.Needed, e.Have)
}

// A Fix is a plan to give both space maps the right counts.
//
// Like the kernel, it never overwrites a block in use. It writes the corrected parts, and
// everything that points to them, into free blocks. The superblock is written last and switches
// from the old maps to the new ones. Correct parts stay where they are, so a fix needs little
// space. The fix itself changes counts of metadata blocks, and the plan includes these changes.
type Fix struct {
	data, metadata  Comparison // including what the plan itself makes stale
	limit           block.Nr
	change          Change
	overflowingData int // entries of the new data overflow tree
	released        map[block.Nr]bool
	blocks          []block.Nr
}

// A Change is a part of the metadata, besides the maps, that the same transaction rewrites by copy
// on write.
type Change struct {
	Blocks   int                         // number of new blocks, each with count 1
	Write    func(btree.Allocator) error // writes the new blocks; nil if there are none
	Released []block.Nr                  // blocks no longer used
	Counts   map[block.Nr]uint32         // new counts of other blocks in use
}

// PlanFix plans how to fix the maps of the data device and of the metadata. Both were compared
// with the right counts, without fatal findings. Blocks from limit on cannot be used. The counts
// of metadata blocks must be right before change; PlanFix updates them to those of the new map.
// The error is a [SpaceError].
func PlanFix(data, metadata *Comparison, limit block.Nr, change Change) (*Fix, error) {
	p := &Fix{data: *data, metadata: *metadata, limit: limit, change: change, released: map[block.Nr]bool{}}
	p.metadata.stale.bitmaps = maps.Clone(metadata.stale.bitmaps)
	p.applyChange()
	if p.data.stale.overflow {
		p.overflowingData = p.data.counted.Overflowing()
	}
	// The newly used blocks have counts, too. If these are in bitmaps that would have stayed, more
	// blocks are needed.
	for grown := true; grown; {
		grown = false
		p.releaseStale()
		needed := p.blocksNeeded()
		p.blocks = p.blocks[:0]
		for nr := range p.freeBlocks() {
			if len(p.blocks) == needed {
				break
			}
			p.blocks = append(p.blocks, nr)
		}
		if have := len(p.blocks); have < needed {
			return nil, &SpaceError{uint64(needed), uint64(have)}
		}
		for _, nr := range p.blocks {
			if i := int(nr / PerBitmap); !p.metadata.stale.bitmaps[i] {
				p.metadata.stale.bitmaps[i] = true
				grown = true
			}
		}
	}
	slices.Sort(p.blocks)
	for nr := range p.released {
		p.metadata.counted.Set(uint64(nr), 0)
	}
	for _, nr := range p.blocks {
		p.metadata.counted.Set(uint64(nr), 1)
	}
	return p, nil
}

// applyChange applies the count changes of the Change. Released blocks keep their counts for now,
// so that they are not overwritten.
func (p *Fix) applyChange() {
	for _, nr := range p.change.Released {
		p.release(nr)
	}
	for nr, count := range p.change.Counts {
		p.metadata.stale.bitmaps[int(nr/PerBitmap)] = true
		if max(count, p.metadata.counted.Get(uint64(nr))) >= overflowCount {
			p.metadata.stale.overflow = true
		}
		p.metadata.counted.Set(uint64(nr), count)
	}
}

// Blocks returns the blocks that will be written, ascending. None of them is in use.
func (p *Fix) Blocks() []block.Nr { return p.blocks }

// Released returns the blocks that only the old maps use, ascending.
func (p *Fix) Released() []block.Nr { return slices.Sorted(maps.Keys(p.released)) }

// releaseStale releases the blocks of all stale parts. This changes counts, which makes more of
// the metadata's map stale.
func (p *Fix) releaseStale() {
	for before := -1; before < len(p.released); {
		before = len(p.released)
		for _, c := range []*Comparison{&p.data, &p.metadata} {
			for i := range c.stale.bitmaps {
				p.release(c.m.Entries[i].Block)
			}
			if c.stale.overflow {
				p.releaseTree(c.m.Overflow)
			}
			switch {
			case !c.stale.indexStale():
			case c.m.Index != nil:
				p.releaseTree(c.m.Index)
			default:
				p.release(c.m.Root.BitmapRoot)
			}
		}
	}
}

func (p *Fix) releaseTree(f *btree.Forest) {
	for _, in := range f.Inner() {
		p.release(in.Block)
	}
	for _, l := range f.Leaves() {
		p.release(l.Block)
	}
}

func (p *Fix) release(nr block.Nr) {
	p.released[nr] = true
	p.metadata.stale.bitmaps[int(nr/PerBitmap)] = true
	if p.metadata.counted.Get(uint64(nr)) >= overflowCount { // an odd tree that shares nodes with itself
		p.metadata.stale.overflow = true
	}
}

// blocksNeeded returns how many blocks Write writes.
func (p *Fix) blocksNeeded() int {
	d, m := &p.data.stale, &p.metadata.stale
	n := p.change.Blocks + len(d.bitmaps) + len(m.bitmaps)
	if d.overflow {
		n += btree.NodesInTree(p.overflowingData, CountSize)
	}
	if d.indexStale() {
		n += btree.NodesInTree(len(p.data.m.Entries), EntrySize)
	}
	if m.overflow {
		n += btree.NodesInTree(p.overflowingMetadata(), CountSize)
	}
	if m.indexStale() {
		n++
	}
	return n
}

// overflowingMetadata returns the number of entries of the new metadata overflow tree.
func (p *Fix) overflowingMetadata() int {
	n := p.metadata.counted.Overflowing()
	for nr := range p.released {
		if p.metadata.counted.Get(uint64(nr)) >= overflowCount {
			n--
		}
	}
	return n
}

// freeBlocks yields the unused blocks. Blocks that are free in the old map come before leaked
// ones. Among each, those in bitmaps that change anyway come first, then those in the bitmaps with
// the most of them.
func (p *Fix) freeBlocks() iter.Seq[block.Nr] {
	const stays, leaked = 1, 2
	type group struct{ bitmap, rank, n int }
	s := &p.metadata.stale
	in := func(g group) iter.Seq[block.Nr] {
		return func(yield func(block.Nr) bool) {
			first := block.Nr(g.bitmap) * PerBitmap
			for nr := first; nr < min(first+PerBitmap, p.limit); nr++ {
				b := uint64(nr)
				if p.metadata.counted.Get(b) == 0 && (s.leaked.Get(b) > 0) == (g.rank&leaked != 0) && !yield(nr) {
					return
				}
			}
		}
	}
	var groups []group
	for i := range p.metadata.m.Entries {
		g := group{bitmap: i}
		if !s.bitmaps[i] {
			g.rank = stays
		}
		for range 2 {
			g.n = 0
			for range in(g) {
				g.n++
			}
			groups = append(groups, g)
			g.rank |= leaked
		}
	}
	sort.SliceStable(groups, func(i, j int) bool {
		a, b := groups[i], groups[j]
		return cmp.Or(a.rank-b.rank, b.n-a.n) < 0
	})
	return func(yield func(block.Nr) bool) {
		for _, g := range groups {
			for nr := range in(g) {
				if !yield(nr) {
					return
				}
			}
		}
	}
}

// Write calls write for each new block and returns the roots of the new maps. The blocks of the
// [Change] come first. Write may be called again, and then does the same again.
func (p *Fix) Write(write func(block.Nr, *block.Data) error) (data, metadata Root, err error) {
	a := &planned{p.blocks, write}
	if p.change.Write != nil {
		if err := p.change.Write(a); err != nil {
			return data, metadata, err
		}
	}
	if data, err = p.data.rewrite(a); err != nil {
		return data, metadata, err
	}
	if metadata, err = p.metadata.rewrite(a); err == nil && len(a.blocks) > 0 {
		err = errPlan
	}
	return data, metadata, err
}

// rewrite writes the stale parts of the map with the right counts.
func (c *Comparison) rewrite(a btree.Allocator) (Root, error) {
	root := c.m.Root
	root.NrAllocated = 0
	entries := slices.Clone(c.m.Entries)
	for i := range entries {
		if !c.stale.bitmaps[i] {
			root.NrAllocated += uint64(c.stale.used[i])
			if e, wrong := c.stale.entries[i]; wrong {
				entries[i] = e
			}
			continue
		}
		nr, err := a.Alloc()
		if err != nil {
			return root, err
		}
		if entries[i], err = writeBitmap(a, c.counted, nr, uint64(i), &root); err != nil {
			return root, err
		}
	}
	var err error
	if c.stale.overflow {
		if root.RefCountRoot, err = writeOverflow(a, c.counted); err != nil {
			return root, err
		}
	}
	switch {
	case !c.stale.indexStale():
	case c.m.Index != nil:
		root.BitmapRoot, err = writeIndexTree(a, entries)
	default:
		if root.BitmapRoot, err = a.Alloc(); err == nil {
			err = writeIndexBlock(a, root.BitmapRoot, entries)
		}
	}
	return root, err
}

// errPlan indicates a bug.
var errPlan = errors.New("internal error: wrong plan of blocks to write")

// planned is a [btree.Allocator] that allocates the given blocks in order.
type planned struct {
	blocks []block.Nr
	write  func(block.Nr, *block.Data) error
}

// Alloc implements [btree.Allocator].
func (a *planned) Alloc() (block.Nr, error) {
	if len(a.blocks) == 0 {
		return 0, errPlan
	}
	nr := a.blocks[0]
	a.blocks = a.blocks[1:]
	return nr, nil
}

// Write implements [btree.Allocator].
func (a *planned) Write(nr block.Nr, b *block.Data) error { return a.write(nr, b) }
