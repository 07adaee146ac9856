// Package ls, whose API may change, lists the thin devices of a pool and how much they occupy.
package ls

import (
	"context"
	"fmt"
	"sync/atomic"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Options say which figures are wanted besides the device details.
type Options struct {
	Sharing  bool // Row.Exclusive, Row.Shared: walks all mappings
	Highest  bool // Row.Highest: reads one path down each tree
	Progress func(phase string, done, total uint64)
}

// A Row is the figures of a device. Counts are in data blocks.
type Row struct {
	metadata.Device
	Exclusive uint64             // data blocks without another mapping
	Shared    uint64             // mapped blocks that are not exclusive
	Highest   metadata.ThinBlock // highest mapped thin block
	Empty     bool               // nothing is mapped, so Highest is unset
}

// Run returns a row for each device, by ascending id. If the metadata is damaged, the error wraps
// [block.ErrCorrupt].
func Run(ctx context.Context, p *metadata.Pool, opt Options) ([]Row, error) {
	var rows []Row
	for d, err := range p.Devices(ctx) {
		if err != nil {
			return nil, err
		}
		row := Row{Device: d}
		if opt.Highest {
			highest, ok, err := p.Highest(d)
			if err != nil {
				return nil, err
			}
			row.Highest, row.Empty = highest, !ok
		}
		rows = append(rows, row)
	}
	if !opt.Sharing {
		return rows, nil
	}
	return rows, sharing(ctx, p, rows, opt)
}

// sharing fills in the exclusive and shared blocks. It counts how often each data block is mapped,
// then walks the leaves again to see which devices have blocks mapped only once. Blocks in a
// shared leaf are never exclusive.
func sharing(ctx context.Context, p *metadata.Pool, rows []Row, opt Options) error {
	devices := make([]metadata.Device, len(rows))
	for i, r := range rows {
		devices[i] = r.Device
	}
	m, err := p.Mappings(ctx, devices...)
	if err != nil {
		return err
	}
	w := walk{p: p, m: m, opt: opt, counts: spacemap.NewCounter(countable(p))}
	if err := w.count(ctx); err != nil {
		return err
	}
	exclusive, err := w.exclusive(ctx, metadata.LeafSharing(m.Forest, devices))
	if err != nil {
		return err
	}
	for i := range rows {
		r := &rows[i]
		for part := range m.Forest.LeafRanges(r.Root) {
			if part.Err != nil {
				return &metadata.LostError{ID: r.ID, Keys: part.Keys, Err: part.Err}
			}
			r.Exclusive += exclusive[part.Leaf]
		}
		r.Shared = r.MappedBlocks - min(r.Exclusive, r.MappedBlocks)
	}
	return nil
}

// countable returns how many data blocks the pool can have: at most as many as its metadata can
// hold bitmaps for.
func countable(p *metadata.Pool) uint64 {
	limit := min(p.Limit(), p.Reader().Blocks())
	return min(p.Live.DataSpaceMap.NrBlocks, uint64(limit)*spacemap.PerBitmap)
}

type walk struct {
	p      *metadata.Pool
	m      *metadata.Mappings
	opt    Options
	counts *spacemap.Counter
}

// count counts the mappings of each data block.
func (w *walk) count(ctx context.Context) error {
	batches := make([]*spacemap.Batch, w.p.Reader().Workers())
	for i := range batches {
		batches[i] = w.counts.NewBatch()
	}
	var done atomic.Uint64
	err := w.m.Forest.EachLeaf(ctx, func(worker, leaf int, n btree.Node, err error) error {
		if n := done.Add(1); w.opt.Progress != nil && n%1024 == 0 {
			w.opt.Progress("counting", n, uint64(len(w.m.Forest.Leaves())))
		}
		if err != nil {
			return nil // reported later, with its device
		}
		for i := range n.Len() {
			data, _ := metadata.UnpackMapping(n.Uint64(i))
			if uint64(data) >= w.counts.Len() {
				return fmt.Errorf("block %d: data block %d is beyond the data device: %w",
					w.m.Forest.Leaves()[leaf].Block, data, block.ErrCorrupt)
			}
			batches[worker].Add(uint64(data), false)
		}
		return nil
	})
	for _, b := range batches {
		b.Flush()
	}
	return err
}

// exclusive returns for each leaf how many of its data blocks are mapped once.
func (w *walk) exclusive(ctx context.Context, own []metadata.Sharing) ([]uint64, error) {
	exclusive := make([]uint64, len(w.m.Forest.Leaves()))
	err := w.m.Forest.RereadLeaves(ctx, func(_, leaf int, n btree.Node, err error) error {
		if err != nil || leaf >= len(own) || own[leaf].Many {
			return nil
		}
		for i := range n.Len() {
			data, _ := metadata.UnpackMapping(n.Uint64(i))
			if w.counts.Get(uint64(data)) == 1 {
				exclusive[leaf]++
			}
		}
		return nil
	})
	return exclusive, err
}
