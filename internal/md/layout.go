package md

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sort"

	"thinpool/internal/raid"
)

// lay computes the layout and the size of the array. It returns an error if too many legs are
// missing.
func (a *Array) lay(legs []leg) error {
	err := a.level(legs)
	if err == nil && a.size == 0 {
		err = errors.New("it has no room for data")
	}
	return err
}

func (a *Array) level(legs []leg) error {
	switch a.Super.Level {
	case levelLinear:
		return a.linear(legs)
	case 0:
		return a.raid0(legs)
	case 1:
		return a.raid1(legs)
	case 4, 5, 6:
		return a.parity(legs)
	case 10:
		return a.raid10(legs)
	}
	return errors.New("this level is not supported")
}

// chunked returns the size of a leg in whole chunks, for levels whose legs may differ in size.
func (a *Array) chunked(l leg) int64 {
	if a.Super.Chunk == 0 {
		return l.size
	}
	return l.size - l.size%a.Super.Chunk
}

// all returns an error if a leg is missing.
func all(legs []leg) error {
	if missing(legs) > 0 {
		return fmt.Errorf("it needs all of its members: %s", lacking(legs))
	}
	return nil
}

func (a *Array) linear(legs []leg) error {
	if err := all(legs); err != nil {
		return err
	}
	ends := make([]int64, len(legs))
	for i, l := range legs {
		a.size += a.chunked(l)
		ends[i] = a.size
	}
	a.piece = copies{legs, func(off int64, nth int) (raid.Place, int64, bool) {
		i := sort.Search(len(ends), func(i int) bool { return off < ends[i] })
		begin := ends[i] - a.chunked(legs[i])
		return raid.Place{Device: i, Offset: off - begin}, ends[i] - off, nth == 0
	}}
	return nil
}

func (a *Array) raid1(legs []leg) error {
	if missing(legs) == len(legs) {
		return fmt.Errorf("it needs one of its members: %s", lacking(legs))
	}
	a.size = a.Super.Used
	a.piece = copies{legs, func(off int64, nth int) (raid.Place, int64, bool) {
		return raid.Place{Device: nth, Offset: off}, a.size - off, nth < len(legs)
	}}
	return nil
}

// md's numbers for layouts with parity, and their names in package raid.
var (
	layouts5 = []string{"raid5_la", "raid5_ra", "raid5_ls", "raid5_rs", "raid4", "raid5_n"}
	layouts6 = map[int]string{
		0: "raid6_la", 1: "raid6_ra", 2: "raid6_ls", 3: "raid6_rs", 4: "raid6_0", 5: "raid6_n_6",
		8: "raid6_zr", 9: "raid6_nr", 10: "raid6_nc",
		16: "raid6_la_6", 17: "raid6_ra_6", 18: "raid6_ls_6", 19: "raid6_rs_6", 20: "raid6_0_6",
	}
)

func (a *Array) parity(legs []leg) error {
	s := a.Super
	kind, spare, known := "raid5_n", 1, true // raid4
	switch {
	case s.Level == 5 && (s.Layout < 0 || s.Layout >= len(layouts5)):
		known = false
	case s.Level == 5:
		kind = layouts5[s.Layout]
	case s.Level == 6:
		spare = 2
		kind, known = layouts6[s.Layout]
	}
	if !known {
		return fmt.Errorf("layout %d is not known", s.Layout)
	}
	l, err := raid.New(kind, s.Devices, s.Chunk, 0)
	if err != nil {
		return err
	}
	if missing(legs) > spare {
		return fmt.Errorf("it needs %d of its %d members: %s", s.Devices-spare, s.Devices, lacking(legs))
	}
	a.size = s.Used / s.Chunk * s.Chunk * int64(l.Data)
	a.piece = parity{legs, l}
	return nil
}

// A zone of raid0 uses the legs that are larger than the zones before it.
type zone struct {
	end     int64 // in the array
	devices []int
	from    int64 // in each leg
}

// Layouts of raid0 with more than one zone. To choose a device, the first counts chunks from the
// start of the array, the second from the start of the zone.
const (
	layout0Original  = 1
	layout0Alternate = 2
)

func (a *Array) raid0(legs []leg) error {
	s := a.Super
	if err := all(legs); err != nil {
		return err
	}
	if s.Chunk == 0 {
		return errors.New("chunks of 0 bytes")
	}
	zones := a.zones(legs)
	switch known := s.Layout == layout0Original || s.Layout == layout0Alternate; {
	case len(zones) == 0:
		return nil // no data
	case len(zones) > 1 && !known:
		return fmt.Errorf("its members differ in size, and it does not say in which of the two layouts it was written (before or after Linux 3.14): what follows byte %d would come out in the wrong order", zones[0].end)
	}
	a.size = zones[len(zones)-1].end
	a.piece = copies{legs, func(off int64, nth int) (raid.Place, int64, bool) {
		i := sort.Search(len(zones), func(i int) bool { return off < zones[i].end })
		begin := int64(0)
		if i > 0 {
			begin = zones[i-1].end
		}
		z, n := zones[i], int64(len(zones[i].devices))
		counted := (off - begin) / s.Chunk
		row := counted / n
		if s.Layout == layout0Original {
			counted = off / s.Chunk
		}
		inside := (off - begin) % s.Chunk
		return raid.Place{Device: z.devices[counted%n], Offset: z.from + row*s.Chunk + inside}, s.Chunk - inside, nth == 0
	}}
	return nil
}

// zones returns the zones of raid0.
func (a *Array) zones(legs []leg) []zone {
	var zones []zone
	var end, from int64
	for {
		var z zone
		least := int64(-1)
		for i, l := range legs {
			if size := a.chunked(l); size > from {
				z.devices = append(z.devices, i)
				if least < 0 || size < least {
					least = size
				}
			}
		}
		if least < 0 {
			return zones
		}
		end += (least - from) * int64(len(z.devices))
		z.end, z.from = end, from
		zones = append(zones, z)
		from = least
	}
}

// A layout10 places the copies of raid10. Near copies of a chunk are on consecutive devices. Far
// copies repeat all chunks further down, shifted by one device. md could do both at once, but mdadm
// creates no such array.
type layout10 struct {
	devices, near, far int
	offset             bool  // far copies alternate with rows
	set                int   // devices among which far copies rotate
	stride             int64 // distance of a far copy
	chunk              int64
}

func (a *Array) raid10(legs []leg) error {
	s := a.Super
	l := layout10{devices: s.Devices, near: s.Layout & 0xff, far: s.Layout >> 8 & 0xff, offset: s.Layout>>16&1 != 0, chunk: s.Chunk}
	known := min(l.near, l.far) == 1 && max(l.near, l.far) <= l.devices
	switch l.set = l.devices; s.Layout >> 17 {
	case 0:
	case 1: // used by Linux 3.9 to 4.2
		l.set /= max(l.far, 1)
	case 2:
		l.set = l.far
	default:
		known = false
	}
	if !known || l.set < l.far {
		return fmt.Errorf("layout %#x is not known", s.Layout)
	}
	if s.Chunk < 4096 || bits.OnesCount64(uint64(s.Chunk)) != 1 {
		return fmt.Errorf("chunks of %d bytes", s.Chunk)
	}
	rows := s.Used / l.chunk / int64(l.far) // per far copy
	l.stride = rows * l.chunk
	if l.offset {
		l.stride = l.chunk
	}
	chunks := rows * int64(l.devices) / int64(l.near)
	a.size = chunks * l.chunk
	for c := range int64(l.devices) {
		there := func(nth int) bool {
			place, _ := l.locate(c*l.chunk, nth)
			return legs[place.Device].missing == nil
		}
		if !slices.ContainsFunc(numbers(l.near*l.far), there) {
			return fmt.Errorf("all copies of some chunks are on members that are not there: %s", lacking(legs))
		}
	}
	a.piece = copies{legs, func(off int64, nth int) (raid.Place, int64, bool) {
		if nth >= l.near*l.far {
			return raid.Place{}, 0, false
		}
		place, rest := l.locate(off, nth)
		return place, rest, true
	}}
	return nil
}

func numbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// locate returns the location of the nth copy of a byte.
func (l layout10) locate(off int64, nth int) (raid.Place, int64) {
	chunk, inside := off/l.chunk, off%l.chunk
	at := chunk * int64(l.near)
	if l.far == 1 {
		at += int64(nth)
	}
	row, device := at/int64(l.devices), int(at%int64(l.devices))
	if l.offset {
		row *= int64(l.far)
	}
	place := raid.Place{Device: device, Offset: row*l.chunk + inside}
	if l.far > 1 {
		for range nth {
			place.Device = l.next(place.Device)
			place.Offset += l.stride
		}
	}
	return place, l.chunk - inside
}

// next returns the device of the next far copy within its set. The last set has the remainder.
func (l layout10) next(device int) int {
	begin, size := device/l.set*l.set, l.set
	if last := (l.devices/l.set - 1) * l.set; l.devices%l.set > 0 && device >= last {
		begin, size = last, l.devices-last
	}
	return begin + (device+1-begin)%size
}
