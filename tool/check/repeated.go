package check

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// repeated tests the data blocks that more than one live leaf entry maps: no
// device may write to them in place, and no device may have one twice. Snapshots
// share blocks all the time, but at the same thin block; only metadata that
// some other program wrote has a data block at different ones. That is what is
// looked for first, as it costs no walk per device.
func (c *checker) repeated(devices []metadata.Device) ([]badMappings, []Fault, error) {
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
	keys.ready()
	own := metadata.LeafOwners(c.maps, devices)
	var mu sync.Mutex
	var bad []badMappings
	differ := map[uint64]bool{}
	err := c.maps.AgainEachLeaf(c.ctx, func(_, leaf int, n btree.Node, err error) error {
		l := leafTest{c: c, nr: c.maps.Leaves()[leaf].Block}
		for i := range n.Len() {
			data, time := metadata.UnpackMapping(n.Uint64(i))
			b := uint64(data)
			if b >= c.data.Len() || c.data.Get(b) < 2 {
				continue
			}
			if !keys.meet(b, n.Key(i)) {
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
	twice, err := c.mappedTwice(devices, differ)
	return bad, twice, err
}

// mappedTwice looks for the given data blocks in each device.
func (c *checker) mappedTwice(devices []metadata.Device, blocks map[uint64]bool) ([]Fault, error) {
	type use struct{ key, data uint64 }
	uses := map[int][]use{} // by leaf
	var mu sync.Mutex
	err := c.maps.AgainEachLeaf(c.ctx, func(_, leaf int, n btree.Node, err error) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range n.Len() {
			if data, _ := metadata.UnpackMapping(n.Uint64(i)); blocks[uint64(data)] {
				uses[leaf] = append(uses[leaf], use{n.Key(i), uint64(data)})
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var faults []Fault
	for _, d := range devices {
		first := map[uint64]uint64{}
		n, example := 0, ""
		var at block.Nr
		for part := range c.maps.Parts(d.Root) {
			if part.Err != nil {
				continue
			}
			for _, u := range uses[part.Leaf] {
				if key, ok := first[u.data]; !ok {
					first[u.data] = u.key
				} else if n++; n == 1 {
					at = part.Block
					example = fmt.Sprintf("data block %d at thin blocks %d and %d", u.data, key, u.key)
				}
			}
		}
		if n > 0 {
			faults = append(faults, Fault{
				Code: MappedTwice, Severity: NonFatal, Tree: "mappings", Devices: []metadata.DevID{d.ID}, Block: at, HasBlock: true,
				Err: fmt.Errorf("%d data blocks are mapped more than once, the first: block %d, %s", n, at, example),
			})
		}
	}
	return faults, nil
}

// firstKeys holds a thin block for each of some data blocks: the one they were
// first met at. Blocks are expected, then met, by several goroutines at once.
type firstKeys struct{ pages []*keyPage }

const (
	keyPageBits = 16
	keyPageSize = 1 << keyPageBits
)

// A keyPage is the part of firstKeys for keyPageSize blocks: a bit for each
// expected one, and a slot for each of those.
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

func (f *firstKeys) ready() {
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

// meet reports whether the expected block b was met only at key so far.
func (f *firstKeys) meet(b, key uint64) bool {
	p := f.pages[b>>keyPageBits]
	w := b % keyPageSize / 64
	slot := &p.slots[int(p.before[w])+bits.OnesCount64(p.expected[w]&(1<<(b%64)-1))]
	return slot.CompareAndSwap(0, key+1) || slot.Load() == key+1
}
