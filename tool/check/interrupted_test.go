package check_test

import (
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
)

// Wherever a write, a flush or the power fails, the device holds the old or the new metadata, with
// the same mappings.
func TestRepairInterrupted(t *testing.T) {
	for name, image := range fixable {
		large := name == "metadata overflow" || strings.HasPrefix(name, "writable, many")
		if name == "two metadata bitmaps" || testing.Short() && large { // slow, and adds little
			continue
		}
		t.Run(name, func(t *testing.T) {
			dev := image(t)
			before, dump := dev.Contents(), dumped(t, dev)
			r, faults := prepared(t, dev, check.Options{})
			old := texts(faults)
			var fixed []string
			for _, f := range faults {
				if !f.Fixable() {
					fixed = append(fixed, f.String())
				}
			}
			dev = blocktest.NewMemFrom(slices.Clone(before))
			if err := r.Write(t.Context(), dev); err != nil {
				t.Fatal(err)
			}
			ops := dev.Ops()
			for n := range ops {
				dev := blocktest.NewMemFrom(slices.Clone(before))
				dev.FailWritesAfter(n)
				if err := r.Write(t.Context(), dev); err == nil {
					t.Errorf("no error when operation %d fails", n)
				}
				for seed := range 5 {
					cut := dev.Crash(seed)
					got := texts(first(faultsOf(t, cut, check.Options{})))
					if !slices.Equal(got, old) && (!slices.Equal(got, fixed) || n < ops-2) {
						t.Errorf("operation %d, seed %d: %q", n, seed, got)
					}
					if dumped(t, cut) != dump {
						t.Errorf("operation %d, seed %d: another dump", n, seed)
					}
					// A second fix completes the work.
					again, _ := prepared(t, cut, check.Options{})
					if err := again.Write(t.Context(), cut); err != nil {
						t.Fatal(err)
					}
					if got := texts(first(faultsOf(t, cut, check.Options{}))); !slices.Equal(got, fixed) {
						t.Errorf("operation %d, seed %d, fixed again: %q", n, seed, got)
					}
				}
			}
			if got := texts(first(faultsOf(t, dev.Crash(1), check.Options{}))); !slices.Equal(got, fixed) {
				t.Errorf("a power cut after the end: %q", got)
			}
		})
	}
}

// If an earlier process left the superblock in a cache, it is flushed before free blocks are
// written.
func TestRepairFlushesFirst(t *testing.T) {
	dev := fixtures.Leaky(t)
	r, _ := prepared(t, dev, check.Options{})
	if err := r.Write(t.Context(), &blocktest.Unflushed{Mem: dev}); err != nil {
		t.Error(err)
	}
}
