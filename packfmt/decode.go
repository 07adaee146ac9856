package packfmt

import (
	"errors"
	"fmt"
	"io"

	"thinpool/metadata/block"
)

var (
	errCut  = errors.New("the record is truncated")
	errOver = errors.New("the instructions produce too much")
	errIdle = errors.New("the instructions produce nothing")
)

// mostSteps limits the number of instructions for a block, because some may emit nothing.
const mostSteps = 4 * block.Size

// A source is bytes to decode: a slice, or the data of r through a window.
type source struct {
	r   io.Reader // nil: there is only buf
	buf []byte    // the window
	at  int       // next byte in buf
	end int       // end of the data in buf
	err error     // of r; io.EOF at the end
}

// window is the size of a source's buffer.
const window = 1 << 16

// atLeast is how many bytes peek provides: enough for the longest instruction with its count,
// without the bytes it copies.
const atLeast = 2 + 1 + 8

// peek returns the next bytes: atLeast bytes, or fewer at the end.
func (s *source) peek() []byte {
	if s.end-s.at < atLeast && s.r != nil && s.err == nil {
		s.more()
	}
	return s.buf[s.at:s.end]
}

// more reads until peek has enough bytes.
func (s *source) more() {
	s.end = copy(s.buf, s.buf[s.at:s.end])
	s.at = 0
	for s.end < atLeast && s.err == nil {
		var n int
		n, s.err = s.r.Read(s.buf[s.end:])
		s.end += n
	}
}

// cut returns the error for a source that ends within a record.
func (s *source) cut() error {
	if s.err != nil && s.err != io.EOF {
		return s.err
	}
	return errCut
}

// copyTo reads len(dst) bytes into dst.
func (s *source) copyTo(dst []byte) error {
	for len(dst) > 0 {
		p := s.peek()
		if len(p) == 0 {
			return s.cut()
		}
		n := copy(dst, p)
		s.at += n
		dst = dst[n:]
	}
	return nil
}

// A decoder decodes records into blocks.
type decoder struct {
	in        source
	base      uint64
	steps     int // left
	high, low [block.Size]byte
}

// block decodes the instructions of a record into a block.
func (d *decoder) block(b *block.Data) error {
	d.base, d.steps = 0, mostSteps
	return d.fill(b[:], false)
}

// An operation is an instruction without the bytes it copies.
type operation struct {
	tag     tag
	n       int    // length of a literal or shifted run
	times   int    // how often base is emitted
	operand uint64 // for set: the value; otherwise the change of base
}

// fill executes instructions until out is full. within is set inside a shifted run, where only
// words are allowed.
func (d *decoder) fill(out []byte, within bool) error {
	for len(out) > 0 {
		if n := d.words(out); n > 0 {
			out = out[n:]
			continue
		}
		op, err := d.next()
		if err != nil {
			return err
		}
		n := 0
		switch {
		case op.tag < literal:
			if n = op.times * wordSize; n > len(out) {
				return errOver
			}
			if op.tag == set && op.times > 0 {
				d.base, op.operand = op.operand, 0
			}
			d.base = emit(out, op.times, d.base, op.operand)
		case within:
			return fmt.Errorf("tag %d in a shifted run", op.tag)
		case op.tag == shiftedRun:
			if n = op.n * wordSize; n > len(out) {
				return errOver
			}
			err = d.shifted(out[:n])
		default:
			if n = op.n; n > len(out) {
				return errOver
			}
			err = d.in.copyTo(out[:n])
		}
		if err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// A step is an instruction that changes and emits base, decoded so that it can be executed without
// a branch.
type step struct {
	used int    // length in bytes; 0: another instruction, or one with an 8-byte operand
	keep uint64 // all ones; 0 to set base
	add  uint64 // added to base if there is no operand
	mask uint64 // of the operand
	neg  uint64 // all ones to subtract the operand
}

// steps are the decoded instructions by their first byte.
var steps = func() (all [256]step) {
	for i := range all {
		s := step{used: 1, keep: ^uint64(0)}
		switch t, n := tag(i>>4), i&15; {
		case t == pos:
			s.add = uint64(n)
		case t == neg:
			s.add = -uint64(n)
		case t == constant && n == 1:
		case (t == set || t == posWide || t == negWide) && (n == 1 || n == 2 || n == 4):
			s.used, s.mask = 1+n, 1<<(8*n)-1
			if t == set {
				s.keep = 0
			}
			if t == negWide {
				s.neg = ^uint64(0)
			}
		default:
			continue
		}
		all[i] = s
	}
	return all
}()

// change returns what the instruction at the start of w adds to base, or to the part of base it
// keeps.
func change(w uint64) uint64 {
	op := byte(w)
	return steps[op].add + (w>>8&steps[op].mask ^ steps[op].neg) - steps[op].neg
}

// repeated decodes an instruction, or a count and an instruction, at the start of w that emits
// several words with a constant difference. used is its length in bytes. times is 0 for other
// instructions, or if it emits nothing.
func repeated(w uint64) (times int, by uint64, used int) {
	t := tag(w >> 4 & 15)
	times, used = int(w&15), 1
	if t == constWide || t == countWide {
		times, used = times<<8|int(w>>8&255), 2
	}
	switch t {
	case constant, constWide:
		return times, 0, used
	case count, countWide:
		w >>= 8 * used
		if op := byte(w); steps[op].keep != 0 && tag(op>>4) <= negWide {
			return times, change(w), used + steps[op].used
		}
	}
	return 0, 0, 0
}

// words executes instructions that emit words, which most do, as long as they follow each other
// and are completely in the window. It returns how many bytes of out it has filled.
//
// [decoder.next] could execute them as well. Without words, BenchmarkDecode takes 3.3 times as
// long (best of 6 runs each: 1.63 ms, with words 0.49 ms). In whole tools, words saves a sixth to
// a fifth of the processor time. With packed metadata of 640 MiB (alternating runs, median of 6),
// thin_check takes 0.71 s instead of 0.85 s, and thin_metadata_unpack 0.34 s instead of 0.42 s.
func (d *decoder) words(out []byte) int {
	in, at, base, made := d.in.buf[:d.in.end], d.in.at, d.base, 0
loop:
	for made+wordSize <= len(out) && at+wordSize <= len(in) {
		w := le.Uint64(in[at:])
		op := byte(w)
		// Use constants instead of n where it matters: the processor predicts a case and goes on with the
		// next w before the table lookup is done.
		switch n := steps[op].used; n {
		case 1:
			base += steps[op].add
			at++
		case 5:
			base = base&steps[op].keep + change(w)
			at += 5
		case 2, 3:
			base = base&steps[op].keep + change(w)
			at += n
		default:
			times, by, used := repeated(w)
			if times == 0 || made+times*wordSize > len(out) {
				break loop
			}
			base = emit(out[made:], times, base, by)
			made += times * wordSize
			at += used
			continue
		}
		le.PutUint64(out[made:], base)
		made += wordSize
	}
	d.in.at, d.base = at, base
	return made
}

// emit adds change to base and writes it, as often as times says, and returns base. Most runs are
// short, and their length is hard to predict. So if out has room, emit writes eight words even if
// fewer are needed. The words after them are not written yet.
func emit(out []byte, times int, base, change uint64) uint64 {
	last := base + uint64(times)*change
	for ; times > 0 && len(out) >= 8*wordSize; times -= 8 {
		for i := range 8 {
			base += change
			le.PutUint64(out[i*wordSize:], base)
		}
		out = out[8*wordSize:]
	}
	for ; times > 0; times-- {
		base += change
		le.PutUint64(out, base)
		out = out[wordSize:]
	}
	return last
}

// shifted decodes a shifted run.
func (d *decoder) shifted(out []byte) error {
	high, low := d.high[:len(out)], d.low[:len(out)]
	if err := d.fill(high, true); err != nil {
		return err
	}
	if err := d.fill(low, true); err != nil {
		return err
	}
	for i := 0; i+wordSize <= len(out); i += wordSize {
		le.PutUint64(out[i:], le.Uint64(high[i:])<<shift|le.Uint64(low[i:])&lowMask)
	}
	return nil
}

// next reads an instruction, with its count if it has one.
func (d *decoder) next() (operation, error) {
	if d.steps--; d.steps < 0 {
		return operation{}, errIdle
	}
	p := d.in.peek()
	if len(p) == 0 {
		return operation{}, d.in.cut()
	}
	t, n := tag(p[0]>>4), int(p[0]&15)
	times, used := 1, 1
	if t == count || t == countWide {
		times = n
		if t == countWide && len(p) > 1 {
			times, used = n<<8|int(p[1]), 2
		}
		if len(p) <= used {
			return operation{}, d.in.cut()
		}
		t, n = tag(p[used]>>4), int(p[used]&15)
		used++
		if t > negWide {
			return operation{}, fmt.Errorf("tag %d after a count", t)
		}
	}
	op := operation{tag: t, n: n, times: times}
	more, err := op.complete(p[used:])
	if err == errCut {
		err = d.in.cut()
	}
	d.in.at += used + more
	return op, err
}

// complete reads the operand of op from p, and returns its length in bytes.
func (op *operation) complete(p []byte) (int, error) {
	width := 0
	switch op.tag {
	case pos:
		op.operand = uint64(op.n)
	case neg:
		op.operand = -uint64(op.n)
	case constant:
		op.times = op.n
	case literal:
	case constWide, shiftedRun:
		width = 1
	case set, posWide, negWide, literalWide:
		if width = op.n; width != 1 && width != 2 && width != 4 && width != 8 {
			return 0, fmt.Errorf("an operand of %d bytes, want 1, 2, 4 or 8", width)
		}
	default:
		return 0, fmt.Errorf("tag %d is unknown", op.tag)
	}
	if len(p) < width {
		return 0, errCut
	}
	switch op.tag {
	case set, posWide:
		op.operand = number(p, width)
	case negWide:
		op.operand = -number(p, width)
	case constWide:
		op.times = op.n<<8 | int(p[0])
	case shiftedRun:
		op.n = op.n<<8 | int(p[0])
	case literalWide:
		op.n = int(min(number(p, width), block.Size+1)) // larger values are too long anyway
	}
	return width, nil
}

// number returns the first width bytes of p as a number.
func number(p []byte, width int) uint64 {
	switch width {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(le.Uint16(p))
	case 4:
		return uint64(le.Uint32(p))
	}
	return le.Uint64(p)
}
