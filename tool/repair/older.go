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
	likely bool   // the data block is counted, but nothing leads to it
	proved bool   // and nobody else can have lost it
	age    int    // of the leaf, in generations; 0: the newest
}

// fillFromOlder fills holes with mappings of leaves that older transactions left
// behind. A mapping is proved right if the data space map counts its data block
// more often than what can be read, and no other hole could have lost the same thin
// block: the lost leaf is what counts it. Where the space map cannot be read, or
// other devices have holes there, a mapping is taken if nothing speaks against it,
// and reported.
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
	claims := make([][]claim, len(holes))
	findRivals(holes)
	leaves := newLeafIndex(f.survey)
	for i, h := range holes {
		if claims[i], err = f.claims(h, leaves, p, refs, surplus); err != nil {
			return err
		}
	}
	settle(claims, surplus)
	for i, h := range holes {
		if err := f.fill(h, claims[i]); err != nil {
			return err
		}
	}
	return nil
}

// findRivals finds the holes that could have lost the same keys.
func findRivals(holes []*hole) {
	byBegin := slices.SortedFunc(slices.Values(holes), func(a, b *hole) int { return cmp.Compare(a.keys.Begin, b.keys.Begin) })
	var last *hole // the one that reaches farthest so far
	for _, h := range byBegin {
		h.rivals = last != nil && last.keys.Overlaps(h.keys)
		if h.rivals {
			last.rivals = true
		}
		if last == nil || last.keys.End != 0 && (h.keys.End == 0 || h.keys.End > last.keys.End) {
			last = h
		}
	}
}

// A leafIndex finds the mapping leaves of a survey by their keys.
type leafIndex struct {
	leaves []*survey.Node // by ascending first key
	reach  []uint64       // highest key of those up to and including this one
}

func newLeafIndex(s *survey.Survey) *leafIndex {
	var x leafIndex
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Sort == survey.MappingLeaf && n.N > 0 {
			x.leaves = append(x.leaves, n)
		}
	}
	slices.SortStableFunc(x.leaves, func(a, b *survey.Node) int { return cmp.Compare(a.First, b.First) })
	highest := uint64(0)
	for _, n := range x.leaves {
		highest = max(highest, n.Last)
		x.reach = append(x.reach, highest)
	}
	return &x
}

// in yields the leaves that have keys in a range.
func (x *leafIndex) in(keys btree.KeyRange) func(yield func(*survey.Node) bool) {
	return func(yield func(*survey.Node) bool) {
		end := len(x.leaves)
		if keys.End != 0 {
			end = sort.Search(end, func(i int) bool { return x.leaves[i].First >= keys.End })
		}
		for i := end - 1; i >= 0 && x.reach[i] >= keys.Begin; i-- {
			if x.leaves[i].Last >= keys.Begin && !yield(x.leaves[i]) {
				return
			}
		}
	}
}

// claims returns what leaves say of the keys in a hole, by ascending thin block, as
// far as it can be right. Where the hole has rivals only those of older trees of the
// same devices count.
func (f *finder) claims(h *hole, leaves *leafIndex, p *pool, refs *spacemap.Counter, s *surplus) ([]claim, error) {
	var found []claim
	var b block.Data
	for leaf := range leaves.in(h.keys) {
		if err := f.ctx.Err(); err != nil {
			return nil, err
		}
		age, had := f.age(leaf.Block, h.owners)
		if h.rivals && !had {
			continue
		}
		if err := f.r.Read(leaf.Block, &b); err != nil {
			continue
		}
		n, err := btree.Decode(leaf.Block, &b, metadata.MappingSize)
		if err != nil {
			continue
		}
		kind, _ := p.forest.Kind(leaf.Block)
		for i := range n.Len() {
			data, time := metadata.UnpackMapping(n.Uint64(i))
			if !h.keys.Contains(n.Key(i), n.Key(i)) || uint64(data) >= refs.Len() {
				continue
			}
			missing, sure := s.at(uint64(data))
			// Unproved, but possible: nobody uses the data block, or the device shares it
			// with whoever has the leaf.
			possible := had && (refs.Get(uint64(data)) == 0 || kind == btree.LeafNode && p.shares(h, time))
			if missing > 0 || !sure && possible {
				found = append(found, claim{n.Key(i), n.Uint64(i), sure, sure && !h.rivals, age})
			}
		}
	}
	slices.SortFunc(found, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.thin, b.thin), cmp.Compare(a.value, b.value), cmp.Compare(a.age, b.age))
	})
	return oneEach(found), nil
}

// shares reports whether the devices of a hole take mappings of that time for
// shared.
func (p *pool) shares(h *hole, time uint32) bool {
	for _, id := range h.owners {
		if time >= p.device(id).SnapshottedTime {
			return false
		}
	}
	return true
}

// oneEach leaves one claim for each thin block: the most likely one, of the newest
// generation. Where several are left nobody knows, and all go.
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
	top, tied := rivals[0], false
	for _, c := range rivals[1:] {
		switch better := c.better(top); {
		case better > 0:
			top, tied = c, false
		case better == 0 && c.data() != top.data():
			tied = true
		}
	}
	return top, !tied
}

// better compares two claims of which one can be right.
func (c claim) better(than claim) int {
	if c.likely && than.likely && c.proved { // its age says no more than the space map does
		return 0
	}
	return cmp.Or(cmp.Compare(b2i(c.likely), b2i(than.likely)), cmp.Compare(than.age, c.age))
}

// data is the data block that c is about.
func (c claim) data() uint64 {
	data, _ := metadata.UnpackMapping(c.value)
	return uint64(data)
}

// settle decides between claims to one data block. For several thin blocks at most
// one can be right: the proved one, or that of the newest generation. For the same
// thin block of several devices all can be right, as snapshots share; but no more of
// them are proved than references are missing.
func settle(claims [][]claim, s *surplus) {
	best := map[uint64]claim{} // by data block
	tied := map[uint64]bool{}
	users := map[uint64]uint32{}
	for _, cs := range claims {
		for _, c := range cs {
			data := c.data()
			b, ok := best[data]
			switch {
			case !ok || c.thin != b.thin && c.better(b) > 0:
				best[data], users[data], tied[data] = c, 1, false
			case c.thin == b.thin:
				users[data]++
			case c.better(b) == 0:
				tied[data] = true
			}
		}
	}
	for i := range claims {
		claims[i] = slices.DeleteFunc(claims[i], func(c claim) bool {
			data := c.data()
			return tied[data] || best[data].thin != c.thin
		})
		for k := range claims[i] {
			c := &claims[i][k]
			data := c.data()
			missing, _ := s.at(data)
			c.proved = c.proved && users[data] <= missing
		}
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
