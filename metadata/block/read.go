package block

import (
	"context"
	"iter"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// batchBlocks is the maximum number of blocks in one read: 512 KiB. Larger reads are not faster,
// neither from memory nor from disk.
const batchBlocks = 128

// maxGap is the maximum number of unwanted blocks that a read includes instead of starting a new
// one: reading 32 KiB is cheaper than another request.
const maxGap = 8

// A Reader reads many blocks of a device. It joins adjacent blocks into large requests, keeps
// several requests in flight and reuses buffers. It is safe for concurrent use.
type Reader struct {
	dev     Device
	blocks  Nr
	workers int
	free    chan []Data // buffers of batchBlocks blocks, kept because they are large and few
}

// NewReader returns a Reader of dev that keeps parallel requests in flight and handles their
// blocks in as many goroutines; 0 means one per processor.
func NewReader(dev Device, parallel int) *Reader {
	if parallel <= 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	return &Reader{dev: dev, blocks: Blocks(dev), workers: parallel, free: make(chan []Data, parallel)}
}

// buffer returns a buffer, to be returned with release.
func (r *Reader) buffer() []Data {
	select {
	case b := <-r.free:
		return b
	default:
		return Buffer(batchBlocks)
	}
}

func (r *Reader) release(b []Data) {
	select {
	case r.free <- b:
	default: // there were more in use than are worth keeping
	}
}

// Workers returns the number of goroutines that [Reader.Each] uses.
func (r *Reader) Workers() int { return r.workers }

// Blocks returns the number of whole blocks on the device.
func (r *Reader) Blocks() Nr { return r.blocks }

// Read reads one block.
func (r *Reader) Read(nr Nr, b *Data) error {
	buf := r.buffer() // b may not be aligned
	defer r.release(buf)
	if err := Read(r.dev, nr, &buf[0]); err != nil {
		return err
	}
	*b = buf[0]
	return nil
}

// Each reads the blocks from nrs, which should ascend, and calls fn once for each, in any order
// and from several goroutines. worker is the goroutine's number, from 0 to Workers()-1. The block
// is valid until fn returns. An unreadable block comes with an error, and the others still come.
// An error from fn or ctx stops the read and is returned.
func (r *Reader) Each(ctx context.Context, nrs iter.Seq[Nr], fn func(worker int, nr Nr, b *Data, err error) error) error {
	next, stop := iter.Pull(batches(nrs))
	defer stop()
	var mu sync.Mutex
	take := func(dst []Nr) []Nr {
		mu.Lock()
		defer mu.Unlock()
		batch, _ := next()
		return append(dst[:0], batch...)
	}
	g, ctx := errgroup.WithContext(ctx)
	for worker := range r.workers {
		g.Go(func() error {
			buf := r.buffer()
			defer r.release(buf)
			batch := take(make([]Nr, 0, batchBlocks))
			for ; len(batch) > 0; batch = take(batch) {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := r.batch(worker, batch, buf, fn); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// batches splits nrs at gaps, at steps back and at the maximum request size. It reuses the slice
// for the next batch.
func batches(nrs iter.Seq[Nr]) iter.Seq[[]Nr] {
	return func(yield func([]Nr) bool) {
		batch := make([]Nr, 0, batchBlocks)
		for nr := range nrs {
			if n := len(batch); n > 0 && (nr <= batch[n-1] || nr-batch[n-1] > maxGap || nr-batch[0] >= batchBlocks) {
				if !yield(batch) {
					return
				}
				batch = batch[:0]
			}
			batch = append(batch, nr)
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

// batch reads a span of blocks in one request. If that fails, it reads them one by one, so that a
// bad sector only costs its own block.
func (r *Reader) batch(worker int, batch []Nr, buf []Data, fn func(int, Nr, *Data, error) error) error {
	first, last := batch[0], batch[len(batch)-1]
	whole := false
	if last < r.blocks {
		span := Bytes(buf[:last-first+1])
		n, _ := r.dev.ReadAt(span, int64(first)*Size)
		whole = n == len(span)
	}
	for _, nr := range batch {
		b := &buf[nr-first]
		var err error
		if !whole {
			err = Read(r.dev, nr, b)
		}
		if err := fn(worker, nr, b, err); err != nil {
			return err
		}
	}
	return nil
}
