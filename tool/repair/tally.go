package repair

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sort"

	"thinpool/internal/pdata/btree"
)

// A tally sums up the holes below a node. Each node keeps its own sum, so the cost does not depend
// on how many devices share it.
type tally struct {
	known              bool
	confirmed, guessed uint64 // mappings that fill holes
	rebuilt            uint64 // mappings below rebuilt nodes
	lost               uint64 // holes and rebuilt nodes, without gaps
	open               uint64 // holes that are unfilled or have guesses, without gaps
}

func (t *tally) add(o tally) {
	sum := func(a *uint64, b uint64) { *a += min(b, math.MaxUint64-*a) }
	sum(&t.confirmed, o.confirmed)
	sum(&t.guessed, o.guessed)
	sum(&t.rebuilt, o.rebuilt)
	sum(&t.lost, o.lost)
	sum(&t.open, o.open)
}

// isOpen reports whether something may still be missing in a hole or is guessed.
func (h *hole) isOpen() bool { return !h.filled || h.guessed > 0 }

// tally sums up the holes below an entry once they are filled.
func (g *grove) tally(e entry) tally {
	if h := g.holeOf(e); h != nil {
		return tally{confirmed: h.confirmed, guessed: h.guessed, lost: uint64(boolToInt(!h.gap)), open: uint64(boolToInt(!h.gap && h.isOpen()))}
	}
	if e.node < 0 || !g.patches[e.node].changed {
		return tally{}
	}
	if g.tallies == nil {
		g.tallies = make([]tally, len(g.patches))
	}
	t := &g.tallies[e.node]
	if t.known {
		return *t
	}
	sum := tally{known: true}
	for _, below := range g.patches[e.node].entries {
		sum.add(g.tally(below))
	}
	if h := g.rebuilt[g.forest.Inner()[e.node].Block]; h != nil {
		sum.rebuilt += h.rebuilt
		sum.lost++
	}
	*t = sum
	return sum
}

// lostRanges yields the holes and rebuilt nodes below an entry by ascending keys, without gaps.
// Unless all is set, it yields only those where something may still be missing or is guessed.
func (g *grove) lostRanges(e entry, all bool) iter.Seq[LostRange] {
	return func(yield func(LostRange) bool) {
		var found []*hole
		done := map[int32]bool{}
		var walk func(e entry)
		walk = func(e entry) {
			if h := g.holeOf(e); h != nil {
				if !h.gap && (all || h.isOpen()) {
					found = append(found, h)
				}
				return
			}
			if e.node < 0 || !g.patches[e.node].changed || done[e.node] {
				return
			}
			done[e.node] = true
			if h := g.rebuilt[g.forest.Inner()[e.node].Block]; h != nil && all {
				found = append(found, h)
			}
			for _, below := range g.patches[e.node].entries {
				walk(below)
			}
		}
		walk(e)
		slices.SortStableFunc(found, func(a, b *hole) int {
			return cmp.Or(cmp.Compare(a.keys.First, b.keys.First), cmp.Compare(a.block, b.block))
		})
		for i, h := range found {
			if i > 0 && h == found[i-1] {
				continue
			}
			if !yield(LostRange{h.keys, h.block, h.err}) {
				return
			}
		}
	}
}

// guesses yields the guessed keys below an entry, ascending. If rebuilt is set, it includes all
// keys below rebuilt nodes.
func (g *grove) guesses(e entry, rebuilt bool) iter.Seq[btree.KeyRange] {
	return func(yield func(btree.KeyRange) bool) {
		var found []btree.KeyRange
		done := map[int32]bool{}
		var walk func(e entry)
		walk = func(e entry) {
			if h := g.holeOf(e); h != nil {
				found = append(found, h.guesses...)
				return
			}
			if e.node < 0 || !g.patches[e.node].changed || done[e.node] {
				return
			}
			done[e.node] = true
			if h := g.rebuilt[g.forest.Inner()[e.node].Block]; h != nil && rebuilt {
				found = append(found, h.keys)
			}
			for _, below := range g.patches[e.node].entries {
				walk(below)
			}
		}
		walk(e)
		sort.Slice(found, func(i, j int) bool { return found[i].First < found[j].First })
		for len(found) > 0 {
			keys, n := found[0], 1
			for n < len(found) && found[n].First <= keys.Last {
				keys.Last = max(keys.Last, found[n].Last)
				n++
			}
			if found = found[n:]; !yield(keys) {
				return
			}
		}
	}
}
