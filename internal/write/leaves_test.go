package write

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"thinpool/metadata"
)

// sizes returns the number of entries of leaves from to end-1.
func (s *store) sizes(from, end int) (sizes []int) {
	for _, l := range s.leaves[from:end] {
		sizes = append(sizes, int(l.n))
	}
	return sizes
}

// Leaves are full, except that the last two share their entries evenly if the last one would be less
// than half full. A stretch never takes entries from the one before it.
func TestLeafSizes(t *testing.T) {
	for n, want := range map[uint64][]int{
		0: nil, 1: {1}, 125: {125}, 252: {252}, 253: {127, 126}, 377: {189, 188}, 378: {252, 126}, 504: {252, 252},
		505: {252, 127, 126}, 756: {252, 252, 252},
	} {
		for _, length := range []uint64{1, 50, 126, 127, 1000} {
			var s store
			before := s.newStretch()
			before.add(metadata.Run{Len: 252})
			before.end()
			stretch := s.newStretch()
			for at := uint64(0); at < n; at += length {
				stretch.add(metadata.Run{Thin: metadata.ThinBlock(at), Data: metadata.DataBlock(2 * at), Len: min(length, n-at), Time: 3})
			}
			stretch.end()
			if got := s.sizes(1, len(s.leaves)); !slices.Equal(got, want) {
				t.Errorf("%d entries in runs of %d: leaves of %v, want %v", n, length, got, want)
			}
			at := uint64(0)
			for i := range want {
				for r := range s.runs(1 + i) {
					inRun := at % length
					if r.Thin != metadata.ThinBlock(at) || r.Data != metadata.DataBlock(2*(at-inRun)+inRun) || r.Time != 3 {
						t.Fatalf("%d entries in runs of %d: %+v at %d", n, length, r, at)
					}
					at += r.Len
				}
			}
			if got := s.sizes(0, 1); got[0] != 252 || at != n {
				t.Errorf("%d entries in runs of %d: %d come back; the leaf before has %v", n, length, at, got)
			}
		}
	}
}

// The newest time of a leaf is exact if all are equal, or if all lower bits are in use. Otherwise
// it is at least the newest.
func TestNewest(t *testing.T) {
	for _, tc := range []struct {
		times       []uint32
		least, most uint64
	}{{[]uint32{5}, 5, 5}, {[]uint32{5, 5, 5}, 5, 5}, {[]uint32{4, 7, 4}, 7, 7}, {[]uint32{0, 1}, 1, 1}, {[]uint32{4, 6}, 6, 7}, {[]uint32{0, metadata.MaxTime}, metadata.MaxTime, metadata.MaxTime}} {
		var s store
		stretch := s.newStretch()
		for i, time := range tc.times {
			stretch.add(metadata.Run{Thin: metadata.ThinBlock(9 * i), Len: 2, Time: time})
		}
		stretch.end()
		if got := s.newest(0); got < tc.least || got > tc.most {
			t.Errorf("times %v: newest %d, want %d to %d", tc.times, got, tc.least, tc.most)
		}
	}
}

// Leaves of many chunks are read back unchanged, and no chunk grows beyond its size.
func TestChunks(t *testing.T) {
	var s store
	rnd := rand.New(rand.NewPCG(1, 1))
	var want []metadata.Run
	stretch := s.newStretch()
	for i := range uint64(250 << 10) {
		r := metadata.Run{Thin: metadata.ThinBlock(i<<30 + rnd.Uint64N(1<<30)), Data: metadata.DataBlock(rnd.Uint64N(1 << 39)), Len: 1, Time: rnd.Uint32N(metadata.MaxTime)}
		stretch.add(r)
		want = append(want, r)
	}
	stretch.end()
	var got []metadata.Run
	for i := range s.leaves {
		got = slices.AppendSeq(got, s.runs(i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d runs come back, and not those that were added", len(got))
	}
	for i, chunk := range s.chunks {
		if cap(chunk) != chunkSize || i < len(s.chunks)-1 && len(chunk) < chunkSize-8<<10 {
			t.Errorf("chunk %d has %d of %d bytes", i, len(chunk), cap(chunk))
		}
	}
	if len(s.chunks) < 3 {
		t.Fatalf("only %d chunks", len(s.chunks))
	}
}

// A leaf that might not fit into the last chunk goes into a new one, even if there is room left.
func TestChunkEnd(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var want []metadata.Run
	for i := range uint64(leafEntries) {
		want = append(want, metadata.Run{Thin: metadata.ThinBlock(i<<30 + rnd.Uint64N(1<<30)), Data: metadata.DataBlock(rnd.Uint64N(1 << 39)), Len: 1, Time: 7})
	}
	used, last := make([]byte, chunkSize), 0
	for room := range 4096 {
		s := store{chunks: [][]byte{used[: chunkSize-room : chunkSize]}}
		s.put(want)
		for i, chunk := range s.chunks {
			if cap(chunk) != chunkSize {
				t.Fatalf("room for %d bytes: chunk %d grows to %d", room, i, cap(chunk))
			}
		}
		if len(s.chunks) == 1 {
			last++
		}
		if got := slices.Collect(s.runs(0)); !slices.Equal(got, want) {
			t.Fatalf("room for %d bytes: other runs come back", room)
		}
	}
	if last == 0 || last == 4096 {
		t.Errorf("the leaf goes into the last chunk %d times", last)
	}
}

// A device keeps the leaves of defs, unless its own mappings beside them, or those of the def, number
// fewer than 84: then they are joined with copies.
func TestJoin(t *testing.T) {
	type part struct{ own, def uint64 } // one of them is the number of mappings
	own := func(n uint64) part { return part{own: n} }
	ref := func(n uint64) part { return part{def: n} }
	for _, tc := range []struct {
		items  []part
		leaves []int
		shared []bool
	}{
		{nil, []int{0}, []bool{false}},
		{[]part{own(83), ref(252)}, []int{168, 167}, []bool{false, false}},
		{[]part{own(84), ref(252)}, []int{84, 252}, []bool{false, true}},
		{[]part{own(83), ref(300)}, []int{233, 150}, []bool{false, true}},
		{[]part{ref(83)}, []int{83}, []bool{true}},
		{[]part{ref(1)}, []int{1}, []bool{true}},
		{[]part{ref(83), own(1)}, []int{84}, []bool{false}},
		{[]part{ref(84), own(1)}, []int{85}, []bool{false}},
		{[]part{ref(83), ref(252)}, []int{168, 167}, []bool{false, false}},
		{[]part{ref(83), ref(83)}, []int{166}, []bool{false}},
		{[]part{ref(84), ref(252)}, []int{84, 252}, []bool{true, true}},
		{[]part{ref(252), ref(83)}, []int{168, 167}, []bool{false, false}},
		{[]part{ref(252), ref(84)}, []int{252, 84}, []bool{true, true}},
		{[]part{ref(252), own(83)}, []int{168, 167}, []bool{false, false}},
		{[]part{ref(252), own(84)}, []int{252, 84}, []bool{true, false}},
		{[]part{ref(300), own(1)}, []int{150, 151}, []bool{true, false}},
		{[]part{ref(300), own(1), ref(300)}, []int{150, 150, 151, 150}, []bool{true, true, false, true}},
		{[]part{own(84), ref(83)}, []int{167}, []bool{false}},
		{[]part{own(252), ref(83), ref(252)}, []int{168, 167, 252}, []bool{false, false, true}},
	} {
		b := New(Options{})
		errs := []error{b.Begin(metadata.Header{DataBlockSize: 128})}
		runs := func(i int, n uint64) []metadata.Run {
			return []metadata.Run{{Thin: metadata.ThinBlock(10000 * i), Data: metadata.DataBlock(20000 * i), Len: n}}
		}
		total := uint64(0)
		for i, it := range tc.items {
			if total += it.own + it.def; it.def > 0 {
				errs = append(errs, b.BeginDef(fmt.Sprint(i)), b.Runs(runs(i, it.def)), b.EndDef())
			}
		}
		defLeaves := uint32(len(b.store.leaves))
		errs = append(errs, b.BeginDevice(1, metadata.Details{}))
		for i, it := range tc.items {
			if it.def > 0 {
				errs = append(errs, b.Ref(fmt.Sprint(i)))
			} else {
				errs = append(errs, b.Runs(runs(i, it.own)))
			}
		}
		if err := errors.Join(append(errs, b.EndDevice())...); err != nil {
			t.Fatalf("%v: %v", tc.items, err)
		}
		var leaves []int
		var shared []bool
		var got, want []metadata.Run
		for _, s := range b.spansOf(b.trees[0]) {
			for i := s.from; i < s.from+s.n; i++ {
				leaves, shared = append(leaves, int(b.store.leaves[i].n)), append(shared, i < defLeaves)
				got = slices.AppendSeq(got, b.store.runs(int(i)))
			}
		}
		if !slices.Equal(leaves, tc.leaves) || !slices.Equal(shared, tc.shared) {
			t.Errorf("%v: leaves of %v, shared %v; want %v, %v", tc.items, leaves, shared, tc.leaves, tc.shared)
		}
		for i, it := range tc.items {
			want = append(want, runs(i, it.own+it.def)...)
		}
		if !slices.Equal(blocks(got), blocks(want)) || b.devices[0].details.MappedBlocks != total || int(b.trees[0].leaves) != len(leaves) {
			t.Errorf("%v: other mappings: %v", tc.items, got)
		}
	}
}
