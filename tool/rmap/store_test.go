package rmap

import (
	"cmp"
	"math"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// All pieces are read back, for devices of any size and wherever memory ends. What one pass has to
// drop comes with a later one.
func TestStore(t *testing.T) {
	type added struct {
		Data           metadata.DataBlock
		Leaf           block.Nr
		Thin, FromLeaf uint64
		Len            uint64
	}
	rapid.Check(t, func(t *rapid.T) {
		begin := rapid.Uint64Range(0, 1<<20).Draw(t, "begin")
		size := rapid.SampledFrom([]uint64{1, 1000, 1 << 17, 1 << 30, 1 << 40}).Draw(t, "size")
		workers := rapid.IntRange(1, 3).Draw(t, "workers")
		memory := rapid.SampledFrom([]int{1, 2000, 1 << 20}).Draw(t, "memory")
		var want []added
		leaf := block.Nr(0)
		for range rapid.IntRange(0, 300).Draw(t, "pieces") {
			leaf += block.Nr(rapid.SampledFrom([]uint64{0, 1, 200, 1 << 30}).Draw(t, "step"))
			want = append(want, added{
				metadata.DataBlock(begin + rapid.Uint64Range(0, size-1).Draw(t, "data")), leaf, 7,
				rapid.SampledFrom([]uint64{0, 5, 1 << 20, math.MaxUint64 - 7}).Draw(t, "thin"), rapid.Uint64Range(1, 254).Draw(t, "length"),
			})
		}
		s := newStore([]Region{{metadata.DataBlock(begin), metadata.DataBlock(begin + size)}}, memory, workers)
		var got []added
		for bucket := 0; bucket < s.buckets; bucket = s.limit() {
			s.reset(bucket)
			for i, k := range want {
				w := s.writer(i % workers)
				w.begin(k.Leaf, k.Thin)
				w.add(k.Data, k.Thin+k.FromLeaf, k.Len)
			}
			for b := bucket; b < s.limit(); b++ {
				r := reader{store: s}
				r.each(b, func(pieces []kept) {
					for _, k := range pieces {
						got = append(got, added{s.first(b) + metadata.DataBlock(k.at), k.leaf, 7, k.fromLeaf, k.length})
					}
				})
			}
			if s.limit() <= bucket {
				t.Fatalf("no progress beyond bucket %d", bucket)
			}
		}
		order := func(a, b added) int {
			return cmp.Or(cmp.Compare(a.Data, b.Data), cmp.Compare(a.Leaf, b.Leaf), cmp.Compare(a.FromLeaf, b.FromLeaf), cmp.Compare(a.Len, b.Len))
		}
		slices.SortFunc(want, order)
		slices.SortFunc(got, order)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}
