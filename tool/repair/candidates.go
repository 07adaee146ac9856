package repair

import (
	"cmp"
	"context"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A candidate is a mapping found in some leaf for a thin block in a hole.
type candidate struct {
	thin    uint64
	value   uint64 // as in the leaf: data block and time
	counted bool   // the space map counts its data block, but nothing points to it
	age     int    // of the leaf, in states; 0: the newest
	kept    bool   // the data block was in use in all commits since, or this is the lost leaf itself
}

// data returns the data block of a candidate.
func (c candidate) data() uint64 {
	data, _ := metadata.UnpackMapping(c.value)
	return uint64(data)
}

// recoverMappings fills holes with mappings from leaves that nothing points to any more: leaves of
// earlier commits, and the readable part of the damaged leaf itself.
func (s *salvage) recoverMappings(ctx context.Context, g *grove) error {
	holes := slices.DeleteFunc(slices.Clone(g.holes), func(h *hole) bool { return len(h.owners.IDs) == 0 || h.room.Empty() })
	if len(holes) == 0 {
		return nil
	}
	refs, known, err := s.countData(ctx, g)
	if err != nil {
		return err
	}
	surplus, err := s.dataSurplus(ctx, refs)
	if err != nil {
		return err
	}
	surplus.balanced = surplus.balanced && known && s.balanced
	l := ledger{surplus: surplus, lacking: map[metadata.DevID]uint64{}}
	for i := range s.pool.devices {
		if d := &s.pool.devices[i]; d.hasDetails && !s.aged {
			l.lacking[d.ID] = d.expected - min(d.expected, g.tree(g.roots[i]).n)
		}
	}
	leaves := newLeafIndex(s.survey)
	budget := newSearchBudget(leaves)
	for _, h := range holes {
		l.holes = append(l.holes, ledgerHole{keys: h.room, owners: h.owners, leaf: h.level == 0})
	}
	l.findRivals()
	for i, h := range holes {
		if l.holes[i].candidates, err = s.candidates(ctx, h, l.holes[i].rivals, budget, refs, surplus); err != nil {
			return err
		}
	}
	if budget.isExhausted() {
		s.note("too much is lost to search for all of it: the last lost ranges were not searched for")
	}
	for i, taken := range l.decide() {
		if err := s.fillHole(holes[i], taken); err != nil {
			return err
		}
	}
	return nil
}

// candidates returns what leaves say about the keys in a hole, as far as it is possible, by
// ascending thin block. If the hole has rivals, only earlier trees of the same devices count.
func (s *salvage) candidates(ctx context.Context, h *hole, rivals bool, budget *searchBudget, refs *spacemap.Counter, sp *surplus) ([]candidate, error) {
	var found []candidate
	if budget.isExhausted() {
		return nil, nil
	}
	var inUse []mapping
	if sp.none || len(sp.unknown) > 0 {
		if budget.inUse == nil || budget.inUseIn != h.room {
			budget.inUse, budget.inUseIn = s.mappingsIn(h, budget), h.room
		}
		inUse = budget.inUse
	}
	add := func(n btree.Node, leaf block.Nr, age int, had, shared bool) {
		for i := range n.Len() {
			data, time := metadata.UnpackMapping(n.Uint64(i))
			if !h.room.Contains(n.Key(i), n.Key(i)) || uint64(data) >= refs.Len() {
				continue
			}
			if leaf == h.block && n.Uint64(i) == 0 {
				continue // a truncated leaf says nothing about data block 0
			}
			missing, sure := sp.at(uint64(data))
			// Without the space map, a mapping is possible if its data block is free or shared with a device
			// that has the leaf.
			possible := had && (refs.Get(uint64(data)) == 0 || (shared || isIn(inUse, n.Key(i), data)) && s.treatsAsShared(h, time))
			if missing > 0 || !sure && possible {
				kept := leaf == h.block || s.ancestry.hadMapping(leaf, h.owners.Sample(), uint64(data))
				found = append(found, candidate{n.Key(i), n.Uint64(i), sure, age, kept})
			}
		}
	}
	if n, ok := s.damagedLeaf(h); ok {
		add(n, h.block, 0, true, false)
	}
	for leaf := range budget.in(h.room) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		age, had := s.lineage.age(leaf.Block, h.owners.Sample())
		if rivals && !had {
			continue
		}
		if !had { // of another device, or older than all states
			age = len(s.lineage.states)
		}
		if n, ok := s.mappingLeaf(leaf.Block); ok {
			role, _ := s.pool.forest.Role(leaf.Block)
			add(n, leaf.Block, age+1, had, role == btree.LeafNode)
		}
	}
	budget.candidates -= len(found)
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.thin, b.thin), cmp.Compare(a.value, b.value), cmp.Compare(a.age, b.age))
	})
	return found, nil
}

// mappingsIn returns the mappings that other devices have for the keys of a hole; the device may
// share them.
func (s *salvage) mappingsIn(h *hole, budget *searchBudget) []mapping {
	const most = 2048 // leaves; more would take too much memory
	var all []mapping
	n := 0
	for leaf := range budget.in(h.room) {
		if role, _ := s.pool.forest.Role(leaf.Block); role != btree.LeafNode {
			continue
		}
		if n++; n > most {
			return nil
		}
		budget.leaves -= 3 // keeping all mappings of a leaf costs more than looking at them
		n, ok := s.mappingLeaf(leaf.Block)
		if !ok {
			continue
		}
		for i := range n.Len() {
			if key := n.Key(i); h.room.Contains(key, key) {
				data, _ := metadata.UnpackMapping(n.Uint64(i))
				all = append(all, mapping{key, data})
			}
		}
	}
	slices.SortFunc(all, mapping.compare)
	return slices.Compact(all)
}

// A mapping says where a thin block lies.
type mapping struct {
	thin uint64
	data metadata.DataBlock
}

func (m mapping) compare(o mapping) int {
	return cmp.Or(cmp.Compare(m.thin, o.thin), cmp.Compare(m.data, o.data))
}

// isIn reports whether sorted mappings include the given one.
func isIn(all []mapping, thin uint64, data metadata.DataBlock) bool {
	_, found := slices.BinarySearchFunc(all, mapping{thin, data}, mapping.compare)
	return found
}

// damagedLeaf returns the leaf lost in a hole as if its checksum were right, provided everything
// else about it is. Its mappings are only candidates.
func (s *salvage) damagedLeaf(h *hole) (btree.Node, bool) {
	b := new(block.Data)
	if h.block == 0 || h.block >= s.limit || h.gap || s.survey.Kinds[h.block] != survey.Unknown || s.r.Read(h.block, b) != nil {
		return btree.Node{}, false
	}
	block.Reseal(b, block.Node)
	n, err := btree.Decode(h.block, b, metadata.MappingSize)
	return n, err == nil && n.Leaf()
}

// treatsAsShared reports whether the devices of a hole treat mappings of that time as shared. A
// device with made-up details treats all mappings as shared.
func (s *salvage) treatsAsShared(h *hole, time uint32) bool {
	if h.owners.Incomplete {
		return false
	}
	for _, id := range h.owners.IDs {
		if d := s.pool.device(id); d.hasDetails && time >= d.SnapshottedTime {
			return false
		}
	}
	return true
}

// fillHole writes leaves with the mappings chosen for a hole.
func (s *salvage) fillHole(h *hole, taken []decision) error {
	if len(taken) == 0 {
		return nil
	}
	var parts []subtree
	var b block.Data
	rest := taken
	for size := range btree.FillSizes(len(taken), btree.MaxEntries(metadata.MappingSize)) {
		nr, err := s.alloc()
		if err != nil {
			return err
		}
		d := btree.NewNodeBuilder(&b, true, metadata.MappingSize)
		for _, t := range rest[:size] {
			d.AddUint64(t.thin, t.value)
			if t.confirmed {
				h.confirmed++
			} else {
				h.guess(t.thin)
			}
		}
		d.Seal(nr)
		s.overlay.Put(nr, &b)
		parts = append(parts, subtree{nr, rest[0].thin, rest[size-1].thin, uint64(size), 0})
		rest = rest[size:]
	}
	var err error
	h.fill, err = s.assemble(parts)
	h.filled = err == nil
	return err
}
