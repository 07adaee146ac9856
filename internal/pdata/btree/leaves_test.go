package btree_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// listLeaves lists in short form what Leaves yields, in the format of describe.
func listLeaves(t *testing.T, dev block.Device, root block.Nr, want btree.KeyRange) []string {
	t.Helper()
	var s []string
	for p, err := range btree.Leaves(t.Context(), block.NewReader(dev, 2), block.Blocks(dev), 8, root, want) {
		switch {
		case err != nil:
			t.Fatal(err)
		case p.Err == nil:
			s = append(s, fmt.Sprintf("%v: leaf %d", p.Keys, p.Block))
		default:
			s = append(s, fmt.Sprintf("%v: lost: %v", p.Keys, p.Err))
		}
	}
	return s
}

// For all kernel-made trees, Leaves yields what a Forest has, and for each single key the one leaf
// that may hold it.
func TestLeaves(t *testing.T) {
	for _, name := range fixtures.Names() {
		dev := fixtures.Mem(t, name)
		pool, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		tested := 0
		for d, err := range pool.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if tested++; tested > 20 {
				break
			}
			f, err := btree.Load(t.Context(), pool.Reader(), pool.Limit(), 8, d.Root)
			if err != nil {
				t.Fatal(err)
			}
			all := describe(f, d.Root)
			if len(all) > 2000 {
				t.Fatal("too many leaves for this test")
			}
			if diff := cmp.Diff(all, listLeaves(t, dev, d.Root, btree.AllKeys)); diff != "" {
				t.Errorf("%s, device %d: %s", name, d.ID, diff)
			}
			for i, p := range slices.Collect(f.LeafRanges(d.Root)) {
				for _, key := range []uint64{p.Keys.First, p.Keys.Last} {
					got := listLeaves(t, dev, d.Root, btree.KeyRange{First: key, Last: key})
					if diff := cmp.Diff(all[i:i+1], got); diff != "" {
						t.Errorf("%s, device %d, key %d: %s", name, d.ID, key, diff)
					}
				}
			}
		}
	}
}

// Damage only costs what it reaches, whatever the shape of the tree, and loops end.
func TestLeavesLost(t *testing.T) {
	f := fixtures.NewForge(t, forgeBlocks, 100000)
	var leaves []block.Nr
	for i := range uint64(6) {
		leaves = append(leaves, leaf(f, 100+i*100, 50))
	}
	low, high := f.Inner(leaves[:3]...), f.Inner(leaves[3:]...)
	loop := f.Next()
	f.InnerAt(loop, btree.Child{Key: 5, Block: loop}, btree.Child{Key: 50, Block: leaves[0]})
	outside := f.InnerAt(f.Next(), btree.Child{Key: 100, Block: leaves[0]}, btree.Child{Key: 120, Block: 1 << 40})
	root := f.Inner(low, high)
	dev := f.Finish()
	broken := fixtures.Small(t).Contents()[:block.Size] // of another kind
	damage := func(nr block.Nr) {
		if err := block.Write(dev, nr, (*block.Data)(broken)); err != nil {
			t.Fatal(err)
		}
	}
	ranges := func(root block.Nr, want btree.KeyRange) (s []string) {
		for p, err := range btree.Leaves(t.Context(), block.NewReader(dev, 2), block.Blocks(dev), 8, root, want) {
			switch {
			case err != nil:
				t.Fatal(err)
			case p.Err != nil:
				if !errors.Is(p.Err, block.ErrCorrupt) {
					t.Errorf("%v: %v is not damage", p.Keys, p.Err)
				}
				s = append(s, "lost "+p.Keys.String())
			default:
				s = append(s, p.Keys.String())
			}
		}
		return s
	}
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	check("from 250 to 450", ranges(root, btree.KeyRange{First: 250, Last: 449}), "keys 200..299", "keys 300..399", "keys 400..499")
	check("before all keys", ranges(root, btree.KeyRange{First: 3, Last: 99}))
	check("loop", ranges(loop, btree.AllKeys), "lost keys 5..49", "keys from 50 on")
	check("outside", ranges(outside, btree.AllKeys), "lost keys 100..119", "lost keys from 120 on")
	check("no root", ranges(0, btree.AllKeys), "lost keys from 0 on")
	damage(leaves[1])
	check("leaf", ranges(low, btree.AllKeys), "keys 100..199", "lost keys 200..299", "keys from 300 on")
	damage(high)
	check("inner node", ranges(root, btree.KeyRange{First: 250, Last: math.MaxUint64}), "lost keys 200..299", "keys 300..399", "lost keys from 400 on")
	dev.FailReads(leaves[2])
	for p, err := range btree.Leaves(t.Context(), block.NewReader(dev, 2), block.Blocks(dev), 8, root, btree.KeyRange{First: 350, Last: 350}) {
		if err != nil || !errors.Is(p.Err, blocktest.ErrFailed) {
			t.Errorf("a read that fails: %v, %v", p.Err, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range btree.Leaves(ctx, block.NewReader(dev, 2), block.Blocks(dev), 8, root, btree.AllKeys) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}
