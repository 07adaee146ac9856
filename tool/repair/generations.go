package repair

import (
	"cmp"
	"math/bits"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A generation is the metadata space map as one commit left it. Every commit writes a new index
// block, nearly always as the last block it allocates.
type generation struct {
	index      block.Nr
	bitmaps    []block.Nr
	used       []*spacemap.UsedSet // by bitmap
	devices    int                 // in the device details it counts; -1: unknown
	roots      [4][]block.Nr       // roots of the trees a commit has only a few of; see rootKinds
	spare      int                 // device trees of the metadata snapshot
	damaged    []block.Nr          // unreadable blocks it counts
	parentLost bool                // one of the damaged blocks may have had children
	next       *generation         // the commit right after this one; nil if not found
	prev       *generation
	reload     bool // the pool was loaded between this one and next
	skipped    int  // blocks skipped between this one and next; see follows
}

// size returns the number of blocks g covers.
func (g *generation) size() block.Nr { return block.Nr(len(g.used)) * spacemap.PerBitmap }

// has reports whether g counts a block as used.
func (g *generation) has(nr block.Nr) bool {
	if g == nil || nr >= g.size() {
		return false
	}
	i := nr % spacemap.PerBitmap
	return g.used[nr/spacemap.PerBitmap][i/64]>>(i%64)&1 != 0
}

// maxGenerations limits the work on devices with a long history; see newestIndexes.
const maxGenerations = 1024

// findGenerations finds the metadata space maps left on a device, by ascending index block. A map
// is used only if its bitmaps are there and count the index block and themselves. Those of old
// commits are partly overwritten.
func (e *evidence) findGenerations() []*generation {
	bitmaps := map[block.Nr]*spacemap.UsedSet{}
	var found []*generation
	for _, nr := range e.newestIndexes() {
		if g := e.readGeneration(nr, bitmaps); g != nil {
			e.findRoots(g)
			found = append(found, g)
		}
	}
	e.linkGenerations(found)
	return found
}

// newestIndexes returns the remaining index blocks, ascending. If there are too many, it returns
// those around the one the superblock names. If the superblock is lost, it returns those that
// follow the newest device details within a commit, or else the highest ones.
func (e *evidence) newestIndexes() []block.Nr {
	var all []block.Nr
	for nr, kind := range e.survey.Kinds {
		if kind == survey.Index {
			all = append(all, block.Nr(nr))
		}
	}
	if len(all) <= maxGenerations {
		return all
	}
	if e.super.err == nil {
		return around(all, e.super.MetadataSpaceMap.BitmapRoot, maxGenerations)
	}
	const commit = 64 // maximum number of blocks between the details and the index block
	var near []block.Nr
	newest := e.newestDetails()
	for _, nr := range all {
		i, _ := slices.BinarySearch(newest, nr)
		if i > 0 && nr-newest[i-1] <= commit {
			near = append(near, nr)
		}
	}
	if len(near) == 0 {
		near = all
	}
	return near[max(0, len(near)-maxGenerations):]
}

// around returns the n blocks around center, half of them after it, wrapping at either end. all is
// ascending, and so is the result.
func around(all []block.Nr, center block.Nr, n int) []block.Nr {
	at, _ := slices.BinarySearch(all, center)
	var near []block.Nr
	for i := range n {
		near = append(near, all[(at-n/2+i+len(all))%len(all)])
	}
	slices.Sort(near)
	return near
}

// newestDetails returns the device details leaves with the latest times and transaction ids,
// ascending.
func (e *evidence) newestDetails() []block.Nr {
	var newest []block.Nr
	var latest metadata.Details
	for _, n := range e.byKind[detailsKind] {
		var own metadata.Details
		for _, d := range e.detailsIn(n.Block) {
			own.TransactionID = max(own.TransactionID, d.TransactionID)
			own.SnapshottedTime = max(own.SnapshottedTime, d.SnapshottedTime, d.CreationTime)
		}
		switch cmp.Or(cmp.Compare(own.SnapshottedTime, latest.SnapshottedTime), cmp.Compare(own.TransactionID, latest.TransactionID)) {
		case 1:
			newest, latest = []block.Nr{n.Block}, own
		case 0:
			newest = append(newest, n.Block)
		}
	}
	return newest
}

// rootKinds are the kinds of trees that a commit has one or two of.
var rootKinds = [4]struct {
	kind survey.Kind
	most int
}{{topKind, 1}, {detailsKind, 1}, {survey.IndexLeaf, 1}, {survey.CountLeaf, 2}}

func (e *evidence) findRoots(g *generation) {
	for i, s := range rootKinds {
		g.roots[i] = e.strayRoots(g, s.kind)
	}
	for i := range e.copies {
		g.spare += boolToInt(g.has(e.copies[i].Block))
	}
	for w := block.Nr(0); w < min(g.size(), e.blocks); w += 64 {
		for lost := g.word(w) & e.invalid[w/64]; lost != 0; lost &= lost - 1 {
			if nr := w + block.Nr(bits.TrailingZeros64(lost)); nr > 0 {
				g.damaged = append(g.damaged, nr)
			}
		}
	}
	g.parentLost = e.mayHaveLostParent(g)
	g.devices = -1
	if details := g.roots[1]; len(details) == 1 {
		g.devices = int(e.survey.Subtree(details[0]).N)
	}
}

// mayHaveLostParent reports whether one of the damaged blocks of g may be a node with children.
// These are not: a bitmap, a child whose siblings are leaves, and the root of a tree without a
// known root, unless it is a tree of devices.
func (e *evidence) mayHaveLostParent(g *generation) bool {
	if len(g.damaged) == 0 {
		return false
	}
	leaves := e.noBlocks() // blocks without children
	for _, nr := range g.bitmaps {
		leaves.add(nr)
	}
	if len(g.roots[2]) == 1 {
		e.eachBitmap(g.roots[2][0], leaves.add)
	}
	for _, n := range e.parents {
		if n.Kind == survey.Inner && g.has(n.Block) && e.survey.Subtree(n.Block).Depth == 1 {
			for _, c := range e.survey.Entries(n) {
				leaves.add(c.Block)
			}
		}
	}
	missing := max(0, 1-len(g.roots[2])) + max(0, 2-len(g.roots[3])) // roots of the space maps
	others := 0
	for _, nr := range g.damaged {
		others += boolToInt(!leaves.has(nr))
	}
	return others > missing
}

// eachBitmap calls fn for each bitmap of a data index tree.
func (e *evidence) eachBitmap(root block.Nr, fn func(block.Nr)) {
	for leaf := range e.survey.Leaves(root) {
		var b block.Data
		if e.r.Read(leaf.Block, &b) != nil {
			continue
		}
		n, err := btree.Decode(leaf.Block, &b, spacemap.EntrySize)
		if err != nil {
			continue
		}
		for _, value := range n.All() {
			fn(spacemap.DecodeEntry(value).Block)
		}
	}
}

func (e *evidence) readGeneration(index block.Nr, bitmaps map[block.Nr]*spacemap.UsedSet) *generation {
	m, s := e.medium, e.survey
	var b block.Data
	if m.r.Read(index, &b) != nil {
		return nil
	}
	g := &generation{index: index}
	entries := spacemap.IndexEntries(&b)
	for i := range spacemap.MaxBitmaps {
		nr := spacemap.DecodeEntry(entries[i*spacemap.EntrySize:]).Block
		if nr == 0 || nr >= m.blocks {
			break // old kernels left garbage in unused entries
		}
		if s.Kinds[nr] != survey.Bitmap {
			if !e.valid(nr) {
				e.brokenMaps = append(e.brokenMaps, index)
			}
			break
		}
		used := bitmaps[nr]
		if used == nil {
			var b block.Data
			if m.r.Read(nr, &b) != nil {
				return nil
			}
			bitmap, err := spacemap.DecodeBitmap(nr, &b)
			if err != nil {
				return nil
			}
			used = bitmap.Used()
			bitmaps[nr] = used
		}
		g.bitmaps, g.used = append(g.bitmaps, nr), append(g.used, used)
	}
	if !g.has(0) || !g.has(index) {
		return nil
	}
	for _, nr := range g.bitmaps {
		if !g.has(nr) {
			return nil
		}
	}
	return g
}
