package repair

import (
	"cmp"
	"math/bits"
	"slices"
	"sort"

	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// linkGenerations finds the next commit for each generation, where possible. all ascends by index
// block.
func (e *evidence) linkGenerations(all []*generation) {
	const tries = 4 // candidates for the next index block, both from the cursor and from block 0
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
			if !ok || both && !there.likelier(back) || g.lostUnsharedBlocks(to) || !e.nodesAgree(g, to) {
				continue
			}
			steps = append(steps, step{g, to, there})
		}
	}
	// From one commit to the next, hardly any block is skipped, and pools are seldom loaded. If the
	// oldest generation is still there, the generations form a ring. But the oldest and the newest
	// have least in common, so the link that closes the ring is tried last, and refused.
	sort.SliceStable(steps, func(i, j int) bool {
		a, b := steps[i], steps[j]
		return cmp.Or(
			cmp.Compare(a.skipped, b.skipped), cmp.Compare(boolToInt(a.reload), boolToInt(b.reload)),
			cmp.Compare(boolToInt(a.from.overwritten()), boolToInt(b.from.overwritten())), cmp.Compare(a.added+a.freed, b.added+b.freed)) < 0
	})
	for _, s := range steps {
		if s.from.next == nil && s.to.prev == nil && s.from.first() != s.to {
			s.from.next, s.from.reload, s.from.skipped, s.to.prev = s.to, s.reload, s.skipped, s.from
		}
	}
}

// nodesAgree reports whether b can be the commit after a, judging by the nodes that both use. Such
// a node is the same in both. So both use its children; if it has a parent in one, it has one in
// the other; and if it is a root, it is the only root of its kind. Otherwise it was overwritten in
// between. In addition, no device may be older in b.
func (e *evidence) nodesAgree(a, b *generation) bool {
	for i := range rootKinds {
		if a.sharesSurplusRoot(b, i) || b.sharesSurplusRoot(a, i) {
			return false
		}
	}
	inA, inB := make([]uint64, e.blocks/64+1), make([]uint64, e.blocks/64+1) // blocks with a parent
	for _, n := range e.parents {
		hasA, hasB := a.has(n.Block), b.has(n.Block)
		for _, c := range e.survey.Entries(n) {
			if hasA && hasB && (!a.has(c.Block) || !b.has(c.Block)) {
				return false
			}
			if c.Block < e.blocks {
				inA[c.Block/64] |= uint64(boolToInt(hasA)) << (c.Block % 64)
				inB[c.Block/64] |= uint64(boolToInt(hasB)) << (c.Block % 64)
			}
		}
	}
	for _, n := range e.byKind[survey.MappingLeaf] {
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

// olderDevices reports whether some device in the details of a is older than in those of b. A
// device's last snapshot time only grows, and a reused id belongs to a later transaction.
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

// sharesSurplusRoot reports whether g has more roots of a kind than a commit has, and the other
// uses one of them as well.
func (g *generation) sharesSurplusRoot(other *generation, kind int) bool {
	return g.surplusRoots(kind) && slices.ContainsFunc(g.roots[kind], other.has)
}

// surplusRoots reports whether g has more roots of a kind than a commit has, without a lost node
// to explain it.
func (g *generation) surplusRoots(kind int) bool {
	if g.parentLost {
		return false
	}
	most := rootKinds[kind].most
	if s := rootKinds[kind].kind; s == topKind || s == detailsKind {
		most += g.spare
	}
	return len(g.roots[kind]) > most
}

// overwritten reports whether some blocks of g now hold roots of another commit.
func (g *generation) overwritten() bool {
	for i := range rootKinds {
		if g.surplusRoots(i) {
			return true
		}
	}
	return false
}

// lostUnsharedBlocks reports whether g has lost blocks that the other does not use. Then too
// little is left of g to show that the other came next.
func (g *generation) lostUnsharedBlocks(other *generation) bool {
	return slices.ContainsFunc(g.damaged, func(nr block.Nr) bool { return !other.has(nr) })
}

// first returns the oldest generation of the chain that g is in.
func (g *generation) first() *generation {
	for g.prev != nil {
		g = g.prev
	}
	return g
}

// A difference is the difference between two generations.
type difference struct {
	added, freed int  // blocks only the second uses; blocks only the first uses
	shared       int  // blocks that both use
	skipped      int  // see follows
	after        int  // blocks added after the index block
	reload       bool // only possible if the pool was loaded in between
}

// likelier reports whether d is a better explanation than the opposite direction: fewer skipped
// blocks, or no pool load needed.
func (d difference) likelier(back difference) bool {
	return cmp.Or(cmp.Compare(d.skipped, back.skipped), cmp.Compare(boolToInt(d.reload), boolToInt(back.reload))) < 0
}

// follows reports whether b can be the commit right after a. The kernel allocates the next block
// that is free both in the last commit and now. Its cursor moves on from commit to commit, wraps
// at the end, and starts at block 0 when the pool is loaded. So the blocks that only b uses are
// the next ones a would allocate. skipped is the number of free blocks of a before the last of
// them that b does not use. It is small: few blocks are allocated and freed again within a
// transaction.
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
	const slack, least = 8, 3 // a commit leaves at least one node of each space map in place
	return d, d.added > 0 && d.skipped <= d.added/slack && d.after <= 1 && d.shared >= least
}

// offered counts the differences between two generations if a allocates its free blocks from begin
// on.
func offered(a, b *generation, begin, blocks block.Nr) (d difference) {
	free, seen := 0, false
	visit := func(first, end block.Nr) {
		for nr := first; nr < end; {
			w := nr / 64 * 64
			stop := min(end, w+64)
			// A bitmap has 255 words, so a word never spans two bitmaps.
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

// word returns the used bits of blocks nr to nr+63; nr must be a multiple of 64.
func (g *generation) word(nr block.Nr) uint64 {
	if nr >= g.size() {
		return 0
	}
	return g.used[nr/spacemap.PerBitmap][nr%spacemap.PerBitmap/64]
}

// offers reports whether the blocks of a state that g does not count are the next ones g would
// allocate. The census does not know the space maps of the state, so a few blocks may be missing
// in between.
func (g *generation) offers(c *census, blocks block.Nr) bool {
	all := 0
	for nr := range blocks {
		all += boolToInt(c.has(nr) && !g.has(nr))
	}
	const maps = 16 // nodes and bitmaps of both space maps; at most as many as tree nodes if there are many
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
