package check

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// checkRepeated checks data blocks mapped by more than one live leaf entry. No device may write to
// them in place, and no device may map one twice. Snapshots share blocks all the time, but at the
// same thin block. Only metadata written by other programs has a data block at different thin
// blocks. This is checked first, as it needs no walk per device.
func (c *checker) checkRepeated(ctx context.Context, devices []metadata.Device) ([]badMappings, []Fault, error) {
	keys := newFirstKeys(c.data.Len())
	var any, writable bool
	for b := range c.data.Repeated() {
		any = true
		writable = writable || c.data.Marked(b)
		keys.expect(b)
	}
	if !any {
		return nil, nil, nil
	}
	keys.startReading()
	own := metadata.LeafSharing(c.maps, devices)
	var mu sync.Mutex
	var bad []badMappings
	differ := map[uint64]bool{}
	err := c.maps.RereadLeaves(ctx, func(_, leaf int, n btree.Node, err error) error {
		l := leafTest{c: c, nr: c.maps.Leaves()[leaf].Block}
		for i := range n.Len() {
			data, time := metadata.UnpackMapping(n.Uint64(i))
			b := uint64(data)
			if b >= c.data.Len() || c.data.Get(b) < 2 {
				continue
			}
			if !keys.addKey(b, n.Key(i)) {
				mu.Lock()
				differ[b] = true
				mu.Unlock()
			}
			if writable && leaf < len(own) && own[leaf].Any && !own[leaf].Many && time >= own[leaf].LeastSnap {
				l.inPlace(n.Key(i), data, time)
			}
		}
		if l.writable.n+l.atLimit.n > 0 {
			mu.Lock()
			bad = append(bad, l.found()...)
			mu.Unlock()
		}
		return err
	})
	if err != nil || len(differ) == 0 {
		return bad, nil, err
	}
	twice, err := c.findMappedTwice(ctx, devices, differ)
	return bad, twice, err
}

// findMappedTwice looks for the given data blocks in each device.
func (c *checker) findMappedTwice(ctx context.Context, devices []metadata.Device, blocks map[uint64]bool) ([]Fault, error) {
	uses := map[int][]repeatedMapping{} // by leaf
	var mu sync.Mutex
	err := c.maps.RereadLeaves(ctx, func(_, leaf int, n btree.Node, err error) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range n.Len() {
			if data, _ := metadata.UnpackMapping(n.Uint64(i)); blocks[uint64(data)] {
				uses[leaf] = append(uses[leaf], repeatedMapping{n.Key(i), uint64(data)})
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.eachMappedTwice(devices, uses), nil
}

// A repeatedMapping is a mapping of a data block that is mapped more than once.
type repeatedMapping struct{ key, data uint64 }

// eachMappedTwice checks each device. A tree shared by many devices is walked once.
func (c *checker) eachMappedTwice(devices []metadata.Device, uses map[int][]repeatedMapping) []Fault {
	w := repeatWalk{forest: c.maps, uses: uses, seen: make([]int32, len(c.maps.Inner()))}
	for i := range c.maps.Inner() {
		w.room += 8 * len(c.maps.Inner()[i].Children)
	}
	w.room = max(w.room, 1<<24)
	var faults []Fault
	byRoot := map[block.Nr]repetition{}
	var rest []metadata.DevID
	for _, d := range devices {
		r, known := byRoot[d.Root]
		if !known {
			if w.room <= 0 {
				rest = append(rest, d.ID)
				continue
			}
			r = w.tree(d.Root)
			byRoot[d.Root] = r
		}
		if r.n > 0 {
			faults = append(faults, Fault{
				Code: MappedTwice, Severity: NonFatal, Tree: "mappings", Devices: []metadata.DevID{d.ID}, Block: &r.at,
				Err: fmt.Errorf("%d data blocks are mapped more than once, the first: block %d, %s", r.n, r.at, r.example),
			})
		}
	}
	if len(rest) > 0 {
		faults = append(faults, Fault{
			Code: MappedTwice, Severity: NonFatal, Tree: "mappings", Devices: rest,
			Err: errors.New("some data blocks may be mapped more than once: too many devices share too much to look at each"),
		})
	}
	return faults
}

// A repetition is the data blocks that a tree maps more than once.
type repetition struct {
	n       int
	at      block.Nr
	example string
}

// A repeatWalk walks the trees of devices in key order, each node once.
type repeatWalk struct {
	forest *btree.Forest
	uses   map[int][]repeatedMapping
	first  map[uint64]uint64
	seen   []int32 // by inner node: the last tree that reached it
	trees  int32
	room   int // number of pointers and uses left to look at
	found  repetition
}

func (w *repeatWalk) tree(root block.Nr) repetition {
	w.trees++
	w.first, w.found = map[uint64]uint64{}, repetition{}
	w.visit(root, 0)
	return w.found
}

func (w *repeatWalk) visit(nr block.Nr, depth int) {
	switch role, i := w.forest.Role(nr); role {
	case btree.LeafNode:
		w.leaf(nr, w.uses[i])
	case btree.InnerNode:
		if w.seen[i] == w.trees || depth == btree.MaxDepth {
			return
		}
		w.seen[i] = w.trees
		for _, child := range w.forest.Inner()[i].Children {
			w.room--
			w.visit(child, depth+1)
		}
	}
}

func (w *repeatWalk) leaf(nr block.Nr, uses []repeatedMapping) {
	w.room -= len(uses)
	for _, u := range uses {
		if key, ok := w.first[u.data]; !ok {
			w.first[u.data] = u.key
		} else if w.found.n++; w.found.n == 1 {
			w.found.at = nr
			w.found.example = fmt.Sprintf("data block %d at thin blocks %d and %d", u.data, key, u.key)
		}
	}
}

// firstKeys holds, for some data blocks, the first thin block they were met at. Blocks are first
// announced with expect, then added by several goroutines at once.
type firstKeys struct{ pages []*keyPage }

const (
	keyPageBits = 16
	keyPageSize = 1 << keyPageBits
)

// A keyPage is the part of firstKeys for keyPageSize blocks: one bit per block, set if it is
// expected, and one slot per expected block.
type keyPage struct {
	expected [keyPageSize / 64]uint64
	before   [keyPageSize / 64]uint32 // expected blocks in earlier words
	slots    []atomic.Uint64          // key + 1; 0: not met yet
}

func newFirstKeys(n uint64) *firstKeys {
	return &firstKeys{make([]*keyPage, (n+keyPageSize-1)>>keyPageBits)}
}

func (f *firstKeys) expect(b uint64) {
	p := &f.pages[b>>keyPageBits]
	if *p == nil {
		*p = new(keyPage)
	}
	(*p).expected[b%keyPageSize/64] |= 1 << (b % 64)
}

func (f *firstKeys) startReading() {
	for _, p := range f.pages {
		if p == nil {
			continue
		}
		n := 0
		for w, word := range p.expected {
			p.before[w] = uint32(n)
			n += bits.OnesCount64(word)
		}
		p.slots = make([]atomic.Uint64, n)
	}
}

// addKey reports whether the expected block b has only been met at key so far.
func (f *firstKeys) addKey(b, key uint64) bool {
	p := f.pages[b>>keyPageBits]
	w := b % keyPageSize / 64
	slot := &p.slots[int(p.before[w])+bits.OnesCount64(p.expected[w]&(1<<(b%64)-1))]
	return slot.CompareAndSwap(0, key+1) || slot.Load() == key+1
}
