package repair

import (
	"cmp"
	"errors"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
	"thinpool/metadata/spacemap"
	"thinpool/metadata/survey"
)

// metadataCounts are the stored reference counts of metadata blocks.
type metadataCounts struct{ stored *spacemap.Counts }

// countMetadata reads the metadata space map; nil if part of it cannot be read. It
// says which nodes belong to the trees of the last transaction, whatever else is
// on the device.
func (f *finder) countMetadata() *metadataCounts {
	root := f.sb.MetadataSpaceMap
	if f.sbErr != nil || root.NrBlocks == 0 || root.NrBlocks > spacemap.MaxMetadata {
		return nil
	}
	m, err := spacemap.LoadMetadata(f.ctx, f.r, f.limit, root)
	if err != nil {
		return nil
	}
	stored, err := m.Counts(f.ctx, uint64(f.limit))
	if err != nil || len(stored.Unknown) > 0 {
		return nil
	}
	return &metadataCounts{stored}
}

// live reports whether a block is in use; never if c is nil.
func (c *metadataCounts) live(nr block.Nr) bool {
	return c != nil && uint64(nr) < c.stored.Len() && c.stored.Get(uint64(nr)) > 0
}

// An orphan is a subtree of the mapping trees that more pointers should lead to
// than can be read.
type orphan struct {
	subtree
	pointers uint32 // that are missing
}

// orphans returns those of the last transaction, by ascending keys.
func (f *finder) orphans(c *metadataCounts) []orphan {
	pointers := map[block.Nr]uint32{}
	nodes := f.survey.Nodes
	for i := range nodes {
		if c.live(nodes[i].Block) {
			for _, e := range f.survey.Entries(&nodes[i]) {
				pointers[e.Block]++
			}
		}
	}
	var found []orphan
	for i := range nodes {
		nr := nodes[i].Block
		t := f.survey.Tree(nr)
		if t.Sort != survey.MappingLeaf || t.N == 0 || !c.live(nr) || nr == f.sb.MappingRoot {
			continue
		}
		if stored := c.stored.Get(uint64(nr)); stored > pointers[nr] {
			found = append(found, orphan{subtree{nr, t.First, t.Last, t.N, t.Depth}, stored - pointers[nr]})
		}
	}
	slices.SortFunc(found, func(a, b orphan) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.block, b.block)) })
	return found
}

// fillFromOrphans writes internal nodes that are lost anew, over the children that
// they had: orphans whose keys lie in the hole.
func (f *finder) fillFromOrphans(p *pool, c *metadataCounts) error {
	if c == nil {
		return nil
	}
	orphans := f.orphans(c)
	for { // below an orphan there may be more holes
		m := newMender(f, p.forest)
		m.roots(p)
		adopted := map[*hole][]subtree{}
		for _, o := range orphans {
			for _, h := range f.parents(m.holes, o) {
				adopted[h] = append(adopted[h], o.subtree)
			}
		}
		filled := false
		for _, h := range m.holes {
			children := adopted[h]
			if len(children) == 0 || len(children) > btree.MaxEntries(btree.PointerSize) || !ascend(children) {
				continue
			}
			t, err := f.adopt(h, children)
			if err != nil {
				return err
			}
			f.note("block %d: an internal node that cannot be read is put together anew over %d of its children, which the metadata space map counts as used",
				h.block, len(children))
			filled = filled || t.n > 0
		}
		if !filled {
			return nil
		}
		f.reopen()
		if err := f.readMappings(p); err != nil {
			return err
		}
	}
}

// adopt writes the lost node of a hole anew.
func (f *finder) adopt(h *hole, children []subtree) (subtree, error) {
	for i := range children {
		var err error
		if children[i], err = f.raise(children[i], h.level-1); err != nil {
			return subtree{}, err
		}
	}
	return f.join(h.block, children)
}

// parents returns the holes that o belongs to; none if that is not certain.
func (f *finder) parents(holes []*hole, o orphan) []*hole {
	var fit []*hole
	for _, h := range holes {
		lost := h.block != 0 && h.block < f.limit && isUnreadable(h.err)
		if lost && (h.level < 0 || o.depth < h.level) && h.keys.Contains(o.first, o.last) {
			fit = append(fit, h)
		}
	}
	if len(fit) > int(o.pointers) { // ask older transactions whose it is
		fit = slices.DeleteFunc(fit, func(h *hole) bool { return !f.wasBelow(o.block, h.owners) })
	}
	if len(fit) > int(o.pointers) {
		return nil
	}
	return fit
}

// isUnreadable reports whether err is about the content of a block, not about what
// points to it.
func isUnreadable(err error) bool {
	_, bounds := errors.AsType[*btree.BoundsError](err)
	_, loop := errors.AsType[*btree.LoopError](err)
	_, wild := errors.AsType[*btree.PointerError](err)
	return !bounds && !loop && !wild && !errors.Is(err, errNoRoot)
}

func ascend(parts []subtree) bool {
	for i := 1; i < len(parts); i++ {
		if parts[i].first <= parts[i-1].last {
			return false
		}
	}
	return true
}

// wasBelow reports whether an older transaction has the node at nr in a tree of
// one of the devices.
func (f *finder) wasBelow(nr block.Nr, ids []metadata.DevID) bool {
	for _, id := range ids {
		if f.olderNodes(id)[nr] {
			return true
		}
	}
	return false
}

// olderNodes returns the nodes of all trees of a device that are left on the device.
func (f *finder) olderNodes(id metadata.DevID) map[block.Nr]bool {
	if nodes, ok := f.older[id]; ok {
		return nodes
	}
	nodes := map[block.Nr]bool{}
	for _, root := range f.olderRoots(id) {
		f.collect(root, 0, nodes)
	}
	if f.older == nil {
		f.older = map[metadata.DevID]map[block.Nr]bool{}
	}
	f.older[id] = nodes
	return nodes
}

// olderRoots returns the roots that top-level leaves, of whatever age, name for a
// device, without repetition.
func (f *finder) olderRoots(id metadata.DevID) []block.Nr {
	var roots []block.Nr
	for i := range f.survey.Nodes {
		n := &f.survey.Nodes[i]
		if n.Sort != survey.TopLeaf || uint64(id) < n.First || uint64(id) > n.Last {
			continue
		}
		entries := f.survey.Entries(n)
		j, ok := slices.BinarySearchFunc(entries, uint64(id), func(e btree.Child, id uint64) int { return cmp.Compare(e.Key, id) })
		if ok && !slices.Contains(roots, entries[j].Block) {
			roots = append(roots, entries[j].Block)
		}
	}
	return roots
}
