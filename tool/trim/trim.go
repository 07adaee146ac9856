// Package trim, whose API may change, finds the free blocks of a pool's data device, and gives
// them back to the layer below: a disk, a storage array, a file system.
//
// A block is free only if two witnesses agree: its count in the space map is 0, and no mapping
// uses it, neither of a thin device nor of the metadata snapshot. If they disagree, or if a part
// of either is unreadable, nothing is free.
//
// The command also runs tool/check first and stops at any fatal fault. In a sound pool, any one of
// the three checks would be enough; but a wrong discard cannot be undone.
package trim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Range is the data blocks from Begin to End-1.
type Range struct{ Begin, End metadata.DataBlock }

// Options are for long operations.
type Options struct {
	Progress func(phase string, done, total uint64)
}

func (o Options) progress(phase string, done, total uint64) {
	if o.Progress != nil {
		o.Progress(phase, done, total)
	}
}

// ErrCountTooLow says that a mapped block is counted as free.
var ErrCountTooLow = fmt.Errorf("the space map counts a mapped block as free: %w", block.ErrCorrupt)

// Free returns the free ranges of the data device, ascending, for the pool with its metadata on
// dev. If the metadata leaves any doubt, the error wraps [block.ErrCorrupt].
func Free(ctx context.Context, dev block.Device, opt Options) ([]Range, error) {
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		return nil, err
	}
	nr := p.Live.DataSpaceMap.NrBlocks
	if most := uint64(p.Limit()) * spacemap.PerBitmap; nr > most {
		return nil, fmt.Errorf("the superblock says %d data blocks, more than the metadata has bitmaps for: %w", nr, block.ErrCorrupt)
	}
	mapped := spacemap.NewCounter(nr)
	if err := countMapped(ctx, p, mapped, opt); err != nil {
		return nil, err
	}
	if p.Live.HeldRoot != 0 {
		snap, err := metadata.Open(dev, metadata.Options{Snapshot: true})
		if err == nil {
			err = countMapped(ctx, snap, mapped, opt)
		}
		if err != nil {
			return nil, fmt.Errorf("metadata snapshot: %w", err)
		}
	}
	opt.progress("reading the space map", 0, 0)
	m, err := spacemap.LoadData(ctx, p.Reader(), p.Limit(), p.Live.DataSpaceMap)
	if err != nil {
		return nil, err
	}
	leaked, err := leakedRanges(ctx, m, mapped)
	switch {
	case err != nil:
		return nil, err
	case m.Lost():
		return nil, fmt.Errorf("data space map: part of it cannot be read: %w", block.ErrCorrupt)
	}
	return freeRanges(ctx, mapped, leaked)
}

// leakedRanges returns the blocks that the space map m counts but no mapping uses, ascending. It
// returns an error if a mapped block is counted as free, or if a count is unknown.
func leakedRanges(ctx context.Context, m *spacemap.Map, mapped *spacemap.Counter) ([]Range, error) {
	var leaked []Range
	var wrong error
	_, err := m.Compare(ctx, mapped, true, func(f spacemap.Finding) {
		switch {
		case wrong != nil:
		case f.Kind == spacemap.TooHigh && f.Counted == 0:
			leaked = append(leaked, Range{metadata.DataBlock(f.First), metadata.DataBlock(f.First + f.N)})
		case f.Kind == spacemap.TooLow && f.Stored == 0:
			wrong = fmt.Errorf("data block %d: %w", f.First, ErrCountTooLow)
		case f.Kind == spacemap.Unreadable, f.Kind == spacemap.MissingEntry, f.Kind == spacemap.NoOverflow,
			f.Kind == spacemap.InTree && isDoubtful(*f.Tree):
			wrong = fmt.Errorf("data space map: %w: %w", f.Err, block.ErrCorrupt)
		}
	})
	return leaked, cmp.Or(err, wrong)
}

// isDoubtful reports whether a finding means that entries of a tree may be missing. Other findings
// are only unusual.
func isDoubtful(f btree.Finding) bool {
	return f.Kind == btree.Lost || f.Kind == btree.OutOfBounds || f.Kind == btree.UnevenDepth
}

// freeRanges returns the blocks that are neither mapped nor leaked.
func freeRanges(ctx context.Context, mapped *spacemap.Counter, leaked []Range) ([]Range, error) {
	const pause = 1 << 20
	var ranges []Range
	for b := range metadata.DataBlock(mapped.Len()) {
		if b%pause == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if len(leaked) > 0 && b == leaked[0].End {
			leaked = leaked[1:]
		}
		switch last := len(ranges) - 1; {
		case mapped.Get(uint64(b)) != 0 || len(leaked) > 0 && b >= leaked[0].Begin:
		case last >= 0 && ranges[last].End == b:
			ranges[last].End++
		default:
			ranges = append(ranges, Range{b, b + 1})
		}
	}
	return ranges, nil
}

// countMapped counts the mappings of each data block in p. All mappings must be readable.
func countMapped(ctx context.Context, p *metadata.Pool, mapped *spacemap.Counter, opt Options) error {
	var devices []metadata.Device
	for d, err := range p.Devices(ctx) {
		if err != nil {
			return err
		}
		devices = append(devices, d)
	}
	m, err := p.Mappings(ctx, devices...)
	if err != nil {
		return err
	}
	batches := make([]*spacemap.Batch, p.Reader().Workers())
	for i := range batches {
		batches[i] = mapped.NewBatch()
	}
	var mu sync.Mutex
	var done uint64
	err = m.Forest.EachLeaf(ctx, func(worker, leaf int, n btree.Node, err error) error {
		if err != nil {
			return nil // reported later, with its device
		}
		for i := range n.Len() {
			data, _ := metadata.UnpackMapping(n.Uint64(i))
			if uint64(data) >= mapped.Len() {
				return fmt.Errorf("block %d: data block %d is beyond the data device: %w", m.Forest.Leaves()[leaf].Block, data, block.ErrCorrupt)
			}
			batches[worker].Add(uint64(data), false)
		}
		mu.Lock()
		defer mu.Unlock()
		if done++; done%1024 == 0 {
			opt.progress("reading mappings", done, uint64(len(m.Forest.Leaves())))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, b := range batches {
		b.Flush()
	}
	return checkWhole(m.Forest, devices)
}

// checkWhole returns an error unless the trees of all devices can be read without doubt. It checks
// each node once.
func checkWhole(f *btree.Forest, devices []metadata.Device) error {
	var wrong error
	checker := btree.NewChecker(f, func(t btree.Finding) {
		if wrong == nil && isDoubtful(t) {
			wrong = t.Err
		}
	})
	for _, d := range devices {
		tree := checker.CheckTree(d.Root)
		switch {
		case wrong != nil:
			return fmt.Errorf("device %d: %w", d.ID, wrong)
		case tree.N != d.MappedBlocks:
			return fmt.Errorf("device %d: mapped_blocks is %d, but %d mappings were found: %w", d.ID, d.MappedBlocks, tree.N, block.ErrCorrupt)
		}
	}
	return nil
}

// Errors of [Data].
var (
	ErrNoDiscard = errors.New("discard is not supported by the device or the file system below it")
	ErrTooSmall  = errors.New("the data device is smaller than the pool")
)

// discardBytes is how much is discarded at a time, so that an interruption does not take long.
// Requests end at multiples of it, because devices ignore partial units at the ends of a request.
const discardBytes = 1 << 30

// Discard gives back the ranges, with blocks of blockSize sectors. If it is interrupted, only free
// blocks have changed.
func Discard(ctx context.Context, d Data, blockSize uint32, ranges []Range, opt Options) error {
	size := int64(blockSize) * block.SectorSize
	if n := len(ranges); n > 0 && (size == 0 || uint64(ranges[n-1].End) > uint64(d.Size()/size)) {
		return ErrTooSmall
	}
	for i, r := range ranges {
		opt.progress("discarding", uint64(i), uint64(len(ranges)))
		for at, end := int64(r.Begin)*size, int64(r.End)*size; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			next := min(end, at/discardBytes*discardBytes+discardBytes)
			if err := d.Discard(at, next-at); err != nil {
				return fmt.Errorf("bytes %d..%d: %w", at, next, err)
			}
			at = next
		}
	}
	return nil
}
