package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"thinpool/metadata/block"
	"thinpool/metadata/volume"
)

// ErrDiffers means that the output does not read back as written.
var ErrDiffers = errors.New("what was written is not what reads back")

// Verify reads extents again and compares them with what was written.
func Verify(ctx context.Context, r Reader, extents iter.Seq2[volume.Extent, error], written io.ReaderAt, opt Options) error {
	opt.From, opt.Checkpoint = 0, nil
	c := &comparer{from: written, buf: block.Bytes(block.Buffer(requestBytes / block.Size)), ctx: ctx}
	return Run(ctx, r, extents, c, opt)
}

// A comparer is a target that compares instead of writing.
type comparer struct {
	ctx  context.Context
	from io.ReaderAt
	buf  []byte
}

func (c *comparer) Sync() error { return nil }

func (c *comparer) WriteAt(p []byte, off int64) (int, error) {
	got, err := c.read(off, len(p))
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(got, p) {
		return 0, differenceError(got, p, off)
	}
	return len(p), nil
}

func (c *comparer) read(off int64, n int) ([]byte, error) {
	got := c.buf[:n]
	if n, err := c.from.ReadAt(got, off); n < len(got) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return got, nil
}

var zeros [requestBytes]byte

// Zero expects zeros. Holes in the target need not be read.
func (c *comparer) Zero(off, n int64) error {
	sparse, _ := c.from.(interface{ NextData(off int64) int64 })
	for end := off + n; off < end; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if sparse != nil {
			if off = sparse.NextData(off); off >= end {
				return nil
			}
		}
		n := min(end-off, requestBytes)
		if _, err := c.WriteAt(zeros[:n], off); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// differenceError reports the first wrong byte.
func differenceError(got, want []byte, off int64) error {
	i := 0
	for got[i] == want[i] {
		i++
	}
	return fmt.Errorf("%w: byte %d is %#02x, not %#02x", ErrDiffers, off+int64(i), got[i], want[i])
}
