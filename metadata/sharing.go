package metadata

import (
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
	for _, i := range f.ParentsFirst(rootsOf(devices)) {
		for _, child := range f.Inner()[i].Children {
			give(child, inner[i])
		}
	}
	return leaves
}

// rootsOf are the roots of the devices' mapping trees.
func rootsOf(devices []Device) []block.Nr {
	roots := make([]block.Nr, len(devices))
	for i, d := range devices {
		roots[i] = d.Root
	}
	return roots
}
