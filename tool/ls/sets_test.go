package ls_test

import (
	"slices"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/ls"
)

// What deleting sets frees, counted the simple way: the owners of every data block.
func TestSets(t *testing.T) {
	found := 0
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			found += checkSets(t, fixtures.Mem(t, name))
		})
	}
	if found < 20 {
		t.Errorf("only %d sets in all images", found)
	}
}

// Two snapshots that only share with each other, through one leaf and through two.
func TestSetsOfSnapshots(t *testing.T) {
	f := fixtures.NewForge(t, 100, 10000)
	both := f.Leaf(metadata.Run{Thin: 0, Data: 1000, Len: 100})
	f.Device(1, both)
	f.Device(2, both)
	f.Device(3, f.Leaf(metadata.Run{Thin: 0, Data: 2000, Len: 100}))
	f.Device(4, f.Leaf(metadata.Run{Thin: 0, Data: 2000, Len: 70}, metadata.Run{Thin: 70, Data: 3000, Len: 30}))
	dev := f.Finish()
	if n := checkSets(t, dev); n != 2 {
		t.Errorf("%d sets", n)
	}
	sets := setsOf(t, dev)
	want := []ls.Set{{IDs: []metadata.DevID{1, 2}, Together: 100}, {IDs: []metadata.DevID{3, 4}, Together: 130, Apart: 60}}
	if !slices.EqualFunc(sets.List, want, func(a, b ls.Set) bool {
		return slices.Equal(a.IDs, b.IDs) && a.Together == b.Together && a.Apart == b.Apart
	}) {
		t.Errorf("%+v, want %+v", sets, want)
	}
}

// Groups with more devices than a set may have are left out, however they share.
func TestSetsAreBounded(t *testing.T) {
	for devices, want := range map[int]int{ls.MostInSet: 1, ls.MostInSet + 1: 0} {
		f := fixtures.NewForge(t, 100, 10000)
		leaf := f.Leaf(metadata.Run{Thin: 0, Data: 1000, Len: 100})
		for i := range devices {
			f.Device(metadata.DevID(i+1), leaf)
		}
		if sets := setsOf(t, f.Finish()); len(sets.List) != want {
			t.Errorf("%d devices: %+v", devices, sets)
		}
	}
}

func setsOf(t *testing.T, dev *blocktest.Mem) ls.Sets {
	t.Helper()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := ls.Run(t.Context(), p, ls.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sets, err := ls.FindSets(t.Context(), p, rows, ls.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return sets
}

// checkSets checks the sets and returns their number.
func checkSets(t *testing.T, dev *blocktest.Mem) int {
	t.Helper()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	owners := map[metadata.DataBlock][]metadata.DevID{}
	for d, err := range p.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range p.Runs(t.Context(), d) {
			if err != nil {
				t.Fatal(err)
			}
			for b := r.Data; b < r.Data+metadata.DataBlock(r.Len); b++ {
				if !slices.Contains(owners[b], d.ID) {
					owners[b] = append(owners[b], d.ID)
				}
			}
		}
	}
	sets := setsOf(t, dev)
	for i, s := range sets.List {
		var together, apart, alone uint64
		for _, ids := range owners {
			if slices.ContainsFunc(ids, func(id metadata.DevID) bool { return !slices.Contains(s.IDs, id) }) {
				continue
			}
			together++
			switch len(ids) {
			case 1:
				apart++
			case len(s.IDs):
				alone++
			}
		}
		if s.Together != together || s.Apart != apart || alone == 0 || len(s.IDs) < 2 {
			t.Errorf("%+v: %d together, %d apart, %d shared by all of them alone", s, together, apart, alone)
		}
		if i > 0 && s.Together-s.Apart > sets.List[i-1].Together-sets.List[i-1].Apart {
			t.Errorf("%+v comes after %+v", s, sets.List[i-1])
		}
	}
	distinct := map[string]bool{}
	for _, ids := range owners {
		if len(ids) > 1 && len(ids) <= ls.MostInSet {
			key := ""
			for _, id := range ids {
				key += string(rune(id)) + ","
			}
			distinct[key] = true
		}
	}
	if len(distinct) != len(sets.List)+sets.More || sets.Lost {
		t.Errorf("%d sets and %d more, lost %v; want %d", len(sets.List), sets.More, sets.Lost, len(distinct))
	}
	return len(sets.List)
}
