// Package send, whose API may change, writes a whole pool, or some of its devices, to one stream,
// and creates a pool from such a stream. Data shared by devices is sent once and stays shared.
//
//	visit the pool > Plan > Send: a stream > Open > Place > Build > Receive: data, then metadata
//
// Send reads data blocks in the order of the data device, each once. The layout comes first, and
// tells the receiver where each block will be. So it can build the new metadata while it reads the
// description, and knows before it writes anything whether everything fits.
//
// An increment omits the data blocks that are in the base, an earlier stream, and cannot have
// changed since. The kernel overwrites a data block in place unless the time of its mapping is
// before the snapshot time of the device. Once that is so, it stays so, and the time of a mapping
// tells whether it is still the same mapping. So mappings alone are proof: see [Plan] and
// docs/stream.md.
package send

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"

	"thinpool/internal/blockset"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/streamfmt"
)

// A Visit passes the description of the pool to v, the same each time. With flat, there are no
// defs.
type Visit func(flat bool, v metadata.Visitor) error

// Options for [NewPlan].
type Options struct {
	Since        *Index // send only what is not frozen in this index; nil: everything
	State        bool   // collect the facts for an index
	Start        uint64 // do not send data before this byte of the data device
	Pool, PoolID string // LVM's name and id of the pool
}

// A Plan describes the content of a stream.
type Plan struct {
	Header streamfmt.Header

	visit Visit
	used  blockset.Set
	since *Index // nil: none
	kept  blockset.Set
	state *State // nil: not requested
}

// NewPlan visits the pool. The error wraps [ErrBase] if opt.Since cannot be used as a base.
func NewPlan(visit Visit, opt Options) (*Plan, error) {
	p := &Plan{visit: visit, since: opt.Since}
	v := &usage{plan: p}
	if opt.Since != nil {
		v.match = &match{index: opt.Since}
	}
	if err := visit(false, v); err != nil {
		return nil, err
	}
	p.Header.Kind, p.Header.Pool, p.Header.PoolID, p.Header.Start = "pool", opt.Pool, opt.PoolID, opt.Start
	p.Header.Used = p.used.Below(mostBlocks)
	p.Header.Sent = p.Header.Used
	if opt.Since != nil {
		if err := p.build(v.match); err != nil {
			return nil, err
		}
	}
	if opt.State {
		p.state = new(State)
		if err := visit(true, p.state); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// usage is a Visitor that records the data blocks a pool uses.
type usage struct {
	discard
	plan  *Plan
	match *match // nil: no base
}

// Begin implements [metadata.Visitor].
func (u *usage) Begin(h metadata.Header) error {
	if err := checkHeader(h); err != nil {
		return err
	}
	u.plan.Header.SetHeader(h)
	return nil
}

// BeginDevice implements [metadata.Visitor].
func (u *usage) BeginDevice(id metadata.DevID, d metadata.Details) error {
	if u.match != nil {
		u.match.device(id, d)
	}
	return nil
}

// Runs implements [metadata.Visitor].
func (u *usage) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		nr := u.plan.Header.DataBlocks
		if uint64(r.Data) >= nr || r.Len > nr-uint64(r.Data) {
			return fmt.Errorf("data block %d is beyond the data device: %w", uint64(r.Data)+r.Len-1, block.ErrCorrupt)
		}
		u.plan.used.Add(uint64(r.Data), r.Len)
		if u.match != nil {
			u.match.run(r)
		}
	}
	return nil
}

// Bytes returns the size of n data blocks.
func (p *Plan) Bytes(n uint64) uint64 { return n * uint64(p.Header.DataBlockSize) * block.SectorSize }

// A Stream says how to write a stream.
type Stream struct {
	Level    int                // zstd level; 0: do not compress data
	Volumes  []streamfmt.Volume // what LVM knows about the devices
	Text     []byte             // LVM's text
	Advise   func(off, n int64) // called with ranges of the data device to be read; may be nil
	Progress func(phase string, done, total uint64)
}

// Send writes the stream. The pool and its data must not change meanwhile.
func (p *Plan) Send(ctx context.Context, w io.Writer, data io.ReaderAt, opt Stream) (streamfmt.Summary, error) {
	out, err := streamfmt.NewWriter(w, opt.Level)
	if err == nil {
		err = p.sections(out, opt)
	}
	if err == nil {
		err = p.data(ctx, out, data, opt)
	}
	if err != nil {
		return streamfmt.Summary{}, err
	}
	return out.End()
}

// sections writes everything before the data.
func (p *Plan) sections(out *streamfmt.Writer, opt Stream) error {
	if err := out.JSON(streamfmt.Head, p.Header); err != nil {
		return err
	}
	layout := out.Section(streamfmt.Layout)
	ranges := streamfmt.NewRangeWriter(layout)
	for r := range p.ranges() {
		if err := ranges.Write(r); err != nil {
			return err
		}
	}
	if err := layout.Close(); err != nil {
		return err
	}
	description := out.Section(streamfmt.Description)
	if err := p.visit(false, streamfmt.NewDescriptionWriter(description)); err != nil {
		return err
	}
	if err := description.Close(); err != nil {
		return err
	}
	if opt.Volumes != nil {
		if err := out.JSON(streamfmt.Volumes, opt.Volumes); err != nil {
			return err
		}
	}
	if opt.Text == nil {
		return nil
	}
	text := out.Section(streamfmt.LVMText)
	for chunk := range chunks(opt.Text) {
		if _, err := text.Write(chunk); err != nil {
			return err
		}
	}
	return text.Close()
}

// chunks yields p in pieces that fit in a section.
func chunks(p []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(p) > 0 {
			n := min(len(p), streamfmt.MostContent)
			if !yield(p[:n]) {
				return
			}
			p = p[n:]
		}
	}
}

// ranges yields the layout.
func (p *Plan) ranges() func(yield func(streamfmt.Range) bool) {
	return func(yield func(streamfmt.Range) bool) {
		for begin, end := range p.used.Ranges(0, mostBlocks, true) {
			for begin < end {
				kept := p.kept.Next(begin, end, true) == begin
				stop := p.kept.Next(begin, end, !kept)
				r := streamfmt.Range{Begin: metadata.DataBlock(begin), Len: stop - begin, InBase: kept}
				if kept {
					r.Ordinal, r.Len = p.since.ordinal(r.Begin, r.Len)
				}
				if !yield(r) {
					return
				}
				begin += r.Len
			}
		}
	}
}

// zeroBytes is the granularity for omitting zeros. Every data block is a multiple of it.
const zeroBytes = metadata.MinDataBlockSize * block.SectorSize

// A chunk is a piece of data on its way to the stream.
type chunk struct {
	off uint64
	buffers
	data []byte
	done chan []*streamfmt.Frame // receives one value
}

// buffers hold the data of a chunk and its compressed form.
type buffers struct{ raw, packed []byte }

// data reads, encodes and writes the data in order, concurrently.
func (p *Plan) data(ctx context.Context, out *streamfmt.Writer, data io.ReaderAt, opt Stream) error {
	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	todo, order := make(chan *chunk), make(chan *chunk, 2*workers)
	free := make(chan buffers, 2*workers+2)
	for range cap(free) {
		free <- buffers{raw: block.Bytes(block.Buffer(streamfmt.MostContent / block.Size))}
	}
	g.Go(func() error {
		defer close(todo)
		defer close(order)
		return p.read(ctx, data, opt, free, todo, order)
	})
	for range workers {
		g.Go(func() error {
			for c := range todo {
				c.done <- frames(out, c)
			}
			return nil
		})
	}
	g.Go(func() error {
		var done uint64
		for c := range order {
			for _, f := range <-c.done {
				if err := out.Write(f); err != nil {
					return err
				}
			}
			done += uint64(len(c.data))
			if opt.Progress != nil {
				opt.Progress("sending MiB", done>>20, p.Bytes(p.Header.Sent)>>20)
			}
			free <- c.buffers
		}
		return ctx.Err()
	})
	return g.Wait()
}

// read reads the data to send.
func (p *Plan) read(ctx context.Context, data io.ReaderAt, opt Stream, free <-chan buffers, todo, order chan<- *chunk) error {
	for r := range p.ranges() {
		begin, end := max(p.Bytes(uint64(r.Begin)), p.Header.Start), p.Bytes(uint64(r.Begin)+r.Len)
		if r.InBase || begin >= end {
			continue
		}
		if opt.Advise != nil {
			opt.Advise(int64(begin), int64(end-begin))
		}
		for at := begin; at < end; at += streamfmt.MostContent {
			var c *chunk
			select {
			case buf := <-free:
				c = &chunk{off: at, buffers: buf, data: buf.raw[:min(end-at, streamfmt.MostContent)], done: make(chan []*streamfmt.Frame, 1)}
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := readFull(data, c.data, int64(at)); err != nil {
				return err
			}
			for _, to := range []chan<- *chunk{order, todo} {
				select {
				case to <- c:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
	}
	return nil
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("data device: reading bytes %d..%d: %w", off, off+int64(len(p)), err)
}

var zeros [zeroBytes]byte

// frames creates the frames of a chunk: data and zeros in turn.
func frames(out *streamfmt.Writer, c *chunk) []*streamfmt.Frame {
	var all []*streamfmt.Frame
	const slack = 1 << 12 // more than the growth of incompressible data
	if c.packed == nil {
		c.packed = make([]byte, 0, streamfmt.MostContent+slack)
	}
	packed := c.packed
	isZero := func(at int) bool {
		unit := c.data[at:min(at+zeroBytes, len(c.data))]
		return bytes.Equal(unit, zeros[:len(unit)])
	}
	for at := 0; at < len(c.data); {
		zero, end := isZero(at), at+zeroBytes
		for end < len(c.data) && isZero(end) == zero {
			end += zeroBytes
		}
		end = min(end, len(c.data))
		f := &streamfmt.Frame{Type: streamfmt.Zero, Position: c.off + uint64(at), Length: uint64(end - at)}
		if !zero {
			f = out.NewFrame(streamfmt.Data, c.off+uint64(at), c.data[at:end], packed)
			packed = packed[:min(len(packed)+len(f.Payload), cap(packed))]
		}
		all, at = append(all, f), end
	}
	return all
}
