package packfmt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zlib"
	"golang.org/x/sync/errgroup"

	"thinpool/metadata/block"
)

// level is the compression level: the lowest one that makes packs smaller than those of other
// implementations.
const level = 7

// readBlocks is the number of blocks per read.
const readBlocks = 128

// A Summary counts what was packed.
type Summary struct {
	Blocks  block.Nr // on the device
	Packed  uint64   // blocks in the pack
	Invalid uint64   // blocks that are neither valid nor zero; only packed if requested
	First   block.Nr // first invalid block
}

// Options say how to pack, unpack and read.
type Options struct {
	// All also packs blocks that are not valid as any kind: the evidence in damaged metadata. Other
	// implementations do not unpack them.
	All bool
	// Only, if not nil, says which blocks to pack; all others are ignored. It is called from several
	// goroutines.
	Only     func(block.Nr) bool
	Progress func(phase string, done, total uint64) // nil: not reported
}

func (o Options) progress(phase string, done, total block.Nr) {
	if o.Progress != nil {
		o.Progress(phase, uint64(done), uint64(total))
	}
}

// Pack writes the pack of dev to w. The same device gives the same bytes. Blocks that are not
// valid as any kind do not fit the format of other implementations.
func Pack(ctx context.Context, dev block.Device, w io.Writer, opt Options) (Summary, error) {
	sum := Summary{Blocks: block.Blocks(dev)}
	if err := checkBlocks(uint64(sum.Blocks)); err != nil {
		return sum, err
	}
	if _, err := w.Write(append(appendHeader(nil, sum.Blocks), mark...)); err != nil {
		return sum, err
	}
	if err := packFrames(ctx, dev, w, opt, &sum); err != nil {
		return sum, err
	}
	_, err := io.WriteString(w, mark)
	return sum, err
}

func checkBlocks(n uint64) error {
	switch {
	case n == 0:
		return fmt.Errorf("the device has no blocks")
	case n > MaxBlocks:
		return fmt.Errorf("the device has %d blocks, want at most %d", n, uint64(MaxBlocks))
	}
	return nil
}

func appendHeader(dst []byte, blocks block.Nr) []byte {
	for _, field := range []uint64{offMagic / 8: Magic, offVersion / 8: version, offBlockSize / 8: block.Size, offNrBlocks / 8: uint64(blocks)} {
		dst = le.AppendUint64(dst, field)
	}
	return dst
}

// A job is the blocks of one frame.
type job struct {
	first, end block.Nr
	done       chan packed // gets one value
}

// A packed is the result of a job.
type packed struct {
	frame []byte // nil: no blocks
	sum   Summary
}

// packFrames packs the frames on all processors and writes them in order.
func packFrames(ctx context.Context, dev block.Device, w io.Writer, opt Options, sum *Summary) error {
	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	jobs, order := make(chan job), make(chan job, 2*workers) // the limit of frames in memory
	g.Go(func() error {
		defer close(jobs)
		defer close(order)
		for first := block.Nr(0); first < sum.Blocks; first += frameBlocks {
			j := job{first, min(first+frameBlocks, sum.Blocks), make(chan packed, 1)}
			for _, to := range []chan<- job{order, jobs} {
				select {
				case to <- j:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	for range workers {
		g.Go(func() error { return packJobs(dev, jobs, opt) })
	}
	g.Go(func() error {
		for j := range order {
			select {
			case done := <-j.done:
				if _, err := w.Write(done.frame); err != nil {
					return err
				}
				sum.add(done.sum)
				opt.progress("packing", j.end, sum.Blocks)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return g.Wait()
}

func (s *Summary) add(t Summary) {
	if s.Invalid == 0 {
		s.First = t.First
	}
	s.Packed += t.Packed
	s.Invalid += t.Invalid
}

func packJobs(dev block.Device, jobs <-chan job, opt Options) error {
	p, err := newPacker(opt)
	if err != nil {
		return err
	}
	buf := block.Buffer(readBlocks)
	for j := range jobs {
		done, err := p.pack(dev, j, buf)
		if err != nil {
			return err
		}
		j.done <- done
	}
	return nil
}

// A packer builds frames.
type packer struct {
	encoder
	opt   Options
	out   bytes.Buffer
	z     *zlib.Writer
	buf   []byte // of a record
	other []byte // records of invalid blocks
}

func newPacker(opt Options) (*packer, error) {
	p := &packer{opt: opt}
	z, err := zlib.NewWriterLevel(&p.out, level)
	p.z = z
	return p, err
}

// begin starts a frame, whose length is not yet known.
func (p *packer) begin() {
	p.other = p.other[:0]
	p.out.Reset()
	p.out.Write(make([]byte, lengthSize))
	p.z.Reset(&p.out)
}

// finish returns a copy of the frame.
func (p *packer) finish() ([]byte, error) {
	err := p.z.Close()
	if err == nil && len(p.other) > 0 {
		p.z.Reset(&p.out)
		if _, err = p.z.Write(p.other); err == nil {
			err = p.z.Close()
		}
	}
	frame := bytes.Clone(p.out.Bytes())
	le.PutUint64(frame, uint64(len(frame)-lengthSize))
	return frame, err
}

// pack builds the frame for the valid blocks of j.
func (p *packer) pack(dev block.Device, j job, buf []block.Data) (packed, error) {
	var done packed
	p.begin()
	for first := j.first; first < j.end; first += readBlocks {
		part := buf[:min(readBlocks, j.end-first)]
		if err := readAll(dev, first, part); err != nil {
			return done, err
		}
		for i := range part {
			nr := first + block.Nr(i)
			if p.opt.Only != nil && !p.opt.Only(nr) {
				continue
			}
			if err := p.add(nr, &part[i], &done.sum); err != nil {
				return done, err
			}
		}
	}
	if done.sum.Packed == 0 {
		return done, nil
	}
	var err error
	done.frame, err = p.finish()
	return done, err
}

func readAll(dev block.Device, first block.Nr, buf []block.Data) error {
	if n, err := dev.ReadAt(block.Bytes(buf), int64(first)*block.Size); n < len(buf)*block.Size {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("block %d: %w", first+block.Nr(n/block.Size), err)
	}
	return nil
}

// add packs b.
func (p *packer) add(nr block.Nr, b *block.Data, sum *Summary) error {
	salt := block.Salt(b)
	valid := salts[salt] != ""
	switch {
	case !valid && *b == block.Data{}:
		return nil
	case !valid && sum.Invalid == 0:
		sum.First = nr
	}
	switch {
	case valid:
		sum.Packed++
		p.buf = p.record(p.buf[:0], nr, b, salt == nodeSalt)
		_, err := p.z.Write(p.buf)
		return err
	case p.opt.All:
		sum.Packed++
		p.other = p.record(p.other, nr, b, false)
	}
	sum.Invalid++
	return nil
}
