package packfmt

import (
	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// An encoder encodes blocks as records.
type encoder struct {
	high, low [blockWords]uint64
}

// record appends the record of block nr. node is set if b is a valid node, the only kind of block
// whose structure is worth knowing.
func (e *encoder) record(dst []byte, nr block.Nr, b *block.Data, node bool) []byte {
	dst = le.AppendUint64(dst, uint64(nr))
	l, fits := btree.Layout{}, false
	if node {
		l, fits = btree.LayoutOf(b)
	}
	if !fits || l.Entries == 0 {
		return appendLiteral(dst, b[:])
	}
	dst = appendLiteral(dst, b[:btree.HeaderSize])
	dst = e.words(dst, b[btree.HeaderSize:l.Values])
	rest := l.Values
	if l.ValueSize == btree.PointerSize {
		rest += btree.PointerSize * l.Entries
		if l.Leaf {
			dst = e.shifted(dst, b[l.Values:rest])
		} else {
			dst = e.words(dst, b[l.Values:rest])
		}
	}
	return appendLiteral(dst, b[rest:])
}

// words appends instructions for the words of p, of which there must be at least one.
func (e *encoder) words(dst, p []byte) []byte {
	words := e.high[:len(p)/wordSize]
	for i := range words {
		words[i] = le.Uint64(p[i*wordSize:])
	}
	return appendWords(dst, words)
}

// shifted appends a shifted run.
func (e *encoder) shifted(dst, p []byte) []byte {
	n := len(p) / wordSize
	for i := range n {
		w := le.Uint64(p[i*wordSize:])
		e.high[i], e.low[i] = w>>shift, w&lowMask
	}
	dst = append(dst, byte(shiftedRun)<<4|byte(n>>8), byte(n))
	return appendWords(appendWords(dst, e.high[:n]), e.low[:n])
}

// appendWords appends instructions for words. The first word is set; after that, each instruction
// covers as many words as possible with a constant difference. A large word is also set if its
// difference is not shorter. The differences of random numbers are more random than the numbers,
// and other blocks repeat the numbers, not the differences.
func appendWords(dst []byte, words []uint64) []byte {
	dst = appendWide(dst, set, words[0])
	for i := 1; i < len(words); {
		d := words[i] - words[i-1] // wraps around, like the reader's sum
		n := 1
		for i+n < len(words) && words[i+n]-words[i+n-1] == d {
			n++
		}
		switch v := words[i]; {
		case n == 1 && v >= 1<<16 && width(v) <= min(width(d), width(-d)):
			dst = appendWide(dst, set, v)
		case d == 0:
			dst = appendTimes(dst, constant, constWide, n)
		case v > words[i-1]:
			dst = appendDelta(appendCount(dst, n), pos, posWide, d)
		default:
			dst = appendDelta(appendCount(dst, n), neg, negWide, -d)
		}
		i += n
	}
	return dst
}

// appendCount appends how often the next instruction is repeated.
func appendCount(dst []byte, n int) []byte {
	if n == 1 {
		return dst
	}
	return appendTimes(dst, count, countWide, n)
}

func appendTimes(dst []byte, narrow, wide tag, n int) []byte {
	if n < 16 {
		return append(dst, byte(narrow)<<4|byte(n))
	}
	return append(dst, byte(wide)<<4|byte(n>>8), byte(n))
}

func appendDelta(dst []byte, narrow, wide tag, d uint64) []byte {
	if d < 16 {
		return append(dst, byte(narrow)<<4|byte(d))
	}
	return appendWide(dst, wide, d)
}

// width returns the smallest operand width that can hold v.
func width(v uint64) int {
	switch {
	case v < 1<<8:
		return 1
	case v < 1<<16:
		return 2
	case v < 1<<32:
		return 4
	}
	return 8
}

// appendWide appends an instruction with an operand.
func appendWide(dst []byte, t tag, v uint64) []byte {
	w := width(v)
	dst = append(dst, byte(t)<<4|byte(w))
	return le.AppendUint64(dst, v)[:len(dst)+w]
}

func appendLiteral(dst, p []byte) []byte {
	switch n := len(p); {
	case n == 0:
		return dst
	case n < 16:
		dst = append(dst, byte(literal)<<4|byte(n))
	default:
		dst = appendWide(dst, literalWide, uint64(n))
	}
	return append(dst, p...)
}
