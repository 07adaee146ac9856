package shrink

import (
	"context"
	"errors"
	"fmt"
	"io"

	"thinpool/metadata/block"
)

// Options for long operations.
type Options struct {
	Progress func(phase string, done, total uint64)
}

// ErrTooSmall means that the data device is too small for the pool.
var ErrTooSmall = errors.New("the data device is smaller than the pool")

// CheckData returns an error that wraps [ErrTooSmall] if data is smaller than the pool says.
func (p *Plan) CheckData(data block.Device) error {
	if uint64(data.Size()) < p.Bytes(p.OldBlocks) {
		return fmt.Errorf("%w: it has %d bytes, but the pool has %d blocks of %d bytes", ErrTooSmall, data.Size(), p.OldBlocks, p.Bytes(1))
	}
	return nil
}

// A piece is a range of bytes to copy.
type piece struct{ from, to, len int64 }

// A copier copies pieces, as many at a time as fit into its buffer.
type copier struct {
	data        block.Device
	buf         []byte
	pieces      []piece // to copy through buf, in order
	held        int64   // sum of their lengths
	done, total uint64  // bytes
	opt         Options
}

// copyBytes is how much Copy reads before it writes, so that many small pieces become large
// requests.
const copyBytes = 16 << 20

// Copy makes all moves on the data device, and flushes it. If it is interrupted, all blocks in use
// are unchanged.
func (p *Plan) Copy(ctx context.Context, data block.Device, opt Options) error {
	if err := p.CheckData(data); err != nil {
		return err
	}
	c := &copier{data: data, buf: block.Bytes(block.Buffer(copyBytes / block.Size)), total: p.Bytes(p.Moved), opt: opt}
	for _, m := range p.Moves {
		left := piece{int64(p.Bytes(uint64(m.From))), int64(p.Bytes(uint64(m.To))), int64(p.Bytes(m.Len))}
		for left.len > 0 {
			n := min(left.len, copyBytes-c.held)
			c.pieces, c.held = append(c.pieces, piece{left.from, left.to, n}), c.held+n
			left = piece{left.from + n, left.to + n, left.len - n}
			if c.held == copyBytes {
				if err := c.copy(ctx); err != nil {
					return err
				}
			}
		}
	}
	if err := c.copy(ctx); err != nil {
		return err
	}
	if err := data.Flush(); err != nil {
		return fmt.Errorf("flushing the data: %w", err)
	}
	return nil
}

// copy copies the collected pieces.
func (c *copier) copy(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.opt.Progress != nil {
		c.opt.Progress("copying data", c.done, c.total)
	}
	err := c.each(func(p piece) int64 { return p.from }, func(buf []byte, at int64) error {
		n, err := c.data.ReadAt(buf, at)
		switch {
		case n == len(buf):
			return nil
		case err == nil || err == io.EOF:
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("reading bytes %d..%d: %w", at, at+int64(len(buf)), err)
	})
	if err != nil {
		return err
	}
	err = c.each(func(p piece) int64 { return p.to }, func(buf []byte, at int64) error {
		if _, err := c.data.WriteAt(buf, at); err != nil {
			return fmt.Errorf("writing bytes %d..%d: %w", at, at+int64(len(buf)), err)
		}
		return nil
	})
	c.done += uint64(c.held)
	c.pieces, c.held = c.pieces[:0], 0
	return err
}

// each calls do for the parts of the buffer whose pieces are adjacent on the device; at returns a
// piece's position.
func (c *copier) each(at func(piece) int64, do func(buf []byte, at int64) error) error {
	buf := c.buf
	for i := 0; i < len(c.pieces); {
		begin, end := at(c.pieces[i]), at(c.pieces[i])
		for ; i < len(c.pieces) && at(c.pieces[i]) == end; i++ {
			end += c.pieces[i].len
		}
		if err := do(buf[:end-begin], begin); err != nil {
			return err
		}
		buf = buf[end-begin:]
	}
	return nil
}
