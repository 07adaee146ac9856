package repair

import (
	"slices"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// Of many index blocks, the ones around one are taken, wrapping at the end.
func TestAround(t *testing.T) {
	all := []block.Nr{2, 4, 6, 8, 10, 12, 14, 16}
	for center, want := range map[block.Nr][]block.Nr{
		8:  {4, 6, 8, 10},
		2:  {2, 4, 14, 16},
		16: {2, 12, 14, 16},
		9:  {6, 8, 10, 12}, // between two
		99: {2, 4, 14, 16}, // after all
	} {
		if got := around(all, center, 4); !slices.Equal(got, want) {
			t.Errorf("around %d: %v, want %v", center, got, want)
		}
	}
}

// A device with a long history is not read in full.
func TestManyIndexes(t *testing.T) {
	const blocks = 3 * maxGenerations
	s := &survey.Survey{Kinds: make([]survey.Kind, blocks)}
	for i := range s.Kinds {
		s.Kinds[i] = survey.Index
	}
	e := &evidence{survey: s, super: super{err: block.ErrCorrupt}}
	if got := e.newestIndexes(); len(got) != maxGenerations || got[len(got)-1] != blocks-1 {
		t.Errorf("without a superblock: %d index blocks, the last %d", len(got), got[len(got)-1])
	}
	e.super.err = nil
	e.super.MetadataSpaceMap.BitmapRoot = 1500
	if got := e.newestIndexes(); len(got) != maxGenerations || got[0] != 1500-maxGenerations/2 {
		t.Errorf("around the superblock's: %d index blocks, the first %d", len(got), got[0])
	}
}

// The last generation of a chain is the one the superblock names, and the chain leads back through
// the commits before it.
func TestChain(t *testing.T) {
	for _, name := range []string{"provision", "snapshots", "deletes", "discards", "lvm-like", "wraps"} {
		h, err := fixtures.OpenHistory(name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := gather(t.Context(), newMedium(blocktest.NewMemFrom(h.Image), 1), &metadata.Overrides{})
		if err != nil {
			t.Fatal(err)
		}
		g := e.generation(e.super.MetadataSpaceMap.BitmapRoot)
		if g == nil || g.next != nil || g.prev == nil {
			t.Fatalf("%s: the last generation is %+v", name, g)
		}
		// Commits still on the device appear in order.
		var chain []block.Nr
		for ; g != nil; g = g.prev {
			chain = append(chain, g.index)
		}
		at := 0
		for i := len(h.Supers) - 1; i >= 0; i-- {
			sb, err := metadata.DecodeSuperblock(0, &h.Supers[i])
			if err != nil {
				t.Fatal(err)
			}
			if k := slices.Index(chain[at:], sb.MetadataSpaceMap.BitmapRoot); k >= 0 {
				at += k
			} else if slices.Contains(chain, sb.MetadataSpaceMap.BitmapRoot) {
				t.Errorf("%s: commit %d is out of order in %v", name, i, chain)
			}
		}
		if at == 0 {
			t.Errorf("%s: only one commit is in the chain %v", name, chain)
		}
	}
}

// If the superblock is lost, the newest details lead to the index blocks of the last commits.
func TestNewestDetails(t *testing.T) {
	h, err := fixtures.OpenHistory("snapshots")
	if err != nil {
		t.Fatal(err)
	}
	e, err := gather(t.Context(), newMedium(blocktest.NewMemFrom(h.Image), 1), &metadata.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	newest := e.newestDetails()
	if last := h.Commits[len(h.Commits)-1]; !slices.Contains(newest, last.DetailsRoot) || !slices.IsSorted(newest) {
		t.Errorf("%v, want block %d among them", newest, last.DetailsRoot)
	}
	if len(newest) >= len(e.byKind[detailsKind]) {
		t.Errorf("all %d details are called newest", len(newest))
	}
}
