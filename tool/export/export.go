// Package export, whose API may change, copies the content of thin devices to where it can be read
// without a pool: a sparse file, a stream, a block device.
//
// The input is a stream of [volume.Extent], in order: a whole volume, or what changed. Several
// buffers are filled ahead of the one being written, so memory use is a few MiB, whatever the size.
package export

import (
	"context"
	"fmt"
	"iter"

	"golang.org/x/sync/errgroup"

	"thinpool/metadata/block"
	"thinpool/metadata/volume"
)

// A Reader reads the data of extents, like [volume.Volume].
type Reader interface {
	// Read fills p with the first bytes of e. It must be safe for concurrent use.
	Read(p []byte, e volume.Extent) error
	// Advise announces that e will be read soon.
	Advise(e volume.Extent)
}

// A Target receives the exported data in ascending order.
type Target interface {
	WriteAt(p []byte, off int64) (int, error)
	// Zero makes n bytes from off on read as zeros.
	Zero(off, n int64) error
	// Sync returns when everything written is on stable storage.
	Sync() error
}

// Options for [Run].
type Options struct {
	From int64 // everything before this offset is already done
	// Unreadable is called from one goroutine for data that cannot be read; it becomes zeros. If
	// nil, the export stops there.
	Unreadable func(volume.Extent)
	// Checkpoint, if not nil, is called from time to time, and before Run returns an error.
	// Everything before position is then on stable storage.
	Checkpoint func(position int64) error
	Every      int64                                  // bytes between checkpoints; 0: 1 GiB
	Progress   func(phase string, done, total uint64) // in MiB
	Phase      string
	Total      int64 // bytes that take time to process
	Zeros      bool  // zeros take time, too
}

// Sizes of requests, and their number.
const (
	requestBytes    = 1 << 20
	zeroBytes       = 256 << 20 // small enough to interrupt quickly
	requests        = 4
	readers         = 2
	checkpointBytes = 1 << 30
)

// A request is a range that is read and written as a unit.
type request struct {
	begin, end int64
	parts      []volume.Extent // its extents; nil: zeros
	buf        []byte
	bad        []volume.Extent // unreadable parts
	err        error           // error of the first of them
	read       chan struct{}   // closed once buf is filled
}

// Run copies extents, which must ascend, to a target. The error is that of ctx, or says what could
// not be read or written.
func Run(ctx context.Context, r Reader, extents iter.Seq2[volume.Extent, error], to Target, opt Options) error {
	if opt.Every == 0 {
		opt.Every = checkpointBytes
	}
	w := &writer{to: to, opt: opt, at: opt.From}
	err := pipeline(ctx, r, extents, opt, w.write)
	if err == nil {
		return to.Sync()
	}
	// Keep what was done, if that still works.
	if opt.Checkpoint != nil && to.Sync() == nil {
		_ = opt.Checkpoint(w.at)
	}
	return err
}

// pipeline reads extents ahead and passes them to write in order.
func pipeline(ctx context.Context, r Reader, extents iter.Seq2[volume.Extent, error], opt Options, write func(*request) error) error {
	g, ctx := errgroup.WithContext(ctx)
	free, ordered, work := make(chan *request, requests), make(chan *request, requests), make(chan *request, requests)
	for range requests {
		free <- &request{buf: block.Bytes(block.Buffer(requestBytes / block.Size))}
	}
	g.Go(func() error {
		defer close(ordered)
		defer close(work)
		p := planner{r: r, free: free, ordered: ordered, work: work}
		return p.plan(ctx, extents, opt.From)
	})
	for range readers {
		g.Go(func() error {
			for q := range work {
				q.fill(r, opt.Unreadable != nil)
				close(q.read)
			}
			return nil
		})
	}
	g.Go(func() error {
		for q := range ordered {
			if q.parts != nil {
				<-q.read
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := write(q); err != nil {
				return err
			}
			if q.parts != nil {
				free <- q
			}
		}
		return nil
	})
	return g.Wait()
}

// A planner cuts extents into requests.
type planner struct {
	r             Reader
	free          <-chan *request
	ordered, work chan<- *request
	cur           *request // incomplete
}

func (p *planner) plan(ctx context.Context, extents iter.Seq2[volume.Extent, error], from int64) error {
	for e, err := range extents {
		switch {
		case err != nil:
			return err
		case e.End() <= from:
			continue
		case e.Begin < from:
			e = e.From(from)
		}
		if err := p.extent(ctx, e); err != nil {
			return err
		}
	}
	return p.send(ctx)
}

func (p *planner) extent(ctx context.Context, e volume.Extent) error {
	zeros := e.Kind == volume.Hole || e.Kind == volume.Lost
	if p.cur != nil && (zeros || p.cur.end != e.Begin) {
		if err := p.send(ctx); err != nil {
			return err
		}
	}
	if zeros {
		return p.zeros(ctx, e.Begin, e.End())
	}
	for {
		if p.cur == nil {
			select {
			case p.cur = <-p.free:
				*p.cur = request{begin: e.Begin, end: e.Begin, parts: p.cur.parts[:0], buf: p.cur.buf, read: make(chan struct{})}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		// Requests end at multiples of their maximum size.
		room := (p.cur.begin/requestBytes+1)*requestBytes - p.cur.end
		part := e
		part.Len = min(e.Len, room)
		p.cur.parts = append(p.cur.parts, part)
		p.r.Advise(part)
		p.cur.end = part.End()
		if part.Len == room {
			if err := p.send(ctx); err != nil {
				return err
			}
		}
		if part.Len == e.Len {
			return nil
		}
		e = e.From(part.End())
	}
}

func (p *planner) zeros(ctx context.Context, at, end int64) error {
	for at < end {
		next := min(at+zeroBytes, end)
		if err := p.queue(ctx, &request{begin: at, end: next}); err != nil {
			return err
		}
		at = next
	}
	return nil
}

// send passes on the completed request.
func (p *planner) send(ctx context.Context) error {
	q := p.cur
	if q == nil {
		return nil
	}
	p.cur = nil
	select {
	case p.work <- q:
		return p.queue(ctx, q)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *planner) queue(ctx context.Context, q *request) error {
	select {
	case p.ordered <- q:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fill reads the extents of a request. After an error it continues only with salvage.
func (q *request) fill(r Reader, salvage bool) {
	for _, e := range q.parts {
		p := q.buf[e.Begin-q.begin:][:e.Len]
		err := r.Read(p, e)
		if err == nil {
			continue
		}
		if q.err == nil {
			q.err = err
		}
		if !salvage {
			return
		}
		q.salvage(r, e)
	}
}

// salvage reads an extent block by block: one bad sector should not lose all of it.
func (q *request) salvage(r Reader, e volume.Extent) {
	for e.Len > 0 {
		piece := e
		piece.Len = min(e.Len, block.Size)
		if err := r.Read(q.buf[piece.Begin-q.begin:][:piece.Len], piece); err != nil {
			q.markLost(piece, err)
		}
		if e = e.From(piece.End()); e.Len == 0 {
			return
		}
	}
}

func (q *request) markLost(e volume.Extent, err error) {
	if n := len(q.bad); n > 0 && q.bad[n-1].End() == e.Begin {
		q.bad[n-1].Len += e.Len
		return
	}
	q.bad = append(q.bad, volume.Extent{Kind: volume.Lost, Begin: e.Begin, Len: e.Len, Err: err})
}

// A writer writes requests in order.
type writer struct {
	to      Target
	opt     Options
	at      int64 // everything before is written
	written int64 // bytes that took time to process
	since   int64 // of these, since the last checkpoint
}

func (w *writer) write(q *request) error {
	if q.err != nil && w.opt.Unreadable == nil {
		return q.err
	}
	if err := w.writeData(q); err != nil {
		return err
	}
	w.at = q.end
	if q.parts != nil || w.opt.Zeros {
		w.written += q.end - q.begin
		w.since += q.end - q.begin
	}
	if w.opt.Progress != nil {
		w.opt.Progress(w.opt.Phase, uint64(w.written)>>20, uint64(w.opt.Total)>>20)
	}
	if w.opt.Checkpoint == nil || w.since < w.opt.Every {
		return nil
	}
	w.since = 0
	if err := w.to.Sync(); err != nil {
		return err
	}
	return w.opt.Checkpoint(w.at)
}

// writeData writes a request, with zeros for unreadable parts.
func (w *writer) writeData(q *request) error {
	at := q.begin
	data := func(end int64) error {
		if at == end {
			return nil
		}
		_, err := w.to.WriteAt(q.buf[at-q.begin:end-q.begin], at)
		return rangeError(at, end, err)
	}
	zero := func(begin, end int64) error { return rangeError(begin, end, w.to.Zero(begin, end-begin)) }
	if q.parts == nil {
		return zero(q.begin, q.end)
	}
	for _, e := range q.bad {
		w.opt.Unreadable(e)
		if err := data(e.Begin); err != nil {
			return err
		}
		if err := zero(e.Begin, e.End()); err != nil {
			return err
		}
		at = e.End()
	}
	return data(q.end)
}

// rangeError adds the byte range to an error.
func rangeError(begin, end int64, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bytes %d..%d: %w", begin, end-1, err)
}
