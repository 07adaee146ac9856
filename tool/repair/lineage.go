package repair

import (
	"cmp"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A lineage tells which nodes the devices had in earlier commits.
type lineage struct {
	e      *evidence
	states []*State                            // the newest first
	now    map[metadata.DevID]metadata.Details // details of the devices, where readable
	nodes  map[metadata.DevID]map[block.Nr]int // see nodesOf
	room   int                                 // number of pointers that may still be followed
}

func newLineage(s *salvage) *lineage {
	l := &lineage{
		e: s.evidence, states: s.state.byAge(),
		now: map[metadata.DevID]metadata.Details{}, nodes: map[metadata.DevID]map[block.Nr]int{}, room: leastFollowed + followedOfNode*len(s.survey.Nodes),
	}
	for i := range s.pool.devices {
		if d := &s.pool.devices[i]; d.hasDetails {
			l.now[d.ID] = d.Details
		}
	}
	return l
}

// byAge returns all states: the chosen one, then the known commits before it, then the others in
// the order of the choice.
func (c *chosen) byAge() []*State {
	ordered := []*State{c.State}
	if c.generation != nil {
		for g := c.generation.prev; g != nil; g = g.prev {
			for _, s := range c.states {
				if s.generation == g {
					ordered = append(ordered, s)
				}
			}
		}
	}
	for _, s := range c.states {
		if !slices.Contains(ordered, s) {
			ordered = append(ordered, s)
		}
	}
	return ordered
}

// isReplaced reports whether a device of an earlier state is another device than the one that has
// its id now. Ids are reused.
func (l *lineage) isReplaced(d *DeviceRoot) bool {
	now, ok := l.now[d.ID]
	return ok && d.Known && (now.TransactionID != d.Details.TransactionID || now.CreationTime != d.Details.CreationTime)
}

// keptDevices is the number of devices whose earlier nodes are kept in memory.
const keptDevices = 16

// These limit how many pointers are followed to find out what devices had earlier: about a second
// of work or, on large devices, all nodes of 64 devices. Neighbouring lost ranges ask about the
// same devices, so this is enough. After that, earlier commits are ignored.
const (
	leastFollowed  = 1 << 24
	followedOfNode = 64
)

// nodesOf returns the remaining nodes of all trees of a device, each with the number of states
// since it was last seen.
func (l *lineage) nodesOf(id metadata.DevID) map[block.Nr]int {
	if nodes, ok := l.nodes[id]; ok {
		return nodes
	}
	nodes := map[block.Nr]int{}
	for age, state := range l.states {
		i, ok := slices.BinarySearchFunc(state.Devices, id, func(d DeviceRoot, id metadata.DevID) int { return cmp.Compare(d.ID, id) })
		if ok && l.room > 0 && !l.isReplaced(&state.Devices[i]) {
			l.room -= l.e.collect(state.Devices[i].Root, 0, age, nodes)
		}
	}
	if len(l.nodes) == keptDevices {
		clear(l.nodes)
	}
	l.nodes[id] = nodes
	return nodes
}

// age returns how many states ago a tree of one of the devices last had the node at nr; false if
// none had it.
func (l *lineage) age(nr block.Nr, ids []metadata.DevID) (age int, ok bool) {
	for _, id := range ids {
		if a, had := l.nodesOf(id)[nr]; had && (!ok || a < age) {
			age, ok = a, true
		}
	}
	return age, ok
}

// roots returns the root of each device in the newest state that has the device.
func (l *lineage) roots() map[metadata.DevID]block.Nr {
	roots := map[metadata.DevID]block.Nr{}
	for _, state := range l.states {
		for i := range state.Devices {
			d := &state.Devices[i]
			if _, ok := roots[d.ID]; !ok && d.Root != 0 && !l.isReplaced(d) {
				roots[d.ID] = d.Root
			}
		}
	}
	return roots
}

// collect adds the nodes below nr to nodes, and returns how many pointers it followed.
func (e *evidence) collect(nr block.Nr, depth, age int, nodes map[block.Nr]int) int {
	n, ok := e.survey.Node(nr)
	if _, had := nodes[nr]; !ok || had || depth > btree.MaxDepth || n.Kind != survey.Inner && n.Kind != survey.MappingLeaf {
		return 1
	}
	nodes[nr] = age
	followed := 1
	for _, c := range e.survey.Entries(n) {
		followed += e.collect(c.Block, depth+1, age, nodes)
	}
	return followed
}
