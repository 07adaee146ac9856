package metadata

import "strconv"

// A DevIDSet is a set of device ids. It needs at most one bit for each id that the kernel accepts,
// because a description may have millions of empty devices.
type DevIDSet struct {
	pages  [(MaxDevID + 1) / idsOfPage]*[idsOfPage / 64]uint64
	higher map[DevID]bool // ids above MaxDevID, from damaged devices
}

const idsOfPage = 1 << 15

// Add adds id, and reports whether it is new.
func (s *DevIDSet) Add(id DevID) bool {
	if id > MaxDevID {
		if s.higher[id] {
			return false
		}
		if s.higher == nil {
			s.higher = map[DevID]bool{}
		}
		s.higher[id] = true
		return true
	}
	page := &s.pages[id/idsOfPage]
	if *page == nil {
		*page = new([idsOfPage / 64]uint64)
	}
	word, bit := &(*page)[id%idsOfPage/64], uint64(1)<<(id%64)
	was := *word&bit != 0
	*word |= bit
	return !was
}

// Names maps the names of defs to numbers. In dumps, the names are decimal numbers, which are
// stored in less space than strings.
type Names struct {
	numbers map[uint64]int32
	others  map[string]int32
}

// Set sets the number of a name.
func (n *Names) Set(name string, number int32) {
	if v, ok := asNumber(name); ok {
		if n.numbers == nil {
			n.numbers = map[uint64]int32{}
		}
		n.numbers[v] = number
		return
	}
	if n.others == nil {
		n.others = map[string]int32{}
	}
	n.others[name] = number
}

// Get returns the number of a name; false if it has none.
func (n *Names) Get(name string) (int32, bool) {
	if v, ok := asNumber(name); ok {
		number, ok := n.numbers[v]
		return number, ok
	}
	number, ok := n.others[name]
	return number, ok
}

// asNumber parses name as a number; false if the number would be written differently.
func asNumber(name string) (uint64, bool) {
	if name == "" || len(name) > 1 && name[0] == '0' || name[0] < '0' || name[0] > '9' {
		return 0, false
	}
	v, err := strconv.ParseUint(name, 10, 64)
	return v, err == nil
}
