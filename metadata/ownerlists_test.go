package metadata_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// reached returns the blocks that a walk down from a root meets.
func reached(f *btree.Forest, root block.Nr) map[block.Nr]bool {
	seen, todo := map[block.Nr]bool{}, []block.Nr{root}
	for len(todo) > 0 {
		nr := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[nr] {
			continue
		}
		seen[nr] = true
		if kind, i := f.Kind(nr); kind == btree.InnerNode {
			todo = append(todo, f.Inner()[i].Children...)
		}
	}
	return seen
}

// The owners of a block are the devices whose trees lead to it, whatever nodes they share; of
// sound metadata at least, as loops are cut somewhere.
func TestOwnersOf(t *testing.T) {
	images := map[string]block.Device{"small": fixtures.Small(t), "web": fixtures.Web(t, 20, 3)}
	for _, name := range []string{"layers", "odd-blocks", "wide-sharing"} {
		images[name] = fixtures.Mem(t, name)
	}
	for name, dev := range images {
		p, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var devices []metadata.Device
		for d, err := range p.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			devices = append(devices, d)
		}
		m, err := p.Mappings(t.Context(), devices...)
		if err != nil {
			t.Fatal(err)
		}
		want, blocks := map[block.Nr][]metadata.DevID{}, map[block.Nr]bool{}
		for _, d := range devices {
			for nr := range reached(m.Forest, d.Root) {
				if nr%3 != 0 { // not all are asked for
					want[nr], blocks[nr] = append(want[nr], d.ID), true
				}
			}
		}
		got := map[block.Nr][]metadata.DevID{}
		for nr, o := range metadata.OwnersOf(m.Forest, devices, blocks) {
			if got[nr] = o.IDs; o.Some {
				t.Errorf("%s: block %d: not all owners are listed", name, nr)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%.1000s", name, diff)
		}
	}
}

// Lists are made once of the same lists, and too many ids are not listed.
func TestOwnerLists(t *testing.T) {
	var l metadata.OwnerLists
	long := make([]metadata.DevID, metadata.MostOwners/2)
	for i := range long {
		long[i] = metadata.DevID(i)
	}
	a, b, c := l.Add(metadata.OwnerList{IDs: []metadata.DevID{1, 5}}), l.Add(metadata.OwnerList{IDs: []metadata.DevID{2, 5}}), l.Add(metadata.OwnerList{IDs: long})
	both := l.Join([]int32{b, a, b})
	if got := l.List(both); !slices.Equal(got.IDs, []metadata.DevID{1, 2, 5}) || got.Some {
		t.Errorf("%v", got)
	}
	if again := l.Join([]int32{a, b}); again != both {
		t.Errorf("the same lists were joined twice")
	}
	if l.Join(nil) != -1 || l.Join([]int32{c}) != c {
		t.Error("none, and one")
	}
	for n := int32(0); n < 4; n++ {
		one := l.Add(metadata.OwnerList{IDs: []metadata.DevID{metadata.DevID(n)}})
		got := l.List(l.Join([]int32{c, one}))
		if few := n > 0; got.Some != few && n != 1 {
			t.Errorf("join %d: %d listed, some %v", n, len(got.IDs), got.Some)
		}
		if got.Some && len(got.IDs) > 16 {
			t.Errorf("join %d: %d listed", n, len(got.IDs))
		}
	}
}
