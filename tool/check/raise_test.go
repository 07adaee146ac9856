package check_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
)

// oneWritable is 300 devices with a metadata snapshot. Two of them share a data block, and one of
// these two would overwrite it in place.
func oneWritable(t testing.TB) *blocktest.Mem {
	f := fixtures.NewForge(t, 600, 1000)
	f.Held = true
	for id := range metadata.DevID(300) {
		run := metadata.Run{Thin: 0, Data: metadata.DataBlock(id), Len: 1}
		switch id {
		case 200:
			run.Data = 250
			run.Time = 1
		case 250:
			run.Time = 0
		}
		f.Device(id, f.Leaf(run))
	}
	return f.Finish()
}

// sharedWritable is devices that share leaves. Some would overwrite their blocks in place. There
// are also leaks to fix.
func sharedWritable(t testing.TB) *blocktest.Mem {
	f := fixtures.NewForge(t, 64, 40000)
	f.Held, f.Superblock.Time = true, 9
	own := f.Leaf(metadata.Run{Thin: 200, Data: 300, Len: 100, Time: 8})
	shared := f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 90, Time: 2}, metadata.Run{Thin: 90, Data: 100, Len: 10, Time: 5})
	f.DeviceAt(1, f.Inner(shared, own), 5)
	f.DeviceAt(2, shared, 6)
	f.DeviceAt(3, shared, 2)
	f.LeakData(500)
	f.LeakMetadata()
	return f.Finish()
}

// detailsOf returns the details of all devices, or of the metadata snapshot.
func detailsOf(t *testing.T, dev block.Device, snapshot bool) (metadata.Superblock, map[metadata.DevID]metadata.Details) {
	t.Helper()
	pool, err := metadata.Open(dev, metadata.Options{Snapshot: snapshot})
	if err != nil {
		t.Fatal(err)
	}
	all := map[metadata.DevID]metadata.Details{}
	for d, err := range pool.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all[d.ID] = d.Details
	}
	return pool.Superblock, all
}

// Devices that would overwrite shared blocks get a snapshotted_time later than all these mappings;
// no other device does. The superblock's time is at least as high.
func TestRepairRaises(t *testing.T) {
	all := func(n int) (ids []metadata.DevID) {
		for id := range n {
			ids = append(ids, metadata.DevID(id+1))
		}
		return ids
	}
	for _, tc := range []struct {
		name       string
		image      func(testing.TB) *blocktest.Mem
		raised     []metadata.DevID
		to, clock  uint32
		copied     int // nodes of the details tree
		others     int // blocks of the space maps
		said       string
		stillThere []check.Code
	}{
		{"12", fixable["writable"], all(12), 1, 1, 1, 2, "mappings: snapshotted_time of 12 devices raised to 1", nil},
		{"450", fixable["writable, many"], all(450), 1, 1, 5, 2, "of 450 devices", nil},
		{"450, snapshot", fixable["writable, many, snapshot"], all(450), 1, 1, 5, 2, "of 450 devices", nil},
		{"one", fixable["writable, one of many, snapshot"], ids(200), 2, 2, 2, 2, "of 1 device raised to 2", nil},
		{"shared leaf", fixable["writable shared leaf, leaks"], ids(1, 3), 6, 9, 1, 4, "of 2 devices raised to 6", nil},
		{"clock behind", func(t testing.TB) *blocktest.Mem {
			return two(t, 10, metadata.Run{Len: 100, Time: 15})
		}, ids(1, 2), 16, 16, 1, 2, "of 2 devices raised to 16", nil},
		{"next to the last time", func(t testing.TB) *blocktest.Mem {
			return two(t, metadata.MaxTime-1, metadata.Run{Len: 100, Time: metadata.MaxTime - 1})
		}, ids(1, 2), metadata.MaxTime, metadata.MaxTime, 1, 2, "16777215", nil},
		{"last time, too", func(t testing.TB) *blocktest.Mem {
			return two(t, metadata.MaxTime, metadata.Run{Len: 100, Time: 3}, metadata.Run{Thin: 100, Data: 100, Len: 1, Time: metadata.MaxTime})
		}, ids(1, 2), 4, metadata.MaxTime, 1, 2, "raised to 4", also(check.SharedWritable, check.SharedWritable)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dev := tc.image(t)
			_, before := detailsOf(t, dev, false)
			r, faults := prepared(t, dev, check.Options{})
			for _, f := range faults {
				if f.Code == check.SharedWritable && f.Fixable() && !strings.Contains(f.Advice(), "--auto-repair") {
					t.Errorf("advice: %s", f.Advice())
				}
			}
			if err := r.Write(t.Context(), dev); err != nil || !r.Needed() {
				t.Fatalf("%v; needed: %v", err, r.Needed())
			}
			if n := len(r.Blocks()); n != tc.copied+tc.others {
				t.Errorf("%d blocks are written, want %d and %d", n, tc.copied, tc.others)
			}
			sb, after := detailsOf(t, dev, false)
			for id, d := range before {
				if slices.Contains(tc.raised, id) {
					d.SnapshottedTime = tc.to
				}
				if after[id] != d {
					t.Errorf("device %d: %+v, want %+v", id, after[id], d)
				}
			}
			if sb.Time != tc.clock || r.Superblock.Time != tc.clock {
				t.Errorf("the superblock's time is %d, want %d", sb.Time, tc.clock)
			}
			if sb.HeldRoot != 0 {
				if _, held := detailsOf(t, dev, true); !equal(held, before) {
					t.Error("the metadata snapshot sees other details than before")
				}
			}
			if said := fmt.Sprint(r.Fixed); !strings.Contains(said, tc.said) {
				t.Errorf("it says %s, not %q", said, tc.said)
			}
			left, sum := faultsOf(t, dev, check.Options{})
			var codes []check.Code
			for _, f := range left {
				codes = append(codes, f.Code)
				if f.Fixable() || f.Severity != check.Note || !strings.Contains(f.String(), "later than their time 16777215") || strings.Contains(f.Advice(), "--auto-repair") {
					t.Errorf("left: %v; %s", f.String(), f.Advice())
				}
			}
			if !slices.Equal(codes, tc.stillThere) {
				t.Errorf("left: %q", texts(left))
			}
			if sum.Fatal+sum.NonFatal > 0 {
				t.Errorf("%+v", sum)
			}
			if len(left) == 0 {
				verified(t, dev, false)
			}
		})
	}
}

func equal(a, b map[metadata.DevID]metadata.Details) bool {
	if len(a) != len(b) {
		return false
	}
	for id := range a {
		if a[id] != b[id] {
			return false
		}
	}
	return true
}

// two is two devices with the same mappings in separate leaves.
func two(t testing.TB, clock uint32, runs ...metadata.Run) *blocktest.Mem {
	f := fixtures.NewForge(t, 64, 1000)
	f.Superblock.Time = clock
	f.DeviceAt(1, f.Leaf(runs...), 0)
	f.DeviceAt(2, f.Leaf(runs...), 0)
	return f.Finish()
}

// Faults that a fix cannot handle do not count as something to write.
func TestRepairRaisesNothing(t *testing.T) {
	dev := two(t, metadata.MaxTime, metadata.Run{Len: 100, Time: metadata.MaxTime})
	r, faults := prepared(t, dev, check.Options{})
	if len(faults) != 2 || r.Needed() || len(r.Fixed) > 0 {
		t.Errorf("faults %q; fixed %v", texts(faults), r.Fixed)
	}
}

// Devices are not written to through a metadata snapshot, so what only the snapshot holds is not a
// hazard.
func TestWritableInSnapshotOnly(t *testing.T) {
	l := labOf(t, "metadata-snap")
	held := l.held()
	root := l.read(held.DetailsRoot)
	for i := range int(le.Uint32(root[nodeEntries:])) {
		l.put32(held.DetailsRoot, detailsValues+24*i+20, 0)
	}
	if held.DetailsRoot == l.sb.DetailsRoot {
		t.Fatal("the live pool has the same details")
	}
	if faults, _ := faultsOf(t, l.Mem, check.Options{}); len(faults) > 0 {
		t.Errorf("faults: %q", texts(faults))
	}
	if faults, _ := faultsOf(t, l.Mem, check.Options{Snapshot: true}); len(faults) == 0 {
		t.Error("with -m there is nothing to see either")
	}
}

// The exact number of free blocks is enough. With one less, nothing is written, except the flag if
// only that was asked for.
func TestRepairRaisesNoRoom(t *testing.T) {
	const needed = 3 // details, bitmap, index
	for free, alone := range map[int]bool{needed: false, needed - 1: false, needed - 2: true} {
		f := fixtures.NewForge(t, block.Nr(9+2+free), 1000)
		f.Superblock.Flags, f.Superblock.Time = metadata.NeedsCheck, 0
		for id := range metadata.DevID(2) {
			f.DeviceAt(id, f.Leaf(metadata.Run{Len: 200}), 0)
		}
		dev := f.Finish()
		if used := f.Next(); int(block.Blocks(dev)-used) != free {
			t.Fatalf("%d blocks are free, want %d", block.Blocks(dev)-used, free)
		}
		before := dev.Contents()
		r, _ := prepared(t, dev, check.Options{FlagAlone: alone})
		if err := r.Write(t.Context(), dev); err != nil {
			t.Fatal(err)
		}
		sb, details := detailsOf(t, dev, false)
		switch {
		case free == needed:
			if r.NoRoom != nil || sb.Time != 1 || details[0].SnapshottedTime != 1 {
				t.Errorf("%d blocks do not suffice: %v", free, r.NoRoom)
			}
		case r.NoRoom == nil || *r.NoRoom != spacemap.SpaceError{Needed: needed, Have: uint64(free)}:
			t.Errorf("%d free blocks: %v", free, r.NoRoom)
		case (sb.Flags == 0) != alone || sb.Time != 0 || !alone && !bytes.Equal(before, dev.Contents()):
			t.Errorf("%d free blocks: flags %d, time %d", free, sb.Flags, sb.Time)
		}
	}
}

// In a details tree with three levels, only the path to the device is copied, and the counts are
// right.
func TestRepairRaisesDeepTree(t *testing.T) {
	if testing.Short() {
		t.Skip("40000 devices")
	}
	const devices = 40000
	f := fixtures.NewForge(t, 2000, 1000)
	f.Held, f.Superblock.Time = true, 0
	leaf, other := f.Leaf(metadata.Run{Len: 10}), f.Leaf(metadata.Run{Len: 10})
	for id := range metadata.DevID(devices) {
		switch id {
		case 30000:
			f.DeviceAt(id, other, 0)
		default:
			f.DeviceAt(id, leaf, 1)
		}
	}
	f.Superblock.Time = 1
	dev := f.Finish()
	var top block.Data
	if err := block.Read(dev, f.Superblock.DetailsRoot, &top); err != nil {
		t.Fatal(err)
	}
	n, err := btree.Decode(f.Superblock.DetailsRoot, &top, metadata.DetailsSize)
	if err != nil || n.Leaf() {
		t.Fatal("the tree is too small")
	}
	r, _ := prepared(t, dev, check.Options{})
	if err := r.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	if left, _ := faultsOf(t, dev, check.Options{}); len(left) > 0 {
		t.Errorf("left: %q", texts(left))
	}
	_, details := detailsOf(t, dev, false)
	for id, d := range details {
		if d.SnapshottedTime != 1 {
			t.Fatalf("device %d: snapshotted at %d", id, d.SnapshottedTime)
		}
	}
}
