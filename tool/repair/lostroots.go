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
	r.was = f.latestRoots()
	r.unchanged()
	r.alike(f.commonLeaves)
	r.alike(f.commonMappings)
	r.counted()
	if c == nil {
		r.outdated()
	}
	return f.ctx.Err()
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

// latestRoots returns the roots of devices that earlier transactions named, the
// newest of each.
func (f *finder) latestRoots() map[metadata.DevID]block.Nr {
	roots := map[metadata.DevID]block.Nr{}
	for _, g := range f.generations() {
		for _, d := range g.Devices {
			if _, ok := roots[d.ID]; !ok && !f.replaced(d.ID, g, d.Details) {
				roots[d.ID] = d.Root
			}
		}
	}
	return roots
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

// alike finds trees that have something in common with what the device had
// earlier, those that have most first. Of several devices that had the same, the
// one with the highest id is the most likely not to have been deleted since.
func (r *rootFinder) alike(common func(was block.Nr) func(now block.Nr) int) {
	type match struct {
		d      *device
		o      *orphan
		common int
	}
	const most = 10000 // comparisons of trees; with more it would take hours
	if len(r.lost)*len(r.free) > most {
		r.f.note("too many devices have lost their roots to compare all trees")
		return
	}
	var all []match
	for _, d := range r.lost {
		if d.hasRoot || r.was[d.ID] == 0 {
			continue
		}
		count := common(r.was[d.ID])
		for i := range r.free {
			if o := &r.free[i]; r.fits(d, o) {
				if n := count(o.block); n > 0 {
					all = append(all, match{d, o, n})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b match) int {
		return cmp.Or(cmp.Compare(b.common, a.common), cmp.Compare(b.d.ID, a.d.ID))
	})
	for _, m := range all {
		if r.fits(m.d, m.o) {
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

// outdated takes the trees of earlier transactions where nobody can tell which are
// in use.
func (r *rootFinder) outdated() {
	for _, d := range r.lost {
		if was := r.was[d.ID]; !d.hasRoot && was != 0 && r.f.survey.Tree(was).Sort == survey.MappingLeaf {
			d.Root, d.hasRoot, d.outdated = was, true, true
			r.f.note("device %d: the root of its mappings is lost, and the space map that could tell which tree it is; block %d is what an earlier transaction named",
				d.ID, d.Root)
		}
	}
}

// commonLeaves returns a function that counts the leaves that a tree shares with
// the one at was.
func (f *finder) commonLeaves(was block.Nr) func(block.Nr) int {
	before := map[block.Nr]int{}
	f.collect(was, 0, 0, before)
	return func(now block.Nr) (n int) {
		for leaf := range f.survey.Leaves(now) {
			if _, ok := before[leaf.Block]; ok {
				n++
			}
		}
		return n
	}
}

// commonMappings returns a function that counts the mappings that a tree shares
// with the one at was.
func (f *finder) commonMappings(was block.Nr) func(block.Nr) int {
	before := map[uint64]uint64{}
	f.eachMapping(was, func(thin, data uint64) { before[thin] = data })
	return func(now block.Nr) (n int) {
		f.eachMapping(now, func(thin, data uint64) {
			if d, ok := before[thin]; ok && d == data {
				n++
			}
		})
		return n
	}
}

// eachMapping calls fn for the mappings below root that can be read.
func (f *finder) eachMapping(root block.Nr, fn func(thin, data uint64)) {
	var b block.Data
	for leaf := range f.survey.Leaves(root) {
		if f.ctx.Err() != nil {
			return // whoever asks for the result will notice
		}
		if f.r.Read(leaf.Block, &b) != nil {
			continue
		}
		n, err := btree.Decode(leaf.Block, &b, metadata.MappingSize)
		if err != nil {
			continue
		}
		for i := range n.Len() {
			data, _ := metadata.UnpackMapping(n.Uint64(i))
			fn(n.Key(i), uint64(data))
		}
	}
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
