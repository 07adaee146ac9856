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
		lost := slices.DeleteFunc(slices.Clone(m.holes), func(h *hole) bool { return !f.hadChildren(h) })
		adopted := map[*hole][]subtree{}
		for _, o := range orphans {
			for _, h := range f.parents(lost, o) {
				adopted[h] = append(adopted[h], o.subtree)
			}
		}
		filled := false
		for _, h := range lost {
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
			f.remade[h.block] = h
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

// hadChildren reports whether a hole can be a node whose children are still there.
func (f *finder) hadChildren(h *hole) bool {
	return h.level != 0 && !h.gap && h.block != 0 && h.block < f.limit && isUnreadable(h.err)
}

// parents returns the holes that o belongs to; none if that is not certain.
func (f *finder) parents(holes []*hole, o orphan) []*hole {
	var fit []*hole
	for _, h := range holes {
		if (h.level < 0 || o.depth < h.level) && h.keys.Contains(o.first, o.last) {
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
	_, ok := f.age(nr, ids)
	return ok
}

// age returns how many transactions ago a tree of one of the devices last had the
// node at nr; false if none had.
func (f *finder) age(nr block.Nr, ids []metadata.DevID) (age int, ok bool) {
	const witnesses = 8 // snapshots have had much the same; nobody needs ten thousand of them
	for _, id := range ids[:min(len(ids), witnesses)] {
		if a, had := f.olderNodes(id)[nr]; had && (!ok || a < age) {
			age, ok = a, true
		}
	}
	return age, ok
}

// olderNodes returns the nodes of all trees of a device that are left, and in
// which of the generations, counted from the newest, each was seen last.
func (f *finder) olderNodes(id metadata.DevID) map[block.Nr]int {
	if nodes, ok := f.older[id]; ok {
		return nodes
	}
	nodes := map[block.Nr]int{}
	for age, g := range f.generations() {
		i, ok := slices.BinarySearchFunc(g.Devices, id, func(d DeviceRoot, id metadata.DevID) int { return cmp.Compare(d.ID, id) })
		if ok && !f.replaced(id, g, g.Devices[i].Details) {
			f.collect(g.Devices[i].Root, 0, age, nodes)
		}
	}
	const kept = 16 // devices
	if len(f.older) == kept {
		clear(f.older)
	}
	f.older[id] = nodes
	return nodes
}

// replaced reports whether a device of g is not the one that has its id now: ids are
// used again.
func (f *finder) replaced(id metadata.DevID, g *Generation, then metadata.Details) bool {
	now, ok := f.now[id]
	return ok && g.Details != 0 && (now.TransactionID != then.TransactionID || now.CreationTime != then.CreationTime)
}

// collect adds the nodes below nr to nodes.
func (f *finder) collect(nr block.Nr, depth, age int, nodes map[block.Nr]int) {
	n, ok := f.survey.Node(nr)
	if _, had := nodes[nr]; !ok || had || depth > btree.MaxDepth || n.Sort != survey.Inner && n.Sort != survey.MappingLeaf {
		return
	}
	nodes[nr] = age
	for _, e := range f.survey.Entries(n) {
		f.collect(e.Block, depth+1, age, nodes)
	}
}
