package check

import (
	"cmp"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
)

// owners is what is known of the devices that reach a node: enough to tell, when
// a leaf is read, whether its blocks count as shared for each of them.
type owners struct {
	any, many bool   // one device at least; more than one
	leastSnap uint32 // least snapshotted_time of them
}

func (o *owners) join(p owners) {
	if !o.any {
		*o = p
		return
	}
	o.many = true
	o.leastSnap = min(o.leastSnap, p.leastSnap)
}

// leafOwners finds the owners of each leaf of the mapping trees by going down
// from the roots, each inner node after all its parents.
func (c *checker) leafOwners(devices []metadata.Device) []owners {
	inner, leaves := make([]owners, len(c.maps.Inner())), make([]owners, len(c.maps.Leaves()))
	give := func(nr block.Nr, o owners) {
		switch kind, i := c.maps.Kind(nr); kind {
		case btree.InnerNode:
			inner[i].join(o)
		case btree.LeafNode:
			leaves[i].join(o)
		}
	}
	for _, d := range devices {
		give(d.Root, owners{any: true, leastSnap: d.SnapshottedTime})
	}
	for _, i := range c.parentsFirst(devices) {
		for _, child := range c.maps.Inner()[i].Children {
			give(child, inner[i])
		}
	}
	return leaves
}

// parentsFirst orders the inner nodes of the devices' trees so that each comes
// after its parents. Loops, which only damage makes, are cut.
func (c *checker) parentsFirst(devices []metadata.Device) []int {
	nodes := c.maps.Inner()
	seen := make([]bool, len(nodes))
	var order []int
	type visit struct{ node, next int }
	var path []visit
	enter := func(nr block.Nr) {
		if kind, i := c.maps.Kind(nr); kind == btree.InnerNode && !seen[i] {
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

// devicesOf finds the devices that reach the given blocks. It costs a walk over
// the inner nodes of every tree, so it is for faults only.
func (c *checker) devicesOf(devices []metadata.Device, blocks map[block.Nr]bool) map[block.Nr][]metadata.DevID {
	reach := map[block.Nr][]metadata.DevID{}
	if len(blocks) == 0 {
		return reach
	}
	nodes := c.maps.Inner()
	seen := make([]int, len(nodes)) // the last device, from 1, that came by
	for n, d := range devices {
		todo := []block.Nr{d.Root}
		for len(todo) > 0 {
			nr := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if ids := reach[nr]; blocks[nr] && (len(ids) == 0 || ids[len(ids)-1] != d.ID) {
				reach[nr] = append(ids, d.ID)
			}
			if kind, i := c.maps.Kind(nr); kind == btree.InnerNode && seen[i] != n+1 {
				seen[i] = n + 1
				todo = append(todo, nodes[i].Children...)
			}
		}
	}
	return reach
}

// reportSorted reports faults that were found in no particular order.
func (c *checker) reportSorted(faults []Fault) {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Block, b.Block), cmp.Compare(a.Code, b.Code))
	})
	for _, f := range faults {
		c.report(f)
	}
}
