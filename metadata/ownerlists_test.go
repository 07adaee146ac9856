package metadata_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// OwnersOf names the same devices as a descent from each device, for the given blocks only.
func TestOwnersOf(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		f := fixtures.NewForge(t, 512, 100000)
		var all, level []block.Nr
		for i := range 12 {
			level = append(level, f.Leaf(metadata.Run{Thin: metadata.ThinBlock(1000 * i), Data: metadata.DataBlock(100 * i), Len: 100}))
		}
		below := map[block.Nr][]block.Nr{}
		all = append(all, level...)
		for range 2 { // nodes above any of those below
			var above []block.Nr
			for range 6 {
				var children []btree.Child
				nr := f.Next()
				for i, child := range level {
					if rnd.IntN(3) == 0 || i == len(level)-1 {
						children = append(children, btree.Child{Key: uint64(i), Block: child})
						below[nr] = append(below[nr], child)
					}
				}
				above = append(above, f.InnerAt(nr, children...))
			}
			level, all = above, append(all, above...)
		}
		devices := make([]metadata.Device, rnd.IntN(12))
		roots := make([]block.Nr, len(devices))
		want := map[block.Nr][]metadata.DevID{}
		for i := range devices {
			roots[i] = all[rnd.IntN(len(all))]
			devices[i] = metadata.Device{ID: metadata.DevID(i), Root: roots[i]}
			mine := map[block.Nr]bool{}
			descend(below, roots[i], mine)
			for nr := range mine {
				want[nr] = append(want[nr], metadata.DevID(i))
			}
		}
		forest, err := btree.Load(t.Context(), block.NewReader(f.Mem, 1), 512, metadata.MappingSize, roots...)
		if err != nil {
			t.Fatal(err)
		}
		asked := map[block.Nr]bool{}
		for _, nr := range all {
			if rnd.IntN(2) == 0 {
				asked[nr] = true
			}
		}
		got := metadata.OwnersOf(forest, devices, asked)
		for _, nr := range all {
			o, named := got[nr]
			if wanted := asked[nr] && len(want[nr]) > 0; named != wanted || named && (o.Incomplete || !slices.Equal(o.IDs, want[nr])) {
				t.Errorf("block %d, asked for: %v: %+v, want %v", nr, asked[nr], o, want[nr])
			}
		}
		if none := metadata.OwnersOf(forest, devices, nil); len(none) > 0 {
			t.Errorf("nothing was asked for: %v", none)
		}
	}
}

// descend collects nr and everything below it.
func descend(below map[block.Nr][]block.Nr, nr block.Nr, into map[block.Nr]bool) {
	into[nr] = true
	for _, c := range below[nr] {
		descend(below, c, into)
	}
}

// A list is built once for the same parts, in whatever order they come.
func TestOwnerLists(t *testing.T) {
	var s metadata.OwnerLists
	a, b, c := s.Add(metadata.OwnerList{IDs: []metadata.DevID{1, 5}}), s.Add(metadata.OwnerList{IDs: []metadata.DevID{2, 5}}), s.Add(metadata.OwnerList{})
	if n := s.Join(nil); n != -1 {
		t.Errorf("nothing is list %d", n)
	}
	if n := s.Join([]int32{b, b}); n != b {
		t.Errorf("a list alone is list %d, want %d", n, b)
	}
	ab := s.Join([]int32{b, a, b})
	if o := s.List(ab); o.Incomplete || !slices.Equal(o.IDs, []metadata.DevID{1, 2, 5}) {
		t.Errorf("%+v, want 1, 2, 5", o)
	}
	if again := s.Join([]int32{a, b}); again != ab || !s.List(again).Same(s.List(ab)) {
		t.Errorf("made again it is list %d, want %d", again, ab)
	}
	if s.List(a).Same(s.List(b)) || !s.List(c).Same(metadata.OwnerList{}) || s.List(a).Same(metadata.OwnerList{IDs: s.List(a).IDs, Incomplete: true}) {
		t.Error("lists are taken for others")
	}
	if got := metadata.AppendList(metadata.AppendList(metadata.AppendList(nil, a), a), b); !slices.Equal(got, []int32{a, b}) {
		t.Errorf("lists %v, want %d and %d", got, a, b)
	}
}

// The number of ids in all lists is bounded. A list that would exceed it has only some, and says
// so.
func TestOwnerListsBounded(t *testing.T) {
	many := make([]metadata.DevID, metadata.MostOwners)
	for i := range many {
		many[i] = metadata.DevID(i)
	}
	var s metadata.OwnerLists
	few := s.Add(metadata.OwnerList{IDs: many[:5]})
	all := s.Add(metadata.OwnerList{IDs: many})
	o := s.List(s.Join([]int32{few, all}))
	if !o.Incomplete || len(o.IDs) > 20 || !slices.Equal(o.Sample(), many[:8]) {
		t.Errorf("%d ids, more of them: %v; asked are %v", len(o.IDs), o.Incomplete, o.Sample())
	}
	if o = s.List(s.Join([]int32{few, s.Add(o)})); !o.Incomplete {
		t.Error("what is joined with a part is said to be all")
	}
}
