package check

import (
	"cmp"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

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
			if blocks[nr] {
				if ids := reach[nr]; len(ids) == 0 || ids[len(ids)-1] != d.ID {
					reach[nr] = append(ids, d.ID)
				}
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
