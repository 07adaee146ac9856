package spacemap_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata/block"
)

const metadataBlocks = 64

// counts is a model of a space map: all counts except 0.
type counts map[uint64]uint32

func (c counts) counter(blocks uint64) *spacemap.Counter {
	counter := spacemap.NewCounter(blocks)
	for b, n := range c {
		counter.Add(b, n)
	}
	return counter
}

// genCounts draws counts that lie close together, for the interesting cases.
func genCounts(blocks uint64) *rapid.Generator[map[uint64]uint32] {
	return rapid.MapOfN(
		rapid.OneOf(rapid.Uint64Range(0, min(100, blocks-1)), rapid.Uint64Range(0, blocks-1), rapid.Just(blocks-1)),
		rapid.OneOf(rapid.Uint32Range(1, 4), rapid.Uint32Min(1)), 0, 60)
}

// Compare reports the differences between any stored and counted values, each block once, and
// nothing else.
func TestCompareFindsDifferences(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		blocks := rapid.SampledFrom([]uint64{1, 31, 32, 33, 1000, 16320, 16321, 40000}).Draw(rt, "blocks")
		stored := counts(genCounts(blocks).Draw(rt, "stored"))
		counted := counts{}
		for b, n := range stored {
			counted[b] = n
		}
		for b, n := range genCounts(blocks).Draw(rt, "changes") {
			counted[b] = n - 1
		}
		exact := rapid.Bool().Draw(rt, "exact")
		dev := fixtures.NewForge(t, metadataBlocks, 1)
		root, err := spacemap.WriteData(dev, stored.counter(blocks))
		if err != nil {
			rt.Fatal(err)
		}
		m, err := spacemap.LoadData(t.Context(), block.NewReader(dev.Mem, 2), metadataBlocks, root)
		if err != nil || m.Lost() {
			rt.Fatal(err, m.Lost())
		}
		var got, want []string
		_, err = m.Compare(t.Context(), counted.counter(blocks), exact, func(f spacemap.Finding) {
			if high := f.Stored > f.Counted; high != (f.Kind == spacemap.TooHigh) || !high && f.Kind != spacemap.TooLow {
				rt.Errorf("finding %+v", f)
			}
			for i := range f.N {
				got = append(got, fmt.Sprintf("%05d: %d, %d", f.First+i, f.Stored, f.Counted))
			}
		})
		if err != nil {
			rt.Fatal(err)
		}
		for _, b := range slices.Sorted(maps.Keys(counted)) { // has all that are stored
			if stored[b] < counted[b] || stored[b] > counted[b] && exact {
				want = append(want, fmt.Sprintf("%05d: %d, %d", b, stored[b], counted[b]))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || !slices.IsSorted(got) {
			rt.Errorf("block: stored, counted (-want +got):\n%s", diff)
		}
	})
}

// Equal differences of adjacent blocks are reported as one.
func TestCompareJoins(t *testing.T) {
	dev := fixtures.NewForge(t, metadataBlocks, 1)
	stored := spacemap.NewCounter(40000)
	stored.AddRange(10, 100)
	stored.AddRange(16300, 40) // across the end of a bitmap
	root, err := spacemap.WriteData(dev, stored)
	if err != nil {
		t.Fatal(err)
	}
	m, err := spacemap.LoadData(t.Context(), block.NewReader(dev.Mem, 2), metadataBlocks, root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	_, err = m.Compare(t.Context(), counts{50: 1}.counter(40000), true, func(f spacemap.Finding) {
		got = append(got, fmt.Sprintf("%d+%d", f.First, f.N))
	})
	if diff := cmp.Diff([]string{"10+40", "51+59", "16300+40"}, got); diff != "" || err != nil {
		t.Errorf("%v; findings (-want +got):\n%s", err, diff)
	}
}

// Missing and wrong index entries are reported as ranges.
func TestLoadIndex(t *testing.T) {
	const indexValues = 32 + 8*168
	for name, tc := range map[string]struct {
		spoil func(b *block.Data)
		want  []string
		lost  bool
	}{
		"sound":         {func(*block.Data) {}, nil, false},
		"short":         {func(b *block.Data) { b[16] = 2 }, []string{"no index entries 2..4"}, true},
		"a gap":         {func(b *block.Data) { b[32+8*4] = 9 }, []string{"no index entry 4", "index has 9 entries, want 5"}, true},
		"block 0":       {func(b *block.Data) { clear(b[indexValues+16:][:8]) }, []string{"points to block 0, want 1..63"}, true},
		"beyond":        {func(b *block.Data) { b[indexValues+16+1] = 1 }, []string{"want 1..63"}, true},
		"no such node":  {func(b *block.Data) { b[4] = 0 }, []string{"index tree: block", "no index entries 0..4"}, true},
		"odd in a leaf": {func(b *block.Data) { b[28] = 1 }, []string{"padding is 0x1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dev := fixtures.NewForge(t, metadataBlocks, 1)
			root, err := spacemap.WriteData(dev, spacemap.NewCounter(5*spacemap.PerBitmap-7))
			if err != nil {
				t.Fatal(err)
			}
			fixtures.Edit(t, dev.Mem, root.BitmapRoot, tc.spoil)
			m, err := spacemap.LoadData(t.Context(), block.NewReader(dev.Mem, 2), metadataBlocks, root)
			if err != nil || m.Lost() != tc.lost {
				t.Fatalf("lost %v, %v", m.Lost(), err)
			}
			var got []string
			_, err = m.Compare(t.Context(), spacemap.NewCounter(root.NrBlocks), true, func(f spacemap.Finding) { got = append(got, f.Err.Error()) })
			if err != nil || len(got) != len(tc.want) {
				t.Fatalf("findings %q, %v; want %q", got, err, tc.want)
			}
			for i, want := range tc.want {
				if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("finding %d: %q, want %q", i, got, want)
				}
			}
		})
	}
}

// Compare joins counts that are wrong in the same way as soon as it finds them: a pool with unreadable
// mappings has millions.
func TestCompareAllocatesLittle(t *testing.T) {
	const blocks = 64 * spacemap.PerBitmap
	dev := fixtures.NewForge(t, 256, 1)
	stored := spacemap.NewCounter(blocks)
	stored.AddRange(0, blocks)
	root, err := spacemap.WriteData(dev, stored)
	if err != nil {
		t.Fatal(err)
	}
	m, err := spacemap.LoadData(t.Context(), block.NewReader(dev.Mem, 1), 256, root)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var found []spacemap.Finding
	_, err = m.Compare(t.Context(), spacemap.NewCounter(blocks), true, func(f spacemap.Finding) { found = append(found, f) })
	runtime.ReadMemStats(&after)
	if err != nil || len(found) != 1 || found[0].N != blocks {
		t.Errorf("%v, %v", found, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d KiB were allocated", n>>10)
	}
}
