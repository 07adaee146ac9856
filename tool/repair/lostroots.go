package repair

import (
	"cmp"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
	"thinpool/metadata/survey"
)

// A rootFinder gives devices whose root is not known one of the trees that nothing
// leads to.
type rootFinder struct {
	f    *finder
	lost []*device                   // without a root
	free []orphan                    // trees to choose from
	was  map[metadata.DevID]block.Nr // where the devices' roots were in the latest transaction that is left
}

// findRoots finds the mapping trees of devices whose root is not known.
func (f *finder) findRoots(p *pool, c *metadataCounts) error {
	if len(p.lostRoots) > 0 && len(p.lostDetails) > 0 {
		f.olderDevices(p)
	}
	r := &rootFinder{f: f}
	for i := range p.devices {
		if d := &p.devices[i]; !d.hasRoot {
			r.lost = append(r.lost, d)
		}
	}
	if len(r.lost) == 0 {
		return nil
	}
	r.free = f.strayTrees(c)
	var err error
	if r.was, err = f.latestRoots(c); err != nil {
		return err
	}
	r.unchanged()
	r.alike()
	r.counted()
	return nil
}

// strayTrees returns the trees that can be those of devices.
func (f *finder) strayTrees(c *metadataCounts) []orphan {
	if c != nil {
		return f.orphans(c)
	}
	var found []orphan
	for _, root := range f.survey.Roots(survey.MappingLeaf) {
		t := f.survey.Tree(root)
		found = append(found, orphan{subtree{root, t.First, t.Last, t.N, t.Depth}, 1})
	}
	return found
}

// latestRoots returns the roots of devices that earlier transactions named: those
// that have most in common with the last one first.
func (f *finder) latestRoots(c *metadataCounts) (map[metadata.DevID]block.Nr, error) {
	all, err := f.generations()
	if err != nil {
		return nil, err
	}
	live := func(g *Generation) (n int) {
		for _, d := range g.Devices {
			if c != nil && uint64(d.Root) < c.stored.Len() && c.stored.Get(uint64(d.Root)) > 0 {
				n++
			}
		}
		return n
	}
	slices.SortStableFunc(all, func(a, b *Generation) int { return cmp.Compare(live(b), live(a)) })
	roots := map[metadata.DevID]block.Nr{}
	for _, g := range all {
		for _, d := range g.Devices {
			if _, ok := roots[d.ID]; !ok {
				roots[d.ID] = d.Root
			}
		}
	}
	return roots, nil
}

// take gives d the tree o.
func (r *rootFinder) take(d *device, o *orphan, how string) {
	d.Root, d.hasRoot = o.block, true
	o.pointers--
	r.f.note("device %d: the root of its mappings is lost; block %d is %s", d.ID, d.Root, how)
}

// fits reports whether o can be the tree of d.
func (r *rootFinder) fits(d *device, o *orphan) bool {
	return !d.hasRoot && o.pointers > 0 && (!d.hasDetails || r.f.aged || o.n == d.MappedBlocks)
}

// unchanged finds trees that have not changed since an earlier transaction.
func (r *rootFinder) unchanged() {
	for _, d := range r.lost {
		for i := range r.free {
			if o := &r.free[i]; o.block == r.was[d.ID] && r.fits(d, o) {
				r.take(d, o, "what an earlier transaction named, and still in use")
			}
		}
	}
}

// alike finds trees that share nodes with what the device had earlier, those that
// share most first. Where two are as good nobody knows.
func (r *rootFinder) alike() {
	type match struct {
		d      *device
		o      *orphan
		common int
	}
	var all []match
	for _, d := range r.lost {
		if d.hasRoot || r.was[d.ID] == 0 {
			continue
		}
		before := r.f.nodesBelow(r.was[d.ID])
		for i := range r.free {
			if o := &r.free[i]; r.fits(d, o) {
				if n := r.f.common(o.block, before); n > 0 {
					all = append(all, match{d, o, n})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b match) int { return cmp.Compare(b.common, a.common) })
	for i, m := range all {
		if !r.fits(m.d, m.o) {
			continue
		}
		tied := slices.ContainsFunc(all[i+1:], func(other match) bool {
			return other.common == m.common && (other.d == m.d) != (other.o == m.o) && r.fits(other.d, other.o)
		})
		if !tied {
			r.take(m.d, m.o, "the tree in use that has most in common with what it was in an earlier transaction")
		}
	}
}

// counted finds trees that only one device can have, by the number of mappings.
func (r *rootFinder) counted() {
	for _, d := range r.lost {
		if !d.hasDetails || r.f.aged {
			continue
		}
		var only *orphan
		trees, rivals := 0, 0
		for i := range r.free {
			if o := &r.free[i]; r.fits(d, o) {
				only = o
				trees++
			}
		}
		for _, other := range r.lost {
			if !other.hasRoot && other.MappedBlocks == d.MappedBlocks {
				rivals++
			}
		}
		if trees == 1 && rivals <= int(only.pointers) {
			r.take(d, only, "the only tree in use with as many mappings")
		}
	}
}

// nodesBelow returns the nodes of the tree at root that can be read.
func (f *finder) nodesBelow(root block.Nr) map[block.Nr]bool {
	nodes := map[block.Nr]bool{}
	f.collect(root, 0, nodes)
	return nodes
}

// collect adds the nodes below nr to nodes.
func (f *finder) collect(nr block.Nr, depth int, nodes map[block.Nr]bool) {
	n, ok := f.survey.Node(nr)
	if !ok || nodes[nr] || depth > maxDepth || n.Sort != survey.Inner && n.Sort != survey.MappingLeaf {
		return
	}
	nodes[nr] = true
	for _, e := range f.survey.Entries(n) {
		f.collect(e.Block, depth+1, nodes)
	}
}

// common counts the leaves below root that are among nodes.
func (f *finder) common(root block.Nr, nodes map[block.Nr]bool) (n int) {
	for leaf := range f.survey.Leaves(root) {
		if nodes[leaf.Block] {
			n++
		}
	}
	return n
}

// olderDevices adds the devices that earlier transactions had where both trees of
// devices have lost something.
func (f *finder) olderDevices(p *pool) {
	lost := func(parts []btree.Part, id uint64) bool {
		return slices.ContainsFunc(parts, func(part btree.Part) bool { return part.Keys.Contains(id, id) })
	}
	for i := range f.survey.Nodes {
		n := &f.survey.Nodes[i]
		if n.Sort != survey.TopLeaf {
			continue
		}
		for _, e := range f.survey.Entries(n) {
			if lost(p.lostRoots, e.Key) && lost(p.lostDetails, e.Key) {
				p.device(metadata.DevID(e.Key))
			}
		}
	}
}
