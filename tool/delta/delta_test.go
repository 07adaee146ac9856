package delta_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/delta"
)

// A mapping maps thin blocks to data blocks.
type mapping map[metadata.ThinBlock]metadata.DataBlock

// naive compares two devices block by block.
func naive(left, right mapping, opt delta.Options) []delta.Range {
	blocks := map[metadata.ThinBlock]bool{}
	for b := range left {
		blocks[b] = true
	}
	for b := range right {
		blocks[b] = true
	}
	sorted := make([]metadata.ThinBlock, 0, len(blocks))
	for b := range blocks {
		sorted = append(sorted, b)
	}
	slices.Sort(sorted)
	var ranges []delta.Range
	for _, b := range sorted {
		l, inLeft := left[b]
		r, inRight := right[b]
		next := delta.Range{Kind: delta.Different, Begin: b, Len: 1, Left: l, Right: r}
		switch {
		case !inRight:
			next.Kind = delta.LeftOnly
		case !inLeft:
			next.Kind = delta.RightOnly
		case l == r:
			next.Kind = delta.Same
		}
		if opt.Blocks != 0 && uint64(b) >= opt.Blocks || opt.OmitSame && next.Kind == delta.Same {
			continue
		}
		if n := len(ranges); n > 0 {
			last := &ranges[n-1]
			grown := metadata.DataBlock(last.Len)
			goesOn := (!inLeft || l == last.Left+grown) && (!inRight || r == last.Right+grown)
			if last.Kind == next.Kind && b == last.Begin+metadata.ThinBlock(last.Len) && (goesOn || !opt.Data) {
				last.Len++
				continue
			}
		}
		ranges = append(ranges, next)
	}
	return ranges
}

func open(t testing.TB, dev block.Device) *metadata.Pool {
	t.Helper()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tree(t testing.TB, p *metadata.Pool, id metadata.DevID) metadata.MappingTree {
	t.Helper()
	found, err := p.MappingTree(id)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// compare runs the comparison and returns all ranges.
func compare(ctx context.Context, p *metadata.Pool, left, right metadata.MappingTree, opt delta.Options) ([]delta.Range, error) {
	var all []delta.Range
	err := delta.Run(ctx, p, left, right, opt, func(ranges []delta.Range) error {
		all = append(all, ranges...)
		return nil
	})
	return all, err
}

// A forest is two trees that share leaves and internal nodes, and their mappings.
type forest struct {
	dev    *blocktest.Mem
	maps   [2]mapping
	shared []block.Nr // shared by both at the same place, except on the way to the first leaves
}

const (
	sections    = 12 // of thin blocks; one leaf covers each
	sectionSize = 30
	group       = 3 // leaves of an internal node
)

// drawForest makes two trees that use, for each section, one of three leaves or none.
func drawForest(t *rapid.T, tb testing.TB) forest {
	f := fixtures.NewForge(tb, 200, 100000)
	result := forest{maps: [2]mapping{{}, {}}}
	leaves := map[[2]int]block.Nr{}
	content := map[block.Nr][]metadata.Run{}
	leaf := func(section, variant int) block.Nr {
		nr, ok := leaves[[2]int{section, variant}]
		if !ok {
			at := uint64(section * sectionSize)
			end := at + sectionSize
			var runs []metadata.Run
			for at < end {
				r := metadata.Run{
					Thin: metadata.ThinBlock(at), Len: min(rapid.Uint64Range(1, 10).Draw(t, "length"), end-at),
					Data: metadata.DataBlock(at + 1000*rapid.Uint64Range(1, 3).Draw(t, "data")),
				}
				runs = append(runs, r)
				at += r.Len + rapid.Uint64Range(0, 2).Draw(t, "gap")
			}
			nr = f.Leaf(runs...)
			leaves[[2]int{section, variant}], content[nr] = nr, runs
		}
		return nr
	}
	nodes := map[string]block.Nr{}
	inner := func(children []block.Nr) block.Nr {
		key := fmt.Sprint(children)
		if nodes[key] == 0 {
			nodes[key] = f.Inner(children...)
		}
		return nodes[key]
	}
	for side := range 2 {
		most := rapid.IntRange(0, sections).Draw(t, "sections")
		var level []block.Nr
		for section := range most {
			variant := rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, -1}).Draw(t, "variant")
			if variant < 0 {
				continue
			}
			nr := leaf(section, variant)
			level = append(level, nr)
			for _, r := range content[nr] {
				for i := range r.Len {
					result.maps[side][r.Thin+metadata.ThinBlock(i)] = r.Data + metadata.DataBlock(i)
				}
			}
		}
		if len(level) == 0 {
			level = []block.Nr{f.Leaf()}
		}
		for len(level) > 1 {
			var above []block.Nr
			for children := range slices.Chunk(level, group) {
				above = append(above, inner(children))
			}
			level = above
		}
		f.Device(metadata.DevID(side), level[0])
	}
	result.dev = f.Finish()
	result.shared = inBoth(tb, result.dev)
	return result
}

// inBoth returns the leaves and internal nodes that both devices have with the same key range,
// except those on the way to the first leaf of either, which are read to find the height.
func inBoth(tb testing.TB, dev block.Device) []block.Nr {
	p := open(tb, dev)
	type place struct {
		nr   block.Nr
		keys btree.KeyRange
	}
	places := [2]map[place]bool{{}, {}}
	guides := map[block.Nr]bool{}
	for side := range 2 {
		var walk func(nr block.Nr, keys btree.KeyRange, first bool)
		walk = func(nr block.Nr, keys btree.KeyRange, first bool) {
			var b block.Data
			if err := p.Reader().Read(nr, &b); err != nil {
				tb.Fatal(err)
			}
			n, err := btree.Decode(nr, &b, metadata.MappingSize)
			if err != nil {
				tb.Fatal(err)
			}
			places[side][place{nr, keys}] = true
			if first {
				guides[nr] = true
			}
			for i := 0; !n.Leaf() && i < n.Len(); i++ {
				child := btree.KeyRange{First: n.Key(i), Last: keys.Last}
				if i+1 < n.Len() {
					child.Last = n.Key(i+1) - 1
				}
				walk(block.Nr(n.Uint64(i)), child, first && i == 0)
			}
		}
		walk(tree(tb, p, metadata.DevID(side)).Root, btree.AllKeys, true)
	}
	var shared []block.Nr
	for at := range places[0] {
		if places[1][at] && !guides[at.nr] {
			shared = append(shared, at.nr)
		}
	}
	return shared
}

// Whatever the trees share, the result is the same as block by block. What they share is only read
// if Same ranges are wanted.
func TestAgainstNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := drawForest(rt, t)
		opt := delta.Options{
			Data:     rapid.Bool().Draw(rt, "with data"),
			OmitSame: rapid.Bool().Draw(rt, "omit same"),
			Blocks:   rapid.Uint64Range(0, sections*sectionSize).Draw(rt, "blocks"),
		}
		if opt.OmitSame {
			f.dev.FailReads(f.shared...)
		}
		p := open(t, f.dev)
		got, err := compare(t.Context(), p, tree(t, p, 0), tree(t, p, 1), opt)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(naive(f.maps[0], f.maps[1], opt), got); diff != "" {
			rt.Fatalf("%+v: (-want +got)\n%s", opt, diff)
		}
	})
}

// content reads all mappings of a device.
func content(p *metadata.Pool, d metadata.Device) (mapping, error) {
	m := mapping{}
	for r, err := range p.Runs(context.Background(), d) {
		if err != nil {
			return nil, err
		}
		for i := range r.Len {
			m[r.Thin+metadata.ThinBlock(i)] = r.Data + metadata.DataBlock(i)
		}
	}
	return m, nil
}

// All kernel-made images, pair by pair unless there are too many.
func TestKernelImages(t *testing.T) {
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			p := open(t, fixtures.Mem(t, name))
			var ids []metadata.DevID
			var maps []mapping
			for d, err := range p.Devices(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if len(ids) == 6 {
					break
				}
				m, err := content(p, d)
				if err != nil {
					t.Fatal(err)
				}
				ids, maps = append(ids, d.ID), append(maps, m)
			}
			for i := range ids {
				for j := range ids {
					for _, opt := range []delta.Options{{}, {Data: true}, {OmitSame: true, Data: j%2 == 0}, {Blocks: 1000}} {
						got, err := compare(t.Context(), p, tree(t, p, ids[i]), tree(t, p, ids[j]), opt)
						if err != nil {
							t.Fatal(err)
						}
						if want := naive(maps[i], maps[j], opt); !slices.Equal(got, want) {
							t.Fatalf("devices %d and %d, %+v: (-want +got)\n%.2000s", ids[i], ids[j], opt, cmp.Diff(want, got))
						}
					}
				}
			}
		})
	}
}

// Damage anywhere causes an error if and only if one of the devices cannot be read completely. It
// never changes the result.
func TestDamagedAnywhere(t *testing.T) {
	names := []string{"metadata-snap", "layers", "thinned-out"}
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		dev := fixtures.Mem(t, names[seed%uint64(len(names))])
		for range 1 + rnd.IntN(3) {
			nr := block.Nr(1 + rnd.IntN(int(block.Blocks(dev))-1))
			var b block.Data
			if block.Read(dev, nr, &b) != nil || block.KindOf(&b) != block.Node {
				continue
			}
			fixtures.Edit(t, dev, nr, func(b *block.Data) {
				b[16+rnd.IntN(200)] = byte(rnd.IntN(256))
			})
		}
		p := open(t, dev)
		d1, err1 := p.Device(1)
		d2, err2 := p.Device(2)
		if err1 != nil || err2 != nil {
			continue // the path to the devices is damaged
		}
		left, err1 := content(p, d1)
		right, err2 := content(p, d2)
		got, err := compare(t.Context(), p, tree(t, p, 1), tree(t, p, 2), delta.Options{})
		if (err != nil) != (err1 != nil || err2 != nil) {
			t.Fatalf("seed %d: %v; reading the devices: %v, %v", seed, err, err1, err2)
		}
		if err == nil && !slices.Equal(got, naive(left, right, delta.Options{})) {
			t.Fatalf("seed %d: differs", seed)
		}
		if err != nil && !errors.Is(err, block.ErrCorrupt) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		_, _ = compare(t.Context(), p, tree(t, p, 1), tree(t, p, 2), delta.Options{OmitSame: true, Blocks: 500})
	}
}

// An error says which device or tree lost which blocks. The ranges before it were delivered.
func TestDamage(t *testing.T) {
	forge := func() (*fixtures.Forge, block.Nr, block.Nr) {
		f := fixtures.NewForge(t, 50, 10000)
		run := func(thin, data uint64) metadata.Run {
			return metadata.Run{Thin: metadata.ThinBlock(thin), Data: metadata.DataBlock(data), Len: 10}
		}
		a, b, c := f.Leaf(run(0, 100)), f.Leaf(run(10, 200)), f.Leaf(run(10, 300))
		left, right := f.Inner(a, b), f.Inner(a, c)
		f.Device(1, left)
		f.Device(2, right)
		return f, a, c
	}
	f, _, unshared := forge()
	dev := f.Finish()
	p := open(t, dev)
	dev.FailReads(unshared)
	got, err := compare(t.Context(), p, tree(t, p, 1), tree(t, p, 2), delta.Options{})
	lost, ok := errors.AsType[*metadata.LostError](err)
	if !ok || lost.ID != 2 || lost.Keys != (btree.KeyRange{First: 10, Last: math.MaxUint64}) || !strings.HasPrefix(err.Error(), "device 2: lost the mappings of keys from 10 on: ") {
		t.Errorf("a lost leaf: %v", err)
	}
	if !slices.Equal(got, []delta.Range{{Kind: delta.Same, Begin: 0, Len: 10, Left: 100, Right: 100}}) {
		t.Errorf("before the damage: %v", got)
	}
	loose := tree(t, p, 2)
	loose.ByRoot = true
	_, err = compare(t.Context(), p, tree(t, p, 1), loose, delta.Options{})
	if want := fmt.Sprintf("mapping tree at block %d: lost the mappings of keys from 10 on: ", loose.Root); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("a lost leaf of a root: %v", err)
	}
	if _, err := compare(t.Context(), p, tree(t, p, 1), loose, delta.Options{Blocks: 10}); err != nil {
		t.Errorf("damage beyond the end of the device: %v", err)
	}
	_, err = compare(t.Context(), p, tree(t, p, 1), metadata.MappingTree{Root: 1 << 40, ByRoot: true}, delta.Options{})
	if _, ok := errors.AsType[*btree.PointerError](err); !ok {
		t.Errorf("a root beyond the metadata: %v", err)
	}
	_, err = compare(t.Context(), p, tree(t, p, 1), metadata.MappingTree{Root: p.Superblock.DetailsRoot, ByRoot: true}, delta.Options{})
	if !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("a root of another tree: %v", err)
	}

	f, shared, _ := forge()
	dev = f.Finish()
	p = open(t, dev)
	dev.FailReads(shared)
	if _, err = compare(t.Context(), p, tree(t, p, 1), tree(t, p, 2), delta.Options{}); err == nil || !strings.HasPrefix(err.Error(), "device 1: lost the mappings of keys 0..9: ") {
		t.Errorf("a lost leaf that is shared: %v", err)
	}
	if _, err := compare(t.Context(), p, tree(t, p, 1), tree(t, p, 2), delta.Options{OmitSame: true}); err != nil {
		t.Errorf("a shared leaf is read without need: %v", err)
	}
	dev.FailReads(loose.Root)
	if got, err := compare(t.Context(), p, loose, loose, delta.Options{OmitSame: true}); err != nil || len(got) > 0 {
		t.Errorf("a tree that is the same on both sides is read without need: %v, %v", got, err)
	}
}

// The walk of a tree with a loop terminates.
func TestLoop(t *testing.T) {
	f := fixtures.NewForge(t, 50, 1000)
	leaf := f.Leaf(metadata.Run{Thin: 0, Data: 1, Len: 5})
	loop := f.Next()
	f.InnerAt(loop, btree.Child{Key: 0, Block: leaf}, btree.Child{Key: 10, Block: loop})
	f.Device(1, loop)
	deep := f.Next()
	f.InnerAt(deep, btree.Child{Key: 0, Block: deep}, btree.Child{Key: 10, Block: deep})
	f.Device(2, deep)
	p := open(t, f.Finish())
	for _, ids := range [][2]metadata.DevID{{1, 2}, {2, 1}, {1, 1}, {2, 2}} {
		if _, err := compare(t.Context(), p, tree(t, p, ids[0]), tree(t, p, ids[1]), delta.Options{}); !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("%v: %v", ids, err)
		}
	}
}

// Keys that leave no range for a child are damage, even if the child is empty: the order of
// everything after it depends on them.
func TestKeysOutOfOrder(t *testing.T) {
	f := fixtures.NewForge(t, 50, 1000)
	run := func(thin uint64) metadata.Run {
		return metadata.Run{Thin: metadata.ThinBlock(thin), Data: metadata.DataBlock(thin), Len: 5}
	}
	empty, last := f.Leaf(), f.Leaf(run(300))
	odd := f.InnerAt(f.Next(), btree.Child{Key: 0, Block: f.Leaf(run(0))}, btree.Child{Key: 500, Block: empty})
	f.Device(1, f.InnerAt(f.Next(), btree.Child{Key: 0, Block: odd}, btree.Child{Key: 200, Block: f.Leaf(run(200))}, btree.Child{Key: 300, Block: last}))
	f.Device(2, f.InnerAt(f.Next(), btree.Child{Key: 0, Block: f.Leaf(run(200))}, btree.Child{Key: 300, Block: last}))
	p := open(t, f.Finish())
	for _, ids := range [][2]metadata.DevID{{1, 2}, {2, 1}} {
		_, err := compare(t.Context(), p, tree(t, p, ids[0]), tree(t, p, ids[1]), delta.Options{})
		bounds, ok := errors.AsType[*btree.BoundsError](err)
		if !ok || bounds.Block != odd || !strings.Contains(err.Error(), "holds keys 0..500, but its parent, block ") {
			t.Errorf("%v: %v", ids, err)
		}
	}
}

// The highest possible thin blocks neither wrap around nor get lost.
func TestHighestBlocks(t *testing.T) {
	const top = 1<<64 - 1
	f := fixtures.NewForge(t, 50, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: top - 4, Data: 1, Len: 5}))
	f.Device(2, f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 1}, metadata.Run{Thin: top - 1, Data: 4, Len: 2}))
	p := open(t, f.Finish())
	got, err := compare(t.Context(), p, tree(t, p, 1), tree(t, p, 2), delta.Options{})
	want := []delta.Range{
		{Kind: delta.RightOnly, Begin: 0, Len: 1, Right: 10},
		{Kind: delta.LeftOnly, Begin: top - 4, Len: 3, Left: 1},
		{Kind: delta.Same, Begin: top - 1, Len: 2, Left: 4, Right: 4},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, err %v", got, err)
	}
}

// Times do not matter. A callback error or the end of the context stops the comparison.
func TestEnds(t *testing.T) {
	f := fixtures.NewForge(t, 50, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 1, Len: 5, Time: 1}, metadata.Run{Thin: 5, Data: 6, Len: 5, Time: 2}))
	f.Device(2, f.Leaf(metadata.Run{Thin: 0, Data: 1, Len: 10, Time: 3}))
	p := open(t, f.Finish())
	got, err := compare(t.Context(), p, tree(t, p, 1), tree(t, p, 2), delta.Options{Data: true})
	if err != nil || !slices.Equal(got, []delta.Range{{Kind: delta.Same, Begin: 0, Len: 10, Left: 1, Right: 1}}) {
		t.Errorf("%v, err %v", got, err)
	}
	stop := errors.New("stop")
	if err := delta.Run(t.Context(), p, tree(t, p, 1), tree(t, p, 2), delta.Options{}, func([]delta.Range) error { return stop }); err != stop {
		t.Errorf("err %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := compare(ctx, p, tree(t, p, 1), tree(t, p, 2), delta.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
	if _, err := p.MappingTree(7); !errors.Is(err, metadata.ErrNoDevice) || err.Error() != "device 7: no such device" {
		t.Errorf("a device that is not there: %v", err)
	}
}

func BenchmarkRun(b *testing.B) {
	p := open(b, fixtures.Mem(b, "grown"))
	var ids []metadata.DevID
	for d, err := range p.Devices(b.Context()) {
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, d.ID)
	}
	left, right := tree(b, p, ids[0]), tree(b, p, ids[len(ids)-1])
	b.ReportAllocs()
	for b.Loop() {
		if err := delta.Run(b.Context(), p, left, right, delta.Options{}, func([]delta.Range) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
