// Package raid knows how dm-raid and md lay out data over devices, how to compute a lost chunk, and
// the superblocks of dm-raid, which tell which devices are in sync.
//
// A device is divided into chunks of equal size. The chunks at the same offset on all devices form
// a row. With parity, a row of n devices has n-1 data chunks (raid4, raid5) or n-2 (raid6), in an
// order given by the layout, and P and Q in the others. Without parity, chunks are dealt to the
// devices one by one. raid10 in its near layout, and raid1 with as many copies as devices, write
// each chunk several times in a row.
package raid

import (
	"fmt"
	"strings"
)

// MaxDevices is the maximum number of devices in a set. LVM creates at most 64 by default, and the
// first part of the kernel's superblock has room for 64 failed devices.
const MaxDevices = 64

// maxStripes is the maximum LVM creates without superblocks.
const maxStripes = 128

// A Layout places the chunks of a row.
type Layout struct {
	Kind    string // as in LVM's text, without aliases
	Devices int
	Data    int // data chunks per row
	Chunk   int64
	Copies  int // of each chunk; more than 1 only for raid10
	rule    rule
}

// A rule says which devices have parity in row r modulo n, of n devices. Data either starts after
// the parity and wraps around (symmetric), or uses the devices in order. The rule also says how a
// device counts in Q.
type rule struct {
	p, q      func(r, n int) int // q is nil without Q
	symmetric bool
	byNumber  bool // by device number; otherwise by the number of data devices between it and Q
}

func first(r, n int) int    { return 0 }
func last(r, n int) int     { return n - 1 }
func second(r, n int) int   { return n - 2 } // counted from the end
func left(r, n int) int     { return n - 1 - r }
func right(r, n int) int    { return r }
func leftNext(r, n int) int { return n - 1 - (r+1)%n }

// after returns the device after P, before the device in front of it.
func after(p func(r, n int) int) func(r, n int) int {
	return func(r, n int) int { return (p(r, n) + 1) % n }
}

func before(p func(r, n int) int) func(r, n int) int {
	return func(r, n int) int { return (p(r, n) + n - 1) % n }
}

// less applies a rule to all devices but the last.
func less(p func(r, n int) int) func(r, n int) int {
	return func(r, n int) int { return p(r, n-1) }
}

var rules = map[string]rule{
	"raid4":      {p: first},
	"raid5_n":    {p: last},
	"raid5_la":   {p: left},
	"raid5_ra":   {p: right},
	"raid5_ls":   {p: left, symmetric: true},
	"raid5_rs":   {p: right, symmetric: true},
	"raid6_zr":   {p: right, q: after(right), byNumber: true},
	"raid6_nr":   {p: leftNext, q: after(leftNext), byNumber: true},
	"raid6_nc":   {p: left, q: before(left), symmetric: true, byNumber: true},
	"raid6_la":   {p: left, q: after(left)}, // from here to raid6_0_6: md only
	"raid6_ra":   {p: right, q: after(right)},
	"raid6_ls":   {p: left, q: after(left), symmetric: true},
	"raid6_rs":   {p: right, q: after(right), symmetric: true},
	"raid6_0":    {p: first, q: after(first)},
	"raid6_0_6":  {p: first, q: last},
	"raid6_n_6":  {p: second, q: last},
	"raid6_la_6": {p: less(left), q: last},
	"raid6_ra_6": {p: less(right), q: last},
	"raid6_ls_6": {p: less(left), q: last, symmetric: true},
	"raid6_rs_6": {p: less(right), q: last, symmetric: true},
}

var aliases = map[string]string{"raid5": "raid5_ls", "raid6": "raid6_zr", "raid10": "raid10_near"}

// Parity reports whether kind is a layout with parity.
func Parity(kind string) bool {
	return strings.HasPrefix(kind, "raid4") || strings.HasPrefix(kind, "raid5") || strings.HasPrefix(kind, "raid6")
}

// New returns the layout of a kind, such as raid5_ls. chunk is the chunk size in bytes. copies only
// matters for raid10.
func New(kind string, devices int, chunk int64, copies int) (Layout, error) {
	if a, ok := aliases[kind]; ok {
		kind = a
	}
	l := Layout{Kind: kind, Devices: devices, Data: devices, Chunk: chunk, Copies: 1}
	least, most := 1, MaxDevices
	switch rule, known := rules[kind]; {
	case kind == "striped", kind == "raid0":
		most = maxStripes
	case kind == "raid10_near", kind == "raid1":
		l.Copies = copies
		if copies < 1 || copies > devices {
			return l, fmt.Errorf("%d copies on %d devices", copies, devices)
		}
	case !known:
		return l, fmt.Errorf("layout %s is not known", kind)
	default:
		l.rule = rule
		l.Data, least = devices-1, 2
		if rule.q != nil {
			l.Data, least = devices-2, 3
		}
	}
	switch {
	case devices < least || devices > most:
		return l, fmt.Errorf("%s over %d devices, want %d to %d", kind, devices, least, most)
	case chunk < 512 || chunk > 1<<40 || chunk%512 != 0:
		return l, fmt.Errorf("chunks of %d bytes", chunk)
	}
	return l, nil
}

// A Place is the location of data: Offset bytes into a device.
type Place struct {
	Device int
	Offset int64
}

// Locate returns the location of byte off in its nth copy, counted from 0, and the number of bytes
// to the end of its chunk.
func (l Layout) Locate(off int64, nth int) (Place, int64) {
	chunk, inside := off/l.Chunk, off%l.Chunk
	rest := l.Chunk - inside
	if l.rule.p == nil {
		// The position counts chunks written: the copies of a chunk are consecutive.
		k, n := int64(l.Copies), int64(l.Devices)
		lap, in := chunk/n*k, chunk%n*k+int64(nth) // chunk*k+nth, without overflow
		return Place{int(in % n), (lap+in/n)*l.Chunk + inside}, rest
	}
	row, i := chunk/int64(l.Data), int(chunk%int64(l.Data))
	return Place{l.DataDevice(row, i), row*l.Chunk + inside}, rest
}

// ParityDevices returns the devices of P and Q in a row; -1: none.
func (l Layout) ParityDevices(row int64) (p, q int) {
	if l.rule.p == nil {
		return -1, -1
	}
	n := l.Devices
	p, q = l.rule.p(l.modulo(row), n), -1
	if l.rule.q != nil {
		q = l.rule.q(l.modulo(row), n)
	}
	return p, q
}

// modulo returns the row within the period of the layout. Layouts that rotate over all devices but
// the last repeat one row earlier.
func (l Layout) modulo(row int64) int {
	n := l.Devices
	if strings.HasSuffix(l.Kind, "_6") {
		n--
	}
	return int(row % int64(n))
}

// DataDevice returns the device of the i-th data chunk in a row. It requires a layout with parity
// and panics if the row has no such chunk.
func (l Layout) DataDevice(row int64, i int) int {
	p, q := l.ParityDevices(row)
	if l.rule.symmetric {
		n := l.Devices
		switch {
		case strings.HasSuffix(l.Kind, "_6"):
			n-- // Q is fixed
		case q == (p+1)%n:
			p = q
		}
		return (p + 1 + i) % n
	}
	for d := range l.Devices {
		if d == p || d == q {
			continue
		}
		if i == 0 {
			return d
		}
		i--
	}
	panic("raid: more chunks than devices")
}
