package repair

import (
	"cmp"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

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
				rivals := slices.DeleteFunc(ranked(all, eligible, newer), func(i int) bool { return i == named || !all[i].closed })
				return choice{best: named, rivals: rivals, why: "the superblock's space map counts its roots, not those the superblock names"}, true
			}
			return choice{best: named, sure: true, why: "the superblock names it"}, true
		}
		best := ranked(all, challengers, newer)
		if all[named].lostToMedia() && !slices.ContainsFunc(best, func(i int) bool { return all[i].beyond || all[i].proves(all[named]) }) {
			return choice{best: named, rivals: best, why: "the superblock names it, though another state looks newer"}, true
		}
		if all[best[0]].proves(all[named]) {
			return choice{best: best[0], rivals: []int{named}, why: "its blocks are exactly those the superblock's space map counts"}, true
		}
		return choice{best: best[0], rivals: append(best[1:], named), why: "it is newer than the state the superblock names"}, true
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
	no := func(f func(facts) bool) int { return cmp.Compare(boolToInt(f(b)), boolToInt(f(a))) }
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
		return "it is the newest whose trees lie before the end of the device"
	case first.missing < second.missing:
		return "it has the volumes LVM knows"
	case first.maps && !second.maps:
		return "it has a matching metadata space map"
	case first.time > second.time || first.id > second.id:
		return "its times are the newest"
	case first.open && !second.open:
		return "nothing was written after it"
	case first.whole && !second.whole:
		return "it is whole"
	case first.surplus < second.surplus:
		return "all its devices are LVM volumes"
	}
	return "it looks newest, but there is no proof"
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

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
