package blockset

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A set behaves like a plain map, across words and pages, and where pages are missing.
func TestBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 5 * pageBlock
		where := rapid.OneOf(rapid.Uint64Range(0, 200), rapid.Uint64Range(pageBlock-70, pageBlock+70), rapid.Uint64Range(0, most))
		var s Set
		plain := make([]bool, most)
		for range rapid.IntRange(0, 6).Draw(t, "ranges") {
			begin := where.Draw(t, "begin")
			n := min(rapid.OneOf(rapid.Uint64Range(0, 130), rapid.Uint64Range(0, most)).Draw(t, "n"), most-begin)
			s.Add(begin, n)
			for i := range n {
				plain[begin+i] = true
			}
		}
		begin, end := where.Draw(t, "from"), where.Draw(t, "to")
		if got, want := s.Below(end), count(plain[:end]); got != want {
			t.Fatalf("%d blocks below %d, want %d", got, end, want)
		}
		for _, in := range []bool{true, false} {
			want := slices.Repeat([]bool{!in}, most)
			for i := begin; i < end; i++ {
				want[i] = plain[i]
			}
			got, last := slices.Repeat([]bool{!in}, most), begin
			for from, to := range s.Ranges(begin, end, in) {
				if from < last || to <= from || from == last && from != begin || to > end {
					t.Fatalf("range %d..%d after %d, of %d..%d", from, to, last, begin, end)
				}
				for i := from; i < to; i++ {
					got[i] = in
				}
				last = to
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%d..%d: ranges of %v differ", begin, end, in)
			}
		}
	})
}

func count(plain []bool) uint64 {
	n := uint64(0)
	for _, is := range plain {
		if is {
			n++
		}
	}
	return n
}
