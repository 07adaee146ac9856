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

// A claim is a mapping that an old leaf has for a thin block in a hole.
type claim struct {
	thin   uint64
	value  uint64 // as in the leaf: data block and time
	proved bool   // the data block is counted, and only this can be why
}

// fillFromOlder fills holes with mappings of leaves that older transactions left
// behind. A mapping is proved right if the data space map counts its data block
// more often than what can be read, by as many as there are lost leaves that could
// have had it: those leaves are what counts it. Where the space map cannot be read, or
// could mean another lost leaf, a mapping is taken if nothing speaks against it, and reported.
func (f *finder) fillFromOlder(p *pool, m *mender, roots []entry) error {
	holes := slices.DeleteFunc(slices.Clone(m.holes), func(h *hole) bool { return len(h.owners) == 0 })
	if len(holes) == 0 {
		return nil
	}
	f.progress("looking for older copies of what is lost")
	refs, err := f.countData(p, m)
	if err != nil {
		return err
	}
	surplus, err := f.dataSurplus(refs)
	if err != nil {
		return err
	}
	rivals := newRivals(holes, f.snapshotLoses(holes))
	claims := make([][]claim, len(holes))
	for i, h := range holes {
		if claims[i], err = f.claims(p, h, f.leavesFor(holes, h), rivals, refs, surplus); err != nil {
			return err
		}
	}
	settle(claims)
	for i, h := range holes {
		if err := f.fill(h, claims[i]); err != nil {
			return err
		}
	}
	return nil
}

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

// snapshotRoot returns where the mapping tree of the metadata snapshot begins; 0, which
// is no node, if that is lost.
func (f *finder) snapshotRoot() (root block.Nr, held bool) {
	var b block.Data
	at := f.sb.HeldRoot
	if f.sbErr != nil || at == 0 {
		return 0, false
	}
	if at >= f.limit || f.r.Read(at, &b) != nil {
		return 0, true
	}
	snapshot, err := metadata.DecodeSuperblock(at, &b)
	if err != nil {
		return 0, true
	}
	return snapshot.MappingRoot, true
}

// countSnapshot counts what only the metadata snapshot still refers to.
func (f *finder) countSnapshot(p *pool, refs *spacemap.Counter) {
	root, held := f.snapshotRoot()
	if !held {
		return
	}
	counted := map[block.Nr]bool{}
	for top := range f.survey.Leaves(root) {
		for _, e := range f.survey.Entries(top) {
			for leaf := range f.survey.Leaves(e.Block) {
				if kind, _ := p.forest.Kind(leaf.Block); kind != btree.LeafNode && !counted[leaf.Block] {
					counted[leaf.Block] = true
					f.countLeaf(leaf.Block, refs)
				}
			}
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

// leavesFor returns the leaves that may tell what a hole has lost: those of older
// trees of the same devices, also where other devices still have them. If no other
// hole could have lost the same keys, any leaf will do, as a mapping has to be proved
// anyway.
func (f *finder) leavesFor(holes []*hole, h *hole) []*survey.Node {
	alone := true
	for _, other := range holes {
		alone = alone && (other == h || !overlap(other.keys, h.keys))
	}
	var leaves []*survey.Node
	for i := range f.survey.Nodes {
		n := &f.survey.Nodes[i]
		if n.Sort != survey.MappingLeaf || n.N == 0 || !overlap(btree.KeyRange{Begin: n.First, End: n.Last + 1}, h.keys) {
			continue
		}
		if alone || f.wasBelow(n.Block, h.owners) {
			leaves = append(leaves, n)
		}
	}
	return leaves
}

func overlap(a, b btree.KeyRange) bool {
	return (a.End == 0 || b.Begin < a.End) && (b.End == 0 || a.Begin < b.End)
}

// claims returns what leaves say of the keys in a hole, by ascending thin block, as
// far as it can be right.
func (f *finder) claims(p *pool, h *hole, leaves []*survey.Node, r *rivals, refs *spacemap.Counter, s *surplus) ([]claim, error) {
	var found []claim
	var b block.Data
	for _, leaf := range leaves {
		if err := f.ctx.Err(); err != nil {
			return nil, err
		}
		if err := f.r.Read(leaf.Block, &b); err != nil {
			continue
		}
		n, err := btree.Decode(leaf.Block, &b, metadata.MappingSize)
		if err != nil {
			continue
		}
		proof := f.wasBelow(leaf.Block, h.owners)
		kind, _ := p.forest.Kind(leaf.Block)
		shared := kind == btree.LeafNode // what a snapshot still has was the device's, too
		for i := range n.Len() {
			data, _ := metadata.UnpackMapping(n.Uint64(i))
			if !h.keys.Contains(n.Key(i), n.Key(i)) || uint64(data) >= refs.Len() {
				continue
			}
			missing, sure := s.at(uint64(data))
			proved := sure && int(missing) >= r.at(n.Key(i))
			if proved || proof && (missing > 0 || !sure && (shared || refs.Get(uint64(data)) == 0)) {
				found = append(found, claim{n.Key(i), n.Uint64(i), proved})
			}
		}
	}
	slices.SortFunc(found, func(a, b claim) int { return cmp.Or(cmp.Compare(a.thin, b.thin), cmp.Compare(a.value, b.value)) })
	return oneEach(slices.Compact(found)), nil
}

// rivals are the holes that could have had the mapping of a thin block.
type rivals struct {
	begins, ends []uint64 // of their keys, ascending
	elsewhere    int      // losses that may have had any
}

func newRivals(holes []*hole, elsewhere bool) *rivals {
	r := new(rivals)
	for _, h := range holes {
		r.begins = append(r.begins, h.keys.Begin)
		if h.keys.End != 0 {
			r.ends = append(r.ends, h.keys.End)
		}
	}
	slices.Sort(r.begins)
	slices.Sort(r.ends)
	if elsewhere {
		r.elsewhere = 1
	}
	return r
}

// at is how many there are for a thin block.
func (r *rivals) at(thin uint64) int {
	upTo := func(bounds []uint64) int {
		return sort.Search(len(bounds), func(i int) bool { return bounds[i] > thin })
	}
	return upTo(r.begins) - upTo(r.ends) + r.elsewhere
}

// snapshotLoses reports whether the metadata snapshot has lost something that is none
// of the holes, and so may be what counts a data block.
func (f *finder) snapshotLoses(holes []*hole) bool {
	known := map[block.Nr]bool{} // or seen
	for _, h := range holes {
		known[h.block] = true
	}
	var loses func(nr block.Nr, depth int) bool
	loses = func(nr block.Nr, depth int) bool {
		if known[nr] || depth > 2*maxDepth {
			return false
		}
		known[nr] = true
		n, ok := f.survey.Node(nr)
		if !ok {
			return true
		}
		return slices.ContainsFunc(f.survey.Entries(n), func(e btree.Child) bool { return loses(e.Block, depth+1) })
	}
	root, held := f.snapshotRoot()
	return held && loses(root, 0)
}

// oneEach leaves one claim for each thin block. Of those without proof the one of
// the latest time wins; where several remain nobody knows, and all go.
func oneEach(all []claim) []claim {
	var left []claim
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].thin == all[0].thin {
			n++
		}
		if c, ok := best(all[:n]); ok {
			left = append(left, c)
		}
		all = all[n:]
	}
	return left
}

// best chooses among claims for one thin block.
func best(rivals []claim) (claim, bool) {
	rank := func(c claim) (rank uint64) {
		if c.proved {
			return 1 << 32
		}
		_, time := metadata.UnpackMapping(c.value)
		return uint64(time)
	}
	top := rivals[0]
	tied := false
	for _, c := range rivals[1:] {
		switch d := cmp.Compare(rank(c), rank(top)); {
		case d > 0:
			top, tied = c, false
		case d == 0 && c.value>>timeBits != top.value>>timeBits:
			tied = true
		}
	}
	return top, !tied
}

const timeBits = 24

// settle drops claims to one data block for several thin blocks, or of several holes
// unless they are proved: at most one of them can be right, and none of them is known to be.
func settle(claims [][]claim) {
	first := map[uint64]claim{}
	twice := map[uint64]bool{}
	for _, cs := range claims {
		for _, c := range cs {
			data := c.value >> timeBits
			if other, ok := first[data]; ok && (other.thin != c.thin || !other.proved || !c.proved) {
				twice[data] = true
			}
			first[data] = c
		}
	}
	for i, cs := range claims {
		claims[i] = slices.DeleteFunc(cs, func(c claim) bool { return twice[c.value>>timeBits] })
	}
}

// fill writes leaves with the claimed mappings for a hole.
func (f *finder) fill(h *hole, claims []claim) error {
	most := btree.MaxEntries(metadata.MappingSize)
	if h.level == 0 && len(claims) > most {
		claims = slices.DeleteFunc(claims, func(c claim) bool { return !c.proved })
	}
	if len(claims) == 0 || h.level == 0 && len(claims) > most {
		return nil // no leaf can have had them all
	}
	var parts []subtree
	var b block.Data
	rest := claims
	for size := range btree.Sizes(len(claims), most) {
		nr, err := f.view.Alloc()
		if err != nil {
			return err
		}
		d := btree.NewDraft(&b, true, metadata.MappingSize)
		for _, c := range rest[:size] {
			d.AddUint64(c.thin, c.value)
			if c.proved {
				h.got++
			} else {
				h.old++
			}
		}
		d.Seal(nr)
		f.view.Put(nr, &b)
		parts = append(parts, subtree{nr, rest[0].thin, rest[size-1].thin, uint64(size), 0})
		rest = rest[size:]
	}
	var err error
	h.fill, err = f.assemble(parts)
	h.filled = err == nil
	return err
}
