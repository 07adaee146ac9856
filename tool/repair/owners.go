package repair

import "thinpool/metadata"

// findOwners finds the devices with a path to each hole.
func (g *grove) findOwners(p *pool) {
	direct := map[int32][]metadata.DevID{} // devices whose root is an internal node
	for i, e := range g.roots {
		id := p.devices[i].ID
		switch h := g.holeOf(e); {
		case h != nil:
			h.owners.IDs = append(h.owners.IDs, id)
		case e.node >= 0 && g.patches[e.node].changed:
			direct[e.node] = append(direct[e.node], id)
		}
	}
	var lists metadata.OwnerLists
	above := make([][]int32, len(g.patches)) // lists of the parents
	of := map[*hole][]int32{}
	for k := len(g.order) - 1; k >= 0; k-- {
		i := g.order[k]
		if !g.patches[i].changed {
			continue
		}
		if ids := direct[i]; len(ids) > 0 {
			above[i] = append(above[i], lists.Add(metadata.OwnerList{IDs: ids}))
		}
		n := lists.Join(above[i])
		above[i] = nil
		if n < 0 {
			continue // no device has a path to it
		}
		for _, e := range g.patches[i].entries {
			switch h := g.holeOf(e); {
			case h != nil:
				of[h] = metadata.AppendList(of[h], n)
			case e.node >= 0 && g.patches[e.node].changed:
				above[e.node] = metadata.AppendList(above[e.node], n)
			}
		}
	}
	for h, numbers := range of {
		if len(h.owners.IDs) > 0 { // its block is also a root
			numbers = append(numbers, lists.Add(h.owners))
		}
		h.owners = lists.List(lists.Join(numbers))
	}
}
