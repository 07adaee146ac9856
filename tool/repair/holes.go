package repair

import (
	"cmp"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A hole is a subtree of the mapping trees that is lost.
type hole struct {
	block     block.Nr // that should be its root
	keys      btree.KeyRange
	level     int // above the leaves; -1: not known
	err       error
	gap       bool             // maybe nothing is lost: it is between children of a node that was rebuilt
	owners    []metadata.DevID // devices that lead to it
	filled    bool
	fill      subtree // what was found for it
	confirmed uint64  // mappings of fill
	guessed   uint64  // mappings of fill
	recovered uint64  // mappings below the children from which the node was rebuilt
}

// A subtree is what is left of one.
type subtree struct {
	block       block.Nr
	first, last uint64 // keys, if n is not 0
	n           uint64 // mappings
	depth       int
}

// An entry is one of an internal node, as it will be.
type entry struct {
	subtree
	hole  *hole // in its place, if not nil
	inner int   // index in the forest; -1: a leaf
}

// A patch is an internal node, as it will be.
type patch struct {
	entries []entry
	changed bool // it or something below it is not as it was
	state   int  // of the visit
	built   bool
	tree    subtree
}

const (
	unseen = iota
	underway
	visited
)

// A grove is the mapping trees of a pool with their holes.
type grove struct {
	*medium
	forest  *btree.Forest
	rebuilt map[block.Nr]*hole // nodes that were put together from children
	patches []patch            // by index of internal node
	holes   []*hole
	byPlace map[place]*hole
	roots   []entry // by device
}

type place struct {
	block block.Nr
	begin uint64
}

// findHoles follows the trees of all devices of a pool.
func findHoles(p *pool, rebuilt map[block.Nr]*hole) *grove {
	g := &grove{
		medium: p.medium, forest: p.forest, rebuilt: rebuilt, roots: make([]entry, len(p.devices)),
		patches: make([]patch, len(p.forest.Inner())), byPlace: map[place]*hole{},
	}
	for i, d := range p.devices {
		if d.hasRoot {
			g.roots[i] = g.visit(d.Root, 0, 0, btree.AllKeys, 0)
			continue
		}
		h := &hole{level: -1, err: errNoRoot}
		g.holes = append(g.holes, h)
		g.roots[i] = entry{hole: h}
	}
	for i, e := range g.roots {
		for _, h := range g.below(e) {
			h.owners = append(h.owners, p.devices[i].ID)
		}
	}
	return g
}

// mapped is how many mappings can be read below an entry.
func (g *grove) mapped(e entry) uint64 {
	switch {
	case e.hole != nil:
		return 0
	case e.inner >= 0:
		return g.patches[e.inner].tree.n
	}
	return e.n
}

// errNoRoot is why a device whose root is not known has lost everything.
var errNoRoot error = noRootError{}

type noRootError struct{}

func (noRootError) Error() string { return "the root of its mappings is not known" }

func (noRootError) Unwrap() error { return block.ErrCorrupt }

// visit looks at the subtree at nr, entry e of parent.
func (g *grove) visit(nr, parent block.Nr, e int, keys btree.KeyRange, depth int) entry {
	switch kind, i := g.forest.Kind(nr); kind {
	case btree.LeafNode:
		l := &g.forest.Leaves()[i]
		return entry{subtree: subtree{nr, l.First, l.Last, uint64(l.N), 0}, inner: -1}
	case btree.InnerNode:
		p := &g.patches[i]
		if p.state == underway || depth == btree.MaxDepth {
			return entry{hole: g.hole(nr, keys, &btree.LoopError{Block: nr})}
		}
		if p.state == unseen {
			g.inner(i, keys, depth)
		}
		return entry{subtree: p.tree, inner: i}
	}
	return entry{hole: g.hole(nr, keys, g.forest.Err(nr, parent, e))}
}

// hole returns the hole at block nr; several nodes may share it.
func (g *grove) hole(nr block.Nr, keys btree.KeyRange, err error) *hole {
	at := place{nr, keys.Begin}
	h := g.byPlace[at]
	if h == nil {
		h = &hole{block: nr, keys: keys, level: -1, err: err}
		g.byPlace[at] = h
		g.holes = append(g.holes, h)
	}
	return h
}

// inner looks at internal node i and at all below it.
func (g *grove) inner(i int, keys btree.KeyRange, depth int) {
	p, in := &g.patches[i], &g.forest.Inner()[i]
	p.state = underway
	p.entries = make([]entry, len(in.Children))
	for e, child := range in.Children {
		p.entries[e] = g.visit(child, in.Block, e, in.Range(e, keys), depth+1)
	}
	g.place(in, p, keys)
	p.sum(in.Block)
	for _, e := range p.entries {
		if e.hole != nil && p.tree.depth > 0 {
			e.hole.level = p.tree.depth - 1
		}
	}
	if h := g.rebuilt[in.Block]; h != nil {
		g.addGaps(p, h)
	}
	p.state = visited
}

// addGaps puts holes between the children of a rebuilt node, as
// some of its children may not have been found.
func (g *grove) addGaps(p *patch, h *hole) {
	var all []entry
	gap := func(keys btree.KeyRange) {
		if keys.End == 0 || keys.Begin < keys.End {
			between := g.hole(h.block, keys, h.err)
			between.gap = true
			all = append(all, entry{hole: between})
		}
	}
	begin := h.keys.Begin
	for _, e := range p.entries {
		if e.hole == nil && e.n > 0 && e.first > 0 {
			gap(btree.KeyRange{Begin: begin, End: e.first})
		}
		all = append(all, e)
		if e.hole == nil && e.n > 0 {
			begin = e.last + 1
		}
	}
	if begin > 0 || len(p.entries) == 0 {
		gap(btree.KeyRange{Begin: begin, End: h.keys.End})
	}
	p.entries, p.changed = all, true
}

// place turns entries whose keys are not where they should be into holes. Keys
// outside the bounds do no harm if they lie between those of the neighbours: then
// it is the bounds that are wrong.
func (g *grove) place(in *btree.Inner, p *patch, keys btree.KeyRange) {
	fits := func(e int) bool {
		t := &p.entries[e]
		return t.hole == nil && t.n > 0 && in.Range(e, btree.AllKeys).Contains(t.first, t.last)
	}
	next := make([]uint64, len(p.entries)) // least key to the right that is where it should be
	least, bounded := uint64(0), false
	bounds := make([]bool, len(p.entries))
	for e := len(p.entries) - 1; e >= 0; e-- {
		next[e], bounds[e] = least, bounded
		if fits(e) {
			least, bounded = p.entries[e].first, true
		}
	}
	last, any := uint64(0), false
	for e := range p.entries {
		t := &p.entries[e]
		if t.hole != nil || t.n == 0 {
			p.changed = true
			continue
		}
		if !fits(e) {
			p.changed = true
			if any && t.first <= last || bounds[e] && t.last >= next[e] {
				want := in.Range(e, keys)
				err := &btree.BoundsError{Block: t.block, Parent: in.Block, First: t.first, Last: t.last, Want: want}
				*t = entry{hole: g.hole(t.block, want, err)}
				continue
			}
		}
		p.changed = p.changed || t.inner >= 0 && g.patches[t.inner].changed
		last, any = t.last, true
	}
}

// sum works out what the entries that are there amount to.
func (p *patch) sum(nr block.Nr) {
	p.tree = subtree{block: nr}
	depth := -1
	for _, t := range p.entries {
		if t.hole != nil || t.n == 0 {
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

// rebuild writes what has changed below an entry, with the holes filled, and
// returns what is there now; false if it is nothing.
func (g *grove) rebuild(e entry) (subtree, bool, error) {
	switch {
	case e.hole != nil:
		return e.hole.fill, e.hole.filled, nil
	case e.inner < 0:
		return e.subtree, e.n > 0, nil
	}
	p := &g.patches[e.inner]
	if !p.changed || p.built {
		return p.tree, p.tree.n > 0, nil
	}
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
	if len(left) > btree.MaxEntries(btree.PointerSize) { // a few more fit than the kernel makes use of
		p.tree, err = g.assemble(left)
	} else {
		p.tree, err = g.join(g.forest.Inner()[e.inner].Block, left)
	}
	return p.tree, p.tree.n > 0, err
}

// below returns the holes below an entry, by ascending keys.
func (g *grove) below(e entry) []*hole {
	found := map[*hole]bool{}
	done := map[int]bool{}
	var walk func(e entry)
	walk = func(e entry) {
		if e.hole != nil {
			found[e.hole] = true
			return
		}
		if e.inner < 0 || !g.patches[e.inner].changed || done[e.inner] {
			return
		}
		done[e.inner] = true
		for _, e := range g.patches[e.inner].entries {
			walk(e)
		}
	}
	walk(e)
	holes := make([]*hole, 0, len(found))
	for h := range found {
		holes = append(holes, h)
	}
	slices.SortFunc(holes, func(a, b *hole) int {
		return cmp.Or(cmp.Compare(a.keys.Begin, b.keys.Begin), cmp.Compare(a.block, b.block))
	})
	return holes
}
