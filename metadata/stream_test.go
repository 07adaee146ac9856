package metadata_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// Lookup finds exactly what Runs yields, even if a node's lower bound is below its first key.
func TestLookupAgreesWithRuns(t *testing.T) {
	p := open(t, "thinned-out", metadata.Options{Parallel: 1})
	d, err := p.Device(1)
	if err != nil {
		t.Fatal(err)
	}
	mapped := map[metadata.ThinBlock]metadata.Run{}
	for r, err := range p.Runs(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range r.Len {
			at := r.Thin + metadata.ThinBlock(i)
			mapped[at] = metadata.Run{Thin: at, Data: r.Data + metadata.DataBlock(i), Len: 1, Time: r.Time}
		}
	}
	highest, _, err := p.Highest(d)
	if err != nil {
		t.Fatal(err)
	}
	for b := metadata.ThinBlock(0); b < highest+10; b += 3 {
		data, time, ok, err := p.Lookup(d, b)
		want, isMapped := mapped[b]
		if err != nil || ok != isMapped || ok && (metadata.Run{Thin: b, Data: data, Len: 1, Time: time}) != want {
			t.Fatalf("thin block %d: %d at time %d, %v, %v; want %v", b, data, time, ok, err, want)
		}
	}
}

// However a stream of runs ends, all its goroutines end, too: the bubble waits for them, and fails
// if they are blocked.
func TestRunsEndTheirGoroutines(t *testing.T) {
	image, err := fixtures.Image("wide-sharing")
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(t *testing.T, p *metadata.Pool, dev *blocktest.Mem, d metadata.Device){
		"to the end": func(t *testing.T, p *metadata.Pool, _ *blocktest.Mem, d metadata.Device) {
			for _, err := range p.Runs(t.Context(), d) {
				if err != nil {
					t.Error(err)
				}
			}
		},
		"stopped at once": func(t *testing.T, p *metadata.Pool, _ *blocktest.Mem, d metadata.Device) {
			for range p.Runs(t.Context(), d) {
				break
			}
		},
		"cancelled on the way": func(t *testing.T, p *metadata.Pool, _ *blocktest.Mem, d metadata.Device) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var last error
			for _, err := range p.Runs(ctx, d) {
				cancel()
				last = err
			}
			if last != nil && !errors.Is(last, context.Canceled) { // it may have read ahead to the end
				t.Error(last)
			}
		},
		"a bad leaf": func(t *testing.T, p *metadata.Pool, dev *blocktest.Mem, d metadata.Device) {
			m, err := p.Mappings(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			dev.FailReads(m.Forest.Leaves()[3].Block)
			var last error
			for _, err := range p.Runs(t.Context(), d) {
				last = err
			}
			if _, lost := errors.AsType[*metadata.LostError](last); !lost || !errors.Is(last, blocktest.ErrFailed) {
				t.Errorf("error %v, want a lost leaf", last)
			}
		},
		"devices stopped": func(t *testing.T, p *metadata.Pool, _ *blocktest.Mem, _ metadata.Device) {
			for range p.Devices(t.Context()) {
				break
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := blocktest.NewMemFrom(image)
				p, err := metadata.Open(dev, metadata.Options{Parallel: 4})
				if err != nil {
					t.Fatal(err)
				}
				d, err := p.Device(110)
				if err != nil {
					t.Fatal(err)
				}
				read(t, p, dev, d)
			})
		})
	}
}

// The two device trees must name the same devices.
func TestDevicesMismatch(t *testing.T) {
	for name, spoil := range map[string]func(b *block.Data){
		"id changed":   func(b *block.Data) { b[32] = 6 },
		"one more":     func(b *block.Data) { b[16] = 1 },
		"one the less": func(b *block.Data) { b[16] = 3; b[32+16] = 200 },
	} {
		t.Run(name, func(t *testing.T) {
			f := fixtures.NewForge(t, 64, 1000)
			f.Device(5, f.Leaf(metadata.Run{Len: 100}))
			f.Device(7, f.Leaf(metadata.Run{Data: 200, Len: 100}))
			dev := f.Finish()
			fixtures.Edit(t, dev, f.Superblock.DetailsRoot, spoil)
			p, err := metadata.Open(dev, metadata.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var last error
			for _, err := range p.Devices(t.Context()) {
				last = err
			}
			if _, ok := errors.AsType[*metadata.MismatchError](last); !ok || !errors.Is(last, block.ErrCorrupt) {
				t.Errorf("error %v, want a mismatch", last)
			}
		})
	}
}

// LeafSharing agrees with a walk through the leaves of each device.
func TestLeafSharing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		f := fixtures.NewForge(t, 512, 100000)
		var level []block.Nr
		for i := range 12 {
			level = append(level, f.Leaf(metadata.Run{Thin: metadata.ThinBlock(1000 * i), Data: metadata.DataBlock(100 * i), Len: 100}))
		}
		nodes := level
		for range 2 { // nodes above any of those below
			var above []block.Nr
			for range 6 {
				var children []btree.Child
				for i, nr := range level {
					if rnd.IntN(3) == 0 || i == len(level)-1 {
						children = append(children, btree.Child{Key: uint64(i), Block: nr})
					}
				}
				above = append(above, f.InnerAt(f.Next(), children...))
			}
			level, nodes = above, append(nodes, above...)
		}
		devices := make([]metadata.Device, rnd.IntN(5))
		roots := make([]block.Nr, len(devices))
		for i := range devices {
			roots[i] = nodes[rnd.IntN(len(nodes))]
			devices[i] = metadata.Device{ID: metadata.DevID(i), Root: roots[i], Details: metadata.Details{SnapshottedTime: rnd.Uint32N(10)}}
		}
		forest, err := btree.Load(t.Context(), block.NewReader(f.Mem, 1), 512, metadata.MappingSize, roots...)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]metadata.Sharing, len(forest.Leaves()))
		for _, d := range devices {
			mine := map[int]bool{}
			reach(forest, d.Root, mine)
			for leaf := range mine {
				o := &want[leaf]
				if *o = (metadata.Sharing{Any: true, Many: o.Any, LeastSnap: min(o.LeastSnap, d.SnapshottedTime)}); !o.Many {
					o.LeastSnap = d.SnapshottedTime
				}
			}
		}
		got := metadata.LeafSharing(forest, devices)
		for i := range want {
			// A device that reaches a leaf in two ways is damaged; it may count as many.
			if got[i].Any != want[i].Any || got[i].LeastSnap != want[i].LeastSnap || want[i].Many && !got[i].Many {
				t.Errorf("leaf %d: %+v, want %+v", i, got[i], want[i])
			}
		}
	}
}

// reach collects the leaves below nr.
func reach(f *btree.Forest, nr block.Nr, leaves map[int]bool) {
	role, i := f.Role(nr)
	if role == btree.LeafNode {
		leaves[i] = true
		return
	}
	for _, c := range f.Inner()[i].Children {
		reach(f, c, leaves)
	}
}
