package metadata

import (
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// An OwnerList is the devices that reach something, ascending. Many owners share the same list,
// which must not be changed.
type OwnerList struct {
	IDs        []DevID
	Incomplete bool // there are more devices than listed
}

// firstOwners is how many devices an incomplete list has.
const firstOwners = 8

// Sample returns a few owners, for use where all owners are likely to be similar, as snapshots
// are.
func (o OwnerList) Sample() []DevID { return o.IDs[:min(len(o.IDs), firstOwners)] }

// Same reports whether two lists are the same list.
func (o OwnerList) Same(p OwnerList) bool {
	return o.Incomplete == p.Incomplete && len(o.IDs) == len(p.IDs) && (len(o.IDs) == 0 || &o.IDs[0] == &p.IDs[0])
}

// OwnerLists creates lists of owners. Most nodes have the owners of their parent, and nodes shared
// by many snapshots have the same parents. So each list is only built once for the same parts.
type OwnerLists struct {
	lists  []OwnerList
	known  map[string]int32 // by the lists they were joined from
	listed int              // number of ids in all of them
}

// MostOwners is about the maximum number of ids in all lists together.
const MostOwners = 1 << 22

// Add adds a list of owners and returns its number.
func (s *OwnerLists) Add(o OwnerList) int32 {
	s.lists = append(s.lists, o)
	return int32(len(s.lists) - 1)
}

// List returns the list with the given number.
func (s *OwnerLists) List(n int32) OwnerList { return s.lists[n] }

// Join returns the number of the list of all owners in the lists with the given numbers; -1 if
// there are none. It sorts numbers.
func (s *OwnerLists) Join(numbers []int32) int32 {
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	switch len(numbers) {
	case 0:
		return -1
	case 1:
		return numbers[0]
	}
	var name []byte
	for _, n := range numbers {
		name = le.AppendUint32(name, uint32(n))
	}
	if n, ok := s.known[string(name)]; ok {
		return n
	}
	var all OwnerList
	for _, n := range numbers {
		o := s.lists[n]
		all.Incomplete = all.Incomplete || o.Incomplete
		if s.listed += len(o.IDs); s.listed > MostOwners {
			all.Incomplete = true
			o.IDs = o.Sample()
		}
		if !all.Incomplete || len(all.IDs) < firstOwners {
			all.IDs = append(all.IDs, o.IDs...)
		}
	}
	slices.Sort(all.IDs)
	all.IDs = slices.Compact(all.IDs)
	if s.known == nil {
		s.known = map[string]int32{}
	}
	n := s.Add(all)
	s.known[string(name)] = n
	return n
}

// AppendList appends the number of a list unless it is already the last one.
func AppendList(numbers []int32, n int32) []int32 {
	if last := len(numbers) - 1; last >= 0 && numbers[last] == n {
		return numbers
	}
	return append(numbers, n)
}

// OwnersOf finds the devices that reach the given blocks of f. It only visits nodes above these
// blocks, each once.
func OwnersOf(f *Forest, devices []Device, blocks map[block.Nr]bool) map[block.Nr]OwnerList {
	reach := map[block.Nr]OwnerList{}
	if len(blocks) == 0 {
		return reach
	}
	nodes, order := f.Inner(), f.ParentsFirst(rootsOf(devices))
	leads := make([]bool, len(nodes)) // to one of the blocks
	for k := len(order) - 1; k >= 0; k-- {
		leads[order[k]] = blocks[nodes[order[k]].Block] || slices.ContainsFunc(nodes[order[k]].Children, func(c block.Nr) bool {
			role, i := f.Role(c)
			return blocks[c] || role == btree.InnerNode && leads[i]
		})
	}
	var lists OwnerLists
	above := make([][]int32, len(nodes)) // lists of the parents
	of := map[block.Nr][]int32{}
	give := func(nr block.Nr, n int32) {
		if blocks[nr] {
			of[nr] = AppendList(of[nr], n)
		}
		if role, i := f.Role(nr); role == btree.InnerNode && leads[i] {
			above[i] = AppendList(above[i], n)
		}
	}
	byRoot := map[block.Nr][]DevID{}
	var roots []block.Nr
	for _, d := range devices {
		if byRoot[d.Root] == nil {
			roots = append(roots, d.Root)
		}
		byRoot[d.Root] = append(byRoot[d.Root], d.ID)
	}
	for _, root := range roots {
		give(root, lists.Add(OwnerList{IDs: byRoot[root]}))
	}
	for _, i := range order {
		if !leads[i] {
			continue
		}
		n := lists.Join(above[i])
		above[i] = nil
		for _, child := range nodes[i].Children {
			give(child, n)
		}
	}
	for nr, numbers := range of {
		reach[nr] = lists.List(lists.Join(numbers))
	}
	return reach
}
