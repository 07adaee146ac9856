package send

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"thinpool/metadata/block"
	"thinpool/streamfmt"
)

// usualInterval is the default number of bytes received between checkpoints.
const usualInterval = 256 << 20

// A copier writes the data of a stream.
type copier struct {
	in   *In
	dev  block.Device
	opt  Target
	left []streamfmt.Range // sent but not complete yet
	next uint64            // the next expected byte
	mark uint64            // bytes written since the last checkpoint
	done uint64            // total bytes
	buf  []byte
}

// copy writes all data, checks that the stream is complete, and flushes.
func (in *In) copy(ctx context.Context, dev block.Device, opt Target) error {
	c := &copier{in: in, dev: dev, opt: opt, buf: block.Bytes(block.Buffer(streamfmt.MostContent / block.Size))}
	for _, r := range in.ranges {
		if !r.InBase && in.Bytes(uint64(r.Begin)+r.Len) > in.Header.Start {
			c.left = append(c.left, r)
		} else if !r.InBase && in.Bytes(uint64(r.Begin)+r.Len) > opt.From {
			return fmt.Errorf("the stream starts at byte %d, but only what lies before byte %d was received: send it with --start-at %d", in.Header.Start, opt.From, opt.From)
		}
	}
	if len(c.left) > 0 {
		c.next = max(in.Bytes(uint64(c.left[0].Begin)), in.Header.Start)
		if in.Header.Start > opt.From && c.next > in.Bytes(uint64(c.left[0].Begin)) {
			return fmt.Errorf("the stream starts at byte %d, but only what lies before byte %d was received: send it with --start-at %d", in.Header.Start, opt.From, opt.From)
		}
	}
	g, decoding := errgroup.WithContext(ctx)
	decoded := make(chan part, 4)
	g.Go(func() error {
		defer close(decoded)
		return in.decode(decoding, decoded)
	})
	// Not with the context of the group: data that arrived before the stream broke off is written,
	// so it need not be sent again.
	g.Go(func() error {
		for p := range decoded {
			if err := c.part(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if len(c.left) > 0 {
		return fmt.Errorf("%w: the data from byte %d on is missing", streamfmt.ErrDamaged, c.next)
	}
	if err := dev.Flush(); err != nil {
		return fmt.Errorf("data: flushing: %w", err)
	}
	return nil
}

// A part is a data frame with its content, which is nil for zeros.
type part struct {
	off, n  uint64
	content []byte
	frame   *streamfmt.Frame
}

// decode reads all frames to the end of the stream.
func (in *In) decode(ctx context.Context, to chan<- part) error {
	for {
		f, err := in.r.Next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		p := part{off: f.Position, n: f.Length, frame: f}
		switch f.Type {
		case streamfmt.Data:
			if p.content, err = in.r.Content(f, nil); err != nil {
				return err
			}
		case streamfmt.Zero:
		case streamfmt.End:
			continue
		default:
			return fmt.Errorf("%w: %v among the data", streamfmt.ErrDamaged, f.Type)
		}
		select {
		case to <- p:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// part writes a part, which must be the next one.
func (c *copier) part(ctx context.Context, p part) error {
	if len(c.left) == 0 || p.off != c.next || p.n == 0 || p.n%zeroBytes != 0 {
		return fmt.Errorf("%w: data at byte %d, %d bytes, want what follows byte %d", streamfmt.ErrDamaged, p.off, p.n, c.next)
	}
	end := c.in.Bytes(uint64(c.left[0].Begin) + c.left[0].Len)
	if p.n > end-c.next {
		return fmt.Errorf("%w: data at byte %d, %d bytes, beyond what is used", streamfmt.ErrDamaged, p.off, p.n)
	}
	if p.off+p.n > c.opt.From {
		if err := c.write(ctx, p); err != nil {
			return err
		}
	}
	if c.next += p.n; c.next == end {
		if c.left = c.left[1:]; len(c.left) > 0 {
			c.next = c.in.Bytes(uint64(c.left[0].Begin))
		}
	}
	c.in.r.Recycle(p.frame)
	return c.reached(p)
}

// write writes a part to its place.
func (c *copier) write(ctx context.Context, p part) error {
	off := p.off
	for n, to := range c.in.pieces(p.off, p.off+p.n) {
		if p.content == nil && c.opt.Zero {
			continue // it already reads as zeros
		}
		for n > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			buf := c.buf[:min(n, uint64(len(c.buf)))]
			if p.content != nil {
				copy(buf, p.content[off-p.off:])
			} else {
				clear(buf)
			}
			if _, err := c.dev.WriteAt(buf, int64(to)); err != nil {
				return fmt.Errorf("data: writing bytes %d..%d: %w", to, to+uint64(len(buf)), err)
			}
			length := uint64(len(buf))
			off, to, n = off+length, to+length, n-length
		}
	}
	return nil
}

// reached records how far the copy got.
func (c *copier) reached(p part) error {
	c.done += p.n
	c.mark += p.n
	if c.opt.Progress != nil {
		c.opt.Progress("receiving MiB", c.done>>20, c.in.Bytes(c.in.Header.Sent)>>20)
	}
	if c.opt.Checkpoint == nil || c.mark < cmp.Or(c.opt.Interval, usualInterval) || c.next < c.opt.From {
		return nil
	}
	c.mark = 0
	if err := c.dev.Flush(); err != nil {
		return fmt.Errorf("data: flushing: %w", err)
	}
	return c.opt.Checkpoint(p.off + p.n)
}
