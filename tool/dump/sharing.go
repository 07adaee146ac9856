package dump

import (
	"sort"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// sharing finds what devices have in common. It cuts their lists of leaves into atomic runs: the
// longest sequences of leaves that only occur as a whole and in that order. Runs that occur more
// than once become defs.
//
// Two neighbours P, L are in one atomic run if L always follows P, and P always precedes L.
type sharing struct {
	forest *btree.Forest
	leaves []neighbours       // by leaf index; nil: nothing is shared
	firsts []metadata.Device  // the first device of each distinct root
	met    map[block.Nr]int32 // number of devices with a root
}

type neighbours struct {
	prev, next int32 // leaf index; atEdge at the end of a list; mixed if it varies
	times      int32 // occurrences in lists of distinct roots
	many       bool  // a list with it occurs more than once
}

const (
	atEdge = -1
	mixed  = -2
)

func newSharing(f *btree.Forest) *sharing {
	return &sharing{forest: f, met: map[block.Nr]int32{}}
}

// add records the leaves of a device.
func (s *sharing) add(dev metadata.Device) {
	if s.leaves == nil {
		s.leaves = make([]neighbours, len(s.forest.Leaves()))
	}
	if s.met[dev.Root]++; s.met[dev.Root] > 1 { // the same list again
		if s.met[dev.Root] == 2 {
			for part := range s.forest.LeafRanges(dev.Root) {
				if part.Err == nil {
					s.leaves[part.Leaf].many = true
				}
			}
		}
		return
	}
	s.firsts = append(s.firsts, dev)
	prev := int32(atEdge)
	for part := range s.forest.LeafRanges(dev.Root) {
		if part.Err != nil {
			prev = atEdge
			continue
		}
		leaf := int32(part.Leaf)
		s.meet(prev, leaf)
		prev = leaf
	}
	s.meet(prev, atEdge)
}

// meet records that leaf follows prev in a list.
func (s *sharing) meet(prev, leaf int32) {
	if leaf >= 0 {
		n := &s.leaves[leaf]
		if n.times++; n.times == 1 {
			n.prev = prev
		} else if n.prev != prev {
			n.prev = mixed
		}
	}
	if prev >= 0 {
		n := &s.leaves[prev]
		if n.times == 1 {
			n.next = leaf
		} else if n.next != leaf {
			n.next = mixed
		}
	}
}

// shared reports whether a leaf belongs to a def.
func (s *sharing) shared(leaf int) bool {
	return s.leaves != nil && (s.leaves[leaf].many || s.leaves[leaf].times > 1)
}

// first reports whether a leaf is the first of an atomic run.
func (s *sharing) first(leaf int) bool {
	prev := s.leaves[leaf].prev
	return prev < 0 || s.leaves[prev].next != int32(leaf)
}

// A def is an atomic run that occurs more than once.
type def struct {
	id     metadata.DevID // of the first device with it
	leaves []btree.LeafRange
}

// defs returns all defs, by ascending block of their first leaf.
func (s *sharing) defs() []def {
	var defs []def
	done := make([]bool, len(s.leaves)) // first leaves of defs
	for _, dev := range s.firsts {
		mine := false // the current run is new, and a def
		for part := range s.forest.LeafRanges(dev.Root) {
			if part.Err != nil || !s.shared(part.Leaf) {
				mine = false
				continue
			}
			if s.first(part.Leaf) {
				mine = !done[part.Leaf]
				done[part.Leaf] = true
				if mine {
					defs = append(defs, def{id: dev.ID})
				}
			}
			if mine {
				d := &defs[len(defs)-1]
				d.leaves = append(d.leaves, part)
			}
		}
	}
	sort.Slice(defs, func(i, j int) bool { return defs[i].leaves[0].Block < defs[j].leaves[0].Block })
	return defs
}
