package check_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/test/shared"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/xmlfmt"
)

// fixable are images with something to fix and no other faults.
var fixable = map[string]func(testing.TB) *blocktest.Mem{
	"powercut":    func(t testing.TB) *blocktest.Mem { return fixtures.Mem(t, "powercut") },
	"needs-check": func(t testing.TB) *blocktest.Mem { return fixtures.Mem(t, "needs-check") },
	"leaky":       fixtures.Leaky,
	"high counts": func(t testing.TB) *blocktest.Mem {
		f := fixtures.NewForge(t, 64, 40000)
		leaf := f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200})
		f.Device(1, leaf)
		for extra, b := range []metadata.DataBlock{10, 11, 12, 17000, 33000} { // counts from 1 to 6
			for range extra + 1 {
				f.LeakData(b)
			}
		}
		return f.Finish()
	},
	"flag, leaks, snapshot": func(t testing.TB) *blocktest.Mem {
		f := fixtures.NewForge(t, 64, 1000)
		f.Held, f.Superblock.Flags = true, metadata.NeedsCheck|1<<7
		leaf := f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200})
		for id := range metadata.DevID(5) { // so that the leaf's count is in the overflow tree
			f.Device(id, leaf)
		}
		f.LeakData(500)
		f.LeakMetadata()
		return f.Finish()
	},
	"metadata overflow": func(t testing.TB) *blocktest.Mem {
		l := labOf(t, "wide-sharing")
		l.edit(l.sb.MetadataSpaceMap.RefCountRoot, func(b *block.Data) {
			if le.Uint32(b[nodeEntries:]) == 0 {
				t.Fatal("no high counts")
			}
			le.PutUint32(b[overflowValues:], le.Uint32(b[overflowValues:])+1)
		})
		return l.Mem
	},
	"nr_allocated": func(t testing.TB) *blocktest.Mem {
		l := labOf(t, "metadata-snap")
		l.put64(0, dataMap+8, 1)
		l.put64(0, metadataMap+8, 1<<40)
		return l.Mem
	},
	"wrong entries": func(t testing.TB) *blocktest.Mem {
		l := labOf(t, "metadata-snap")
		l.wrongEntry(true, 8, 5)
		l.wrongEntry(false, 12, 16320)
		return l.Mem
	},
	"two metadata bitmaps":            func(t testing.TB) *blocktest.Mem { return nearlyFull(t, 10) },
	"writable":                        func(t testing.TB) *blocktest.Mem { return fixtures.Writable(t, 12, false) },
	"writable, many":                  func(t testing.TB) *blocktest.Mem { return fixtures.Writable(t, 450, false) },
	"writable, many, snapshot":        func(t testing.TB) *blocktest.Mem { return fixtures.Writable(t, 450, true) },
	"writable, one of many, snapshot": oneWritable,
	"writable shared leaf, leaks":     sharedWritable,
}

// nearlyFull returns an image with a leak. Its space maps are in the second bitmap of the
// metadata, where few blocks are free.
func nearlyFull(t testing.TB, spare int) *blocktest.Mem {
	f := fixtures.NewForge(t, block.Nr(spacemap.PerBitmap+10+spare), 1000)
	for f.Next() < spacemap.PerBitmap {
	}
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200}))
	f.LeakData(500)
	return f.Finish()
}

// prepared plans a fix, which must not write.
func prepared(t testing.TB, dev block.Device, opt check.Options) (*check.Fix, []check.Fault) {
	t.Helper()
	var faults []check.Fault
	_, r, err := check.PlanFix(context.Background(), readOnly{dev}, opt, func(f check.Fault) { faults = append(faults, f) })
	if err != nil {
		t.Fatal(err)
	}
	return r, faults
}

// snapTime matches the time of a device's last snapshot in a dump.
var snapTime = regexp.MustCompile(` snap_time="\d+"`)

// dumped returns a dump without the flags and the times that a fix may raise.
func dumped(t testing.TB, dev block.Device) string {
	t.Helper()
	pool, err := metadata.Open(dev, metadata.Options{Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	pool.Superblock.Flags, pool.Superblock.Time = 0, 0
	var out bytes.Buffer
	w := xmlfmt.NewWriter(&out, xmlfmt.Style1)
	if err := dump.Run(context.Background(), pool, dump.Options{}, w); err != nil {
		t.Fatal(err)
	}
	return snapTime.ReplaceAllString(out.String(), "")
}

// kept checks that r changed only the blocks it names, and in block 0 only what it may.
func kept(t testing.TB, before, after []byte, r *check.Fix) {
	t.Helper()
	may := map[block.Nr]bool{0: true}
	for _, nr := range r.Blocks() {
		may[nr] = true
	}
	for nr := range block.Nr(len(before) / block.Size) {
		if !may[nr] && !bytes.Equal(before[nr*block.Size:(nr+1)*block.Size], after[nr*block.Size:(nr+1)*block.Size]) {
			t.Errorf("block %d was changed", nr)
		}
	}
	raised := slices.ContainsFunc(r.Fixed, func(m check.Fixed) bool { return m.Code == check.SharedWritable })
	for at := range block.Size {
		field := at < nodeBlocknr || at >= dataMap+8 && at < dataMap+32 || at >= metadataMap+8 && at < metadataMap+32
		field = field || raised && (at >= poolTime && at < poolTime+4 || at >= detailsRoot && at < detailsRoot+8)
		if before[at] != after[at] && !field {
			t.Errorf("byte %d of block 0 was changed", at)
		}
	}
}

func TestRepair(t *testing.T) {
	for name, image := range fixable {
		t.Run(name, func(t *testing.T) {
			dev := image(t)
			before, dump := dev.Contents(), dumped(t, dev)
			r, faults := prepared(t, dev, check.Options{})
			if len(faults) == 0 || !r.Needed() || r.NoRoom != nil {
				t.Fatalf("nothing to fix: %v", r.NoRoom)
			}
			if err := r.Write(t.Context(), dev); err != nil {
				t.Fatal(err)
			}
			left, _ := faultsOf(t, dev, check.Options{})
			left = slices.DeleteFunc(left, func(f check.Fault) bool { return f.Code == check.FlagsUnknown })
			if len(left) > 0 {
				t.Errorf("left: %q", texts(left))
			}
			kept(t, before, dev.Contents(), r)
			if diff := cmp.Diff(dump, dumped(t, dev)); diff != "" {
				t.Errorf("dump (-want +got):\n%s", diff)
			}
			var n uint64
			for _, m := range r.Fixed {
				n += m.Faults
			}
			if n != uint64(len(slices.DeleteFunc(faults, func(f check.Fault) bool { return !f.Fixable() }))) {
				t.Errorf("%d faults are fixed, it says", n)
			}
			verified(t, dev, name == "flag, leaks, snapshot")
			// A fixed image needs no further fix.
			if again, _ := prepared(t, dev, check.Options{}); again.Needed() || len(again.Blocks()) > 0 {
				t.Errorf("fixed twice: %v", again.Fixed)
			}
		})
	}
}

// verified runs the independent checker, if it is there. Unless notes are allowed, there must be
// none.
func verified(t *testing.T, dev *blocktest.Mem, notes bool) {
	t.Helper()
	verifier := shared.Optional(t, "design", "verify_format.py")
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Logf("not verified: %v", err)
	}
	if err != nil || verifier == "" {
		return
	}
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, dev.Contents(), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{verifier, path}
	if !notes {
		args = append(args, "--strict")
	}
	if out, err := exec.Command(python, args...).CombinedOutput(); err != nil {
		t.Errorf("the independent checker: %v\n%s", err, out)
	}
}

// For each image with one fault, the fix repairs what it says it can or, if a fault is fatal,
// nothing.
func TestRepairInvariants(t *testing.T) {
	run := func(image []byte, tables ...[]spoiled) {
		for _, tc := range slices.Concat(tables...) {
			t.Run(tc.name, func(t *testing.T) {
				l := newLab(t, image)
				tc.spoil(l)
				testFixed(t, l.Mem)
			})
		}
	}
	image, err := fixtures.Image("deleted-discarded")
	if err != nil {
		t.Fatal(err)
	}
	run(image, brokenBlocks, brokenTrees, brokenDevices, brokenSpaceMaps)
	if image, err = fixtures.Image("metadata-snap"); err != nil {
		t.Fatal(err)
	}
	run(image, brokenSnapshots)
}

// testFixed fixes dev and checks that only unfixable faults remain.
func testFixed(t testing.TB, dev *blocktest.Mem) {
	t.Helper()
	var faults []check.Fault
	sum, r, err := check.PlanFix(context.Background(), readOnly{dev}, check.Options{Parallel: 2}, func(f check.Fault) { faults = append(faults, f) })
	if (r == nil) != (sum.Fatal > 0 || err != nil) {
		t.Fatalf("%d fatal faults, repair: %v, error %v", sum.Fatal, r != nil, err)
	}
	if err != nil && err != check.ErrVersion {
		t.Fatal(err)
	}
	if r == nil || r.NoRoom != nil {
		return
	}
	before := dev.Contents()
	if err := r.Write(context.Background(), dev); err != nil {
		t.Fatal(err)
	}
	kept(t, before, dev.Contents(), r)
	if !r.Needed() && !bytes.Equal(before, dev.Contents()) {
		t.Error("it wrote without need")
	}
	want := texts(remaining(faults, r))
	left, _ := faultsOf(t, dev, check.Options{Parallel: 2})
	if diff := cmp.Diff(want, texts(left)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// remaining returns the faults that r leaves.
func remaining(faults []check.Fault, r *check.Fix) []check.Fault {
	return slices.DeleteFunc(slices.Clone(faults), func(f check.Fault) bool {
		return f.Fixable() || f.Code == check.TimeTooHigh && slices.ContainsFunc(r.Fixed, func(m check.Fixed) bool { return m.Code == f.Code })
	})
}

// Any number of leaks anywhere is fixed, in a forged image of any shape. Whatever fails on the
// way, the device holds the old or the new metadata.
func TestRepairProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := fixtures.NewForge(t, block.Nr(rapid.IntRange(48, 90).Draw(rt, "blocks")), 50000)
		f.Held = rapid.Bool().Draw(rt, "held")
		f.Superblock.Flags = uint32(rapid.IntRange(0, 1).Draw(rt, "flags"))
		leaf := f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200})
		for id := range metadata.DevID(rapid.IntRange(0, 6).Draw(rt, "devices")) {
			f.DeviceAt(id, leaf, rapid.Uint32Range(0, 1).Draw(rt, "snapshotted")) // at 0, it would write in place
		}
		for range rapid.IntRange(0, 30).Draw(rt, "data leaks") {
			b := metadata.DataBlock(rapid.Uint64Range(0, 49999).Draw(rt, "data"))
			for range rapid.IntRange(1, 5).Draw(rt, "times") {
				f.LeakData(b)
			}
		}
		for range rapid.IntRange(0, 10).Draw(rt, "leaks") {
			f.LeakMetadata()
		}
		dev := f.Finish()
		old := texts(first(faultsOf(t, dev, check.Options{})))
		dump, image := dumped(t, dev), dev.Contents()
		r, _ := prepared(t, dev, check.Options{})
		if r.NoRoom != nil {
			rt.Fatal(r.NoRoom)
		}
		dev.FailWritesAfter(rapid.IntRange(0, 10).Draw(rt, "fails"))
		err := r.Write(t.Context(), dev)
		left := texts(first(faultsOf(t, dev, check.Options{})))
		if err == nil && anyFixable(left) {
			rt.Errorf("left: %q", left)
		}
		cut := dev.Crash(rapid.Int().Draw(rt, "seed"))
		atCut := texts(first(faultsOf(t, cut, check.Options{})))
		if anyFixable(atCut) && !slices.Equal(old, atCut) {
			rt.Errorf("after a power cut: %q", atCut)
		}
		if got := dumped(t, cut); got != dump {
			rt.Errorf("dump after a power cut:\n%s", cmp.Diff(dump, got))
		}
		kept(t, image, cut.Contents(), r)
	})
}

func first[A, B any](a A, _ B) A { return a }

// anyFixable reports whether a forged image has faults besides its small nodes.
func anyFixable(faults []string) bool {
	return slices.ContainsFunc(faults, func(s string) bool { return !strings.Contains(s, string(check.NodeUnderfull)) })
}

// Without enough room, nothing is written. The flag alone can be cleared if only leaks remain. The
// exact number of blocks is enough.
func TestRepairNoRoom(t *testing.T) {
	const needed = 4 // a bitmap and an index of each map
	for _, tc := range []struct {
		free  int
		alone bool
		grave bool
		flag  bool // is cleared
	}{
		{needed, false, false, true},
		{needed - 1, false, false, false},
		{needed - 1, true, false, true},
		{needed - 1, true, true, false},
		{0, true, false, true},
	} {
		t.Run(fmt.Sprintf("%+v", tc), func(t *testing.T) {
			dev := full(t, tc.free, tc.grave)
			before := dev.Contents()
			r, _ := prepared(t, dev, check.Options{FlagAlone: tc.alone})
			if err := r.Write(t.Context(), dev); err != nil {
				t.Fatal(err)
			}
			if tc.free < needed && (r.NoRoom == nil || *r.NoRoom != spacemap.SpaceError{Needed: needed, Have: uint64(tc.free)}) {
				t.Errorf("no room: %v, want %d and %d", r.NoRoom, needed, tc.free)
			}
			if (r.NoRoom == nil) != (tc.free == needed) || r.Needed() != tc.flag || !tc.flag && !bytes.Equal(before, dev.Contents()) {
				t.Errorf("no room: %v; something was written: %v", r.NoRoom, r.Needed())
			}
			kept(t, before, dev.Contents(), r)
			left, sum := faultsOf(t, dev, check.Options{})
			if flag := !slices.ContainsFunc(left, func(f check.Fault) bool { return f.Code == check.NeedsCheckSet }); flag != tc.flag {
				t.Errorf("flag cleared: %v, want %v", flag, tc.flag)
			}
			if fixed := sum.DataLeaks == 0; fixed != (tc.free == needed) {
				t.Errorf("leaks fixed: %v", fixed)
			}
		})
	}
}

// full returns a flagged image with a data leak and the given number of free metadata blocks. If
// grave is set, one count is also too high.
func full(t testing.TB, free int, grave bool) *blocktest.Mem {
	f := fixtures.NewForge(t, block.Nr(11+free), 1000)
	f.Superblock.Flags = metadata.NeedsCheck
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200}))
	f.Device(2, f.Leaf())
	f.LeakData(500)
	if grave {
		f.LeakData(10)
	}
	return f.Finish()
}

// If the rest of the metadata's last bitmap is too small, blocks of another are used, and that
// bitmap is also written.
func TestRepairMoreBitmaps(t *testing.T) {
	for spare, want := range map[int]int{1: 5, 3: 5, 4: 4} {
		dev := nearlyFull(t, spare)
		r, _ := prepared(t, dev, check.Options{})
		if r.NoRoom != nil || len(r.Blocks()) != want {
			t.Errorf("%d spare blocks: %d blocks are written, want %d; %v", spare, len(r.Blocks()), want, r.NoRoom)
		}
		if err := r.Write(t.Context(), dev); err != nil {
			t.Fatal(err)
		}
		if left, _ := faultsOf(t, dev, check.Options{}); len(left) > 0 {
			t.Errorf("left: %q", texts(left))
		}
	}
}

// Superblock fields that a fix does not touch stay the same: for example the uuid and currently
// unused bytes.
func TestRepairKeepsSuperblock(t *testing.T) {
	for _, opt := range []check.Options{{}, {FlagAlone: true}, {SuperblockOnly: true}} {
		dev := fixable["flag, leaks, snapshot"](t)
		const uuid, flagsOfFeatures, unused = 16, 352, 4000
		fixtures.Edit(t, dev, 0, func(b *block.Data) { b[uuid], b[uuid+15], b[flagsOfFeatures], b[unused] = 1, 2, 3, 4 })
		before := dev.Contents()
		r, _ := prepared(t, dev, opt)
		if err := r.Write(t.Context(), dev); err != nil || !r.Needed() {
			t.Fatalf("%v; something to fix: %v", err, r.Needed())
		}
		kept(t, before, dev.Contents(), r)
	}
}

// The smaller checks clear the flag and fix nothing else.
func TestRepairFlagOnly(t *testing.T) {
	for _, opt := range []check.Options{{SuperblockOnly: true}, {SkipMappings: true}} {
		dev := fixable["flag, leaks, snapshot"](t)
		before := dev.Contents()
		r, _ := prepared(t, dev, opt)
		if err := r.Write(t.Context(), dev); err != nil {
			t.Fatal(err)
		}
		after := dev.Contents()
		if after[flags] != 1<<7 {
			t.Errorf("flags %#x", after[flags])
		}
		copy(after[:8], before) // flags, checksum
		if !bytes.Equal(before, after) {
			t.Error("more than the flag was changed")
		}
	}
	// A sound image is not changed.
	for _, opt := range []check.Options{{SuperblockOnly: true}, {SkipMappings: true}, {}} {
		dev := fixtures.Mem(t, "layers")
		r, _ := prepared(t, dev, opt)
		if err := r.Write(t.Context(), readOnly{dev}); err != nil || r.Needed() || len(r.Fixed) > 0 {
			t.Errorf("a sound image: %v, %v", err, r.Fixed)
		}
	}
}

// Metadata that changed since the check is not written to. An interrupted fix writes nothing.
func TestRepairChanged(t *testing.T) {
	dev := fixtures.Leaky(t)
	r, _ := prepared(t, dev, check.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Write(ctx, dev); err != context.Canceled || dev.Ops() > 22 {
		t.Errorf("cancelled: %v", err)
	}
	fixtures.Edit(t, dev, 0, func(b *block.Data) { b[poolTime]++ })
	before := dev.Contents()
	if err := r.Write(t.Context(), dev); err != check.ErrChanged || !bytes.Equal(before, dev.Contents()) {
		t.Errorf("changed: %v", err)
	}
}
