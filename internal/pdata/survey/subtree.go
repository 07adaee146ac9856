package survey

import (
	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// A Subtree summarizes the tree below a node.
type Subtree struct {
	Kind        Kind   // of its leaves; Unknown if no leaf is readable
	N           uint64 // readable entries
	First, Last uint64 // keys, if N is not 0
	Depth       int    // levels above the leaves
	Time        uint32 // newest time of a mapping
	// Whole is set if nothing is missing and everything is in order: blocks of one kind, leaves at one
	// depth, keys within the bounds set by the nodes above.
	Whole bool
}

// States of a node's summary.
const (
	unseen = iota
	underway
	known
)

// Subtree summarizes the tree below the node at nr. For the top level of a mapping tree, it covers
// the device ids, not the mappings.
func (s *Survey) Subtree(nr block.Nr) Subtree {
	return s.subtree(nr, 0)
}

func (s *Survey) subtree(nr block.Nr, depth int) Subtree {
	n, ok := s.Node(nr)
	if !ok {
		return Subtree{Kind: Unknown}
	}
	if n.Kind != Inner {
		return Subtree{n.Kind, uint64(n.N), n.First, n.Last, 0, n.Time, true}
	}
	i := s.at[nr]
	switch {
	case s.states[i] == known:
		return s.subtrees[i]
	case s.states[i] == underway || depth == btree.MaxDepth:
		return Subtree{Kind: Unknown}
	}
	s.states[i] = underway
	s.subtrees[i] = s.join(s.Entries(n), depth)
	s.states[i] = known
	return s.subtrees[i]
}

// join summarizes what an internal node with the given entries has below it.
func (s *Survey) join(entries []btree.Child, depth int) Subtree {
	sum := Subtree{Kind: Unknown, Whole: true}
	for i, e := range entries {
		t := s.subtree(e.Block, depth+1)
		if sum.Kind == Unknown && t.Kind != Unknown {
			sum.Kind, sum.Depth = t.Kind, t.Depth+1
		}
		if t.Kind == Unknown || t.Kind != sum.Kind {
			sum.Whole = false
			continue
		}
		keys := btree.ChildRange(entries, i, btree.AllKeys)
		if i == 0 {
			keys.First = 0 // only bounds between children count
		}
		inside := t.N == 0 || keys.Contains(t.First, t.Last)
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

// Roots returns the nodes that may be roots of trees with leaves of that kind: no whole tree
// points to them. They are in ascending block order.
func (s *Survey) Roots(kind Kind) []block.Nr {
	s.pointers.Do(s.followPointers)
	var roots []block.Nr
	for i := range s.Nodes {
		if !s.pointed[i] && s.Subtree(s.Nodes[i].Block).Kind == kind {
			roots = append(roots, s.Nodes[i].Block)
		}
	}
	return roots
}

// followPointers marks everything that whole trees point to.
func (s *Survey) followPointers() {
	s.pointed = make([]bool, len(s.Nodes))
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Kind != TopLeaf && !(n.Kind == Inner && s.Subtree(n.Block).Whole) {
			continue
		}
		for _, e := range s.Entries(n) {
			child, ok := s.Node(e.Block)
			if !ok || n.Kind == TopLeaf && s.Subtree(child.Block).Kind != MappingLeaf {
				continue // the block has since become something else
			}
			s.pointed[s.at[child.Block]] = true
		}
	}
}

// Leaves yields the readable leaves below nr in pointer order, each once.
func (s *Survey) Leaves(nr block.Nr) func(yield func(*Node) bool) {
	return func(yield func(*Node) bool) {
		s.leaves(nr, s.Subtree(nr).Kind, map[block.Nr]bool{}, yield)
	}
}

func (s *Survey) leaves(nr block.Nr, kind Kind, seen map[block.Nr]bool, yield func(*Node) bool) bool {
	n, ok := s.Node(nr)
	switch {
	case !ok || seen[nr]:
		return true
	case n.Kind == kind:
		seen[nr] = true
		return yield(n)
	case n.Kind != Inner:
		return true
	}
	seen[nr] = true
	for _, e := range s.Entries(n) {
		if !s.leaves(e.Block, kind, seen, yield) {
			return false
		}
	}
	return true
}
