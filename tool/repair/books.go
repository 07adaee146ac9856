package repair

import (
	"context"
	"slices"
	"sort"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// countData counts the references to data blocks from all leaves that are kept, including those of
// the metadata snapshot. known is false if some of them cannot be read.
func (s *salvage) countData(ctx context.Context, g *grove) (refs *spacemap.Counter, known bool, err error) {
	p := s.pool
	refs = spacemap.NewCounter(p.nrData)
	out := map[block.Nr]bool{} // leaves out of place
	for _, h := range g.holes {
		out[h.block] = true
	}
	batches := make([]*spacemap.Batch, s.r.Workers())
	for i := range batches {
		batches[i] = refs.NewBatch()
	}
	err = p.forest.RereadLeaves(ctx, func(worker, leaf int, n btree.Node, err error) error {
		if err != nil || out[p.forest.Leaves()[leaf].Block] {
			return nil
		}
		_, values := n.Uint64s()
		for ; len(values) >= 8; values = values[8:] {
			if data, _ := metadata.UnpackMapping(le.Uint64(values)); uint64(data) < refs.Len() {
				batches[worker].Add(uint64(data), false)
			}
		}
		return nil
	})
	for _, b := range batches {
		b.Flush()
	}
	return refs, s.countSnapshot(refs), err
}

// countSnapshot counts what only the metadata snapshot still refers to; false if the snapshot
// cannot be read.
func (s *salvage) countSnapshot(refs *spacemap.Counter) bool {
	held := s.sb.HeldRoot
	if held == 0 {
		return true
	}
	i := slices.IndexFunc(s.copies, func(c metadata.Superblock) bool { return c.Block == held })
	if i < 0 {
		return false
	}
	nodes := map[block.Nr]int{}
	for top := range s.survey.Leaves(s.copies[i].MappingRoot) {
		for _, c := range s.survey.Entries(top) {
			s.collect(c.Block, 0, 0, nodes)
		}
	}
	for nr := range nodes {
		n, _ := s.survey.Node(nr)
		if role, _ := s.pool.forest.Role(nr); n.Kind == survey.MappingLeaf && role != btree.LeafNode {
			s.countLeaf(nr, refs)
		}
	}
	return true
}

func (s *salvage) countLeaf(nr block.Nr, refs *spacemap.Counter) {
	n, ok := s.mappingLeaf(nr)
	if !ok {
		return
	}
	for i := range n.Len() {
		if data, _ := metadata.UnpackMapping(n.Uint64(i)); uint64(data) < refs.Len() {
			refs.Add(uint64(data), 1)
		}
	}
}

// metadataBalanced reports whether the pointers read and recovered match the metadata space map
// for every block. A lost leaf still has a pointer to it. If a root and the pointer to it are both
// lost, the root is an unreadable block with a missing reference: one for each device without a
// known root.
func (s *salvage) metadataBalanced() bool {
	if s.counts == nil || s.state.generation == nil {
		return false
	}
	c := s.countBlocks(s.state.State)
	for _, nr := range s.state.top.found {
		c.tree(nr, topKind, btree.AllKeys, 0)
	}
	for _, nr := range s.state.details.found {
		c.tree(nr, detailsKind, btree.AllKeys, 0)
	}
	for _, nr := range s.adopted[len(s.state.top.found)+len(s.state.details.found):] {
		c.tree(nr, survey.MappingLeaf, btree.AllKeys, 0)
	}
	rootless := 0
	for _, d := range s.pool.devices {
		rootless += boolToInt(!d.hasRoot)
	}
	lost, ok := c.matchesSpaceMap(s.countsOf(s.state.generation))
	return ok && lost == rootless && len(c.foreign) == 0
}

// A surplus is the difference between the data space map and the references that can be read.
type surplus struct {
	over     []stretch // counted more often than referenced; by ascending blocks
	unknown  []stretch // with unreadable counts
	none     bool      // no counts can be read at all
	balanced bool      // everything else adds up: no count is too low or unreadable
}

// A stretch is a run of data blocks that lack the same number of references.
type stretch struct {
	first, n uint64
	missing  uint32
}

// dataSurplus compares the data space map with the references.
func (s *salvage) dataSurplus(ctx context.Context, refs *spacemap.Counter) (*surplus, error) {
	root := s.sb.DataSpaceMap
	sp := &surplus{none: root.BitmapRoot == 0 || refs.Len() < min(root.NrBlocks, uint64(s.limit)*spacemap.PerBitmap)}
	if sp.none {
		return sp, nil
	}
	m, err := spacemap.LoadData(ctx, s.r, s.limit, root)
	if err != nil {
		return nil, err
	}
	sp.balanced = true
	_, err = m.Compare(ctx, refs, true, func(found spacemap.Finding) {
		switch found.Kind {
		case spacemap.TooHigh:
			sp.over = append(sp.over, stretch{found.First, found.N, found.Stored - found.Counted})
		case spacemap.Unreadable, spacemap.MissingEntry, spacemap.NoOverflow:
			sp.unknown = append(sp.unknown, stretch{first: found.First, n: found.N})
			sp.balanced = false
		case spacemap.TooLow:
			sp.balanced = false
		case spacemap.InTree:
			// Counts lost from the index tree show up as missing entries; the overflow tree only holds counts
			// from 3 up.
			sp.balanced = sp.balanced && found.Tree.Kind != btree.Lost
		}
	})
	sort.Slice(sp.unknown, func(i, j int) bool { return sp.unknown[i].first < sp.unknown[j].first })
	return sp, err
}

// at returns how many references to a data block are missing; false if this cannot be known.
func (s *surplus) at(b uint64) (uint32, bool) {
	if found, ok := within(s.over, b); ok {
		return found.missing, true
	}
	if _, ok := within(s.unknown, b); ok || s.none {
		return 0, false
	}
	return 0, true
}

// total returns how many references are missing.
func (s *surplus) total() (n uint64) {
	for _, f := range s.over {
		n += f.n * uint64(f.missing)
	}
	return n
}

func within(ranges []stretch, b uint64) (*stretch, bool) {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].first > b }) - 1
	if i < 0 || b-ranges[i].first >= ranges[i].n {
		return nil, false
	}
	return &ranges[i], true
}
