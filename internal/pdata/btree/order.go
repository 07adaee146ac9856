package btree

import (
	"slices"

	"thinpool/metadata/block"
)

// ParentsFirst orders the internal nodes below roots so that each comes after its parents. It cuts
// loops, which only occur in damaged trees. enter returns the children of a node; false for
// anything that is not an internal node or was entered before.
func ParentsFirst(roots []block.Nr, enter func(block.Nr) ([]block.Nr, bool)) []block.Nr {
	var order []block.Nr
	type visit struct {
		nr   block.Nr
		rest []block.Nr
	}
	var path []visit
	follow := func(nr block.Nr) {
		if children, ok := enter(nr); ok {
			path = append(path, visit{nr, children})
		}
	}
	for _, root := range roots {
		follow(root)
		for len(path) > 0 {
			v := &path[len(path)-1]
			if len(v.rest) == 0 {
				order = append(order, v.nr)
				path = path[:len(path)-1]
				continue
			}
			next := v.rest[0]
			v.rest = v.rest[1:]
			follow(next)
		}
	}
	slices.Reverse(order)
	return order
}

// ParentsFirst returns the indexes of the inner nodes of the trees at roots, each after its
// parents; see the function [ParentsFirst].
func (f *Forest) ParentsFirst(roots []block.Nr) []int {
	seen := make([]bool, len(f.inner))
	nrs := ParentsFirst(roots, func(nr block.Nr) ([]block.Nr, bool) {
		role, i := f.Role(nr)
		if role != InnerNode || seen[i] {
			return nil, false
		}
		seen[i] = true
		return f.inner[i].Children, true
	})
	order := make([]int, len(nrs))
	for k, nr := range nrs {
		_, order[k] = f.Role(nr)
	}
	return order
}
