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

// findRoom finds for each hole the keys that can be filled in. A hole may lie in many trees,
// whose nodes above it have different bounds, and what fills it has to fit all of them.
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

// giveRoom takes from the children of internal node i the keys that it does not leave to them.
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
	child := 0                      // of the node as it was: gaps are none
	for e, it := range p.entries {
		h, t := g.holeOf(it), g.tree(it)
		var keys btree.KeyRange
		if h != nil && h.gap {
			keys = h.keys
		} else {
			keys = in.ChildRange(child, btree.AllKeys)
			child++
		}
		if t.n > 0 { // also where it is the bounds that are wrong
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
