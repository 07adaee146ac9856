package metadata

import "strconv"

// A DevIDSet is a set of device ids. Of ids that the kernel takes it needs a bit each at
// most, as a description may have millions of empty devices.
type DevIDSet struct {
	pages  [(MaxDevID + 1) / idsOfPage]*[idsOfPage / 64]uint64
	higher map[DevID]bool // ids above MaxDevID, which a damaged device may have
}

const idsOfPage = 1 << 15

// Add adds id, and reports whether it was not there before.
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

// Names numbers the names of defs. A dump names them by numbers, which take less room than
// their text.
type Names struct {
	numbers map[uint64]int32
	others  map[string]int32
}

// Set gives a name a number.
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

// asNumber returns the number that is written as name; false if it could be written otherwise.
func asNumber(name string) (uint64, bool) {
	if name == "" || len(name) > 1 && name[0] == '0' || name[0] < '0' || name[0] > '9' {
		return 0, false
	}
	v, err := strconv.ParseUint(name, 10, 64)
	return v, err == nil
}
