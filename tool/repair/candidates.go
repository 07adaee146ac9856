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

// A candidate is a mapping that some leaf has for a thin block in a hole.
type candidate struct {
	thin    uint64
	value   uint64 // as in the leaf: data block and time
	counted bool   // its data block is counted, but nothing leads to it
	age     int    // of the leaf, in states; 0: the newest
	kept    bool   // the data block was in use at all commits since, or the leaf is the lost one
}

// data is the data block of a candidate.
func (c candidate) data() uint64 {
	data, _ := metadata.UnpackMapping(c.value)
	return uint64(data)
}

// recoverMappings fills holes with mappings of leaves that nothing leads to any more:
// those that earlier commits left, and the damaged leaf itself as far as it makes sense.
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

// candidates returns what leaves say of the keys in a hole, as far as it can be right,
// by ascending thin block. Where the hole has rivals only those of earlier trees of the
// same devices count.
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
				continue // a leaf that was cut off says nothing of data block 0
			}
			missing, sure := sp.at(uint64(data))
			// Without the space map a mapping is possible if its data block is not in use, or
			// shared with those who have the leaf.
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

// mappingsIn returns the mappings that other devices have for the keys of a hole: the
// device may share them.
func (s *salvage) mappingsIn(h *hole, budget *searchBudget) []mapping {
	const most = 2048 // leaves; with more of them it would take too much memory
	var all []mapping
	n := 0
	for leaf := range budget.in(h.room) {
		if role, _ := s.pool.forest.Role(leaf.Block); role != btree.LeafNode {
			continue
		}
		if n++; n > most {
			return nil
		}
		budget.leaves -= 3 // it takes longer to keep all mappings of a leaf than to look at them
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

// mapping says where a thin block lies.
type mapping struct {
	thin uint64
	data metadata.DataBlock
}

func (m mapping) compare(o mapping) int {
	return cmp.Or(cmp.Compare(m.thin, o.thin), cmp.Compare(m.data, o.data))
}

// isIn reports whether sorted mappings have that one.
func isIn(all []mapping, thin uint64, data metadata.DataBlock) bool {
	_, found := slices.BinarySearchFunc(all, mapping{thin, data}, mapping.compare)
	return found
}

// damagedLeaf returns the leaf that a hole has lost as if its checksum were right, if
// all else about it is. What it says is no more than a candidate.
func (s *salvage) damagedLeaf(h *hole) (btree.Node, bool) {
	b := new(block.Data)
	if h.block == 0 || h.block >= s.limit || h.gap || s.survey.Kinds[h.block] != survey.Unknown || s.r.Read(h.block, b) != nil {
		return btree.Node{}, false
	}
	block.Reseal(b, block.Node)
	n, err := btree.Decode(h.block, b, metadata.MappingSize)
	return n, err == nil && n.Leaf()
}

// treatsAsShared reports whether the devices of a hole take mappings of that time for shared:
// all of them, if the details have to be made up.
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

// fillHole writes leaves with the mappings that were decided on for a hole.
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
