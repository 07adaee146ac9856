package packfmt

import (
	"errors"
	"fmt"
	"io"

	"thinpool/metadata/block"
)

var (
	errCut  = errors.New("the record is cut short")
	errOver = errors.New("the instructions make more than they should")
	errIdle = errors.New("the instructions make nothing")
)

// mostSteps bounds the instructions that make a block, some of which may make
// nothing.
const mostSteps = 4 * block.Size

// A source is bytes to decode: a slice, or what r has, by a window.
type source struct {
	r   io.Reader // nil: there is only buf
	buf []byte    // the window
	at  int       // what comes next in it
	end int       // of what is there
	err error     // of r; io.EOF at the end
}

// window is the size of a source's buffer.
const window = 1 << 16

// atLeast is how many bytes peek looks for: those of the longest instruction with
// its count, but for the bytes that it copies.
const atLeast = 2 + 1 + 8

// peek returns what comes next: atLeast bytes, or fewer before the end.
func (s *source) peek() []byte {
	if s.end-s.at < atLeast && s.r != nil && s.err == nil {
		s.more()
	}
	return s.buf[s.at:s.end]
}

// more reads until there is something worth a peek.
func (s *source) more() {
	s.end = copy(s.buf, s.buf[s.at:s.end])
	s.at = 0
	for s.end < atLeast && s.err == nil {
		var n int
		n, s.err = s.r.Read(s.buf[s.end:])
		s.end += n
	}
}

// cut is the error for a source that ends within a record.
func (s *source) cut() error {
	if s.err != nil && s.err != io.EOF {
		return s.err
	}
	return errCut
}

// copyTo takes len(dst) bytes.
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

// A decoder makes blocks of records.
type decoder struct {
	in        source
	base      uint64
	steps     int // left
	high, low [block.Size]byte
}

// block makes a block of the instructions of a record.
func (d *decoder) block(b *block.Data) error {
	d.base, d.steps = 0, mostSteps
	return d.fill(b[:], false)
}

// An operation is an instruction without what it copies.
type operation struct {
	tag     tag
	n       int    // of a literal or shifted run: how long it is
	times   int    // base is emitted so often
	operand uint64 // of set: the value; else the change of base
}

// fill does instructions until they have made all of out. within says that out is
// part of a shifted run, where only words are.
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
			d.emit(out[:n], op)
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

// masks are what of eight bytes an operand has, by its width; 0: no operand is so wide.
var masks = [16]uint64{1: 1<<8 - 1, 2: 1<<16 - 1, 4: 1<<32 - 1, 8: 1<<64 - 1}

// words does the instructions that make one word each, which most are, as long as they come
// and the window has all of them. It returns how many bytes of out it has made.
func (d *decoder) words(out []byte) int {
	in, base, made := d.in.buf[d.in.at:d.in.end], d.base, 0
	for made+wordSize <= len(out) && len(in) > wordSize && d.steps > 0 {
		t, n := tag(in[0]>>4), in[0]&15
		used, operand := 1, uint64(n)
		if t == set || t == posWide || t == negWide {
			if masks[n] == 0 {
				break
			}
			used, operand = 1+int(n), le.Uint64(in[1:])&masks[n]
		}
		switch t {
		case set:
			base = operand
		case pos, posWide:
			base += operand
		case neg, negWide:
			base -= operand
		default:
			used = 0
		}
		if used == 0 {
			break
		}
		le.PutUint64(out[made:], base)
		in, made, d.steps = in[used:], made+wordSize, d.steps-1
	}
	d.in.at, d.base = d.in.end-len(in), base
	return made
}

// emit does an operation that emits words.
func (d *decoder) emit(out []byte, op operation) {
	base, change := d.base, op.operand
	if op.tag == set {
		base, change = op.operand, 0
	}
	for len(out) >= wordSize {
		base += change
		le.PutUint64(out, base)
		out = out[wordSize:]
	}
	if op.times > 0 {
		d.base = base
	}
}

// shifted makes a shifted run.
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

// next takes an instruction, with its count if it has one.
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

// complete takes the operand of op from p, and returns how many bytes it has.
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
		op.n = int(min(number(p, width), block.Size+1)) // too long is too long
	}
	return width, nil
}

// number is the first bytes of p, so many as width says.
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
