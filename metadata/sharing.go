package metadata

import (
	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// Sharing sums up the devices that reach a leaf without listing them. It is enough to tell whether
// the leaf's blocks are shared.
type Sharing struct {
	Any, Many bool   // at least one device; more than one
	LeastSnap uint32 // lowest SnapshottedTime of these devices
}

func (o *Sharing) add(p Sharing) {
	if !o.Any {
		*o = p
		return
	}
	o.Many = true
	o.LeastSnap = min(o.LeastSnap, p.LeastSnap)
}

// LeafSharing finds the sharing of each leaf of the devices' mapping trees, by index of the leaf
// in f. It descends from the roots and visits each inner node after all its parents. So the time
// it takes depends on the number of nodes, not on devices times nodes.
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

// rootsOf returns the roots of the devices' mapping trees.
func rootsOf(devices []Device) []block.Nr {
	roots := make([]block.Nr, len(devices))
	for i, d := range devices {
		roots[i] = d.Root
	}
	return roots
}
