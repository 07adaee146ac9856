package packfmt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zlib"
	"golang.org/x/sync/errgroup"

	"thinpool/metadata/block"
)

// ErrNotPacked says that a file is not a pack at all.
var ErrNotPacked = errors.New("this is not packed metadata")

// A Reader reads a pack. It keeps nothing of it in memory.
type Reader struct {
	Blocks block.Nr // of the packed device

	in   io.ReaderAt
	size int64
}

// NewReader returns a reader of the pack in r, which has size bytes.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	var header [headerSize]byte
	bad := func(format string, args ...any) (*Reader, error) {
		return nil, &Error{Frame: -1, Block: -1, Err: fmt.Errorf(format, args...)}
	}
	if size < headerSize {
		return bad("%w: %d bytes, want %d at least", ErrNotPacked, size, headerSize)
	}
	if _, err := r.ReadAt(header[:], 0); err != nil && err != io.EOF {
		return nil, err
	}
	field := func(off int) uint64 { return le.Uint64(header[off:]) }
	switch {
	case field(offMagic) != Magic:
		return bad("%w: magic is %#x, want %#x", ErrNotPacked, field(offMagic), uint64(Magic))
	case field(offVersion) != version:
		return bad("version is %d, want %d", field(offVersion), version)
	case field(offBlockSize) != block.Size:
		return bad("block size is %d, want %d", field(offBlockSize), block.Size)
	}
	if err := checkBlocks(field(offNrBlocks)); err != nil {
		return bad("%w", err)
	}
	return &Reader{block.Nr(field(offNrBlocks)), r, size}, nil
}

// A frame is a frame of the file.
type frame struct {
	index int
	at    int64 // of its length field
	end   int64
	mark  bool
}

func (f frame) error(nr int64, err error) error { return &Error{f.index, f.at, nr, err} }

// frames returns the frames in order.
type frames struct {
	*Reader
	mu    sync.Mutex
	last  frame // last frame returned
	marks bool  // the first frame was a mark, so the last one must be, too
}

func newFrames(r *Reader) *frames {
	return &frames{Reader: r, last: frame{index: -1, end: headerSize}}
}

// next returns the next frame; io.EOF after the last.
func (f *frames) next() (frame, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fr := frame{index: f.last.index + 1, at: f.last.end}
	left := f.size - fr.at
	if left == 0 {
		if fr.index == 0 {
			return fr, fr.error(-1, errors.New("no data after the header: the file is truncated, or was written by a version that loses small devices"))
		}
		if f.marks && (!f.last.mark || f.last.index == 0) {
			return fr, fr.error(-1, errors.New("the file is truncated: more frames should follow"))
		}
		return fr, io.EOF
	}
	var start [len(mark)]byte
	n, err := f.in.ReadAt(start[:min(left, int64(len(start)))], fr.at)
	switch {
	case err != nil && err != io.EOF:
		return fr, err
	case n < lengthSize:
		return fr, fr.error(-1, fmt.Errorf("the file is truncated: %d bytes left", left))
	}
	length := le.Uint64(start[:])
	if most := uint64(left - lengthSize); length > most {
		return fr, fr.error(-1, fmt.Errorf("the file is truncated: the frame has %d bytes, but only %d are left", length, most))
	}
	fr.end, fr.mark = fr.at+lengthSize+int64(length), string(start[:n]) == mark
	f.marks = f.marks || fr.index == 0 && fr.mark
	f.last = fr
	return fr, nil
}

// A sink receives the blocks of frames, one frame at a time.
type sink interface {
	// add receives a block; it must not keep b after it returns.
	add(nr block.Nr, b *block.Data, node bool) error
	endFrame() error
}

// each decodes all frames on all processors, each with its own sink.
func (r *Reader) each(ctx context.Context, phase string, opt Options, newSink func() sink) (*seen, error) {
	all, found := newFrames(r), newSeen(r.Blocks)
	g, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			u := unpacker{blocks: r.Blocks, seen: found, to: newSink()}
			return u.work(ctx, all, func(f frame) { opt.progress(phase, block.Nr(f.end), block.Nr(r.size)) })
		})
	}
	return found, g.Wait()
}

// seen is the set of blocks seen so far.
type seen struct{ bits []atomic.Uint64 }

func newSeen(blocks block.Nr) *seen { return &seen{make([]atomic.Uint64, (blocks+63)/64)} }

// add records a block, and reports whether it is new.
func (s *seen) add(nr block.Nr) bool {
	bit := uint64(1) << (nr % 64)
	return s.bits[nr/64].Or(bit)&bit == 0
}

func (s *seen) has(nr block.Nr) bool { return s.bits[nr/64].Load()>>(nr%64)&1 != 0 }

// An unpacker decodes frames.
type unpacker struct {
	decoder
	blocks block.Nr
	seen   *seen
	to     sink
	z      io.ReadCloser // nil before the first frame
}

// work decodes frames until there are no more.
func (u *unpacker) work(ctx context.Context, all *frames, done func(frame)) error {
	for {
		f, err := all.next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if err := u.frame(ctx, all.in, f); err != nil {
			return err
		}
		done(f)
	}
}

// frame decodes a frame: a stream of valid blocks, and perhaps one of others.
func (u *unpacker) frame(ctx context.Context, file io.ReaderAt, f frame) error {
	in := bufio.NewReaderSize(io.NewSectionReader(file, f.at+lengthSize, f.end-f.at-lengthSize), window)
	for valid := true; ; valid = false {
		if err := u.open(in); err != nil {
			return f.error(-1, err)
		}
		if err := u.records(ctx, f, valid); err != nil {
			return err
		}
		switch _, err := in.Peek(1); {
		case err == io.EOF:
			return u.to.endFrame()
		case err != nil:
			return f.error(-1, err)
		case !valid:
			return f.error(-1, errors.New("extra data after the frame's streams"))
		}
	}
}

// open starts a zlib stream.
func (u *unpacker) open(in io.Reader) (err error) {
	if u.z == nil {
		u.z, err = zlib.NewReader(in)
		u.in.buf = make([]byte, window)
	} else {
		err = u.z.(zlib.Resetter).Reset(in, nil)
	}
	u.in = source{r: u.z, buf: u.in.buf}
	return err
}

// records decodes the records of a stream.
func (u *unpacker) records(ctx context.Context, f frame, valid bool) error {
	var b block.Data
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := u.in.peek()
		switch {
		case len(p) == 0 && u.in.err == io.EOF:
			return nil
		case len(p) < nrSize:
			return f.error(-1, u.in.cut())
		}
		nr := block.Nr(le.Uint64(p))
		u.in.at += nrSize
		if nr >= u.blocks {
			return f.error(-1, fmt.Errorf("block %d is beyond the device, which has %d", nr, u.blocks))
		}
		if err := u.block(&b); err != nil {
			return f.error(int64(nr), err)
		}
		salt := block.Salt(&b)
		switch {
		case valid && salts[salt] == "":
			return f.error(int64(nr), errors.New("its checksum matches no kind of block"))
		case !u.seen.add(nr):
			return f.error(int64(nr), errors.New("it appears twice"))
		}
		if err := u.to.add(nr, &b, salt == nodeSalt); err != nil {
			return err
		}
	}
}
