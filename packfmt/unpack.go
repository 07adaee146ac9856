package packfmt

import (
	"context"
	"fmt"
	"sync"

	"thinpool/metadata/block"
)

// writeBlocks is the number of blocks per write: many for a device, and few enough to stay in the
// processor's cache with everything else that unpacking needs.
const writeBlocks = 64

// Unpack writes the packed device to dev, which must be at least as large. Anything beyond that on
// dev stays. If zero is set, dev is already all zero, so that blocks missing from the pack are not
// written.
//
// Block 0 is written last. If Unpack is interrupted before that, dev has no superblock.
func (r *Reader) Unpack(ctx context.Context, dev block.Device, zero bool, opt Options) error {
	if have := block.Blocks(dev); have < r.Blocks {
		return fmt.Errorf("the packed device has %d blocks, but the output only %d; nothing was written", r.Blocks, have)
	}
	first := new(superblock)
	if !zero {
		if err := first.write(dev); err != nil {
			return err
		}
	}
	found, err := r.each(ctx, "unpacking", opt, func() sink {
		return &writer{dev: dev, first: first, buf: block.Buffer(writeBlocks)}
	})
	if err != nil {
		return err
	}
	if !zero {
		if err := clearRest(ctx, dev, r.Blocks, found); err != nil {
			return err
		}
	}
	if err := dev.Flush(); err != nil {
		return err
	}
	return first.write(dev)
}

// superblock keeps block 0 until its turn.
type superblock struct {
	mu sync.Mutex
	b  block.Data
}

func (s *superblock) set(b *block.Data) {
	s.mu.Lock()
	s.b = *b
	s.mu.Unlock()
}

// write writes and flushes it.
func (s *superblock) write(dev block.Device) error {
	buf := block.Buffer(1)
	buf[0] = s.b
	if err := block.Write(dev, 0, &buf[0]); err != nil {
		return err
	}
	return dev.Flush()
}

// A writer is a sink that joins adjacent blocks into large writes.
type writer struct {
	dev   block.Device
	first *superblock
	buf   []block.Data
	at    block.Nr // first block in buf
	n     int
}

func (w *writer) add(nr block.Nr, b *block.Data, _ bool) error {
	if nr == 0 {
		w.first.set(b)
		return nil
	}
	if w.n == len(w.buf) || nr != w.at+block.Nr(w.n) {
		if err := w.endFrame(); err != nil {
			return err
		}
		w.at = nr
	}
	w.buf[w.n] = *b
	w.n++
	return nil
}

// endFrame writes the collected blocks.
func (w *writer) endFrame() error {
	if w.n == 0 {
		return nil
	}
	_, err := w.dev.WriteAt(block.Bytes(w.buf[:w.n]), int64(w.at)*block.Size)
	w.n = 0
	return err
}

// clearRest zeroes all blocks missing from the pack: a device holds old data.
func clearRest(ctx context.Context, dev block.Device, blocks block.Nr, found *seen) error {
	zeroes := block.Buffer(readBlocks)
	for nr := block.Nr(1); nr < blocks; nr++ {
		end := nr
		for end < blocks && end-nr < readBlocks && !found.has(end) {
			end++
		}
		if end == nr {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := dev.WriteAt(block.Bytes(zeroes[:end-nr]), int64(nr)*block.Size); err != nil {
			return err
		}
		nr = end - 1
	}
	return nil
}
