package repair

import (
	"math/bits"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A census is the set of blocks that make up a state.
type census struct {
	e       *evidence
	refs    *spacemap.Counter
	seen    []uint64   // one bit per block
	foreign []block.Nr // valid blocks that hold something else: overwritten
	damaged int        // unreadable blocks
	closed  bool       // refs match the metadata space map
}

// has reports whether a block belongs to the state.
func (c *census) has(nr block.Nr) bool {
	return nr < block.Nr(len(c.seen)*64) && c.seen[nr/64]>>(nr%64)&1 != 0
}

// size returns how many blocks make up the state.
func (c *census) size() (n int) {
	for _, w := range c.seen {
		n += bits.OnesCount64(w)
	}
	return n
}

// countBlocks follows all pointers of a state.
func (e *evidence) countBlocks(s *State) *census {
	c := &census{e: e, refs: spacemap.NewCounter(uint64(e.blocks)), seen: make([]uint64, e.blocks/64+1)}
	c.tree(s.Mapping, topKind, btree.AllKeys, 0)
	c.tree(s.Details, detailsKind, btree.AllKeys, 0)
	switch {
	case s.generation == nil && s.Current:
		c.lostMaps(&s.super)
		return c
	case s.generation == nil:
		return c
	}
	c.addPointer(metadata.SuperblockLocation)
	c.addPointer(s.generation.index)
	for _, nr := range s.generation.bitmaps[:min(len(s.generation.bitmaps), int(spacemap.Bitmaps(s.super.MetadataSpaceMap.NrBlocks)))] {
		c.addPointer(nr)
	}
	c.tree(s.super.MetadataSpaceMap.RefCountRoot, survey.CountLeaf, btree.AllKeys, 0)
	c.tree(s.super.DataSpaceMap.RefCountRoot, survey.CountLeaf, btree.AllKeys, 0)
	c.tree(s.super.DataSpaceMap.BitmapRoot, survey.IndexLeaf, btree.AllKeys, 0)
	if held := s.super.HeldRoot; held != 0 {
		c.addPointer(held)
		for i := range e.copies {
			if e.copies[i].Block == held {
				c.tree(e.copies[i].MappingRoot, topKind, btree.AllKeys, 0)
				c.tree(e.copies[i].DetailsRoot, detailsKind, btree.AllKeys, 0)
			}
		}
	}
	lost, ok := c.matchesSpaceMap(e.countsOf(s.generation))
	c.closed = ok && lost+c.damaged+len(c.foreign) == 0
	return c
}

// lostMaps follows the space maps of a superblock whose metadata space map does not count itself.
// Blocks that are valid but of another kind were overwritten.
func (c *census) lostMaps(sb *metadata.Superblock) {
	c.tree(sb.MetadataSpaceMap.RefCountRoot, survey.CountLeaf, btree.AllKeys, 0)
	c.tree(sb.DataSpaceMap.RefCountRoot, survey.CountLeaf, btree.AllKeys, 0)
	c.tree(sb.DataSpaceMap.BitmapRoot, survey.IndexLeaf, btree.AllKeys, 0)
	index := sb.MetadataSpaceMap.BitmapRoot
	if index == 0 || !c.addPointer(index) {
		return
	}
	var b block.Data
	switch {
	case c.e.survey.Kinds[index] != survey.Index:
		c.noteDamaged(index)
		return
	case c.e.r.Read(index, &b) != nil:
		c.damaged++
		return
	}
	entries := spacemap.IndexEntries(&b)
	for i := range spacemap.Bitmaps(min(sb.MetadataSpaceMap.NrBlocks, uint64(c.e.blocks))) {
		nr := spacemap.DecodeEntry(entries[i*spacemap.EntrySize:]).Block
		if nr == 0 || !c.addPointer(nr) {
			continue
		}
		if c.e.survey.Kinds[nr] != survey.Bitmap || !c.countsItself(nr, i) {
			c.noteDamaged(nr)
		}
	}
}

// noteDamaged records that a block is not what it should be.
func (c *census) noteDamaged(nr block.Nr) {
	if c.e.valid(nr) {
		c.foreign = append(c.foreign, nr)
		return
	}
	c.damaged++
}

// countsItself reports whether a bitmap of the metadata space map counts its own block, if it
// covers it.
func (c *census) countsItself(nr block.Nr, i uint64) bool {
	var b block.Data
	if uint64(nr)/spacemap.PerBitmap != i {
		return true
	}
	if c.e.r.Read(nr, &b) != nil {
		return false
	}
	bitmap, err := spacemap.DecodeBitmap(nr, &b)
	return err == nil && bitmap.Count(int(nr%spacemap.PerBitmap)) == 1
}

// matchesSpaceMap reports whether the references match a space map. lost is the number of missing
// pointers to unreadable blocks; such blocks may be lost roots.
func (c *census) matchesSpaceMap(counts []uint8) (lost int, ok bool) {
	for nr := range c.e.blocks {
		stored := uint8(0)
		if nr < block.Nr(len(counts)) {
			stored = counts[nr]
		}
		refs := uint8(min(c.refs.Get(uint64(nr)), 3))
		switch {
		case refs == stored:
		case refs < stored && !c.e.valid(nr):
			lost += int(stored - refs)
		default:
			return 0, false
		}
	}
	return lost, true
}

// addPointer counts a pointer to a block and reports whether it is the first.
func (c *census) addPointer(nr block.Nr) bool {
	if nr >= c.e.blocks {
		c.damaged++
		return false
	}
	c.refs.Add(uint64(nr), 1)
	first := !c.has(nr)
	c.seen[nr/64] |= 1 << (nr % 64)
	return first
}

// tree follows a pointer to a node of a tree whose leaves are of kind want.
func (c *census) tree(nr block.Nr, want survey.Kind, keys btree.KeyRange, depth int) {
	if nr == 0 {
		c.damaged++
		return
	}
	if !c.addPointer(nr) || depth > btree.MaxDepth {
		return
	}
	switch c.e.survey.Kinds[nr] {
	case survey.Unreadable, survey.Empty, survey.Unknown:
		c.damaged++
		return
	}
	n, ok := c.e.survey.Node(nr)
	t := c.e.survey.Subtree(nr)
	switch {
	case !ok,
		t.Kind != survey.Unknown && !compatibleKind(t.Kind, want, t.N),
		t.N > 0 && !keys.Contains(t.First, t.Last):
		c.foreign = append(c.foreign, nr)
		return
	}
	entries := c.e.survey.Entries(n)
	switch {
	case n.Kind == survey.Inner:
		for i, e := range entries {
			c.tree(e.Block, want, btree.ChildRange(entries, i, keys), depth+1)
		}
	case want == topKind && n.N > 0:
		if entries == nil {
			c.foreign = append(c.foreign, nr) // a mapping leaf with a single mapping
		}
		for _, e := range entries {
			c.tree(e.Block, survey.MappingLeaf, btree.AllKeys, depth+1)
		}
	case want == survey.IndexLeaf:
		c.bitmaps(nr)
	}
}

// bitmaps counts the pointers in a leaf of the data index tree.
func (c *census) bitmaps(leaf block.Nr) {
	var b block.Data
	if c.e.r.Read(leaf, &b) != nil {
		c.damaged++
		return
	}
	n, err := btree.Decode(leaf, &b, spacemap.EntrySize)
	if err != nil {
		c.damaged++
		return
	}
	for _, value := range n.All() {
		switch nr := spacemap.DecodeEntry(value).Block; {
		case nr == 0 || nr >= c.e.blocks:
			c.damaged++
		case !c.addPointer(nr):
		case c.e.survey.Kinds[nr] != survey.Bitmap:
			c.noteDamaged(nr)
		}
	}
}
