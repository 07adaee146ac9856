package repair

import (
	"cmp"
	"math/bits"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
	"thinpool/metadata/spacemap"
	"thinpool/metadata/survey"
)

// A generation is the metadata space map as one commit left it. Every commit writes
// a new index block, and nearly always it is the last block that the commit allocates.
type generation struct {
	index      block.Nr
	bitmaps    []block.Nr
	used       []*spacemap.UsedSet // by bitmap
	devices    int                 // in the device details that it counts; -1: not known
	roots      [4][]block.Nr       // of the trees of which a commit has few; see rootSorts
	spare      int                 // trees of devices of the metadata snapshot
	damaged    []block.Nr          // blocks that it counts and that cannot be read
	parentLost bool                // one of these may have led to others
	next       *generation         // the commit that came right after; nil if none is found
	prev       *generation
	reload     bool // the pool was loaded between this one and next
	skipped    int  // blocks that were skipped between this one and next; see follows
}

// size is the number of blocks that g counts.
func (g *generation) size() block.Nr { return block.Nr(len(g.used)) * spacemap.PerBitmap }

// has reports whether g counts a block as used.
func (g *generation) has(nr block.Nr) bool {
	if g == nil || nr >= g.size() {
		return false
	}
	i := nr % spacemap.PerBitmap
	return g.used[nr/spacemap.PerBitmap][i/64]>>(i%64)&1 != 0
}

// maxGenerations bounds the work on devices with a long history; see newestIndexes.
const maxGenerations = 1024

// findGenerations finds the metadata space maps that are left on a device, by
// ascending index block. One counts only if its bitmaps are there and count the
// index block and themselves: those of a commit long ago are overwritten in part.
func (e *evidence) findGenerations() []*generation {
	bitmaps := map[block.Nr]*spacemap.UsedSet{}
	var found []*generation
	for _, nr := range e.newestIndexes() {
		if g := e.readGeneration(nr, bitmaps); g != nil {
			e.findRoots(g)
			found = append(found, g)
		}
	}
	e.link(found)
	return found
}

// newestIndexes returns the index blocks that are left, ascending. Of too many it returns
// those around the one that the superblock names; if that is lost, those that follow the
// newest device details within a commit; or else the highest.
func (e *evidence) newestIndexes() []block.Nr {
	var all []block.Nr
	for nr, sort := range e.survey.Sorts {
		if sort == survey.Index {
			all = append(all, block.Nr(nr))
		}
	}
	if len(all) <= maxGenerations {
		return all
	}
	if e.super.err == nil {
		return around(all, e.super.MetadataSpaceMap.BitmapRoot, maxGenerations)
	}
	const commit = 64 // blocks between the details and the index block, at most
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

// around returns the n of all that lie around one, half of them after it, from the
// beginning if need be. All ascend, before and after.
func around(all []block.Nr, center block.Nr, n int) []block.Nr {
	at, _ := slices.BinarySearch(all, center)
	var near []block.Nr
	for i := range n {
		near = append(near, all[(at-n/2+i+len(all))%len(all)])
	}
	slices.Sort(near)
	return near
}

// newestDetails returns the leaves of device details with the latest times and
// transaction ids, ascending.
func (e *evidence) newestDetails() []block.Nr {
	var newest []block.Nr
	var latest metadata.Details
	for _, n := range e.bySort[detailsSort] {
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

// rootSorts are the sorts of trees of which a commit has one, or two.
var rootSorts = [4]struct {
	sort survey.Sort
	most int
}{{topSort, 1}, {detailsSort, 1}, {survey.IndexLeaf, 1}, {survey.CountLeaf, 2}}

func (e *evidence) findRoots(g *generation) {
	for i, s := range rootSorts {
		g.roots[i] = e.stray(g, s.sort)
	}
	for i := range e.copies {
		g.spare += b2i(g.has(e.copies[i].Block))
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
		g.devices = int(e.survey.Tree(details[0]).N)
	}
}

// mayHaveLostParent reports whether one of the damaged blocks of g can be a node that led
// to others. A bitmap is not, nor is a child whose siblings are leaves, nor the root of a
// tree of which no root is found, unless that is a tree of devices.
func (e *evidence) mayHaveLostParent(g *generation) bool {
	if len(g.damaged) == 0 {
		return false
	}
	leaves := map[block.Nr]bool{} // blocks that have no children
	for _, nr := range g.bitmaps {
		leaves[nr] = true
	}
	if len(g.roots[2]) == 1 {
		e.eachBitmap(g.roots[2][0], func(nr block.Nr) { leaves[nr] = true })
	}
	for _, n := range e.parents {
		if n.Sort == survey.Inner && g.has(n.Block) && e.survey.Tree(n.Block).Depth == 1 {
			for _, c := range e.survey.Entries(n) {
				leaves[c.Block] = true
			}
		}
	}
	missing := max(0, 1-len(g.roots[2])) + max(0, 2-len(g.roots[3])) // roots of the space maps
	others := 0
	for _, nr := range g.damaged {
		others += b2i(!leaves[nr])
	}
	return others > missing
}

// eachBitmap calls fn for the bitmaps of a data index tree.
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
			break // old kernels left noise in unused entries
		}
		if s.Sorts[nr] != survey.Bitmap {
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

// link finds for each generation the one that was committed right after it, as far as
// that can be told. all ascends by index block.
func (e *evidence) link(all []*generation) {
	const tries = 4 // index blocks that can come next, from the cursor on and from block 0 on
	type step struct {
		from, to *generation
		difference
	}
	var steps []step
	for i, g := range all {
		seen := map[*generation]bool{g: true}
		for k := range 2 * tries {
			j := (i + 1 + k) % len(all)
			if k >= tries {
				j = min(k-tries, len(all)-1)
			}
			to := all[j]
			if seen[to] {
				continue
			}
			seen[to] = true
			there, ok := follows(g, to, e.blocks)
			back, both := follows(to, g, e.blocks)
			if !ok || both && !there.likelier(back) || g.lostAlone(to) || !e.agree(g, to) {
				continue
			}
			steps = append(steps, step{g, to, there})
		}
	}
	// Commit after commit hardly any block is skipped, and a pool is seldom loaded. The
	// generations form a ring if the oldest is still there; but the oldest and the newest
	// have least in common, so the link that closes the ring is tried last, and refused.
	slices.SortStableFunc(steps, func(a, b step) int {
		return cmp.Or(
			cmp.Compare(a.skipped, b.skipped), cmp.Compare(b2i(a.reload), b2i(b.reload)),
			cmp.Compare(b2i(a.from.overwritten()), b2i(b.from.overwritten())), cmp.Compare(a.added+a.freed, b.added+b.freed))
	})
	for _, s := range steps {
		if s.from.next == nil && s.to.prev == nil && s.from.first() != s.to {
			s.from.next, s.from.reload, s.from.skipped, s.to.prev = s.to, s.reload, s.skipped, s.from
		}
	}
}

// agree reports whether b can be the commit after a as far as the nodes tell that both
// use: such a node is the same in both. So both use its children; if something leads to
// it in one, then in the other as well; and if it is a root, it is the only one of its
// tree. Where that is not so it was overwritten in between. And no device is older in b.
func (e *evidence) agree(a, b *generation) bool {
	for i := range rootSorts {
		if a.sharesSurplusRoot(b, i) || b.sharesSurplusRoot(a, i) {
			return false
		}
	}
	inA, inB := make([]uint64, e.blocks/64+1), make([]uint64, e.blocks/64+1) // blocks that something leads to
	for _, n := range e.parents {
		hasA, hasB := a.has(n.Block), b.has(n.Block)
		for _, c := range e.survey.Entries(n) {
			if hasA && hasB && (!a.has(c.Block) || !b.has(c.Block)) {
				return false
			}
			if c.Block < e.blocks {
				inA[c.Block/64] |= uint64(b2i(hasA)) << (c.Block % 64)
				inB[c.Block/64] |= uint64(b2i(hasB)) << (c.Block % 64)
			}
		}
	}
	for _, n := range e.bySort[survey.MappingLeaf] {
		if !a.has(n.Block) || !b.has(n.Block) {
			continue
		}
		bit := n.Block % 64
		ledA, ledB := inA[n.Block/64]>>bit&1 != 0, inB[n.Block/64]>>bit&1 != 0
		if ledA && !ledB && !b.parentLost || ledB && !ledA && !a.parentLost {
			return false
		}
	}
	return !e.olderDevices(b, a)
}

// olderDevices reports whether some device in the details of a is older than in those of
// b: the time of its last snapshot only grows, and an id that is used again belongs to a
// later transaction.
func (e *evidence) olderDevices(a, b *generation) bool {
	if len(a.roots[1]) != 1 || len(b.roots[1]) != 1 || a.roots[1][0] == b.roots[1][0] {
		return false
	}
	before := map[metadata.DevID]metadata.Details{}
	for leaf := range e.survey.Leaves(b.roots[1][0]) {
		for _, d := range e.detailsIn(leaf.Block) {
			before[d.ID] = d.Details
		}
	}
	for leaf := range e.survey.Leaves(a.roots[1][0]) {
		for _, d := range e.detailsIn(leaf.Block) {
			if was, ok := before[d.ID]; ok && compareAge(d.Details, was) < 0 {
				return true
			}
		}
	}
	return false
}

// sharesSurplusRoot reports whether g has more roots of a sort than a commit has, and one
// of them is a block that the other uses as well.
func (g *generation) sharesSurplusRoot(other *generation, sort int) bool {
	return g.surplusRoots(sort) && slices.ContainsFunc(g.roots[sort], other.has)
}

// surplusRoots reports whether g has more roots of a sort than a commit has, and no lost
// node that would explain it.
func (g *generation) surplusRoots(sort int) bool {
	if g.parentLost {
		return false
	}
	most := rootSorts[sort].most
	if s := rootSorts[sort].sort; s == topSort || s == detailsSort {
		most += g.spare
	}
	return len(g.roots[sort]) > most
}

// overwritten reports whether some blocks of g hold roots of another commit by now.
func (g *generation) overwritten() bool {
	for i := range rootSorts {
		if g.surplusRoots(i) {
			return true
		}
	}
	return false
}

// lostAlone reports whether g has lost blocks that the other does not use. Then too
// little is left of it to say that the other followed.
func (g *generation) lostAlone(other *generation) bool {
	return slices.ContainsFunc(g.damaged, func(nr block.Nr) bool { return !other.has(nr) })
}

// first returns the oldest generation of the chain that g is in.
func (g *generation) first() *generation {
	for g.prev != nil {
		g = g.prev
	}
	return g
}

// A difference is what lies between two generations.
type difference struct {
	added, freed int  // blocks that only the second uses, and that only the first uses
	shared       int  // blocks that both use
	skipped      int  // see follows
	after        int  // blocks that were added after the index block
	reload       bool // it takes a pool that was loaded in between
}

// likelier reports whether d is a better explanation than the same in the opposite
// direction: fewer blocks were skipped, or it does without loading the pool.
func (d difference) likelier(back difference) bool {
	return cmp.Or(cmp.Compare(d.skipped, back.skipped), cmp.Compare(b2i(d.reload), b2i(back.reload))) < 0
}

// follows reports whether b can be the commit right after a. The kernel allocates the
// next block that is free both in the last commit and now, from a cursor that goes on
// through commits, wraps at the end and begins at block 0 when the pool is loaded. So
// the blocks that only b uses are those that a offers next. skipped is how many that a
// offers before the last of them are not used by b: few were used and freed again
// within a transaction.
func follows(a, b *generation, blocks block.Nr) (difference, bool) {
	if a.has(b.index) || len(a.used) > len(b.used) {
		return difference{}, false
	}
	// The pool commits after each message that adds or deletes a device.
	if a.devices >= 0 && b.devices >= 0 && (a.devices > b.devices+1 || b.devices > a.devices+1) {
		return difference{}, false
	}
	d := offered(a, b, a.index+1, blocks)
	if zero := offered(a, b, 0, blocks); zero.skipped < d.skipped {
		d = zero
		d.reload = true
	}
	const slack, least = 8, 3 // a commit leaves at least one node of each space map where it is
	return d, d.added > 0 && d.skipped <= d.added/slack && d.after <= 1 && d.shared >= least
}

// offered counts the differences of two generations if a offers its free blocks from
// begin on.
func offered(a, b *generation, begin, blocks block.Nr) (d difference) {
	free, seen := 0, false
	visit := func(first, end block.Nr) {
		for nr := first; nr < end; {
			w := nr / 64 * 64
			stop := min(end, w+64)
			// A bitmap has 255 words, so no word lies in two of them.
			mask := ^uint64(0) << (nr - w)
			if stop < w+64 {
				mask &= 1<<(stop-w) - 1
			}
			inA, inB := a.word(w), b.word(w)
			only := inB &^ inA & mask
			d.freed += bits.OnesCount64(inA &^ inB & mask)
			d.shared += bits.OnesCount64(inA & inB & mask)
			if only != 0 {
				high := uint(bits.Len64(only))
				below := mask
				if high < 64 {
					below &= 1<<high - 1
				}
				d.skipped += free + bits.OnesCount64(^inA&below) - bits.OnesCount64(only)
				free = bits.OnesCount64(^inA & mask &^ below)
				d.added += bits.OnesCount64(only)
				switch {
				case nr/64 == b.index/64:
					seen = true
					d.after = bits.OnesCount64(only >> (b.index % 64) >> 1)
				case seen:
					d.after += bits.OnesCount64(only)
				}
			} else {
				free += bits.OnesCount64(^inA & mask)
			}
			nr = stop
		}
	}
	visit(begin, blocks)
	visit(0, min(begin, blocks))
	return d
}

// word returns the used bits of blocks nr to nr+63; nr is a multiple of 64.
func (g *generation) word(nr block.Nr) uint64 {
	if nr >= g.size() {
		return 0
	}
	return g.used[nr/spacemap.PerBitmap][nr%spacemap.PerBitmap/64]
}

// offers reports whether the blocks of a state that g does not count are those that g
// offers next. Some of these are the space maps of the state, which it does not know.
func (g *generation) offers(c *census, blocks block.Nr) bool {
	all := 0
	for nr := range blocks {
		all += b2i(c.has(nr) && !g.has(nr))
	}
	const maps = 16 // nodes and bitmaps of both space maps, at most as many as of the trees if these are many
	from := func(begin block.Nr) bool {
		own, skipped := all, 0
		for nr := begin; nr < blocks && own > 0 && skipped <= max(maps, all); nr++ {
			switch {
			case g.has(nr):
			case c.has(nr):
				own--
			default:
				skipped++
			}
		}
		return own == 0
	}
	return from(g.index+1) || from(0)
}
