package repair

import (
	"cmp"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// LVM is what LVM's metadata says of a pool.
type LVM struct {
	ChunkSize     uint64                     // sectors
	DataBlocks    uint64                     // chunks of the data volume
	TransactionID uint64                     // of the pool
	Volumes       map[metadata.DevID]LVMThin // its thin volumes
}

// An LVMThin is a thin volume as LVM's metadata has it.
type LVMThin struct {
	Name          string
	TransactionID uint64 // of its creation
}

// A choice is a state, and how sure it is that it is the right one.
type choice struct {
	best   int
	rivals []int // states that may be the right one as well, the likeliest first
	sure   bool  // the superblock names it, and nothing speaks against it
	why    string
}

// facts are what is known of a state when one is chosen. All are facts that were read;
// none is a weight.
type facts struct {
	named    bool   // by a valid superblock
	snapshot bool   // of the metadata snapshot, which is old by definition
	ofKind   bool   // its roots are of their kind, as far as they can be read
	whole    bool   // all of it can be read, and it agrees with itself
	closed   bool   // and with the metadata space map that was found for it
	maps     bool   // such a space map was found
	sameMaps bool   // it is the one that the superblock names
	replaced bool   // the superblock names other roots, which are not of their kind
	open     bool   // nothing was written where the next commit would have begun
	beyond   bool   // it has times or ids that the superblock has not reached yet
	missing  int    // volumes of LVM that are not in it, or are others
	surplus  int    // devices that LVM does not know
	tables   bool   // both its trees of devices can be read
	foreign  bool   // some of its blocks were overwritten by other nodes
	follows  bool   // its space map is lost, and it can be the commit after another state
	wreck    bool   // a quarter of its blocks or more cannot be read
	cutOff   bool   // so it is, and the device was cut, as the space map lies beyond its end
	damaged  int    // blocks that cannot be read or were overwritten
	time     uint32 // see State
	id       uint64 // see State
	mappings uint64 // see State
	place    block.Nr
}

// choose chooses a state. newer(i, j) reports that i was committed after j, with
// evidence for that and none against. What the superblock names is taken unless another
// whole state is newer, or is the one that LVM knows.
func choose(all []facts, newer func(i, j int) bool) (choice, bool) {
	var eligible []int
	named := -1
	for i, f := range all {
		if f.ofKind {
			eligible = append(eligible, i)
			if f.named {
				named = i
			}
		}
	}
	if live := slices.DeleteFunc(slices.Clone(eligible), func(i int) bool { return all[i].snapshot }); len(live) > 0 {
		eligible = live
	}
	if len(eligible) == 0 {
		return choice{}, false
	}
	if named >= 0 {
		challengers := slices.DeleteFunc(slices.Clone(eligible), func(i int) bool {
			return i == named || !challenges(all[i], all[named], newer(i, named), newer(named, i))
		})
		if len(challengers) == 0 {
			if all[named].replaced {
				return choice{best: named, why: "the space map of the superblock counts its roots, not those that the superblock names"}, true
			}
			return choice{best: named, sure: true, why: "the superblock names it"}, true
		}
		best := ranked(all, challengers, newer)
		if all[named].lostToMedia() && !slices.ContainsFunc(best, func(i int) bool { return all[i].beyond || all[i].proves(all[named]) }) {
			return choice{best: named, rivals: best, why: "the superblock names it, though another state looks newer"}, true
		}
		if all[best[0]].proves(all[named]) {
			return choice{best: best[0], rivals: []int{named}, why: "its blocks are exactly those that the space map of the superblock counts"}, true
		}
		return choice{best: best[0], rivals: append(best[1:], named), why: "it is newer than the state that the superblock names"}, true
	}
	best := ranked(all, eligible, newer)
	first := all[best[0]]
	rivals := slices.DeleteFunc(best[1:], func(i int) bool {
		// The space map of the last commit is still there, or is damaged.
		return first.maps && first.whole && !all[i].maps && !all[i].follows || all[i].missing > first.missing
	})
	return choice{best: best[0], rivals: rivals, why: reason(all, best, rivals)}, true
}

// lostToMedia reports whether f has its space map, and blocks that cannot be read but
// none that another commit has overwritten: then only its age speaks against it.
func (f facts) lostToMedia() bool { return f.maps && !f.whole && !f.foreign }

// proves reports whether f is the state that the space map of the superblock describes,
// and the one with the roots of the superblock is not.
func (f facts) proves(named facts) bool { return f.whole && f.closed && f.sameMaps && !named.closed }

// challenges reports whether a state can take the place of the one that the superblock
// names.
func challenges(c, named facts, newer, older bool) bool {
	if c.proves(named) {
		return true
	}
	if !c.whole || older {
		return false
	}
	lvm := c.missing < named.missing && named.tables // else it is the trees of devices that are missing
	return lvm || newer && c.missing <= named.missing
}

// ranked returns the states that no other is newer than, the likeliest first.
func ranked(all []facts, among []int, newer func(i, j int) bool) []int {
	last := slices.DeleteFunc(slices.Clone(among), func(i int) bool {
		return slices.ContainsFunc(among, func(j int) bool {
			// A newer state of which hardly anything is left does not displace an older one.
			return newer(j, i) && all[j].missing <= all[i].missing && (all[j].whole || all[j].maps || !all[i].whole)
		})
	})
	if len(last) == 0 { // evidence that goes round in a circle is none
		last = slices.Clone(among)
	}
	slices.SortStableFunc(last, func(i, j int) int { return compareFacts(all[i], all[j]) })
	return last
}

// compareFacts orders states of which none is known to be newer; the better is less. That
// a state has lost blocks to the medium says nothing of its age, unless hardly anything
// is left; that others have overwritten them does.
func compareFacts(a, b facts) int {
	no := func(f func(facts) bool) int { return cmp.Compare(b2i(f(b)), b2i(f(a))) }
	return cmp.Or(
		cmp.Compare(a.missing, b.missing),
		no(func(f facts) bool { return f.cutOff }),
		no(func(f facts) bool { return f.maps }),
		cmp.Compare(b.time, a.time),
		cmp.Compare(b.id, a.id),
		no(func(f facts) bool { return f.open }),
		no(func(f facts) bool { return !f.foreign }),
		no(func(f facts) bool { return !f.wreck }),
		no(func(f facts) bool { return f.closed || f.damaged > 0 }),
		cmp.Compare(a.surplus, b.surplus),
		cmp.Compare(b.place, a.place),
		cmp.Compare(a.damaged, b.damaged),
		cmp.Compare(b.mappings, a.mappings),
	)
}

// reason says why the first of the remaining states was taken. rivals are those of the
// rest that may be right as well.
func reason(all []facts, best, rivals []int) string {
	first := all[best[0]]
	switch {
	case len(all) == 1:
		return "there is no other"
	case len(best) == 1:
		return "all others are older"
	case len(rivals) == 0:
		return "it is the newest that a metadata space map describes"
	}
	second := all[rivals[0]]
	switch {
	case first.cutOff:
		return "it is the last of which the trees lie before the end of the device"
	case first.missing < second.missing:
		return "it has the volumes that LVM knows"
	case first.maps && !second.maps:
		return "a metadata space map goes with it"
	case first.time > second.time || first.id > second.id:
		return "its times are the newest"
	case first.open && !second.open:
		return "nothing was written after it"
	case first.whole && !second.whole:
		return "it is whole"
	case first.surplus < second.surplus:
		return "all its devices are volumes of LVM"
	}
	return "it looks newest, but nothing proves that"
}

// newerEvidence returns why a was committed after b; "" if nothing says so.
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
				return "its blocks are those that the other's space map offered next"
			}
		}
	}
	if newerDevices(a, b) {
		return "devices in it were made or snapshotted later"
	}
	return ""
}

// followsWithoutMap reports whether a is whole, its own space map is lost, and it can be
// the commit after b.
func (a *State) followsWithoutMap(b *State) bool {
	g := b.generation
	if g == nil || a.generation != nil || !a.Whole || g.next != nil && !g.reload {
		return false
	}
	devices := len(a.Devices) - len(b.Devices)
	return devices >= -1 && devices <= 1 && !newerDevices(b, a) && g.offers(a.census, a.census.e.blocks)
}

// newerDevices reports whether the devices of both say that a was committed after b,
// and none of them the opposite. Of one device the time of the last snapshot only grows,
// and an id that is used again belongs to a later transaction.
func newerDevices(a, b *State) bool {
	later := false
	for i, j := 0, 0; i < len(a.Devices) && j < len(b.Devices); {
		x, y := &a.Devices[i], &b.Devices[j]
		switch {
		case x.ID < y.ID:
			i++
			continue
		case x.ID > y.ID:
			j++
			continue
		}
		if x.Known && y.Known {
			switch compareAge(x.Details, y.Details) {
			case -1:
				return false
			case 1:
				later = true
			}
		}
		i, j = i+1, j+1
	}
	return later
}

// compareAge compares the details of one device id in two commits.
func compareAge(a, b metadata.Details) int {
	return cmp.Or(
		cmp.Compare(a.TransactionID, b.TransactionID), cmp.Compare(a.CreationTime, b.CreationTime),
		cmp.Compare(a.SnapshottedTime, b.SnapshottedTime))
}

// A chosen state is the one to repair, among all that were found.
type chosen struct {
	*State
	sure   bool
	why    string
	states []*State // all, the chosen one first, then those that may be right as well
	rivals int      // how many of these follow it
	// reference is the state that would have been chosen if another was not asked for;
	// nil if it is the same.
	reference *State
}

// chooseState chooses among the states that were found; false if there is none.
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
	age := make([]int, len(all)) // how many are newer
	for i := range all {
		if !listed[i] {
			rest = append(rest, i)
		}
		for j := range all {
			age[i] += b2i(newer(j, i))
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

// factsOf gathers what the choice needs to know of a state.
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
		f.missing += b2i(!have[id])
	}
	return f
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
