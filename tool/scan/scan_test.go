package scan_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/scan"
)

var le = binary.LittleEndian

// run scans dev and checks what holds for every result: each block is listed once, and adjacent
// blocks that are alike are one row.
func run(t testing.TB, dev block.Device, opt scan.Options) ([]scan.Row, scan.Summary) {
	t.Helper()
	var rows []scan.Row
	next := opt.Begin
	sum, err := scan.Run(context.Background(), dev, opt, func(r scan.Row) error {
		if r.First != next && !opt.FaultsOnly || r.First < next || r.N == 0 {
			t.Errorf("row begins at block %d, want %d", r.First, next)
		}
		if (r.Use == scan.InUse) != (len(r.Owners) > 0) {
			t.Errorf("block %d: %v, with owners %v", r.First, r.Use, r.Owners)
		}
		next = r.First + block.Nr(r.N)
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if end := block.Nr(sum.Blocks); !opt.FaultsOnly && (opt.End == 0 || opt.End > end) && next != end {
		t.Errorf("rows end at block %d, want %d", next, end)
	}
	return rows, sum
}

// at returns the row with block nr.
func at(t testing.TB, rows []scan.Row, nr block.Nr) scan.Row {
	t.Helper()
	for _, r := range rows {
		if nr >= r.First && nr-r.First < block.Nr(r.N) {
			return r
		}
	}
	t.Fatalf("block %d is not listed", nr)
	return scan.Row{}
}

// faulty returns the blocks of rows with faults, and the faults.
func faulty(rows []scan.Row) map[block.Nr]string {
	found := map[block.Nr]string{}
	for _, r := range rows {
		if len(r.Faults) > 0 {
			found[r.First] = strings.Join(r.Faults, "; ")
		}
	}
	return found
}

// Kernel-made images have no faults, all counts are right, and the number of used blocks agrees
// with independent counts.
func TestKernelImages(t *testing.T) {
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			truth := fixtures.TruthOf(t, name)
			dev := fixtures.Mem(t, name)
			before := dev.Contents()
			rows, sum := run(t, dev, scan.Options{})
			var used, counted uint64
			ids := map[metadata.DevID]bool{}
			for _, r := range rows {
				if r.Stored == nil || r.Counted == nil || *r.Stored != *r.Counted {
					t.Errorf("blocks from %d: stored %v, counted %v", r.First, r.Stored, r.Counted)
					continue
				}
				if *r.Stored > 0 {
					counted += r.N
				}
				if r.Use == scan.InUse {
					used += r.N
				}
				for _, o := range r.Owners {
					for _, id := range o.FirstIDs {
						ids[id] = true
					}
				}
			}
			if used != truth.MetadataUsed || counted != truth.MetadataUsed || sum.Used != used || sum.Blocks != truth.MetadataBlocks {
				t.Errorf("%d blocks used, %d counted, %+v; want %d of %d", used, counted, sum, truth.MetadataUsed, truth.MetadataBlocks)
			}
			if truth.Devices <= scan.MaxIDs && truth.HeldRoot == 0 && uint64(len(ids)) != truth.Devices {
				t.Errorf("%d devices are named, want %d", len(ids), truth.Devices)
			}
			if got := faulty(rows); len(got) > 0 || sum.Superblock != nil {
				t.Errorf("faults: %v, %v", got, sum.Superblock)
			}
			if string(before) != string(dev.Contents()) {
				t.Error("the image changed")
			}
		})
	}
}

// Owners match a descent into each device separately.
func TestOwnersOneByOne(t *testing.T) {
	for _, name := range []string{"wide-sharing", "layers", "transactions", "metadata-snap", "deleted-discarded"} {
		t.Run(name, func(t *testing.T) {
			dev := fixtures.Mem(t, name)
			rows, _ := run(t, dev, scan.Options{})
			for _, snapshot := range []bool{false, true} {
				if snapshot && fixtures.TruthOf(t, name).HeldRoot == 0 {
					continue
				}
				want := oneByOne(t, dev, snapshot)
				for nr, ids := range want {
					row := at(t, rows, nr)
					i := slices.IndexFunc(row.Owners, func(o scan.Owner) bool { return o.Tree == scan.Mappings && o.Snapshot == snapshot })
					if i < 0 {
						t.Errorf("block %d has no device, want %d", nr, ids)
						continue
					}
					o := row.Owners[i]
					if int(o.Devices) != len(ids) || !slices.Equal(o.FirstIDs, ids[:min(len(ids), scan.MaxIDs)]) {
						t.Errorf("block %d: %d devices, first %d; want %d, %d", nr, o.Devices, o.FirstIDs, len(ids), ids)
					}
				}
				for _, r := range rows {
					for _, o := range r.Owners {
						if o.Tree == scan.Mappings && o.Snapshot == snapshot && want[r.First] == nil {
							t.Errorf("block %d has devices %d, want none", r.First, o.FirstIDs)
						}
					}
				}
			}
		})
	}
}

// oneByOne returns the devices that reach each block.
func oneByOne(t *testing.T, dev block.Device, snapshot bool) map[block.Nr][]metadata.DevID {
	t.Helper()
	pool, err := metadata.Open(dev, metadata.Options{Snapshot: snapshot})
	if err != nil {
		t.Fatal(err)
	}
	reach := map[block.Nr][]metadata.DevID{}
	for d, err := range pool.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		f, err := btree.Load(t.Context(), pool.Reader(), pool.Limit(), metadata.MappingSize, d.Root)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range f.Inner() {
			reach[in.Block] = append(reach[in.Block], d.ID)
		}
		for _, l := range f.Leaves() {
			reach[l.Block] = append(reach[l.Block], d.ID)
		}
	}
	return reach
}

// For a metadata snapshot, exactly its own blocks are listed, and no other block matters.
func TestSnapshot(t *testing.T) {
	dev := fixtures.Mem(t, "metadata-snap")
	pool, err := metadata.Open(dev, metadata.Options{Snapshot: true})
	if err != nil {
		t.Fatal(err)
	}
	want, err := pool.Blocks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for nr := range block.Blocks(dev) { // used by the live pool
		if _, found := slices.BinarySearch(want, nr); !found {
			if err := block.Write(dev, nr, &block.Data{1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []block.Nr
	_, err = scan.Run(t.Context(), dev, scan.Options{Snapshot: true}, func(r scan.Row) error {
		if r.Use != scan.InUse || r.Stored != nil || r.Counted != nil || len(r.Faults) > 0 {
			t.Errorf("%+v", r)
		}
		for i := range r.N {
			got = append(got, r.First+block.Nr(i))
		}
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("blocks %v, want %v (%v)", got, want, err)
	}
}

// A part of the device has the same rows as the whole, cut at its ends.
func TestRange(t *testing.T) {
	dev := fixtures.Mem(t, "empty")
	all, _ := run(t, dev, scan.Options{})
	for nr := block.Nr(0); nr < 20; nr++ {
		rows, _ := run(t, dev, scan.Options{Begin: nr, End: nr + 1})
		want := at(t, all, nr)
		if len(rows) != 1 || rows[0].First != nr || rows[0].N != 1 || rows[0].Kind != want.Kind || !slices.EqualFunc(rows[0].Owners, want.Owners, func(a, b scan.Owner) bool { return a.Tree == b.Tree }) {
			t.Errorf("block %d: %+v, want %+v", nr, rows, want)
		}
	}
	rows, _ := run(t, dev, scan.Options{Begin: 500, End: 1 << 40})
	if len(rows) != 1 || rows[0].N != 12 || rows[0].Use != scan.Free {
		t.Errorf("the end: %+v", rows)
	}
}

// A tree is a pool whose blocks are known: devices 1 and 2 share leaf B, each has another leaf,
// and all are below internal nodes.
type tree struct {
	a, b, c, first, second block.Nr
	dev                    *blocktest.Mem
	sb                     metadata.Superblock
}

func forge(t testing.TB, change func(*fixtures.Forge)) tree {
	f := fixtures.NewForge(t, 64, 1000)
	var p tree
	p.a = f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 100})
	p.b = f.Leaf(metadata.Run{Thin: 100, Data: 100, Len: 100})
	p.c = f.Leaf(metadata.Run{Thin: 0, Data: 200, Len: 50})
	p.first, p.second = f.Inner(p.a, p.b), f.Inner(p.c, p.b)
	f.Device(1, p.first)
	f.Device(2, p.second)
	if change != nil {
		change(f)
	}
	p.dev = f.Finish()
	p.sb = f.Superblock
	return p
}

func TestSharedNodes(t *testing.T) {
	p := forge(t, func(f *fixtures.Forge) { f.Held = true })
	rows, _ := run(t, p.dev, scan.Options{})
	mapped := func(ids ...metadata.DevID) []scan.Owner {
		n := uint64(len(ids))
		return []scan.Owner{{Tree: scan.Mappings, Devices: n, FirstIDs: ids}, {Tree: scan.Mappings, Snapshot: true, Devices: n, FirstIDs: ids}}
	}
	for _, tc := range []struct {
		nr     block.Nr
		kind   survey.Kind
		count  uint32
		keys   btree.KeyRange
		owners []scan.Owner
	}{
		{p.a, survey.MappingLeaf, 1, btree.KeyRange{First: 0, Last: 99}, mapped(1)},
		{p.b, survey.MappingLeaf, 2, btree.KeyRange{First: 100, Last: 199}, mapped(1, 2)},
		{p.second, survey.Inner, 1, btree.KeyRange{First: 0, Last: 199}, mapped(2)},
		{p.sb.MappingRoot, survey.TopLeaf, 2, btree.KeyRange{First: 1, Last: 2}, []scan.Owner{{Tree: scan.TopLevel}, {Tree: scan.TopLevel, Snapshot: true}}},
		{p.sb.DetailsRoot, survey.DetailsLeaf, 2, btree.KeyRange{First: 1, Last: 2}, []scan.Owner{{Tree: scan.Details}, {Tree: scan.Details, Snapshot: true}}},
	} {
		r := at(t, rows, tc.nr)
		if r.Kind != tc.kind || *r.Stored != tc.count || *r.Counted != tc.count || *r.Keys != tc.keys {
			t.Errorf("block %d: %v, counts %d and %d, %v", tc.nr, r.Kind, *r.Stored, *r.Counted, r.Keys)
		}
		if diff := cmp.Diff(tc.owners, r.Owners); diff != "" {
			t.Errorf("block %d: %s", tc.nr, diff)
		}
	}
	if r := at(t, rows, p.sb.HeldRoot); r.Kind != survey.Superblock || len(r.Owners) != 1 || r.Owners[0].Tree != scan.SnapshotSuperblock {
		t.Errorf("snapshot: %+v", r)
	}
}

// The list of ids is cut for many devices, but their number is right. The work depends on the
// number of pointers, not on devices times nodes.
func TestManySnapshots(t *testing.T) {
	const devices, leaves = 10000, 100
	f := fixtures.NewForge(t, 2000, 10000)
	var all []block.Nr
	for i := range leaves {
		all = append(all, f.Leaf(metadata.Run{Thin: metadata.ThinBlock(10 * i), Data: metadata.DataBlock(10 * i), Len: 10}))
	}
	root := f.Inner(all...)
	other := f.Inner(slices.Concat([]block.Nr{f.Leaf(metadata.Run{Data: 5000, Len: 1})}, all[1:])...)
	for id := range metadata.DevID(devices) {
		f.Device(id+7, map[bool]block.Nr{false: root, true: other}[id%4 == 3])
	}
	rows, _ := run(t, f.Finish(), scan.Options{})
	var pointers uint64
	for _, r := range rows {
		pointers += r.N * uint64(*r.Counted)
	}
	if pointers > devices+2*leaves+1000 {
		t.Errorf("%d pointers were followed", pointers)
	}
	for nr, want := range map[block.Nr]scan.Owner{
		all[0]: {Tree: scan.Mappings, Devices: devices * 3 / 4, FirstIDs: []metadata.DevID{7, 8, 9, 11}},
		all[5]: {Tree: scan.Mappings, Devices: devices, FirstIDs: []metadata.DevID{7, 8, 9, 10}},
		other:  {Tree: scan.Mappings, Devices: devices / 4, FirstIDs: []metadata.DevID{10, 14, 18, 22}},
	} {
		if diff := cmp.Diff([]scan.Owner{want}, at(t, rows, nr).Owners); diff != "" {
			t.Errorf("block %d: %s", nr, diff)
		}
	}
}

// Any device can be listed, with the same result for any number of readers.
func FuzzRun(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Add(uint64(2), uint8(30))
	p := forge(f, func(f *fixtures.Forge) { f.Held = true })
	image := p.dev.Contents()
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		damaged := slices.Clone(image)
		dev := blocktest.NewMemFrom(damaged)
		for range n {
			nr := block.Nr(rnd.Uint64N(24))
			var b block.Data
			if err := block.Read(dev, nr, &b); err != nil {
				t.Fatal(err)
			}
			kind := block.KindOf(&b)
			switch at := rnd.IntN(block.Size - 8); rnd.IntN(5) {
			case 0:
				b[at] ^= 1 << rnd.IntN(8)
			case 1:
				le.PutUint64(b[at&^7:], rnd.Uint64N(30))
			case 2:
				le.PutUint64(b[32:], rnd.Uint64())
			case 3:
				le.PutUint64(b[32+8*252+8*rnd.IntN(3):], rnd.Uint64N(30)) // children
			case 4:
				nr = block.Nr(rnd.Uint64N(24)) // misplaced
			}
			if kind != block.UnknownKind && rnd.IntN(3) > 0 {
				block.Reseal(&b, kind)
			}
			if err := block.Write(dev, nr, &b); err != nil {
				t.Fatal(err)
			}
		}
		one, _ := run(t, dev, scan.Options{Parallel: 1})
		many, _ := run(t, dev, scan.Options{Parallel: 4})
		if diff := cmp.Diff(one, many); diff != "" {
			t.Error(diff)
		}
	})
}

func BenchmarkRun(b *testing.B) {
	dev := fixtures.Mem(b, "wide-sharing")
	b.SetBytes(dev.Size())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scan.Run(b.Context(), dev, scan.Options{}, func(scan.Row) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
