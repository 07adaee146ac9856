package write

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/metadata"
)

// The leaves of a stretch return the runs it was given. All leaves except the last two are full.
func TestStore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s store
		for range rapid.IntRange(1, 3).Draw(t, "stretches") {
			runs := rapid.Custom(drawRuns).Draw(t, "runs")
			stretch := s.newStretch()
			n := 0
			for _, r := range runs {
				stretch.add(r)
				n += int(r.Len)
				if stretch.entries() != n {
					t.Fatalf("%d entries, want %d", stretch.entries(), n)
				}
			}
			stretch.end()
			var got []metadata.Run
			for i := stretch.from; i < len(s.leaves); i++ {
				l := s.leaves[i]
				left, first := int(l.n), true
				for r := range s.runs(i) {
					if first && r.Thin != l.first {
						t.Fatalf("leaf %d begins at %d, but is said to at %d", i, r.Thin, l.first)
					}
					first = false
					left -= int(r.Len)
					got = append(got, r)
				}
				least := leafEntries
				if i >= len(s.leaves)-2 {
					least = min(n, leafEntries/2)
				}
				if left != 0 || int(l.n) < least || l.n > leafEntries {
					t.Fatalf("leaf %d of %d has %d entries (%d missing)", i, len(s.leaves), l.n, left)
				}
			}
			if diff := cmp.Diff(blocks(runs), blocks(got)); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
	})
}

// drawRuns draws runs for up to several leaves, with numbers of any size.
func drawRuns(t *rapid.T) []metadata.Run {
	var runs []metadata.Run
	next := uint64(0)
	for range rapid.IntRange(1, 400).Draw(t, "n") {
		gap := rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64Range(0, 1<<52)).Draw(t, "gap")
		r := metadata.Run{
			Thin: metadata.ThinBlock(next + gap),
			Data: metadata.DataBlock(rapid.OneOf(rapid.Uint64Range(0, 99), rapid.Uint64Range(0, 1<<39)).Draw(t, "data")),
			Len:  rapid.OneOf(rapid.Just(uint64(1)), rapid.Uint64Range(1, 5), rapid.Uint64Range(1, 600)).Draw(t, "len"),
			Time: rapid.OneOf(rapid.Just(uint32(7)), rapid.Uint32Range(0, metadata.MaxTime)).Draw(t, "time"),
		}
		next = uint64(r.Thin) + r.Len
		runs = append(runs, r)
	}
	return runs
}

// blocks splits runs into single blocks, as they may be cut anywhere.
func blocks(runs []metadata.Run) []metadata.Run {
	var all []metadata.Run
	for _, r := range runs {
		for i := range r.Len {
			all = append(all, metadata.Run{Thin: r.Thin + metadata.ThinBlock(i), Data: r.Data + metadata.DataBlock(i), Len: 1, Time: r.Time})
		}
	}
	return all
}

// Numbers of all widths are read back.
func TestBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type number struct {
			v     uint64
			width uint
		}
		numbers := rapid.SliceOf(rapid.Custom(func(t *rapid.T) number {
			width := rapid.UintRange(0, 64).Draw(t, "width")
			return number{rapid.Uint64().Draw(t, "v") & (1<<width - 1), width}
		})).Draw(t, "numbers")
		var w bitWriter
		for _, n := range numbers {
			w.put(n.v, n.width)
		}
		r := bitReader{p: slices.Concat(w.end(), make([]byte, bitsSlack))}
		for i, n := range numbers {
			if got := r.get(n.width); got != n.v {
				t.Fatalf("number %d of %d bits is %#x, want %#x", i, n.width, got, n.v)
			}
		}
	})
}
