package repair

import (
	"cmp"
	"slices"
	"sort"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
	"thinpool/metadata/spacemap"
	"thinpool/metadata/survey"
)

// countData counts the references to data blocks of all leaves that are kept.
func (f *finder) countData(p *pool, m *mender) (*spacemap.Counter, error) {
	refs := spacemap.NewCounter(f.nrDataBlocks())
	out := map[block.Nr]bool{} // leaves that are where they should not be
	for _, h := range m.holes {
		out[h.block] = true
	}
	batches := make([]*spacemap.Batch, f.r.Workers())
	for i := range batches {
		batches[i] = refs.NewBatch()
	}
	err := p.forest.AgainEachLeaf(f.ctx, func(worker, leaf int, n btree.Node, err error) error {
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
	f.countSnapshot(p, refs)
	return refs, err
}

// countSnapshot counts what only the metadata snapshot still refers to.
func (f *finder) countSnapshot(p *pool, refs *spacemap.Counter) {
	var b block.Data
	held := f.sb.HeldRoot
	if f.sbErr != nil || held == 0 || held >= f.limit || f.r.Read(held, &b) != nil {
		return
	}
	snapshot, err := metadata.DecodeSuperblock(held, &b)
	if err != nil {
		return
	}
	nodes := map[block.Nr]int{}
	for top := range f.survey.Leaves(snapshot.MappingRoot) {
		for _, e := range f.survey.Entries(top) {
			f.collect(e.Block, 0, 0, nodes)
		}
	}
	for nr := range nodes {
		n, _ := f.survey.Node(nr)
		if kind, _ := p.forest.Kind(nr); n.Sort == survey.MappingLeaf && kind != btree.LeafNode {
			f.countLeaf(nr, refs)
		}
	}
}

func (f *finder) countLeaf(nr block.Nr, refs *spacemap.Counter) {
	var b block.Data
	if f.r.Read(nr, &b) != nil {
		return
	}
	n, err := btree.Decode(nr, &b, metadata.MappingSize)
	if err != nil {
		return
	}
	for i := range n.Len() {
		if data, _ := metadata.UnpackMapping(n.Uint64(i)); uint64(data) < refs.Len() {
			refs.Add(uint64(data), 1)
		}
	}
}

// A surplus says which data blocks are counted more often than they are mapped.
type surplus struct {
	over    []spacemap.Finding // by ascending blocks
	unknown []spacemap.Finding // counts that cannot be read
	none    bool               // no counts can be read at all
}

// dataSurplus compares the data space map with the references that can be read.
func (f *finder) dataSurplus(refs *spacemap.Counter) (*surplus, error) {
	s := &surplus{none: f.sbErr != nil || refs.Len() < min(f.sb.DataSpaceMap.NrBlocks, uint64(f.limit)*spacemap.PerBitmap)}
	if s.none {
		return s, nil
	}
	m, err := spacemap.LoadData(f.ctx, f.r, f.limit, f.sb.DataSpaceMap)
	if err != nil {
		return nil, err
	}
	err = m.Compare(f.ctx, refs, true, func(found spacemap.Finding) {
		switch found.Kind {
		case spacemap.TooHigh:
			s.over = append(s.over, found)
		case spacemap.Unreadable, spacemap.MissingEntry, spacemap.NoOverflow:
			s.unknown = append(s.unknown, found)
		case spacemap.InTree:
			// Which counts the index tree has lost comes as missing entries; the overflow
			// tree only has those from 3 up.
		}
	})
	slices.SortFunc(s.unknown, func(a, b spacemap.Finding) int { return cmp.Compare(a.First, b.First) })
	return s, err
}

// at returns how many references to a data block are missing; false if that
// cannot be known.
func (s *surplus) at(b uint64) (uint32, bool) {
	if found, ok := within(s.over, b); ok {
		return found.Stored - found.Counted, true
	}
	if _, ok := within(s.unknown, b); ok || s.none {
		return 0, false
	}
	return 0, true
}

func within(ranges []spacemap.Finding, b uint64) (*spacemap.Finding, bool) {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].First > b }) - 1
	if i < 0 || b-ranges[i].First >= ranges[i].N {
		return nil, false
	}
	return &ranges[i], true
}
