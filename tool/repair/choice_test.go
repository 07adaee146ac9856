package repair

import (
	"slices"
	"testing"

	"thinpool/metadata"
)

// Each row is a situation, given by its facts. newer lists pairs in which the first was committed
// after the second.
func TestChoose(t *testing.T) {
	whole := facts{ofKind: true, whole: true, closed: true, maps: true}
	with := func(f facts, change func(*facts)) facts { change(&f); return f }
	named := with(whole, func(f *facts) { f.named, f.sameMaps = true, true })
	scan := facts{ofKind: true, whole: true}
	for name, tc := range map[string]struct {
		all    []facts
		newer  [][2]int
		best   int
		rivals []int
		sure   bool
		none   bool
	}{
		"nothing":                {none: true},
		"no root is of its kind": {all: []facts{{named: true}, {}}, none: true},
		"the superblock's state": {all: []facts{whole, named, scan}, newer: [][2]int{{1, 0}, {1, 2}}, best: 1, sure: true},
		"damaged by media, with an older state beside it": {
			all:   []facts{scan, with(named, func(f *facts) { f.whole, f.closed = false, false })},
			newer: [][2]int{{1, 0}}, best: 1, sure: true,
		},
		"damaged, and nothing says which is newer": {
			all:  []facts{scan, with(named, func(f *facts) { f.whole, f.closed, f.damaged = false, false, 1 })},
			best: 1, sure: true,
		},
		"set back: a whole state is newer": {
			all: []facts{named, whole}, newer: [][2]int{{1, 0}}, best: 1, rivals: []int{0},
		},
		"set back by several commits": {
			all: []facts{named, whole, whole}, newer: [][2]int{{1, 0}, {2, 0}, {2, 1}}, best: 2, rivals: []int{0},
		},
		"the newer state is damaged": {
			all: []facts{named, with(whole, func(f *facts) { f.whole, f.closed = false, false })}, newer: [][2]int{{1, 0}}, best: 0, sure: true,
		},
		"damaged by media, and another state looks newer": {
			all:   []facts{whole, with(named, func(f *facts) { f.whole, f.closed, f.damaged = false, false, 1 })},
			newer: [][2]int{{0, 1}}, best: 1, rivals: []int{0},
		},
		"damaged by media, and another state has times that the superblock has not reached": {
			all:   []facts{with(whole, func(f *facts) { f.beyond = true }), with(named, func(f *facts) { f.whole, f.closed, f.damaged = false, false, 1 })},
			newer: [][2]int{{0, 1}}, best: 0, rivals: []int{1},
		},
		"overwritten, and two states may be the newest": {
			all: []facts{
				with(whole, func(f *facts) { f.place = 5 }),
				with(named, func(f *facts) { f.whole, f.closed, f.foreign = false, false, true }),
				with(whole, func(f *facts) { f.place = 9 }),
			},
			newer: [][2]int{{0, 1}, {2, 1}}, best: 2, rivals: []int{0, 1},
		},
		"the space map of the superblock proves one of two": {
			all: []facts{
				with(whole, func(f *facts) { f.sameMaps, f.place = true, 9 }),
				with(named, func(f *facts) { f.closed, f.foreign = false, true }),
				with(whole, func(f *facts) { f.place = 5 }),
			},
			newer: [][2]int{{2, 1}}, best: 0, rivals: []int{1},
		},
		"evidence against evidence": {
			all: []facts{named, whole}, newer: [][2]int{{1, 0}, {0, 1}}, best: 0, sure: true,
		},
		"the superblock's root is another node, and replaced by the one that is counted": {
			all: []facts{with(named, func(f *facts) { f.replaced = true })}, best: 0,
		},
		"the same, and others may be the last": {
			all:   []facts{with(named, func(f *facts) { f.replaced = true }), whole, whole, with(scan, func(f *facts) { f.time = 9 })},
			newer: [][2]int{{0, 1}}, best: 0, rivals: []int{2},
		},
		"an old root, but the space map of today": {
			all:  []facts{with(named, func(f *facts) { f.whole, f.closed = false, false }), with(whole, func(f *facts) { f.sameMaps = true })},
			best: 1, rivals: []int{0},
		},
		"the superblock is of another kind: the last of a chain": {
			all: []facts{{named: true}, whole, whole}, newer: [][2]int{{2, 1}}, best: 2,
		},
		"no superblock, two ends of chains": {
			all: []facts{with(whole, func(f *facts) { f.place = 5 }), with(whole, func(f *facts) { f.place = 9 })}, best: 1, rivals: []int{0},
		},
		"nothing was written after one of them": {
			all: []facts{with(whole, func(f *facts) { f.open = true }), with(whole, func(f *facts) { f.place = 9 })}, best: 0, rivals: []int{1},
		},
		"the space map is beyond the end of a device that was cut": {
			all: []facts{whole, with(scan, func(f *facts) { f.follows, f.cutOff = true, true })}, best: 1, rivals: []int{0},
		},
		"a commit whose space map is lost": {
			all: []facts{whole, with(scan, func(f *facts) { f.follows = true })}, best: 0, rivals: []int{1},
		},
		"times decide before places": {
			all: []facts{with(whole, func(f *facts) { f.time = 2 }), with(whole, func(f *facts) { f.place, f.open = 9, true })}, best: 0, rivals: []int{1},
		},
		"a closed state leaves those without a space map behind": {
			all: []facts{scan, with(scan, func(f *facts) { f.time = 9 }), whole}, best: 2,
		},
		"a state with a space map and some damage may not be the last": {
			all: []facts{with(whole, func(f *facts) { f.closed, f.whole = false, false }), scan}, best: 0, rivals: []int{1},
		},
		"more mappings are no reason": {
			all: []facts{with(scan, func(f *facts) { f.mappings = 1000 }), with(scan, func(f *facts) { f.place = 9 })}, best: 1, rivals: []int{0},
		},
		"LVM knows the volumes of the older state only": {
			all:   []facts{with(whole, func(f *facts) { f.missing = 2 }), whole},
			newer: [][2]int{{0, 1}}, best: 1,
		},
		"LVM's volumes are missing from the superblock's state": {
			all: []facts{with(named, func(f *facts) { f.missing, f.tables = 2, true }), whole}, best: 1, rivals: []int{0},
		},
		"LVM's volumes are missing, as the trees of devices are lost": {
			all: []facts{with(named, func(f *facts) { f.missing, f.whole, f.closed = 2, false, false }), whole}, best: 0, sure: true,
		},
		"as many of LVM's volumes are missing from another state": {
			all:  []facts{with(named, func(f *facts) { f.missing, f.tables = 1, true }), with(whole, func(f *facts) { f.missing = 1 })},
			best: 0, sure: true,
		},
		"LVM's volumes are missing from the newer state": {
			all: []facts{named, with(whole, func(f *facts) { f.missing = 1 })}, newer: [][2]int{{1, 0}}, best: 0, sure: true,
		},
		"a device that LVM does not know speaks against a state": {
			all: []facts{with(whole, func(f *facts) { f.surplus = 1 }), whole}, best: 1, rivals: []int{0},
		},
		"a metadata snapshot is old": {
			all: []facts{with(whole, func(f *facts) { f.snapshot, f.place = true, 9 }), scan}, best: 1,
		},
		"a metadata snapshot is better than nothing": {
			all: []facts{with(whole, func(f *facts) { f.snapshot = true }), {named: true}}, best: 0,
		},
		"a newer wreck does not displace an older whole": {
			all: []facts{scan, {ofKind: true, damaged: 40, wreck: true}}, newer: [][2]int{{1, 0}}, best: 0, rivals: []int{1},
		},
		"a newer wreck displaces an older one": {
			all: []facts{{ofKind: true, place: 9}, {ofKind: true}}, newer: [][2]int{{1, 0}}, best: 1,
		},
		"a newer state without a space map displaces an older whole": {
			all: []facts{with(scan, func(f *facts) { f.place = 9 }), scan}, newer: [][2]int{{1, 0}}, best: 1,
		},
		"a newer state with a space map but some damage displaces an older whole": {
			all: []facts{with(scan, func(f *facts) { f.time = 9 }), {ofKind: true, maps: true, damaged: 1}}, newer: [][2]int{{1, 0}}, best: 1,
		},
		"a newer state that lacks volumes of LVM does not": {
			all:   []facts{scan, with(whole, func(f *facts) { f.missing = 1 })},
			newer: [][2]int{{1, 0}}, best: 0,
		},
		"a state that others have overwritten is not the last": {
			all:  []facts{with(whole, func(f *facts) { f.closed, f.whole, f.foreign, f.place = false, false, true, 9 }), whole},
			best: 1, rivals: []int{0},
		},
		"media damage does not make a state older": {
			all:  []facts{with(whole, func(f *facts) { f.closed, f.whole, f.damaged, f.place = false, false, 1, 9 }), whole},
			best: 0, rivals: []int{1},
		},
		"counts that differ without damage do": {
			all:  []facts{with(whole, func(f *facts) { f.closed, f.place = false, 9 }), whole},
			best: 1, rivals: []int{0},
		},
		"a circle of evidence is none": {
			all: []facts{whole, with(whole, func(f *facts) { f.place = 4 })}, newer: [][2]int{{0, 1}, {1, 0}}, best: 1, rivals: []int{0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			has := func(i, j int) bool { return slices.Contains(tc.newer, [2]int{i, j}) }
			c, ok := choose(tc.all, func(i, j int) bool { return has(i, j) && !has(j, i) })
			if ok == tc.none {
				t.Fatalf("%+v, %v", c, ok)
			}
			if ok && (c.best != tc.best || c.sure != tc.sure || !slices.Equal(c.rivals, tc.rivals) || c.why == "") {
				t.Errorf("%+v, want best %d, rivals %v, sure %v", c, tc.best, tc.rivals, tc.sure)
			}
		})
	}
}

// A choice says why.
func TestReason(t *testing.T) {
	whole := facts{ofKind: true, whole: true, closed: true, maps: true}
	a, b := whole, whole
	if r := reason([]facts{whole}, []int{0}, nil); r != "there is no other" {
		t.Error(r)
	}
	if r := reason([]facts{a, b}, []int{0}, nil); r != "all others are older" {
		t.Error(r)
	}
	if r := reason([]facts{a, {ofKind: true}}, []int{0, 1}, nil); r != "it is the newest that a metadata space map describes" {
		t.Error(r)
	}
	first := whole
	for want, other := range map[string]facts{
		"it has the volumes LVM knows":           {missing: 1, maps: true, whole: true},
		"nothing was written after it":           {maps: true, whole: true, closed: true},
		"it has a matching metadata space map":   {whole: true},
		"it is whole":                            {maps: true},
		"all its devices are LVM volumes":        {maps: true, whole: true, surplus: 1},
		"it looks newest, but there is no proof": {maps: true, whole: true},
	} {
		first.open = want == "nothing was written after it"
		if r := reason([]facts{first, other}, []int{0, 1}, []int{1}); r != want {
			t.Errorf("%q, want %q", r, want)
		}
	}
	a.time = 3
	if r := reason([]facts{a, whole}, []int{0, 1}, []int{1}); r != "its times are the newest" {
		t.Error(r)
	}
}

// The devices show which of two states is newer, unless they contradict each other.
func TestNewerDevices(t *testing.T) {
	device := func(id metadata.DevID, transaction uint64, creation, snapshotted uint32) DeviceRoot {
		return DeviceRoot{ID: id, Known: true, Details: metadata.Details{TransactionID: transaction, CreationTime: creation, SnapshottedTime: snapshotted}}
	}
	for name, tc := range map[string]struct {
		a, b []DeviceRoot
		want bool
	}{
		"equal":               {[]DeviceRoot{device(1, 0, 0, 1)}, []DeviceRoot{device(1, 0, 0, 1)}, false},
		"snapshotted later":   {[]DeviceRoot{device(1, 0, 0, 2)}, []DeviceRoot{device(1, 0, 0, 1)}, true},
		"earlier":             {[]DeviceRoot{device(1, 0, 0, 1)}, []DeviceRoot{device(1, 0, 0, 2)}, false},
		"made again":          {[]DeviceRoot{device(1, 5, 0, 0)}, []DeviceRoot{device(1, 2, 9, 9)}, true},
		"others do not count": {[]DeviceRoot{device(1, 0, 0, 2), device(3, 9, 9, 9)}, []DeviceRoot{device(1, 0, 0, 1), device(2, 9, 9, 9)}, true},
		"an id in between":    {[]DeviceRoot{device(2, 0, 0, 2)}, []DeviceRoot{device(1, 0, 0, 0), device(2, 0, 0, 1)}, true},
		"and the other way":   {[]DeviceRoot{device(1, 0, 0, 0), device(2, 0, 0, 2)}, []DeviceRoot{device(2, 0, 0, 1)}, true},
		"contradiction":       {[]DeviceRoot{device(1, 0, 0, 2), device(2, 0, 0, 1)}, []DeviceRoot{device(1, 0, 0, 1), device(2, 0, 0, 2)}, false},
		"details lost":        {[]DeviceRoot{device(1, 0, 0, 2)}, []DeviceRoot{{ID: 1}}, false},
		"nothing in common":   {[]DeviceRoot{device(1, 0, 0, 2)}, []DeviceRoot{device(2, 0, 0, 1)}, false},
	} {
		if got := newerDevices(&State{Devices: tc.a}, &State{Devices: tc.b}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
