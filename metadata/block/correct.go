package block

import (
	"math/bits"
	"sync"
)

// A Flip is a bit of a block that is the wrong way round.
type Flip struct {
	Block Nr
	Kind  Kind // of the block once it is put right
	Byte  int  // offset in the block
	Bit   uint // 0..7
}

// Correct looks for a single bit whose change makes b a valid block at loc, and
// changes it. A block that is valid already is left alone, and so is one in which
// more is wrong.
//
// A checksum of 32 bits tells all 32768 single flips of a block apart. That one of
// them fits by chance, and the self reference with it, is out of the question. A few
// flips make a block of one kind what another flip makes one of another kind; then
// it is not known which, and nothing is changed.
func Correct(loc Nr, b *Data) (Flip, bool) {
	reg, stored := register(b), le.Uint32(b[offChecksum:])
	var found Flip
	fits := 0
	for kind := Superblock; kind <= Index; kind++ {
		at, bit, ok := flipped(reg ^ salts[kind] ^ stored)
		if !ok {
			continue
		}
		b[at] ^= 1 << bit
		if Verify(loc, b, kind) == nil {
			found = Flip{loc, kind, at, bit}
			fits++
		}
		b[at] ^= 1 << bit
	}
	if fits != 1 {
		return Flip{}, false
	}
	b[found.Byte] ^= 1 << found.Bit
	return found, true
}

// flipped returns the place of the single bit that makes a checksum wrong by the
// given difference.
func flipped(wrong uint32) (at int, bit uint, ok bool) {
	if bits.OnesCount32(wrong) == 1 { // in the checksum itself
		i := uint(bits.TrailingZeros32(wrong))
		return offChecksum + int(i/8), i % 8, true
	}
	i, ok := syndromes()[wrong]
	return int(i / 8), uint(i % 8), ok
}

// syndromes says for each bit what its flip adds to the register: the checksum is
// linear, so that does not depend on the rest of the block.
var syndromes = sync.OnceValue(func() map[uint32]uint16 {
	const first = 4 * 8 // bits before it are the checksum
	var b Data
	zero := register(&b)
	table := make(map[uint32]uint16, Size*8-first)
	for i := first; i < Size*8; i++ {
		b[i/8] = 1 << (i % 8)
		table[register(&b)^zero] = uint16(i)
		b[i/8] = 0
	}
	return table
})
