package block

import (
	"context"
	"iter"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// batchBlocks is how many blocks one read joins at most: 512 KiB, beyond which
// neither memory nor disks become faster.
const batchBlocks = 128

// maxGap is how many unwanted blocks a read takes along rather than stop and
// start again: 32 KiB cost less than another request.
const maxGap = 8

// A Reader reads many blocks of a device at once: adjacent ones joined to large
// requests, several requests in flight, buffers used again. It is safe for
// concurrent use.
type Reader struct {
	dev     Device
	blocks  Nr
	workers int
	free    chan []Data // buffers of batchBlocks blocks; kept, as there are few and they are large
}

// NewReader returns a Reader of dev that keeps parallel requests in flight and
// handles their blocks in as many goroutines; 0 chooses one a processor.
func NewReader(dev Device, parallel int) *Reader {
	if parallel <= 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	return &Reader{dev: dev, blocks: Blocks(dev), workers: parallel, free: make(chan []Data, parallel)}
}

// buffer returns a buffer, which goes back by release.
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
	default: // more were in use at once than are worth keeping
	}
}

// Workers is the number of goroutines that [Reader.Each] uses.
func (r *Reader) Workers() int { return r.workers }

// Blocks is the number of whole blocks on the device.
func (r *Reader) Blocks() Nr { return r.blocks }

// Read reads one block.
func (r *Reader) Read(nr Nr, b *Data) error {
	buf := r.buffer() // aligned, as b need not be
	defer r.release(buf)
	if err := Read(r.dev, nr, &buf[0]); err != nil {
		return err
	}
	*b = buf[0]
	return nil
}

// Each reads the blocks that nrs yields, which should ascend, and calls fn once
// for each, in any order and from several goroutines; worker numbers them from 0
// to Workers()-1. The block is valid until fn returns. A block that cannot be
// read comes with an error instead, and the others still come. An error of fn
// or ctx ends the reading and is returned.
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

// batches cuts nrs where a gap, a step back or the size of a request demands it.
// The slice is used again for the next batch.
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

// batch reads a span of blocks with one request, or one by one if that fails,
// so that a bad sector costs only its own block.
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
