package write

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// writeBlocks is the number of blocks per write.
const writeBlocks = 256

// Write writes the metadata to dev, whose content is lost. If it does not fit, the error is a
// [SpaceError], and dev is unchanged.
//
// First block 0 is invalidated, then everything else is written, then the superblock, with a flush
// after each. So an interruption leaves either the complete new metadata, or a block 0 that the
// kernel refuses. Block 0 is never all zero: the kernel would format that as a new device. Blocks
// of dev that the metadata does not use keep their content.
func (b *Builder) Write(ctx context.Context, dev block.Device) error {
	if b.stage != ended {
		return errOrder
	}
	have := block.Blocks(dev)
	if err := b.Fits(have); err != nil {
		return err
	}
	if err := Invalidate(dev); err != nil {
		return fmt.Errorf("invalidating block 0: %w", err)
	}
	w := writer{b: b, dev: dev, counts: spacemap.NewCounter(min(uint64(have), spacemap.MaxMetadata))}
	sb, err := w.all(ctx)
	if err != nil {
		return err
	}
	if err := dev.Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	buf := block.Buffer(1)
	sb.Encode(&buf[0])
	if err := block.Write(dev, metadata.SuperblockLocation, &buf[0]); err != nil {
		return fmt.Errorf("writing the superblock: %w", err)
	}
	if err := dev.Flush(); err != nil {
		return fmt.Errorf("flushing the superblock: %w", err)
	}
	return nil
}

// Invalidate makes the checksum of block 0 wrong and keeps the rest. If block 0 is all zero or
// unreadable, the checksum alone makes it a block that the kernel refuses and does not format.
func Invalidate(dev block.Device) error {
	buf := block.Buffer(1)
	if err := block.Read(dev, metadata.SuperblockLocation, &buf[0]); err != nil {
		buf[0] = block.Data{}
	}
	block.Invalidate(&buf[0])
	if err := block.Write(dev, metadata.SuperblockLocation, &buf[0]); err != nil {
		return err
	}
	return dev.Flush()
}

// Block0 returns the block 0 that [Builder.Write] would write to a device with the given number of
// blocks. It points to everything else, so everything is built for it, which takes as long as
// Write without a device. If the metadata does not fit, the error is a [SpaceError].
func (b *Builder) Block0(ctx context.Context, blocks block.Nr) (*block.Data, error) {
	quiet := *b
	quiet.opt.Progress = nil
	dev := &discardDevice{blocks: blocks}
	if err := quiet.Write(ctx, dev); err != nil {
		return nil, err
	}
	return &dev.block0, nil
}

// A discardDevice only keeps block 0.
type discardDevice struct {
	blocks block.Nr
	block0 block.Data
}

func (d *discardDevice) WriteAt(p []byte, off int64) (int, error) {
	if off == 0 {
		copy(d.block0[:], p)
	}
	return len(p), nil
}

func (d *discardDevice) ReadAt(p []byte, off int64) (int, error) { return copy(p, d.block0[off:]), nil }

func (d *discardDevice) Size() int64  { return int64(d.blocks) * block.Size }
func (d *discardDevice) Flush() error { return nil }
func (d *discardDevice) Close() error { return nil }

// A writer writes blocks and counts the references between them.
type writer struct {
	b      *Builder
	dev    block.Device
	counts *spacemap.Counter // of metadata blocks
	next   block.Nr          // next to allocate
	buf    []block.Data      // adjacent blocks, not yet written
	first  block.Nr          // the block of buf[0]
	held   int               // number of blocks in buf
}

// all writes everything except the superblock, which it returns.
func (w *writer) all(ctx context.Context) (*metadata.Superblock, error) {
	b := w.b
	w.counts.Add(uint64(metadata.SuperblockLocation), 1)
	if err := w.leaves(ctx); err != nil {
		return nil, err
	}
	w.next = block.Nr(firstLeafBlock + len(b.plan.order))
	w.buf = block.Buffer(writeBlocks)
	sb := &metadata.Superblock{
		Block:             metadata.SuperblockLocation,
		Flags:             b.header.Flags,
		UUID:              b.header.UUID,
		Magic:             metadata.Magic,
		Version:           b.header.Version,
		Time:              b.header.Time,
		TransactionID:     b.header.TransactionID,
		DataBlockSize:     b.header.DataBlockSize,
		MetadataBlockSize: metadata.MetadataBlockSize,
		MetadataNrBlocks:  w.counts.Len(),
	}
	roots, err := w.mappingTrees(ctx)
	if err != nil {
		return nil, err
	}
	sb.MappingRoot, err = btree.Build(w, metadata.RootSize, len(b.devices), func(i int, value []byte) uint64 {
		le.PutUint64(value, uint64(roots[b.devices[i].tree]))
		return uint64(b.devices[i].id)
	})
	if err != nil {
		return nil, err
	}
	sb.DetailsRoot, err = btree.Build(w, metadata.DetailsSize, len(b.devices), func(i int, value []byte) uint64 {
		b.devices[i].details.Encode(value)
		return uint64(b.devices[i].id)
	})
	if err != nil {
		return nil, err
	}
	if sb.DataSpaceMap, err = spacemap.WriteData(w, b.plan.data); err != nil {
		return nil, err
	}
	if sb.MetadataSpaceMap, err = spacemap.WriteMetadata(w, w.counts); err != nil {
		return nil, err
	}
	return sb, w.flush()
}

// leaves writes the mapping leaves, several ranges of blocks at a time.
func (w *writer) leaves(ctx context.Context) error {
	plan := &w.b.plan
	for _, leaf := range plan.order {
		w.counts.Add(uint64(plan.blockOf[leaf]), plan.refs[leaf])
	}
	g, ctx := errgroup.WithContext(ctx)
	var next, done atomic.Int64
	for range w.b.parallel() {
		g.Go(func() error {
			buf := block.Buffer(writeBlocks)
			for {
				from := int(next.Add(writeBlocks)) - writeBlocks
				if from >= len(plan.order) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				order := plan.order[from:min(from+writeBlocks, len(plan.order))]
				for i, leaf := range order {
					d := btree.NewNodeBuilder(&buf[i], true, metadata.MappingSize)
					w.b.store.fill(int(leaf), &d)
					d.Seal(block.Nr(plan.blockOf[leaf]))
				}
				if err := w.write(block.Nr(plan.blockOf[order[0]]), buf[:len(order)]); err != nil {
					return err
				}
				if w.b.opt.Progress != nil {
					w.b.opt.Progress("writing", uint64(done.Add(int64(len(order)))), uint64(len(plan.order)))
				}
			}
		})
	}
	return g.Wait()
}

// mappingTrees writes the internal nodes of the mapping trees and returns the root of each. More
// devices with the same tree count as pointers to it.
func (w *writer) mappingTrees(ctx context.Context) ([]block.Nr, error) {
	roots := make([]block.Nr, len(w.b.trees))
	for i, t := range w.b.trees {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		level := make([]btree.Child, 0, t.leaves)
		for _, s := range w.b.spansOf(t) {
			for leaf := s.from; leaf < s.from+s.n; leaf++ {
				level = append(level, btree.Child{Key: uint64(w.b.store.leaves[leaf].first), Block: block.Nr(w.b.plan.blockOf[leaf])})
			}
		}
		var err error
		if roots[i], err = btree.BuildAbove(w, level); err != nil {
			return nil, err
		}
		if t.leaves > 1 {
			w.counts.Add(uint64(roots[i]), t.devices-1)
		}
	}
	return roots, nil
}

// errPlan says that the plan was wrong, which would be a bug: the space was computed before.
var errPlan = errors.New("internal error: more blocks needed than planned")

// Alloc implements btree.Allocator. It allocates blocks in a row, each with count 1.
func (w *writer) Alloc() (block.Nr, error) {
	nr := w.next
	if uint64(nr) >= w.counts.Len() {
		return 0, errPlan
	}
	w.next++
	w.counts.Add(uint64(nr), 1)
	return nr, nil
}

// Write implements btree.Allocator. It joins writes of adjacent blocks.
func (w *writer) Write(nr block.Nr, b *block.Data) error {
	if w.held == len(w.buf) || w.held > 0 && nr != w.first+block.Nr(w.held) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.held == 0 {
		w.first = nr
	}
	w.buf[w.held] = *b
	w.held++
	return nil
}

func (w *writer) flush() error {
	if w.held == 0 {
		return nil
	}
	err := w.write(w.first, w.buf[:w.held])
	w.held = 0
	return err
}

func (w *writer) write(first block.Nr, blocks []block.Data) error {
	if _, err := w.dev.WriteAt(block.Bytes(blocks), int64(first)*block.Size); err != nil {
		return fmt.Errorf("writing blocks %d to %d: %w", first, first+block.Nr(len(blocks))-1, err)
	}
	return nil
}
