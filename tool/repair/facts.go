package repair

import (
	"cmp"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// LVM is what LVM's metadata says about a pool.
type LVM struct {
	ChunkSize     uint64                     // sectors
	DataBlocks    uint64                     // chunks of the data volume
	TransactionID uint64                     // of the pool
	Volumes       map[metadata.DevID]LVMThin // its thin volumes
}

// An LVMThin is a thin volume according to LVM's metadata.
type LVMThin struct {
	Name          string
	TransactionID uint64 // of its creation
}

// hasBrokenMap reports whether an index block of an unreadable metadata space map follows closely
// after the last block of a, as it would in a commit.
func (a *State) hasBrokenMap() bool {
	const most = 16 // nodes and bitmaps of both space maps in between
	last := max(a.Mapping, a.Details)
	return slices.ContainsFunc(a.census.e.brokenMaps, func(nr block.Nr) bool { return nr > last && nr <= last+most })
}

// A chosen state is the one to repair.
type chosen struct {
	*State
	sure   bool
	why    string
	states []*State // all, the chosen one first, then those that may also be right
	rivals int      // number of states after the first that may also be right
	// reference is the state that would have been chosen without a request for another; nil if it is
	// the same.
	reference *State
}

// chooseState chooses among the states found; false if there is none.
func chooseState(e *evidence, all []*State, lvm *LVM) (*chosen, bool) {
	known := make([]facts, len(all))
	for i, s := range all {
		known[i] = e.factsOf(s, lvm)
		known[i].sameMaps = e.super.err == nil && s.SpaceMap != 0 && s.SpaceMap == e.super.MetadataSpaceMap.BitmapRoot
		known[i].follows = slices.ContainsFunc(all, s.followsWithoutMap)
		known[i].cutOff = known[i].follows && e.super.err == nil && e.super.MetadataSpaceMap.NrBlocks > uint64(e.blocks)
		known[i].replaced = s.Current && (s.Mapping != e.super.MappingRoot || s.Details != e.super.DetailsRoot)
	}
	after := map[[2]int]bool{}
	for i, a := range all {
		for j, b := range all {
			if i != j && newerEvidence(a, b) != "" {
				after[[2]int{i, j}] = true
			}
		}
	}
	newer := func(i, j int) bool {
		beyond := known[j].named && known[i].beyond && !known[j].beyond
		return (after[[2]int{i, j}] || beyond) && !after[[2]int{j, i}]
	}
	c, ok := choose(known, newer)
	if !ok {
		return nil, false
	}
	result := &chosen{State: all[c.best], sure: c.sure, why: c.why, rivals: len(c.rivals)}
	listed := map[int]bool{}
	for _, i := range append([]int{c.best}, c.rivals...) {
		result.states = append(result.states, all[i])
		listed[i] = true
	}
	var rest []int
	age := make([]int, len(all)) // number of newer states
	for i := range all {
		if !listed[i] {
			rest = append(rest, i)
		}
		for j := range all {
			age[i] += boolToInt(newer(j, i))
		}
	}
	slices.SortStableFunc(rest, func(i, j int) int {
		return cmp.Or(cmp.Compare(age[i], age[j]), compareFacts(known[i], known[j]))
	})
	for _, i := range rest {
		result.states = append(result.states, all[i])
	}
	return result, true
}

// factsOf collects what the choice needs to know about a state.
func (e *evidence) factsOf(s *State, lvm *LVM) facts {
	f := facts{
		named: s.Current, snapshot: s.From == FromSnapshot, ofKind: s.ofKind, whole: s.Whole, closed: s.Closed, maps: s.generation != nil,
		tables: len(s.top.lost)+len(s.details.lost) == 0, foreign: len(s.census.foreign) > 0, damaged: s.census.damaged + len(s.census.foreign), time: s.Time, id: s.TransactionID, mappings: s.Mappings,
		place: max(s.Mapping, s.Details, s.SpaceMap), wreck: s.census.damaged*4 >= s.census.size(),
	}
	if g := s.generation; g != nil {
		next := g.index + 1
		for next < e.blocks && g.has(next) {
			next++
		}
		f.open = next >= e.blocks || !e.valid(next)
	}
	if sb := &e.super; sb.err == nil {
		f.beyond = s.Time > sb.Time || s.TransactionID > sb.TransactionID
	}
	if lvm == nil {
		return f
	}
	have := map[metadata.DevID]bool{}
	for i := range s.Devices {
		d := &s.Devices[i]
		have[d.ID] = true
		switch v, ok := lvm.Volumes[d.ID]; {
		case !ok:
			f.surplus++
		case d.Known && v.TransactionID != d.Details.TransactionID:
			f.missing++
		}
	}
	for id := range lvm.Volumes {
		f.missing += boolToInt(!have[id])
	}
	return f
}

// newerEvidence returns why a was committed after b; "" if nothing shows it.
func newerEvidence(a, b *State) string {
	if len(b.census.foreign) > 0 && a.Whole {
		for _, nr := range b.census.foreign {
			if a.census.has(nr) {
				return "it has overwritten blocks of the other"
			}
		}
	}
	if b.generation != nil && a.generation != nil {
		for g := b.generation.next; g != nil; g = g.next {
			if g == a.generation {
				return "its blocks are those the other's space map offered next"
			}
		}
	}
	if a.census.e.super.err != nil && a.followsWithoutMap(b) && a.hasBrokenMap() {
		return "its blocks are those the other's space map offered next, and its own cannot be read"
	}
	if newerDevices(a, b) {
		return "it has devices created or snapshotted later"
	}
	return ""
}

// followsWithoutMap reports whether a is whole, its own space map is lost, and it can be the
// commit after b.
func (a *State) followsWithoutMap(b *State) bool {
	g := b.generation
	if g == nil || a.generation != nil || !a.Whole || g.next != nil && !g.reload {
		return false
	}
	devices := len(a.Devices) - len(b.Devices)
	return devices >= -1 && devices <= 1 && !newerDevices(b, a) && g.offers(a.census, a.census.e.blocks)
}
