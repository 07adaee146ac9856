package repair

import (
	"slices"

	"thinpool/metadata"
)

// owners are the devices that lead to a hole, ascending. Holes share the list.
type owners struct {
	ids  []metadata.DevID
	some bool // there are more of them: too many holes have too many
}

// witnesses is how many devices are asked what they had in earlier commits: snapshots have
// had much the same, so ten thousand of them tell no more.
const witnesses = 8

// first returns the owners that are asked.
func (o *owners) first() []metadata.DevID { return o.ids[:min(len(o.ids), witnesses)] }

// mostOwners bounds the lists of owners together: it is what so many devices lead to one
// hole, or so many holes have one device, times eight.
const mostOwners = 1 << 22

// An ownerSearch finds who leads to which node. Most nodes have the owners of their parent,
// and those that many snapshots share have the same parents; so lists are made once.
type ownerSearch struct {
	lists  []owners
	known  map[string]int32 // lists by those that they consist of
	listed int              // ids in all lists
}

// findOwners finds the devices that lead to each hole.
func (g *grove) findOwners(p *pool) {
	direct := map[int32][]metadata.DevID{} // devices whose root is an internal node
	for i, e := range g.roots {
		id := p.devices[i].ID
		switch h := g.holeOf(e); {
		case h != nil:
			h.ids = append(h.ids, id)
		case e.node >= 0 && g.patches[e.node].changed:
			direct[e.node] = append(direct[e.node], id)
		}
	}
	s := ownerSearch{known: map[string]int32{}}
	above := make([][]int32, len(g.patches)) // lists of the parents
	ofHole := map[*hole][]int32{}
	for k := len(g.order) - 1; k >= 0; k-- {
		i := g.order[k]
		if !g.patches[i].changed {
			continue
		}
		if ids := direct[i]; len(ids) > 0 {
			above[i] = append(above[i], s.add(owners{ids: ids}))
		}
		list := s.join(above[i])
		above[i] = nil
		if list < 0 {
			continue // no device leads there
		}
		for _, e := range g.patches[i].entries {
			switch h := g.holeOf(e); {
			case h != nil:
				ofHole[h] = appendOnce(ofHole[h], list)
			case e.node >= 0 && g.patches[e.node].changed:
				above[e.node] = appendOnce(above[e.node], list)
			}
		}
	}
	for h, lists := range ofHole {
		if len(h.ids) > 0 { // roots as well
			lists = append(lists, s.add(h.owners))
		}
		h.owners = s.lists[s.join(lists)]
	}
}

func appendOnce(lists []int32, list int32) []int32 {
	if n := len(lists); n > 0 && lists[n-1] == list {
		return lists
	}
	return append(lists, list)
}

func (s *ownerSearch) add(o owners) int32 {
	s.lists = append(s.lists, o)
	return int32(len(s.lists) - 1)
}

// join returns the list of all owners of several lists; -1 if there are none.
func (s *ownerSearch) join(lists []int32) int32 {
	slices.Sort(lists)
	lists = slices.Compact(lists)
	switch len(lists) {
	case 0:
		return -1
	case 1:
		return lists[0]
	}
	var name []byte
	for _, list := range lists {
		name = le.AppendUint32(name, uint32(list))
	}
	if list, ok := s.known[string(name)]; ok {
		return list
	}
	var all owners
	for _, list := range lists {
		o := s.lists[list]
		all.some = all.some || o.some
		if s.listed += len(o.ids); s.listed > mostOwners {
			all.some = true
			o.ids = o.first()
		}
		if !all.some || len(all.ids) < witnesses {
			all.ids = append(all.ids, o.ids...)
		}
	}
	slices.Sort(all.ids)
	all.ids = slices.Compact(all.ids)
	s.known[string(name)] = s.add(all)
	return s.known[string(name)]
}
