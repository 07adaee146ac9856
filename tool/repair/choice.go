package repair

import (
	"cmp"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A choice is a state, and whether it is certain to be the right one.
type choice struct {
	best   int
	rivals []int // states that may also be right, the likeliest first
	sure   bool  // the superblock names it, and nothing speaks against it
	why    string
}

// facts are what is known about a state when one is chosen. All of them were read from the device;
// none is a weight.
type facts struct {
	named    bool   // by a valid superblock
	snapshot bool   // of the metadata snapshot, which is old by definition
	ofKind   bool   // its roots are of the right kind, as far as they can be read
	whole    bool   // all of it can be read, and it is consistent
	closed   bool   // its references match the metadata space map found for it
	maps     bool   // such a space map was found
	sameMaps bool   // the superblock names this space map
	replaced bool   // the superblock names other roots, of the wrong kind
	open     bool   // nothing was written where the next commit would have started
	beyond   bool   // it has times or ids that the superblock has not reached yet
	missing  int    // LVM volumes that it lacks, or has as other volumes
	surplus  int    // devices unknown to LVM
	tables   bool   // both its device trees can be read
	foreign  bool   // other nodes have overwritten some of its blocks
	follows  bool   // its space map is lost, and it can be the commit after another state
	wreck    bool   // at least a quarter of its blocks is unreadable
	cutOff   bool   // follows, and the device was cut: the space map lies beyond its end
	damaged  int    // blocks that are unreadable or overwritten
	time     uint32 // see State
	id       uint64 // see State
	mappings uint64 // see State
	place    block.Nr
}

// choose chooses a state. newer(i, j) reports that i was committed after j, with evidence for it
// and none against. The state that the superblock names wins unless another whole state is newer
// or is the one LVM knows.
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

// lostToMedia reports whether f has its space map, and has unreadable blocks but none overwritten
// by another commit. Then only its age speaks against it.
func (f facts) lostToMedia() bool { return f.maps && !f.whole && !f.foreign }

// proves reports whether f is the state that the superblock's space map describes, and the state
// with the superblock's roots is not.
func (f facts) proves(named facts) bool { return f.whole && f.closed && f.sameMaps && !named.closed }

// challenges reports whether a state can replace the one that the superblock names.
func challenges(c, named facts, newer, older bool) bool {
	if c.proves(named) {
		return true
	}
	if !c.whole || older {
		return false
	}
	lvm := c.missing < named.missing && named.tables // otherwise the device trees are what is missing
	return lvm || newer && c.missing <= named.missing
}

// ranked returns the states that have no newer one, the likeliest first.
func ranked(all []facts, among []int, newer func(i, j int) bool) []int {
	last := slices.DeleteFunc(slices.Clone(among), func(i int) bool {
		return slices.ContainsFunc(among, func(j int) bool {
			// A newer state with hardly anything left does not displace an older one.
			return newer(j, i) && all[j].missing <= all[i].missing && (all[j].whole || all[j].maps || !all[i].whole)
		})
	})
	if len(last) == 0 { // circular evidence proves nothing
		last = slices.Clone(among)
	}
	slices.SortStableFunc(last, func(i, j int) int { return compareFacts(all[i], all[j]) })
	return last
}

// compareFacts orders states when none is known to be newer; the better one is less. Blocks lost
// to the medium say nothing about a state's age, unless hardly anything is left; blocks
// overwritten by other commits do.
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

// reason says why the first of the remaining states was chosen. rivals are the others that may
// also be right.
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

// newerDevices reports whether the devices of both states show that a was committed after b, and
// none shows the opposite. A device's last snapshot time only grows, and a reused id belongs to a
// later transaction.
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
