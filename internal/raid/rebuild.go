package raid

import (
	"crypto/subtle"
	"fmt"
)

// P is the exclusive or of the data in a row. Q is the sum of the data, with each device multiplied
// by a different power of 2 in the field of 256 elements with the polynomial 0x11d: see H. Peter
// Anvin, "The mathematics of RAID-6". In three layouts, the power is the device number. In all
// others, devices are counted from the one after Q, wrapping around and skipping P. This was
// observed in sets written by Linux.
const polynomial = 0x1d

// power returns the exponent of a device in the Q of a row.
func (l Layout) power(row int64, dev int) int {
	if l.rule.byNumber {
		return dev
	}
	n := l.Devices
	p, q := l.ParityDevices(row)
	behindQ := func(d int) int { return (d - q - 1 + n) % n }
	if behindQ(dev) > behindQ(p) {
		return behindQ(dev) - 1
	}
	return behindQ(dev)
}

// Rebuild computes part of a chunk on the lost device, which must have data in the row, into p.
// read reads the same bytes of another device. With Q, one of these may be unreadable; the error is
// that of the first one too many.
func (l Layout) Rebuild(row int64, lost int, p []byte, read func(dev int, p []byte) error) error {
	if l.rule.p == nil {
		return fmt.Errorf("%s has no parity", l.Kind)
	}
	r := rebuild{l: l, row: row, lost: lost, second: -1, tmp: make([]byte, len(p)), read: read}
	devP, devQ := l.ParityDevices(row)
	switch err := r.sumP(p, devP); {
	case err == nil:
		return nil
	case devQ < 0 || r.second < 0:
		return err
	}
	q := make([]byte, len(p))
	if err := r.sumQ(q, devQ); err != nil {
		return err
	}
	x := exp(l.power(row, lost))
	if r.second == devP {
		divide(p, q, x)
		return nil
	}
	// Both are data devices: p has their sum, q the sum of their products.
	y := exp(l.power(row, r.second))
	addProduct(q, p, y)
	divide(p, q, x^y)
	return nil
}

// A rebuild is the computation of a lost chunk or a part of it.
type rebuild struct {
	l      Layout
	row    int64
	lost   int
	second int // another unreadable device; -1: none
	tmp    []byte
	read   func(dev int, p []byte) error
}

// sumP sets p to the sum of P and all data except the lost device. If it returns an error and sets
// second, the sum lacks that device as well.
func (r *rebuild) sumP(p []byte, devP int) error {
	clear(p)
	var first error
	add := func(dev int) bool {
		switch err := r.read(dev, r.tmp); {
		case err == nil:
			subtle.XORBytes(p, p, r.tmp)
		case first != nil:
			r.second = -1
			return false
		default:
			first, r.second = err, dev
		}
		return true
	}
	for i := range r.l.Data {
		if dev := r.l.DataDevice(r.row, i); dev != r.lost && !add(dev) {
			return first
		}
	}
	add(devP)
	return first
}

// sumQ sets q to the sum of Q and the products of all data except the lost devices.
func (r *rebuild) sumQ(q []byte, devQ int) error {
	if err := r.read(devQ, q); err != nil {
		return err
	}
	for i := range r.l.Data {
		dev := r.l.DataDevice(r.row, i)
		if dev == r.lost || dev == r.second {
			continue
		}
		if err := r.read(dev, r.tmp); err != nil {
			return err
		}
		addProduct(q, r.tmp, exp(r.l.power(r.row, dev)))
	}
	return nil
}

// multiply multiplies two elements of the field.
func multiply(a, b byte) byte {
	var product byte
	for ; b > 0; b >>= 1 {
		if b&1 != 0 {
			product ^= a
		}
		carry := a&0x80 != 0
		if a <<= 1; carry {
			a ^= polynomial
		}
	}
	return product
}

// exp returns 2 to a power.
func exp(power int) byte {
	x := byte(1)
	for range power % 255 {
		x = multiply(x, 2)
	}
	return x
}

// table returns the products of all elements with x.
func table(x byte) (t [256]byte) {
	for i := range t {
		t[i] = multiply(byte(i), x)
	}
	return t
}

// addProduct adds p times x to sum.
func addProduct(sum, p []byte, x byte) {
	t := table(x)
	for i, c := range p {
		sum[i] ^= t[c]
	}
}

// divide sets p to q divided by x. x must not be 0.
func divide(p, q []byte, x byte) {
	inverse := byte(1)
	for range 254 { // x to the 255th is 1
		inverse = multiply(inverse, x)
	}
	t := table(inverse)
	for i, c := range q {
		p[i] = t[c]
	}
}
