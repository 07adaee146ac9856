package textenc

import "encoding/binary"

const (
	half  = 10_000      // numbers of four digits
	whole = 100_000_000 // numbers of eight
)

// four has the four digits of each number below half, with leading zeros, first digit in the lowest
// byte.
var four = func() (table [half]uint32) {
	for i := range uint32(half) {
		table[i] = i/1000 | i/100%10<<8 | i/10%10<<16 | i%10<<24 | 0x30303030 // '0' in each byte
	}
	return table
}()

// AppendUint appends v to dst in decimal, about twice as fast as [strconv.AppendUint]. Most of a
// dump is numbers.
func AppendUint(dst []byte, v uint64) []byte {
	if v >= whole {
		dst = AppendUint(dst, v/whole)
		return binary.LittleEndian.AppendUint64(dst, eight(v%whole))
	}
	n := digits(v)
	dst = binary.LittleEndian.AppendUint64(dst, eight(v)>>(64-8*n))
	return dst[:len(dst)-8+n]
}

// eight returns the eight digits of v, with leading zeros, first digit in the lowest byte.
func eight(v uint64) uint64 { return uint64(four[v/half]) | uint64(four[v%half])<<32 }

// digits returns how many digits v has. v must be below whole.
func digits(v uint64) int {
	switch {
	case v < 10:
		return 1
	case v < 100:
		return 2
	case v < 1_000:
		return 3
	case v < 10_000:
		return 4
	case v < 100_000:
		return 5
	case v < 1_000_000:
		return 6
	case v < 10_000_000:
		return 7
	}
	return 8
}
