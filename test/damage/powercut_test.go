package damage

import (
	"bytes"
	"errors"
	"testing"

	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
)

// The result of a repair is written over other metadata, and the power fails at each write. The
// device is then refused, or has its old content, or the complete result. internal/write tests what
// restore writes.
func TestRepairPowerCut(t *testing.T) {
	c := leafCase(t)
	res, err := repair.Find(t.Context(), device{c}, repair.Options{Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := metadata.Open(res.Device, metadata.Options{Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	b := write.New(write.Options{Parallel: 1})
	if err := dump.Run(t.Context(), pool, dump.Options{}, b); err != nil {
		t.Fatal(err)
	}
	old := c.Contents() // LVM repairs into a spare device, but an admin may name a copy of the damaged one
	whole := blocktest.NewMemFrom(bytes.Clone(old))
	if err := b.Write(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	want, complete := ReadAll(whole.Contents()), 0
	for op := range whole.Ops() + 1 {
		dev := blocktest.NewMemFrom(bytes.Clone(old))
		dev.FailWritesAfter(op)
		if err := b.Write(t.Context(), dev); (err == nil) != (op == whole.Ops()) {
			t.Fatalf("after %d writes: error %v", op, err)
		}
		for seed := range 5 {
			left := dev.Crash(seed)
			if bytes.Equal(left.Contents(), old) {
				continue
			}
			_, err := metadata.Open(left, metadata.Options{})
			if errors.Is(err, metadata.ErrUnformatted) {
				t.Fatalf("after %d writes, seed %d: the kernel would format the device", op, seed)
			}
			if err != nil {
				continue
			}
			complete++
			got := ReadAll(left.Contents())
			if len(got.Lost) > 0 || got.Mappings() != want.Mappings() || want.Common(got) != want.Mappings() {
				t.Fatalf("after %d writes, seed %d: the superblock is valid, but only %d of %d mappings are there: %s", op, seed, want.Common(got), want.Mappings(), lostText(got))
			}
			if sum, err := check.Run(t.Context(), left, check.Options{Parallel: 1}, func(check.Fault) {}); err != nil || sum.Fatal+sum.NonFatal > 0 {
				t.Fatalf("after %d writes, seed %d: %+v, error %v", op, seed, sum, err)
			}
		}
	}
	if complete < 5 {
		t.Errorf("%d devices are complete, want at least the 5 after the last flush", complete)
	}
}
