package metadata

import (
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// Sharing is what there is to know of the devices that reach a leaf without
// naming each: enough to tell whether its blocks are shared.
type Sharing struct {
	Any, Many bool   // one device at least; more than one
	LeastSnap uint32 // least SnapshottedTime of them
}

func (o *Sharing) add(p Sharing) {
	if !o.Any {
		*o = p
		return
	}
	o.Many = true
	o.LeastSnap = min(o.LeastSnap, p.LeastSnap)
}

// LeafSharing finds the owners of each leaf of the mapping trees of devices, by
// index of the leaf in f. It goes down from the roots, each inner node after all
// its parents, so it costs time by the number of nodes, not of devices times nodes.
func LeafSharing(f *Forest, devices []Device) []Sharing {
	inner, leaves := make([]Sharing, len(f.Inner())), make([]Sharing, len(f.Leaves()))
	give := func(nr block.Nr, o Sharing) {
		switch role, i := f.Role(nr); role {
		case btree.InnerNode:
			inner[i].add(o)
		case btree.LeafNode:
			leaves[i].add(o)
		}
	}
	for _, d := range devices {
		give(d.Root, Sharing{Any: true, LeastSnap: d.SnapshottedTime})
	}
	for _, i := range parentsFirst(f, devices) {
		for _, child := range f.Inner()[i].Children {
			give(child, inner[i])
		}
	}
	return leaves
}

// parentsFirst orders the inner nodes of the devices' trees so that each comes
// after its parents. Loops, which only damage makes, are cut.
func parentsFirst(f *Forest, devices []Device) []int {
	nodes := f.Inner()
	seen := make([]bool, len(nodes))
	var order []int
	type visit struct{ node, next int }
	var path []visit
	enter := func(nr block.Nr) {
		if role, i := f.Role(nr); role == btree.InnerNode && !seen[i] {
			seen[i] = true
			path = append(path, visit{node: i})
		}
	}
	for _, d := range devices {
		enter(d.Root)
		for len(path) > 0 {
			v := &path[len(path)-1]
			if v.next == len(nodes[v.node].Children) {
				order = append(order, v.node)
				path = path[:len(path)-1]
				continue
			}
			v.next++
			enter(nodes[v.node].Children[v.next-1])
		}
	}
	slices.Reverse(order)
	return order
}
