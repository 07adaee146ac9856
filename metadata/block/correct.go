package block

import (
	"fmt"
	"math/bits"
	"sync"
)

// A Correction is a change of one byte that makes a damaged block valid.
type Correction struct {
	Block Nr
	Kind  Kind // of the corrected block
	Byte  int  // offset in the block
	Mask  byte // the wrong bits of the byte: one, or several in the checksum field
}

// Bit returns the number of the flipped bit, 0..7; false if more than one bit is wrong.
func (c Correction) Bit() (uint, bool) {
	return uint(bits.TrailingZeros8(c.Mask)), bits.OnesCount8(c.Mask) == 1
}

func (c Correction) String() string {
	if bit, ok := c.Bit(); ok {
		return fmt.Sprintf("bit %d of byte %#x is flipped", bit, c.Byte)
	}
	return fmt.Sprintf("byte %#x, part of the checksum, is wrong", c.Byte)
}

// Correct looks for a change that makes b a valid block at loc, and applies it: a single bit
// anywhere, or a single byte of the checksum field. It does not change a block that is already
// valid, or one with more damage.
//
// A 32-bit checksum tells all 32768 single-bit flips of a block apart, and if one byte of the
// checksum is damaged, the other 24 bits must still agree. The self reference must also fit, so a
// chance match is out of the question. In rare cases, one flip makes a block valid as one kind,
// and another flip makes it valid as another kind. Then the right one is unknown, and Correct
// changes nothing.
func Correct(loc Nr, b *Data) (Correction, bool) {
	reg, stored := register(b), le.Uint32(b[offChecksum:])
	var found Correction
	fits := 0
	for kind := Superblock; kind <= Index; kind++ {
		at, mask, ok := wrongByte(reg ^ salts[kind] ^ stored)
		if !ok {
			continue
		}
		b[at] ^= mask
		if Verify(loc, b, kind) == nil {
			found = Correction{loc, kind, at, mask}
			fits++
		}
		b[at] ^= mask
	}
	if fits != 1 {
		return Correction{}, false
	}
	b[found.Byte] ^= found.Mask
	return found, true
}

// wrongByte returns the byte, and its wrong bits, that explain a given checksum difference.
func wrongByte(wrong uint32) (at int, mask byte, ok bool) {
	if wrong == 0 {
		return 0, 0, false
	}
	if low := bits.TrailingZeros32(wrong) / 8 * 8; wrong>>low < 1<<8 { // in the checksum itself
		return offChecksum + low/8, byte(wrong >> low), true
	}
	i, ok := syndromes()[wrong]
	return int(i / 8), 1 << (i % 8), ok
}

// syndromes maps the change that a flipped bit causes in the register to that bit. The checksum is
// linear, so the change does not depend on the rest of the block.
var syndromes = sync.OnceValue(func() map[uint32]uint16 {
	const first = 4 * 8 // the bits before it are the checksum
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
