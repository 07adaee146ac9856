package write

import (
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A plan tells where everything will be. The order of blocks is: superblock, leaves, internal
// nodes of the mapping trees, top level, device details, data space map, metadata space map.
type plan struct {
	order   []uint32          // used leaves of the store, in the order of their blocks
	blockOf []uint32          // by leaf of the store: its block; 0: unused
	refs    []uint32          // by leaf of the store: pointers to it
	data    *spacemap.Counter // references to data blocks
	fixed   uint64            // number of blocks, without the bitmaps of the metadata space map
}

const firstLeafBlock = 1 // after the superblock

func (b *Builder) makePlan() error {
	if spacemap.Bitmaps(b.header.NrDataBlocks) > spacemap.MaxMetadata {
		return errTooLarge
	}
	b.placeLeaves()
	b.countData()
	b.raiseTimes()
	b.plan.fixed = b.countBlocks()
	if b.plan.fixed > spacemap.MaxMetadata {
		return errTooLarge
	}
	return nil
}

// placeLeaves counts the pointers to each leaf and assigns blocks to the used ones. Internal nodes
// are only shared as part of whole trees, so each distinct tree points once to each of its leaves.
func (b *Builder) placeLeaves() {
	p := &b.plan
	n := len(b.store.leaves)
	p.blockOf, p.refs, p.order = make([]uint32, n), make([]uint32, n), make([]uint32, 0, n)
	for _, t := range b.trees {
		refs := uint32(1)
		if t.leaves == 1 { // the leaf is the root, and each device points to it
			refs = t.devices
		}
		for _, s := range b.spansOf(t) {
			for i := s.from; i < s.from+s.n; i++ {
				p.refs[i] += refs
			}
		}
	}
	for i, refs := range p.refs {
		if refs > 0 {
			p.blockOf[i] = uint32(firstLeafBlock + len(p.order))
			p.order = append(p.order, uint32(i))
		}
	}
}

// countData counts the references to data blocks: once for each leaf that maps them, however often
// that leaf is shared.
func (b *Builder) countData() {
	p := &b.plan
	p.data = spacemap.NewCounter(b.header.NrDataBlocks)
	var g errgroup.Group
	var next atomic.Int64
	for range b.parallel() {
		g.Go(func() error {
			batch := p.data.NewBatch()
			defer batch.Flush()
			for {
				end := int(next.Add(countedAtOnce))
				from := end - countedAtOnce
				if from >= len(p.order) {
					return nil
				}
				for _, leaf := range p.order[from:min(end, len(p.order))] {
					for r := range b.store.runs(int(leaf)) {
						for i := range r.Len {
							batch.Add(uint64(r.Data)+i, false)
						}
					}
				}
			}
		})
	}
	_ = g.Wait() // nothing there can fail
}

const countedAtOnce = 256 // leaves

func (b *Builder) parallel() int {
	if b.opt.Parallel > 0 {
		return b.opt.Parallel
	}
	return runtime.GOMAXPROCS(0)
}

// countBlocks returns how many blocks everything takes, except the bitmaps of the metadata space
// map, whose number depends on the device.
func (b *Builder) countBlocks() uint64 {
	p := &b.plan
	n := firstLeafBlock + len(p.order)
	high := 0 // metadata blocks with counts in the overflow tree
	for _, refs := range p.refs {
		if refs >= 3 {
			high++
		}
	}
	for _, t := range b.trees {
		n += btree.NodesAbove(int(t.leaves))
		if t.leaves > 1 && t.devices >= 3 {
			high++
		}
	}
	n += btree.NodesInTree(len(b.devices), metadata.RootSize)
	n += btree.NodesInTree(len(b.devices), metadata.DetailsSize)
	bitmaps := int(spacemap.Bitmaps(p.data.Len()))
	n += bitmaps + btree.NodesInTree(p.data.Overflowing(), spacemap.CountSize) + btree.NodesInTree(bitmaps, spacemap.EntrySize)
	n += btree.NodesInTree(high, spacemap.CountSize) + 1 // with the index block
	return uint64(n)
}

// Needed returns how many blocks the metadata takes on a device with the given number of blocks.
func (b *Builder) Needed(device block.Nr) block.Nr {
	covered := min(uint64(device), spacemap.MaxMetadata)
	return block.Nr(b.plan.fixed + spacemap.Bitmaps(covered))
}

// Fits returns a [SpaceError] if the metadata does not fit on a device with the given number of
// blocks.
func (b *Builder) Fits(device block.Nr) error {
	if needed := b.Needed(device); needed > min(device, spacemap.MaxMetadata) {
		return &SpaceError{max(needed, b.Least()), device}
	}
	return nil
}

// Least returns the size in blocks of the smallest device the metadata fits on.
func (b *Builder) Least() block.Nr {
	n := block.Nr(b.plan.fixed)
	for b.Needed(n) > n {
		n = b.Needed(n)
	}
	return n
}
