package write_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// Devices that would overwrite shared data blocks in place get a later snapshotted_time; others do
// not. The superblock's time is never lower.
func TestSnapshottedTime(t *testing.T) {
	type dev struct {
		snapped uint32
		items   []item
	}
	own := func(runs ...metadata.Run) item { return item{runs, -1} }
	shared := item{nil, 0} // thin blocks 0..99, data blocks 0..99, time 4
	last := uint32(metadata.MaxTime)
	for _, tc := range []struct {
		name    string
		time    uint32 // the superblock's
		devices []dev
		want    []uint32 // snapshotted times
		clock   uint32
		notes   []string
	}{
		{"nothing shared", 9, []dev{{1, []item{own(metadata.Run{Len: 300, Time: 5})}}, {1, []item{own(metadata.Run{Data: 300, Len: 300, Time: 5})}}}, []uint32{1, 1}, 9, nil},
		{"as the kernel does it", 9, []dev{{5, []item{shared}}, {6, []item{shared}}}, []uint32{5, 6}, 9, nil},
		{"block 0 in two leaves", 4, []dev{{0, []item{own(metadata.Run{Len: 1})}}, {0, []item{own(metadata.Run{Len: 1, Thin: 7})}}}, []uint32{1, 1}, 4, []string{"2 devices would have overwritten shared data blocks; their snapshotted_time is now 1"}},
		{"one of two", 9, []dev{{5, []item{own(metadata.Run{Len: 300, Time: 4})}}, {4, []item{own(metadata.Run{Thin: 1, Len: 200, Time: 4})}}}, []uint32{5, 5}, 9, []string{"1 device would have overwritten shared data blocks; its snapshotted_time is now 5"}},
		{"a whole tree", 4, []dev{{4, []item{shared}}, {2, []item{shared}}, {9, []item{shared}}}, []uint32{5, 5, 9}, 9, []string{"times up to 9", "2 devices"}},
		{"a leaf of two trees", 4, []dev{
			{5, []item{shared, own(metadata.Run{Thin: 1000, Data: 1000, Len: 300, Time: 4})}},
			{0, []item{shared, own(metadata.Run{Thin: 1000, Data: 1300, Len: 300, Time: 3})}},
		}, []uint32{5, 5}, 5, []string{"times up to 5", "1 device"}},
		{"newest of all", 20, []dev{
			{0, []item{own(metadata.Run{Len: 1, Time: 3}, metadata.Run{Thin: 1, Data: 500, Len: 50, Time: 18})}},
			{0, []item{own(metadata.Run{Len: 1, Time: 7})}},
			{0, []item{own(metadata.Run{Data: 600, Len: 50, Time: 19})}},
		}, []uint32{8, 8, 0}, 20, []string{"2 devices"}},
		{"next to the last time", last, []dev{{0, []item{own(metadata.Run{Len: 1, Time: last - 1})}}, {1, []item{own(metadata.Run{Len: 1, Time: last - 1})}}}, []uint32{last, last}, last, []string{"2 devices"}},
		{"the last time", last, []dev{{0, []item{own(metadata.Run{Len: 3, Time: last})}}, {last, []item{own(metadata.Run{Len: 3, Time: last})}}}, []uint32{0, last}, last, []string{"6 mappings of shared data blocks have the highest possible time, 16777215"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var notes []string
			b := write.New(write.Options{Parallel: 2, Note: func(s string) { notes = append(notes, s) }})
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(b.Begin(metadata.Header{Time: tc.time, DataBlockSize: 128, NrDataBlocks: dataBlocks}))
			must(b.BeginDef("shared"))
			must(b.Runs([]metadata.Run{{Len: 100, Time: 4}}))
			must(b.EndDef())
			for id, d := range tc.devices {
				must(b.BeginDevice(metadata.DevID(id), metadata.Details{SnapshottedTime: d.snapped}))
				for _, it := range d.items {
					if it.ref >= 0 {
						must(b.Ref("shared"))
					} else {
						must(b.Runs(it.runs))
					}
				}
				must(b.EndDevice())
			}
			must(b.End())
			dev := blocktest.NewMem(int64(b.Least()) * block.Size)
			must(b.Write(context.Background(), dev))
			pool, err := metadata.Open(dev, metadata.Options{})
			must(err)
			var got []uint32
			for d, err := range pool.Devices(t.Context()) {
				must(err)
				got = append(got, d.SnapshottedTime)
			}
			if !slices.Equal(got, tc.want) || pool.Superblock.Time != tc.clock {
				t.Errorf("snapshotted at %d, the superblock's time is %d; want %d and %d", got, pool.Superblock.Time, tc.want, tc.clock)
			}
			if len(notes) != len(tc.notes) {
				t.Fatalf("notes: %q", notes)
			}
			for i, n := range tc.notes {
				if !strings.Contains(notes[i], n) {
					t.Errorf("note %q, want %q", notes[i], n)
				}
			}
			if tc.name != "the last time" {
				mustPass(t, dev)
			}
		})
	}
}
