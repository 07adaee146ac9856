package repair

import (
	"cmp"
	"context"
	"slices"
	"sort"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata/block"
)

// An orphan is a subtree of the mapping trees with fewer readable pointers to it than counted.
type orphan struct {
	subtree
	pointers uint32 // number of missing pointers
	whole    bool
}

// live reports whether a metadata block is known to be in use.
func (s *salvage) live(nr block.Nr) bool {
	return s.counts != nil && uint64(nr) < s.counts.Len() && s.counts.Get(uint64(nr)) > 0
}

// orphans returns the orphans of the state, by ascending keys.
func (s *salvage) orphans() []orphan {
	pointers := map[block.Nr]uint32{}
	nodes := s.survey.Nodes
	for i := range nodes {
		if s.live(nodes[i].Block) {
			for _, c := range s.survey.Entries(&nodes[i]) {
				pointers[c.Block]++
			}
		}
	}
	for i := range s.copies { // roots of the metadata snapshot
		if c := &s.copies[i]; s.live(c.Block) {
			pointers[c.MappingRoot]++
		}
	}
	for _, nr := range s.adopted {
		pointers[nr]++
	}
	var found []orphan
	for i := range nodes {
		nr := nodes[i].Block
		t := s.survey.Subtree(nr)
		if t.Kind != survey.MappingLeaf || t.N == 0 || !s.live(nr) || nr == s.state.Mapping {
			continue
		}
		if stored := s.counts.Get(uint64(nr)); stored > pointers[nr] {
			found = append(found, orphan{subtree{nr, t.First, t.Last, t.N, t.Depth}, stored - pointers[nr], t.Whole})
		}
	}
	sort.Slice(found, func(i, j int) bool {
		a, b := &found[i], &found[j]
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.block, b.block)) < 0
	})
	return found
}

// recoverNodes rebuilds lost internal nodes from their children: orphans whose keys lie in the
// hole.
func (s *salvage) recoverNodes(ctx context.Context) error {
	if s.counts == nil {
		return nil
	}
	const levels, most = 16, 1 << 26 // sound metadata never has more of either
	orphans := s.orphans()
	for range levels { // below an orphan there may be more holes
		g := findHoles(s.pool, s.rebuilt)
		g.findOwners(s.pool)
		lost := slices.DeleteFunc(slices.Clone(g.holes), func(h *hole) bool { return !s.hadChildren(h) })
		if len(lost)*len(orphans) > most {
			s.note("too many nodes and parents are lost to rebuild nodes from their children")
			return nil
		}
		children := map[*hole][]subtree{}
		for _, o := range orphans {
			for _, h := range s.parents(lost, o) {
				children[h] = append(children[h], o.subtree)
			}
		}
		found := false
		for _, h := range lost {
			own := children[h]
			if len(own) == 0 || len(own) > btree.MaxEntries(btree.PointerSize) || !ascend(own) {
				continue
			}
			for _, c := range own {
				s.adopted = append(s.adopted, c.block)
				h.rebuilt += c.n
			}
			t, err := s.rebuildNode(h, own)
			if err != nil {
				return err
			}
			s.note("block %d: this unreadable internal node was rebuilt from %d of its children, which the metadata space map counts as used", h.block, len(own))
			found = found || t.n > 0
			s.rebuilt[h.block] = h
		}
		if !found {
			return nil
		}
		s.reopen()
		if err := s.pool.readMappings(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rebuildNode writes the lost node of a hole above its children.
func (s *salvage) rebuildNode(h *hole, children []subtree) (subtree, error) {
	for i := range children {
		var err error
		if children[i], err = s.deepen(children[i], h.level-1); err != nil {
			return subtree{}, err
		}
	}
	return s.joinSubtrees(h.block, children)
}

// hadChildren reports whether a hole may be a node whose children are still there.
func (s *salvage) hadChildren(h *hole) bool {
	return h.level != 0 && !h.gap && h.block != 0 && h.block < s.limit && isUnreadable(h.err)
}

// parents returns the holes that o belongs to; none if this is not certain.
func (s *salvage) parents(holes []*hole, o orphan) []*hole {
	var fit []*hole
	for _, h := range holes {
		if (h.level < 0 || o.depth < h.level) && h.room.Contains(o.first, o.last) {
			fit = append(fit, h)
		}
	}
	if len(fit) > int(o.pointers) { // earlier commits may tell who owned it
		fit = slices.DeleteFunc(fit, func(h *hole) bool {
			_, had := s.lineage.age(o.block, h.owners.Sample())
			return !had
		})
	}
	if len(fit) > int(o.pointers) {
		return nil
	}
	return fit
}

func ascend(parts []subtree) bool {
	for i := 1; i < len(parts); i++ {
		if parts[i].first <= parts[i-1].last {
			return false
		}
	}
	return true
}
