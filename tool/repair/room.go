package repair

import (
	"math"

	"thinpool/internal/pdata/btree"
)

// noKeys is a range without keys.
var noKeys = btree.KeyRange{First: 1, Last: 0}

// common returns the keys that two ranges have in common.
func common(a, b btree.KeyRange) btree.KeyRange {
	return btree.KeyRange{First: max(a.First, b.First), Last: min(a.Last, b.Last)}
}

// findRoom finds the keys that may fill each hole. A hole may be in many trees, with different
// bounds above it, and its fill must fit all of them.
func (g *grove) findRoom() {
	for i := range g.patches {
		g.patches[i].room = btree.AllKeys
	}
	for _, h := range g.holes {
		h.room = btree.AllKeys
	}
	for k := len(g.order) - 1; k >= 0; k-- { // parents before their children
		g.giveRoom(int(g.order[k]))
	}
}

// giveRoom limits the children of internal node i to the keys that the node leaves to them.
func (g *grove) giveRoom(i int) {
	p, in := &g.patches[i], &g.forest.Inner()[i]
	if !p.changed {
		return
	}
	least := make([]uint64, len(p.entries)+1) // key to the right that is in use
	bounded := make([]bool, len(p.entries)+1)
	for e := len(p.entries) - 1; e >= 0; e-- {
		least[e], bounded[e] = least[e+1], bounded[e+1]
		if t := g.tree(p.entries[e]); t.n > 0 {
			least[e], bounded[e] = t.first, true
		}
	}
	begin, full := uint64(0), false // what is in use to the left
	child := 0                      // index in the original node, which has no gaps
	for e, it := range p.entries {
		h, t := g.holeOf(it), g.tree(it)
		var keys btree.KeyRange
		if h != nil && h.gap {
			keys = h.keys
		} else {
			keys = in.ChildRange(child, btree.AllKeys)
			child++
		}
		if t.n > 0 { // even if the bounds are wrong
			keys.First, keys.Last = min(keys.First, t.first), max(keys.Last, t.last)
		}
		free := btree.KeyRange{First: begin, Last: math.MaxUint64}
		if bounded[e+1] {
			free.Last = least[e+1] - 1
		}
		keys = common(common(keys, free), p.room)
		if full || bounded[e+1] && least[e+1] == 0 {
			keys = noKeys
		}
		switch {
		case h != nil:
			h.room = common(h.room, keys)
		case it.node >= 0:
			below := &g.patches[it.node]
			below.room = common(below.room, keys)
		}
		if t.n > 0 {
			begin, full = t.last+1, t.last == math.MaxUint64
		}
	}
}
