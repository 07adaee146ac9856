package repair

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A rootSearch finds trees for devices without a known root, among the trees that nothing points
// to.
type rootSearch struct {
	*salvage
	lost []*device                   // without a root
	free []orphan                    // trees to choose from
	was  map[metadata.DevID]block.Nr // the devices' roots in the newest earlier commit that is left
	sure bool                        // every choice so far was the only possible one
}

// recoverRoots finds the mapping trees of devices without a known root.
func (s *salvage) recoverRoots(ctx context.Context) error {
	if err := s.assignRequestedOrphans(); err != nil {
		return err
	}
	r := &rootSearch{salvage: s, sure: len(s.opt.Adopt) == 0}
	for i := range s.pool.devices {
		if d := &s.pool.devices[i]; !d.hasRoot {
			r.lost = append(r.lost, d)
		}
	}
	if len(r.lost) == 0 {
		return nil
	}
	r.free = s.strayTrees()
	r.was = s.lineage.roots()
	r.matchByCount()
	r.matchIdenticalTrees()
	r.matchBySharedContent(ctx, s.commonLeaves)
	r.matchBySharedContent(ctx, s.commonMappings)
	r.matchByCount()
	if s.counts == nil {
		r.assignOutdatedTrees()
	}
	return ctx.Err()
}

// assignRequestedOrphans gives orphans the ids the caller asked for.
func (s *salvage) assignRequestedOrphans() error {
	if len(s.opt.Adopt) == 0 {
		return nil
	}
	free := s.strayTrees()
	for _, root := range slices.Sorted(maps.Keys(s.opt.Adopt)) {
		id := s.opt.Adopt[root]
		if !slices.ContainsFunc(free, func(o orphan) bool { return o.block == root }) {
			return fmt.Errorf("block %d is not an orphan: it is not the root of a mapping tree, or something points to it", root)
		}
		d := s.pool.device(id)
		if d.hasRoot {
			return fmt.Errorf("block %d cannot become %s, whose mapping root is block %d", root, s.opt.label(id), d.Root)
		}
		d.Root, d.hasRoot, d.assigned, d.outdated = root, true, true, true
		s.adopted = append(s.adopted, root)
		s.note("%s: using the orphan in block %d, as requested", s.opt.label(id), root)
	}
	return nil
}

// keepOrphans lists the remaining orphans, and gives them new ids if asked to.
func (s *salvage) keepOrphans(ctx context.Context) error {
	if s.counts == nil {
		return nil
	}
	if s.sb.HeldRoot != 0 && !slices.ContainsFunc(s.copies, func(c metadata.Superblock) bool { return c.Block == s.sb.HeldRoot }) {
		s.note("block %d: the metadata snapshot cannot be read; trees that only it pointed to look like orphans", s.sb.HeldRoot)
	}
	next := metadata.DevID(0)
	for _, d := range s.pool.devices {
		next = max(next, d.ID+1)
	}
	if s.opt.LVM != nil {
		for id := range s.opt.LVM.Volumes { // a device must not be taken for an LVM volume
			next = max(next, id+1)
		}
	}
	kept := false
	for _, o := range s.orphans() {
		if role, _ := s.pool.forest.Role(o.block); !o.whole || role != btree.Absent {
			continue // a lost node, or the lost snapshot, pointed to it as well
		}
		found := Orphan{Root: o.block, Mappings: o.n}
		for _, d := range s.pool.devices {
			if !d.hasRoot && (!d.hasDetails || s.aged || d.expected == o.n) {
				found.Devices = append(found.Devices, d.ID)
			}
		}
		if s.opt.KeepOrphans && next <= metadata.MaxDevID {
			d := s.pool.device(next)
			d.Root, d.hasRoot, d.assigned, d.outdated = o.block, true, true, true
			s.adopted = append(s.adopted, o.block)
			found.Assigned, found.Kept = next, true
			next++
			kept = true
		}
		s.found = append(s.found, found)
	}
	if !kept {
		return nil
	}
	return s.pool.readMappings(ctx)
}

// strayTrees returns the trees that may belong to devices.
func (s *salvage) strayTrees() []orphan {
	if s.counts != nil {
		return s.orphans()
	}
	var found []orphan
	for _, root := range s.survey.Roots(survey.MappingLeaf) {
		t := s.survey.Subtree(root)
		found = append(found, orphan{subtree{root, t.First, t.Last, t.N, t.Depth}, 1, t.Whole})
	}
	return found
}

// assignTree gives tree o to device d. Unless no other choice was possible, this is a guess, and
// so is everything that follows.
func (r *rootSearch) assignTree(d *device, o *orphan, sure bool, how string) {
	r.sure = r.sure && sure
	d.Root, d.hasRoot = o.block, true
	d.rootFound, d.outdated = true, !r.sure
	o.pointers--
	r.adopted = append(r.adopted, o.block)
	r.note("%s: its mapping root is lost; using block %d, %s", r.opt.label(d.ID), d.Root, how)
}

// fits reports whether o can be the tree of d.
func (r *rootSearch) fits(d *device, o *orphan) bool {
	possible := o.n == d.MappedBlocks || !o.whole && o.n < d.MappedBlocks
	return !d.hasRoot && o.pointers > 0 && (!d.hasDetails || r.aged || possible)
}

// matchIdenticalTrees finds trees that have not changed since an earlier commit.
func (r *rootSearch) matchIdenticalTrees() {
	for _, d := range r.lost {
		for i := range r.free {
			if o := &r.free[i]; o.block == r.was[d.ID] && r.fits(d, o) {
				r.assignTree(d, o, false, "the one an earlier commit named and which is still in use")
			}
		}
	}
}

// matchBySharedContent finds trees that share content with what a device had earlier, the best
// match first. If several devices had the same content, the one with the highest id is the least
// likely to have been deleted since.
func (r *rootSearch) matchBySharedContent(ctx context.Context, common func(ctx context.Context, was block.Nr) func(now block.Nr) int) {
	type match struct {
		d      *device
		o      *orphan
		common int
	}
	if !r.comparisonAffordable() {
		r.noteOnce("too many devices lost their roots to compare all trees")
		return
	}
	var all []match
	for _, d := range r.lost {
		if d.hasRoot || r.was[d.ID] == 0 {
			continue
		}
		count := common(ctx, r.was[d.ID])
		for i := range r.free {
			if o := &r.free[i]; r.fits(d, o) {
				if n := count(o.block); n > 0 {
					all = append(all, match{d, o, n})
				}
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool {
		a, b := all[i], all[j]
		return cmp.Or(cmp.Compare(b.common, a.common), cmp.Compare(b.d.ID, a.d.ID)) < 0
	})
	for _, m := range all {
		if !r.fits(m.d, m.o) {
			continue
		}
		r.assignTree(m.d, m.o, false, "the tree in use most like that of an earlier commit")
	}
}

// comparisonAffordable reports whether there is time to compare the trees of all devices without
// roots with all free trees.
func (r *rootSearch) comparisonAffordable() bool {
	const most, least = 128, 10000 // comparisons per node
	leaves, nodes := uint64(0), uint64(len(r.survey.Nodes))
	for i := range r.free {
		leaves += min(r.free[i].n/uint64(btree.MaxEntries(metadata.MappingSize))+1, nodes)
	}
	lost := 0
	for _, d := range r.lost {
		lost += boolToInt(!d.hasRoot && r.was[d.ID] != 0)
	}
	return lost*len(r.free) <= least && uint64(lost)*leaves <= most*nodes+least
}

// matchByCount matches trees to devices by the number of mappings, where only one device fits. A
// tree that is not whole fits any device with more mappings. Every tree in use belongs to some
// device, so each match may leave only one choice for the next. If the books do not balance in the
// end, all matches are guesses.
func (r *rootSearch) matchByCount() {
	const most = 1 << 26 // comparisons
	work := 0
	for settled := true; settled; {
		settled = false
		if work += len(r.lost) * len(r.free); work > most {
			r.noteOnce("too many devices lost their roots to find all trees by their mapping counts")
			return
		}
		for i := range r.free {
			o := &r.free[i]
			var fit []*device
			for _, d := range r.lost {
				if r.fits(d, o) {
					fit = append(fit, d)
				}
			}
			if len(fit) > int(o.pointers) {
				continue
			}
			for _, d := range fit {
				r.assignTree(d, o, true, "the only tree in use with the right number of mappings")
				settled = true
			}
		}
	}
}

// assignOutdatedTrees takes the trees of earlier commits when there is no way to tell which trees
// are in use.
func (r *rootSearch) assignOutdatedTrees() {
	for _, d := range r.lost {
		if was := r.was[d.ID]; !d.hasRoot && was != 0 && r.survey.Subtree(was).Kind == survey.MappingLeaf {
			d.Root, d.hasRoot, d.outdated = was, true, true
			r.note("%s: its mapping root is lost, and so is the space map that could identify its tree; using block %d, which an earlier commit named",
				r.opt.label(d.ID), d.Root)
		}
	}
}

// commonLeaves returns a function that counts the leaves a tree shares with the one at was.
func (s *salvage) commonLeaves(_ context.Context, was block.Nr) func(block.Nr) int {
	before := map[block.Nr]int{}
	s.collect(was, 0, 0, before)
	return func(now block.Nr) (n int) {
		for leaf := range s.survey.Leaves(now) {
			if _, ok := before[leaf.Block]; ok {
				n++
			}
		}
		return n
	}
}

// commonMappings returns a function that counts the mappings a tree shares with the one at was.
func (s *salvage) commonMappings(ctx context.Context, was block.Nr) func(block.Nr) int {
	before := map[uint64]uint64{}
	s.eachMapping(ctx, was, func(thin, data uint64) { before[thin] = data })
	return func(now block.Nr) (n int) {
		s.eachMapping(ctx, now, func(thin, data uint64) {
			if d, ok := before[thin]; ok && d == data {
				n++
			}
		})
		return n
	}
}

// eachMapping calls fn for each readable mapping below root.
func (s *salvage) eachMapping(ctx context.Context, root block.Nr, fn func(thin, data uint64)) {
	for leaf := range s.survey.Leaves(root) {
		if ctx.Err() != nil {
			return // recoverRoots returns the error
		}
		n, ok := s.mappingLeaf(leaf.Block)
		if !ok {
			continue
		}
		for i := range n.Len() {
			data, _ := metadata.UnpackMapping(n.Uint64(i))
			fn(n.Key(i), uint64(data))
		}
	}
}

// mappingLeaf reads a mapping leaf; false if it is not one.
func (m *medium) mappingLeaf(nr block.Nr) (btree.Node, bool) {
	b := new(block.Data)
	if m.r.Read(nr, b) != nil {
		return btree.Node{}, false
	}
	n, err := btree.Decode(nr, b, metadata.MappingSize)
	return n, err == nil && n.Leaf()
}
