package textpipe

import (
	"encoding/binary"
	"math/bits"
)

// AppendUint is [strconv.AppendUint] to the base 10 in a third of the time: texts of whole pools have
// hundreds of millions of numbers.
func AppendUint(dst []byte, n uint64) []byte {
	const most = 1e8 // eight digits, which fill a word
	if n >= most {
		return binary.LittleEndian.AppendUint64(AppendUint(dst, n/most), digits(n%most))
	}
	d := digits(n)
	zeros := bits.TrailingZeros64(d&^allZeros|1<<56) / 8 // ahead of the first digit that counts
	dst = binary.LittleEndian.AppendUint64(dst, d>>(8*zeros))
	return dst[:len(dst)-zeros]
}

const allZeros = 0x3030303030303030

// digits returns the eight digits of n in ASCII, the first in the lowest byte.
func digits(n uint64) uint64 {
	return uint64(fours[n/1e4]) | uint64(fours[n%1e4])<<32
}

// fours are the four digits of all numbers that have no more.
var fours = func() (t [1e4]uint32) {
	for i := range t {
		t[i] = uint32(allZeros&0xffffffff + i/1000 + i/100%10<<8 + i/10%10<<16 + i%10<<24)
	}
	return t
}()
