package survey

import (
	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// A Tree is what hangs below a node.
type Tree struct {
	Sort        Sort   // of its leaves; Unknown if no leaf can be read
	N           uint64 // entries that can be read
	First, Last uint64 // keys, if N is not 0
	Depth       int    // levels above the leaves
	Time        uint32 // newest of the mappings
	// Whole says that all of it is there and in order: blocks of one sort, leaves at
	// one depth, keys within the bounds that the nodes above set.
	Whole bool
}

// States of a node's verdict.
const (
	unseen = iota
	underway
	known
)

// Tree says what hangs below the node at nr. Of the top level of a mapping tree
// that is the device ids, not the mappings.
func (s *Survey) Tree(nr block.Nr) Tree {
	return s.tree(nr, 0)
}

func (s *Survey) tree(nr block.Nr, depth int) Tree {
	n, ok := s.Node(nr)
	if !ok {
		return Tree{Sort: Unknown}
	}
	if n.Sort != Inner {
		return Tree{n.Sort, uint64(n.N), n.First, n.Last, 0, n.Time, true}
	}
	i := s.at[nr]
	switch {
	case s.states[i] == known:
		return s.trees[i]
	case s.states[i] == underway || depth == btree.MaxDepth:
		return Tree{Sort: Unknown}
	}
	s.states[i] = underway
	s.trees[i] = s.join(s.Entries(n), depth)
	s.states[i] = known
	return s.trees[i]
}

// join says what an internal node with the given entries has below it.
func (s *Survey) join(entries []btree.Child, depth int) Tree {
	sum := Tree{Sort: Unknown, Whole: true}
	for i, e := range entries {
		t := s.tree(e.Block, depth+1)
		if sum.Sort == Unknown && t.Sort != Unknown {
			sum.Sort, sum.Depth = t.Sort, t.Depth+1
		}
		if t.Sort == Unknown || t.Sort != sum.Sort {
			sum.Whole = false
			continue
		}
		inside := t.N == 0 || (i == 0 || t.First >= e.Key) && (i+1 == len(entries) || t.Last < entries[i+1].Key)
		if !t.Whole || !inside || t.N == 0 || t.Depth+1 != sum.Depth {
			sum.Whole = false
		}
		if t.N == 0 {
			continue
		}
		if sum.N == 0 {
			sum.First = t.First
		}
		sum.N, sum.Last, sum.Time = sum.N+t.N, max(sum.Last, t.Last), max(sum.Time, t.Time)
	}
	return sum
}

// Roots returns the nodes that can be roots of trees with leaves of that sort: no
// whole tree points to them. They come by ascending block.
func (s *Survey) Roots(sort Sort) []block.Nr {
	s.pointers.Do(s.followPointers)
	var roots []block.Nr
	for i := range s.Nodes {
		if !s.pointed[i] && s.Tree(s.Nodes[i].Block).Sort == sort {
			roots = append(roots, s.Nodes[i].Block)
		}
	}
	return roots
}

// followPointers marks what whole trees point to.
func (s *Survey) followPointers() {
	s.pointed = make([]bool, len(s.Nodes))
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Sort != TopLeaf && !(n.Sort == Inner && s.Tree(n.Block).Whole) {
			continue
		}
		for _, e := range s.Entries(n) {
			child, ok := s.Node(e.Block)
			if !ok || n.Sort == TopLeaf && s.Tree(child.Block).Sort != MappingLeaf {
				continue // the block has become something else since
			}
			s.pointed[s.at[child.Block]] = true
		}
	}
}

// Leaves yields the leaves below nr that can be read, in the order of the
// pointers, each once.
func (s *Survey) Leaves(nr block.Nr) func(yield func(*Node) bool) {
	return func(yield func(*Node) bool) {
		s.leaves(nr, s.Tree(nr).Sort, map[block.Nr]bool{}, yield)
	}
}

func (s *Survey) leaves(nr block.Nr, sort Sort, seen map[block.Nr]bool, yield func(*Node) bool) bool {
	n, ok := s.Node(nr)
	switch {
	case !ok || seen[nr]:
		return true
	case n.Sort == sort:
		seen[nr] = true
		return yield(n)
	case n.Sort != Inner:
		return true
	}
	seen[nr] = true
	for _, e := range s.Entries(n) {
		if !s.leaves(e.Block, sort, seen, yield) {
			return false
		}
	}
	return true
}
