package repair

import (
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A hole is a lost subtree of the mapping trees.
type hole struct {
	block block.Nr // the block of its root
	keys  btree.KeyRange
	room  btree.KeyRange // the part of keys not used by another subtree in any of its trees
	level int            // above the leaves; -1: unknown
	err   error
	gap   bool // between children of a rebuilt node: perhaps nothing is lost

	owners    metadata.OwnerList // devices with a path to it
	filled    bool
	fill      subtree          // what was found for it
	confirmed uint64           // mappings of fill
	guessed   uint64           // mappings of fill
	guesses   []btree.KeyRange // thin blocks of the guessed mappings
	rebuilt   uint64           // mappings below the children the node was rebuilt from
}

// guess counts a mapping of fill that may be wrong. Calls come by ascending keys.
func (h *hole) guess(thin uint64) {
	h.guessed++
	if n := len(h.guesses); n > 0 && h.guesses[n-1].Last+1 == thin {
		h.guesses[n-1].Last = thin
		return
	}
	h.guesses = append(h.guesses, btree.KeyRange{First: thin, Last: thin})
}

// A subtree is what is left of a tree below one block.
type subtree struct {
	block       block.Nr
	first, last uint64 // keys, if n is not 0
	n           uint64 // mappings
	depth       int
}

// An entry is an entry of an internal node in the repaired tree. There are as many as pointers on
// the device, so they are small.
type entry struct {
	node int32 // index of an internal node in the forest, or -1 - index of a leaf
	hole int32 // 1 + index of the hole in its place; 0: none
}

// A patch is an internal node of the repaired tree.
type patch struct {
	entries []entry
	changed bool  // it or something below it differs from the original
	built   bool  // it has been written
	state   uint8 // of the visit
	tree    subtree
	room    btree.KeyRange // keys that all its parents leave to it
}

const (
	unseen = iota
	underway
	visited
)

// deepest is the maximum depth of a node below its root. The fill of holes takes a few more
// levels.
const deepest = btree.MaxDepth - 8

// A grove is the mapping trees of a pool with their holes. Each node is visited once, however many
// devices share it.
type grove struct {
	*medium
	forest  *btree.Forest
	rebuilt map[block.Nr]*hole // nodes rebuilt from their children
	patches []patch            // by index of internal node
	order   []int32            // internal nodes, children before parents
	holes   []*hole
	byPlace map[place]int32 // 1 + index of holes
	roots   []entry         // by device
	tallies []tally         // by index of internal node; see tally
}

type place struct {
	block block.Nr
	begin uint64
}

// findHoles walks the trees of all devices of a pool.
func findHoles(p *pool, rebuilt map[block.Nr]*hole) *grove {
	g := &grove{
		medium: p.medium, forest: p.forest, rebuilt: rebuilt, roots: make([]entry, len(p.devices)),
		patches: make([]patch, len(p.forest.Inner())), byPlace: map[place]int32{},
	}
	for i := range p.devices {
		if d := &p.devices[i]; d.hasRoot {
			g.roots[i] = g.visit(d.Root, 0, 0, btree.AllKeys, 0)
			continue
		}
		g.holes = append(g.holes, &hole{keys: btree.AllKeys, level: -1, err: errNoRoot})
		g.roots[i] = entry{hole: int32(len(g.holes))}
	}
	g.findRoom()
	return g
}

// holeOf returns the hole of an entry; nil if it has none.
func (g *grove) holeOf(e entry) *hole {
	if e.hole == 0 {
		return nil
	}
	return g.holes[e.hole-1]
}

// tree returns what can be read below an entry.
func (g *grove) tree(e entry) subtree {
	switch {
	case e.hole != 0:
		return subtree{}
	case e.node >= 0:
		return g.patches[e.node].tree
	}
	l := &g.forest.Leaves()[-1-e.node]
	return subtree{l.Block, l.First, l.Last, uint64(l.N), 0}
}

// errNoRoot is the reason for a hole when a device's root is unknown.
var errNoRoot error = noRootError{}

type noRootError struct{}

func (noRootError) Error() string { return "its mapping root is unknown" }

func (noRootError) Unwrap() error { return block.ErrCorrupt }

// visit walks the subtree at nr, entry e of parent.
func (g *grove) visit(nr, parent block.Nr, e int, keys btree.KeyRange, depth int) entry {
	switch role, i := g.forest.Role(nr); role {
	case btree.LeafNode:
		return entry{node: int32(-1 - i)}
	case btree.InnerNode:
		p := &g.patches[i]
		if p.state == unseen && depth < deepest {
			g.inner(i, keys, depth)
		}
		if p.state != visited || depth+p.tree.depth > deepest {
			return g.holeEntry(nr, keys, &btree.LoopError{Block: nr})
		}
		return entry{node: int32(i)}
	}
	return g.holeEntry(nr, keys, g.forest.Err(nr, parent, e))
}

// holeEntry returns the entry for the hole at block nr; several nodes may share it.
func (g *grove) holeEntry(nr block.Nr, keys btree.KeyRange, err error) entry {
	at := place{nr, keys.First}
	if g.byPlace[at] == 0 {
		g.holes = append(g.holes, &hole{block: nr, keys: keys, level: -1, err: err})
		g.byPlace[at] = int32(len(g.holes))
	}
	return entry{hole: g.byPlace[at]}
}

// inner walks internal node i and everything below it.
func (g *grove) inner(i int, keys btree.KeyRange, depth int) {
	p, in := &g.patches[i], &g.forest.Inner()[i]
	p.state = underway
	p.entries = make([]entry, len(in.Children))
	for e, child := range in.Children {
		p.entries[e] = g.visit(child, in.Block, e, in.ChildRange(e, keys), depth+1)
	}
	g.cutMisplacedEntries(in, p, keys)
	g.sum(in.Block, p)
	for _, e := range p.entries {
		if h := g.holeOf(e); h != nil && p.tree.depth > 0 {
			h.level = p.tree.depth - 1
		}
	}
	if h := g.rebuilt[in.Block]; h != nil {
		g.addGaps(p, h)
	}
	p.state = visited
	g.order = append(g.order, int32(i))
}

// addGaps puts holes between the children of a rebuilt node, because some children may not have
// been found.
func (g *grove) addGaps(p *patch, h *hole) {
	var all []entry
	gap := func(keys btree.KeyRange) {
		if !keys.Empty() {
			between := g.holeEntry(h.block, keys, h.err)
			g.holeOf(between).gap = true
			all = append(all, between)
		}
	}
	begin := h.keys.First
	for _, e := range p.entries {
		t := g.tree(e)
		if t.n > 0 && t.first > 0 {
			gap(btree.KeyRange{First: begin, Last: t.first - 1})
		}
		all = append(all, e)
		if t.n > 0 {
			begin = t.last + 1
		}
	}
	if begin > 0 || len(p.entries) == 0 {
		gap(btree.KeyRange{First: begin, Last: h.keys.Last})
	}
	p.entries, p.changed = all, true
}

// cutMisplacedEntries turns entries with misplaced keys into holes. Keys outside the bounds do no
// harm if they lie between those of the neighbours: then the bounds are wrong.
func (g *grove) cutMisplacedEntries(in *btree.Inner, p *patch, keys btree.KeyRange) {
	fits := func(e int) bool {
		t := g.tree(p.entries[e])
		return t.n > 0 && in.ChildRange(e, btree.AllKeys).Contains(t.first, t.last)
	}
	next := make([]uint64, len(p.entries)) // least key to the right that is in place
	least, bounded := uint64(0), false
	bounds := make([]bool, len(p.entries))
	for e := len(p.entries) - 1; e >= 0; e-- {
		next[e], bounds[e] = least, bounded
		if fits(e) {
			least, bounded = g.tree(p.entries[e]).first, true
		}
	}
	last, any := uint64(0), false
	for e := range p.entries {
		t := g.tree(p.entries[e])
		if t.n == 0 {
			p.changed = true
			continue
		}
		if !fits(e) {
			p.changed = true
			if any && t.first <= last || bounds[e] && t.last >= next[e] {
				want := in.ChildRange(e, keys)
				err := &btree.BoundsError{Block: t.block, Parent: in.Block, First: t.first, Last: t.last, Want: want}
				p.entries[e] = g.holeEntry(t.block, want, err)
				continue
			}
		}
		if i := p.entries[e].node; i >= 0 && g.patches[i].changed {
			p.changed = true
		}
		last, any = t.last, true
	}
}

// sum adds up the present entries of node nr.
func (g *grove) sum(nr block.Nr, p *patch) {
	p.tree = subtree{block: nr}
	depth := -1
	for _, e := range p.entries {
		t := g.tree(e)
		if t.n == 0 {
			continue
		}
		if p.tree.n == 0 {
			p.tree.first = t.first
		}
		p.tree.n, p.tree.last = p.tree.n+t.n, t.last
		if depth >= 0 && t.depth != depth {
			p.changed = true
		}
		depth = max(depth, t.depth)
	}
	p.tree.depth = depth + 1
}

// rebuild writes everything that has changed below an entry, with the holes filled. It returns the
// new subtree; false if nothing is left.
func (g *grove) rebuild(e entry) (subtree, bool, error) {
	if h := g.holeOf(e); h != nil {
		return h.fill, h.filled, nil
	}
	if t := g.tree(e); e.node < 0 || !g.patches[e.node].changed || g.patches[e.node].built {
		return t, t.n > 0, nil
	}
	p := &g.patches[e.node]
	p.built = true
	var left []subtree
	for _, e := range p.entries {
		t, ok, err := g.rebuild(e)
		if err != nil {
			return subtree{}, false, err
		}
		if ok {
			left = append(left, t)
		}
	}
	var err error
	if len(left) > btree.MaxEntries(btree.PointerSize) { // a few more fit than the kernel uses
		p.tree, err = g.assemble(left)
	} else {
		p.tree, err = g.joinSubtrees(g.forest.Inner()[e.node].Block, left)
	}
	return p.tree, p.tree.n > 0, err
}
