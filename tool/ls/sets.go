package ls

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Set is a set of devices that frees more if they are deleted together than one by one. Counts
// are in data blocks.
type Set struct {
	IDs      []metadata.DevID // ascending
	Together uint64           // data blocks freed by deleting all of them
	Apart    uint64           // sum of the data blocks freed by deleting each one alone
}

// Sets are the sets with the greatest gains, in descending order.
type Sets struct {
	List []Set
	More int  // number of sets not listed
	Lost bool // there are too many sets to count them all
}

// Limits for Sets. A set, and what is reported about it, only has a few devices.
const (
	MostInSet  = 8
	mostSets   = 1 << 16
	mostListed = 100
)

// FindSets finds devices in rows that only share data blocks with each other. It reads the
// mappings twice, and needs one word for each data block mapped by several leaves.
func FindSets(ctx context.Context, p *metadata.Pool, rows []Row, opt Options) (Sets, error) {
	devices := make([]metadata.Device, len(rows))
	for i, r := range rows {
		devices[i] = r.Device
	}
	m, err := p.Mappings(ctx, devices...)
	if err != nil {
		return Sets{}, err
	}
	w := walk{p: p, m: m, opt: opt, counts: spacemap.NewCounter(countable(p))}
	if err := w.count(ctx); err != nil {
		return Sets{}, err
	}
	for _, d := range devices {
		for part := range m.Forest.LeafRanges(d.Root) {
			if part.Err != nil {
				return Sets{}, &metadata.LostError{ID: d.ID, Keys: part.Keys, Err: part.Err}
			}
		}
	}
	t := newSetTable()
	blocks, err := w.perSet(ctx, t, t.ofLeaves(m.Forest, devices))
	if err != nil {
		return Sets{}, err
	}
	return t.gains(blocks, devices), nil
}

// perSet counts the data blocks mapped by exactly the devices of each set.
func (w *walk) perSet(ctx context.Context, t *setTable, owners []setID) (map[setID]uint64, error) {
	once := make([]uint64, len(w.m.Forest.Leaves())) // data blocks that only this leaf maps
	repeated := newSetPages(w.counts.Len())
	err := w.m.Forest.RereadLeaves(ctx, func(_, leaf int, n btree.Node, err error) error {
		if err != nil || leaf >= len(owners) || owners[leaf] == noSet {
			return nil
		}
		for i := range n.Len() {
			data, _ := metadata.UnpackMapping(n.Uint64(i))
			if w.counts.Get(uint64(data)) == 1 {
				once[leaf]++
			} else {
				repeated.add(t, uint64(data), owners[leaf])
			}
		}
		return nil
	})
	blocks := map[setID]uint64{}
	for leaf, n := range once {
		if n > 0 {
			blocks[owners[leaf]] += n
		}
	}
	repeated.each(func(s setID) { blocks[s]++ })
	return blocks, err
}

// A setID is the number of a set of devices.
type setID uint32

const (
	noSet   setID = iota // the empty set
	manySet              // a set of more than MostInSet devices, or one set too many
	firstSet
)

// A setTable numbers sets of devices. A set is a list of indexes.
type setTable struct {
	mu     sync.RWMutex
	sets   [][]uint32
	byKey  map[string]setID
	unions map[[2]setID]setID
	lost   bool
}

func newSetTable() *setTable {
	return &setTable{sets: make([][]uint32, firstSet), byKey: map[string]setID{}, unions: map[[2]setID]setID{}}
}

func keyOf(set []uint32) string {
	var key []byte
	for _, d := range set {
		key = binary.LittleEndian.AppendUint32(key, d)
	}
	return string(key)
}

// number returns the number of a sorted set. The table must be locked.
func (t *setTable) number(set []uint32) setID {
	if len(set) > MostInSet {
		return manySet
	}
	key := keyOf(set)
	s, ok := t.byKey[key]
	if !ok {
		if len(t.sets) >= mostSets && len(set) > 1 {
			t.lost = true
			return manySet
		}
		s = setID(len(t.sets))
		t.sets, t.byKey[key] = append(t.sets, set), s
	}
	return s
}

// union returns the union of two sets.
func (t *setTable) union(a, b setID) setID {
	switch {
	case a == b || b == noSet:
		return a
	case a == noSet:
		return b
	case a == manySet || b == manySet:
		return manySet
	}
	pair := [2]setID{min(a, b), max(a, b)}
	t.mu.RLock()
	s, ok := t.unions[pair]
	t.mu.RUnlock()
	if ok {
		return s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Concat(t.sets[a], t.sets[b])
	slices.Sort(all)
	s = t.number(slices.Compact(all))
	if len(t.unions) < mostSets {
		t.unions[pair] = s
	}
	return s
}

// ofLeaves returns the devices that reach each leaf. It works like metadata.LeafSharing.
func (t *setTable) ofLeaves(f *metadata.Forest, devices []metadata.Device) []setID {
	inner, leaves := make([]setID, len(f.Inner())), make([]setID, len(f.Leaves()))
	give := func(nr block.Nr, s setID) {
		switch role, i := f.Role(nr); role {
		case btree.InnerNode:
			inner[i] = t.union(inner[i], s)
		case btree.LeafNode:
			leaves[i] = t.union(leaves[i], s)
		}
	}
	var roots []block.Nr
	for i, d := range devices {
		roots = append(roots, d.Root)
		give(d.Root, t.number([]uint32{uint32(i)}))
	}
	for _, i := range f.ParentsFirst(roots) {
		for _, child := range f.Inner()[i].Children {
			give(child, inner[i])
		}
	}
	return leaves
}

// gains lists the sets with the greatest gains.
func (t *setTable) gains(blocks map[setID]uint64, devices []metadata.Device) Sets {
	found := Sets{Lost: t.lost}
	var shared []setID
	for s := range blocks {
		if s >= firstSet && len(t.sets[s]) > 1 {
			shared = append(shared, s)
		}
	}
	// The minimum gain is what they share only among themselves. It selects the sets to look at.
	slices.SortFunc(shared, func(a, b setID) int {
		return cmp.Or(cmp.Compare(blocks[b], blocks[a]), slices.Compare(t.sets[a], t.sets[b]))
	})
	found.More = max(0, len(shared)-mostListed)
	for _, s := range shared[:len(shared)-found.More] {
		set := Set{}
		for _, i := range t.sets[s] {
			set.IDs = append(set.IDs, devices[i].ID)
		}
		t.eachSubset(t.sets[s], func(part setID, size int) {
			set.Together += blocks[part]
			if size == 1 {
				set.Apart += blocks[part]
			}
		})
		found.List = append(found.List, set)
	}
	sort.SliceStable(found.List, func(i, j int) bool {
		a, b := &found.List[i], &found.List[j]
		return a.Together-a.Apart > b.Together-b.Apart
	})
	return found
}

// eachSubset calls fn for all subsets with a number.
func (t *setTable) eachSubset(set []uint32, fn func(part setID, size int)) {
	for bits := 1; bits < 1<<len(set); bits++ {
		var part []uint32
		for i, d := range set {
			if bits&(1<<i) != 0 {
				part = append(part, d)
			}
		}
		if s, ok := t.byKey[keyOf(part)]; ok {
			fn(s, len(part))
		}
	}
}

// setPages has a set for each data block, in pages allocated on demand.
type setPages []atomic.Pointer[setPage]

type setPage [64]atomic.Uint32

func newSetPages(blocks uint64) setPages {
	return make(setPages, (blocks+uint64(len(setPage{}))-1)/uint64(len(setPage{})))
}

// add adds the devices of a set to those that map a data block.
func (p setPages) add(t *setTable, data uint64, s setID) {
	at := &p[data/uint64(len(setPage{}))]
	page := at.Load()
	if page == nil {
		at.CompareAndSwap(nil, new(setPage))
		page = at.Load()
	}
	word := &page[data%uint64(len(setPage{}))]
	for {
		old := word.Load()
		if word.CompareAndSwap(old, uint32(t.union(setID(old), s))) {
			return
		}
	}
}

// each calls fn for the set of each data block that has one.
func (p setPages) each(fn func(setID)) {
	for i := range p {
		page := p[i].Load()
		if page == nil {
			continue
		}
		for j := range page {
			if s := setID(page[j].Load()); s != noSet {
				fn(s)
			}
		}
	}
}
