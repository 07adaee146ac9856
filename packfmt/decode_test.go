package packfmt

import (
	"bytes"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zlib"

	"thinpool/fixtures"
	"thinpool/metadata/block"
)

// frameOf returns a frame with a record of instructions for block nr.
func frameOf(nr uint64, instructions ...byte) []byte {
	return rawFrame(append(le.AppendUint64(nil, nr), instructions...))
}

func rawFrame(records []byte) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	z.Write(records)
	z.Close()
	return append(le.AppendUint64(nil, uint64(out.Len())), out.Bytes()...)
}

// The results of instructions, written out by hand.
func TestInstructions(t *testing.T) {
	for name, tc := range map[string]struct {
		code []byte
		want []uint64
	}{
		"set":          {[]byte{0x01, 7, 0x02, 1, 2, 0x04, 1, 0, 0, 1, 0x08, 1, 2, 3, 4, 5, 6, 7, 8}, []uint64{7, 0x201, 0x1000001, 0x807060504030201}},
		"pos":          {[]byte{0x15, 0x21, 200, 0x10}, []uint64{5, 205, 205}},
		"neg":          {[]byte{0x01, 9, 0x32, 0x41, 4, 0x35}, []uint64{9, 7, 3, 1<<64 - 2}},
		"const":        {[]byte{0x01, 3, 0x52, 0x50, 0x60, 2}, []uint64{3, 3, 3, 3, 3}},
		"count":        {[]byte{0x73, 0x12, 0x80, 2, 0x41, 1, 0x70, 0x1f}, []uint64{2, 4, 6, 5, 4}},
		"count of set": {[]byte{0x72, 0x01, 4}, []uint64{4, 4}},
		"literal":      {[]byte{0x98, 1, 0, 0, 0, 0, 0, 0, 0, 0xa1, 8, 2, 0, 0, 0, 0, 0, 0, 0, 0x90}, []uint64{1, 2}},
		"shifted run":  {[]byte{0x11, 0xb0, 2, 0x12, 0x51, 0x11, 0x01, 1, 0x13}, []uint64{1, 3<<24 | 4, 3<<24 | 1, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			code := tc.code
			d := decoder{steps: mostSteps, in: source{buf: code, end: len(code)}}
			out := make([]byte, len(tc.want)*wordSize)
			if err := d.fill(out, false); err != nil {
				t.Fatal(err)
			}
			for i, want := range tc.want {
				if got := le.Uint64(out[i*wordSize:]); got != want {
					t.Errorf("word %d is %#x, want %#x", i, got, want)
				}
			}
		})
	}
}

// A plain is a simple decoder without any optimization.
type plain struct {
	code []byte
	base uint64
}

// take reads a number of n bytes.
func (p *plain) take(n int) (v uint64, ok bool) {
	if n > len(p.code) {
		return 0, false
	}
	for i, b := range p.code[:n] {
		v |= uint64(b) << (8 * i)
	}
	p.code = p.code[n:]
	return v, true
}

// make executes instructions until they have made size bytes. If one is wrong, ok is false, and
// out is the result of those before it.
func (p *plain) make(size int, within bool) (out []byte, ok bool) {
	for len(out) < size {
		op, ok := p.take(1)
		n, more := int(op&15), uint64(0)
		if t := tag(op >> 4); ok && (t == constWide || t == countWide || t == shiftedRun) {
			more, ok = p.take(1)
			n = n<<8 | int(more)
		}
		times := 1
		if t := tag(op >> 4); ok && (t == count || t == countWide) {
			times = n
			op, ok = p.take(1)
			n = int(op & 15)
			if tag(op>>4) > negWide {
				return out, false
			}
		}
		operand := uint64(n)
		if t := tag(op >> 4); ok && (t == set || t == posWide || t == negWide || t == literalWide) {
			if n != 1 && n != 2 && n != 4 && n != 8 {
				return out, false
			}
			operand, ok = p.take(n)
		}
		if !ok {
			return out, false
		}
		room := size - len(out)
		switch t := tag(op >> 4); {
		case t < literal:
			if t == constant || t == constWide {
				times = n
			}
			if times*wordSize > room {
				return out, false
			}
			for range times {
				switch t {
				case set:
					p.base = operand
				case pos, posWide:
					p.base += operand
				case neg, negWide:
					p.base -= operand
				}
				out = le.AppendUint64(out, p.base)
			}
		case within || t > shiftedRun || t == shiftedRun && n*wordSize > room:
			return out, false
		case t == shiftedRun:
			high, ok := p.make(n*wordSize, true)
			if !ok {
				return out, false
			}
			low, ok := p.make(n*wordSize, true)
			if !ok {
				return out, false
			}
			for i := 0; i < len(low); i += wordSize {
				out = le.AppendUint64(out, le.Uint64(high[i:])<<shift|le.Uint64(low[i:])&lowMask)
			}
		default:
			if operand > uint64(min(room, len(p.code))) {
				return out, false
			}
			out = append(out, p.code[:operand]...)
			p.code = p.code[operand:]
		}
	}
	return out, true
}

// For any instructions, there is no panic, nothing is written beyond the block, and the result is
// that of the simple decoder, wherever the windows end.
func FuzzInstructions(f *testing.F) {
	f.Add([]byte{0x15, 0x21, 200, 0x10, 0x81, 0xff, 0x11})
	f.Add([]byte{0xb1, 0xff, 0x01, 1, 0x81, 0xfe, 0x11, 0x01, 0, 0x61, 0xfe, 0x9f})
	f.Add([]byte{0x04, 1, 2, 3, 4, 0x41, 9, 0x22, 1, 1, 0x73, 0x41, 5, 0x53, 0x72, 0x04, 9, 8, 7, 6, 0x70, 0x01, 3, 0x81, 0xf0, 0x44, 1, 1, 1, 1, 0x3f, 0x61, 0})
	f.Add([]byte{0x72, 0x51, 0x61, 0xfe, 0, 0, 0, 0, 0}) // a count of something that cannot be counted
	content, err := fixtures.Image("layers")
	if err != nil {
		f.Fatal(err)
	}
	var e encoder
	for b := range slices.Chunk(content, 8*block.Size) {
		b := (*block.Data)(b)
		f.Add(e.record(nil, 0, b, block.KindOf(b) == block.Node)[nrSize:])
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		p := plain{code: code}
		want, ok := p.make(block.Size, false)
		for _, in := range []source{
			{buf: code, end: len(code)},
			{buf: make([]byte, 24), r: iotest.OneByteReader(bytes.NewReader(code))},
		} {
			var got block.Data
			d := decoder{in: in}
			err := d.block(&got)
			if err == errIdle {
				continue
			}
			if ok != (err == nil) || !bytes.Equal(got[:len(want)], want) {
				t.Fatalf("error %v, or other bytes; plainly: %v", err, ok)
			}
		}
	})
}
