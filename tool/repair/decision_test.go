package repair

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
)

// over is data blocks first to first+n-1, counted stored times more often than they are
// referenced.
func over(first, n uint64, stored uint32) stretch {
	return stretch{first, n, stored}
}

func claim(thin, data uint64, age int) candidate {
	return candidate{thin: thin, value: metadata.PackMapping(metadata.DataBlock(data), 0), counted: true, kept: true, age: age}
}

func reused(thin, data uint64, age int) candidate {
	c := claim(thin, data, age)
	c.kept = false
	return c
}

func uncounted(thin, data uint64, age int) candidate {
	c := claim(thin, data, age)
	c.counted = false
	return c
}

// Each row is what is known about some holes; a taken mapping is thin, data and confirmed.
func TestDecide(t *testing.T) {
	type taken struct {
		Thin, Data uint64
		Confirmed  bool
	}
	hole := func(begin, end uint64, ids []metadata.DevID, candidates ...candidate) ledgerHole {
		return ledgerHole{keys: btree.KeyRange{First: begin, Last: end - 1}, owners: metadata.OwnerList{IDs: ids}, leaf: true, candidates: candidates}
	}
	one, two := []metadata.DevID{1}, []metadata.DevID{2}
	closed := func(over ...stretch) *surplus { return &surplus{over: over, balanced: true} }
	for name, tc := range map[string]struct {
		l    ledger
		want [][]taken
	}{
		"closed books confirm": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1), claim(1, 101, 1))}, surplus: closed(over(100, 2, 1)), lacking: map[metadata.DevID]uint64{1: 2}},
			[][]taken{{{0, 100, true}, {1, 101, true}}},
		},
		"the data block may have been used again": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1), reused(1, 101, 1))}, surplus: closed(over(100, 2, 1)), lacking: map[metadata.DevID]uint64{1: 2}},
			[][]taken{{{0, 100, true}, {1, 101, false}}},
		},
		"a surplus is left": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1))}, surplus: closed(over(100, 2, 1)), lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{{0, 100, false}}},
		},
		"a mapping is still missing": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1))}, surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 2}},
			[][]taken{{{0, 100, false}}},
		},
		"another device lacks mappings": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1))}, surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 1, 2: 5}},
			[][]taken{{{0, 100, false}}},
		},
		"the device details are lost": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1))}, surplus: closed(over(100, 1, 1))},
			[][]taken{{{0, 100, false}}},
		},
		"not everything could be read": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1))}, surplus: &surplus{over: []stretch{over(100, 1, 1)}}, lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{{0, 100, false}}},
		},
		"no space map": {
			ledger{holes: []ledgerHole{hole(0, 9, one, uncounted(0, 100, 1))}, surplus: &surplus{none: true}, lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{{0, 100, false}}},
		},
		"two copies that differ, the newer is taken": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 2), claim(0, 101, 1))}, surplus: closed(over(101, 1, 1)), lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{{0, 101, false}}},
		},
		"two copies of one age: neither": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1), claim(0, 101, 1))}, surplus: closed(over(100, 2, 1)), lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{}},
		},
		"a counted copy beats a newer that is not": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 5), uncounted(0, 101, 1))}, surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{{0, 100, true}}},
		},
		"copies that agree": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 3), claim(0, 100, 1))}, surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{{0, 100, true}}},
		},
		"two thin blocks for one data block, the newer copy": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1), claim(1, 100, 2))}, surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{{0, 100, false}}},
		},
		"two thin blocks for one data block, the newer copy second": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 2), claim(1, 100, 1))}, surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{{1, 100, false}}},
		},
		"two thin blocks for one data block, of one age, then an older": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1), claim(1, 100, 1), claim(2, 100, 2))}, surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{}},
		},
		"two thin blocks for one data block, of one age": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1), claim(1, 100, 1))}, surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 1}},
			[][]taken{{}},
		},
		"holes of two devices could have lost the same": {
			ledger{
				holes:   []ledgerHole{hole(0, 9, one, claim(0, 100, 1)), hole(0, 9, two, claim(0, 101, 1))},
				surplus: closed(over(100, 2, 1)), lacking: map[metadata.DevID]uint64{1: 1, 2: 1},
			},
			[][]taken{{{0, 100, false}}, {{0, 101, false}}},
		},
		"holes of two devices that do not overlap": {
			ledger{
				holes:   []ledgerHole{hole(0, 9, one, claim(0, 100, 1)), hole(9, 20, two, claim(9, 101, 1))},
				surplus: closed(over(100, 2, 1)), lacking: map[metadata.DevID]uint64{1: 1, 2: 1},
			},
			[][]taken{{{0, 100, true}}, {{9, 101, true}}},
		},
		"two snapshots share the data block": {
			ledger{
				holes:   []ledgerHole{hole(0, 5, one, claim(0, 100, 1)), hole(5, 9, two, claim(5, 101, 1))},
				surplus: closed(over(100, 2, 1)), lacking: map[metadata.DevID]uint64{1: 1, 2: 1},
			},
			[][]taken{{{0, 100, true}}, {{5, 101, true}}},
		},
		"one leaf of two devices counts once": {
			ledger{holes: []ledgerHole{hole(0, 9, []metadata.DevID{1, 2}, claim(0, 100, 1))}, surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 1, 2: 1}},
			[][]taken{{{0, 100, true}}},
		},
		"more than the device lacks: the newest": {
			ledger{
				holes:   []ledgerHole{hole(0, 9, one, claim(0, 100, 2), claim(1, 101, 1), claim(2, 102, 3))},
				surplus: closed(over(100, 3, 1)), lacking: map[metadata.DevID]uint64{1: 2},
			},
			[][]taken{{{0, 100, false}, {1, 101, false}}},
		},
		"two holes of a device take no more than it lacks": {
			ledger{
				holes:   []ledgerHole{hole(0, 5, one, claim(0, 100, 1), claim(1, 101, 1)), hole(5, 9, one, claim(5, 102, 1), claim(6, 103, 1))},
				surplus: closed(over(100, 4, 1)), lacking: map[metadata.DevID]uint64{1: 3},
			},
			[][]taken{{{0, 100, false}, {1, 101, false}}, {{5, 102, false}}},
		},
		"one reference too few, and one too many": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1), claim(1, 101, 1))}, surplus: closed(over(100, 1, 2)), lacking: map[metadata.DevID]uint64{1: 2}},
			[][]taken{{{0, 100, false}, {1, 101, false}}},
		},
		"a device that lacks nothing takes nothing": {
			ledger{holes: []ledgerHole{hole(0, 9, one, claim(0, 100, 1))}, surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 0}},
			[][]taken{{}},
		},
		"more users than references are missing": {
			ledger{
				holes:   []ledgerHole{hole(0, 9, one, claim(0, 100, 1)), hole(0, 9, two, claim(0, 100, 1))},
				surplus: closed(over(100, 1, 1)), lacking: map[metadata.DevID]uint64{1: 1, 2: 1},
			},
			[][]taken{{{0, 100, false}}, {{0, 100, false}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.l.findRivals()
			var got [][]taken
			for _, ds := range tc.l.decide() {
				list := []taken{}
				for _, d := range ds {
					list = append(list, taken{d.thin, d.data(), d.confirmed})
				}
				got = append(got, list)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Overlapping holes are rivals, even with others in between.
func TestFindRivals(t *testing.T) {
	for _, tc := range []struct {
		keys []btree.KeyRange
		want []bool
	}{
		{[]btree.KeyRange{{First: 0, Last: 8}, {First: 9, Last: 19}, {First: 20, Last: math.MaxUint64}}, []bool{false, false, false}},
		{[]btree.KeyRange{{First: 0, Last: 19}, {First: 5, Last: 8}, {First: 15, Last: 29}}, []bool{true, true, true}},
		{[]btree.KeyRange{{First: 0, Last: math.MaxUint64}, {First: 5, Last: 8}, {First: 100, Last: 199}}, []bool{true, true, true}},
		{[]btree.KeyRange{{First: 0, Last: 9}, {First: 5, Last: math.MaxUint64}, {First: 100, Last: 199}, {First: 300, Last: 300}}, []bool{true, true, true, true}},
		{[]btree.KeyRange{{First: 0, Last: 9}, {First: 0, Last: 9}, {First: 10, Last: 11}}, []bool{true, true, false}},
		{[]btree.KeyRange{{First: 30, Last: 39}, {First: 0, Last: 30}}, []bool{true, true}},
	} {
		l := ledger{}
		for _, k := range tc.keys {
			l.holes = append(l.holes, ledgerHole{keys: k})
		}
		l.findRivals()
		for i, want := range tc.want {
			if l.holes[i].rivals != want {
				t.Errorf("%v: hole %d: rivals %v", tc.keys, i, l.holes[i].rivals)
			}
		}
	}
}

// Of copies that differ only in time, the newest leaf wins; at equal age, the earliest time.
func TestBestTime(t *testing.T) {
	at := func(time uint32, age int) candidate {
		return candidate{value: metadata.PackMapping(100, time), counted: true, age: age}
	}
	for _, tc := range []struct {
		all  []candidate
		want uint32
	}{
		{[]candidate{at(1, 2), at(5, 1)}, 5},
		{[]candidate{at(1, 1), at(5, 2)}, 1},
		{[]candidate{at(1, 1), at(5, 1)}, 1},
	} {
		h := ledgerHole{candidates: tc.all}
		got := h.best()
		if len(got) != 1 || got[0].contested {
			t.Fatalf("%+v", got)
		}
		if _, time := metadata.UnpackMapping(got[0].value); time != tc.want {
			t.Errorf("time %d, want %d", time, tc.want)
		}
	}
}

// A leaf takes no more mappings than it has room for.
func TestDecideLeafIsFull(t *testing.T) {
	most := btree.MaxEntries(metadata.MappingSize)
	l := ledger{surplus: &surplus{over: []stretch{over(1000, uint64(most)+5, 1)}, balanced: true}}
	h := ledgerHole{keys: btree.AllKeys, owners: metadata.OwnerList{IDs: []metadata.DevID{1}}, leaf: true}
	for i := range uint64(most) + 5 {
		h.candidates = append(h.candidates, claim(i, 1000+i, 1))
	}
	l.holes = []ledgerHole{h}
	if got := len(l.decide()[0]); got != most {
		t.Errorf("%d mappings, want %d", got, most)
	}
	l.holes[0].leaf = false
	if got := len(l.decide()[0]); got != most+5 {
		t.Errorf("%d mappings, want %d", got, most+5)
	}
}
