package rmap_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/rmap"
)

func open(tb testing.TB, dev block.Device) *metadata.Pool {
	tb.Helper()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func collect(ctx context.Context, p *metadata.Pool, opt rmap.Options) ([]rmap.Row, error) {
	var rows []rmap.Row
	err := rmap.Run(ctx, p, opt, func(r []rmap.Row) error {
		rows = append(rows, r...)
		return nil
	})
	return rows, err
}

// naive is the reverse map by definition: one mapping after the other.
func naive(tb testing.TB, p *metadata.Pool, regions []rmap.Region) []rmap.Row {
	tb.Helper()
	inside := func(b metadata.DataBlock) bool {
		return slices.ContainsFunc(regions, func(r rmap.Region) bool { return r.Begin <= b && b < r.End })
	}
	var rows []rmap.Row
	for d, err := range p.Devices(tb.Context()) {
		if err != nil {
			tb.Fatal(err)
		}
		var row rmap.Row
		for run, err := range p.Runs(tb.Context(), d) {
			if err != nil {
				tb.Fatal(err)
			}
			for i := range run.Len {
				thin, data := run.Thin+metadata.ThinBlock(i), run.Data+metadata.DataBlock(i)
				switch {
				case !inside(data):
				case row.Len > 0 && thin == row.Thin+metadata.ThinBlock(row.Len) && data == row.Data+metadata.DataBlock(row.Len):
					row.Len++
				default:
					if row.Len > 0 {
						rows = append(rows, row)
					}
					row = rmap.Row{Data: data, Len: 1, ID: d.ID, Thin: thin}
				}
			}
		}
		if row.Len > 0 {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b rmap.Row) int {
		return cmp.Or(cmp.Compare(a.Data, b.Data), cmp.Compare(a.Len, b.Len), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Thin, b.Thin))
	})
	return rows
}

// forge makes a pool of devices that share leaves and inner nodes. Their runs continue across
// leaves, and they may map a data block more than once.
func forge(t *rapid.T, tb testing.TB, dataBlocks uint64) *blocktest.Mem {
	f := fixtures.NewForge(tb, 400, min(dataBlocks, 1_000_000)) // the space map need not cover all
	slots := rapid.IntRange(1, 5).Draw(t, "slots")
	const keysPerSlot = 40
	leaves := make([][]block.Nr, slots)
	next := make([]metadata.DataBlock, 3) // where each variant's last leaf ended
	for slot := range slots {
		for variant := range rapid.IntRange(1, 3).Draw(t, "variants") {
			var runs []metadata.Run
			key, end := uint64(slot*keysPerSlot), uint64((slot+1)*keysPerSlot)
			data := next[variant]
			for key < end {
				if rapid.Bool().Draw(t, "jump") || uint64(data)+keysPerSlot > dataBlocks {
					data = metadata.DataBlock(rapid.Uint64Range(0, dataBlocks-keysPerSlot).Draw(t, "data"))
				}
				n := rapid.Uint64Range(1, end-key).Draw(t, "length")
				runs = append(runs, metadata.Run{Thin: metadata.ThinBlock(key), Data: data, Len: n, Time: uint32(rapid.IntRange(0, 1).Draw(t, "time"))})
				data += metadata.DataBlock(n)
				if key += n; rapid.Bool().Draw(t, "hole") {
					key += 2
				}
			}
			next[variant] = data
			leaves[slot] = append(leaves[slot], f.Leaf(runs...))
		}
	}
	var roots []block.Nr
	for id := range rapid.IntRange(1, 6).Draw(t, "devices") {
		root := block.Nr(0)
		if len(roots) > 0 && rapid.IntRange(0, 3).Draw(t, "snapshot") == 0 {
			root = rapid.SampledFrom(roots).Draw(t, "of")
		} else {
			children := make([]block.Nr, slots)
			for i := range children {
				children[i] = rapid.SampledFrom(leaves[i]).Draw(t, "leaf")
			}
			root = f.Inner(children...)
			if rapid.Bool().Draw(t, "deep") {
				root = f.Inner(root)
			}
		}
		roots = append(roots, root)
		f.Device(metadata.DevID(id*3), root)
	}
	return f.Finish()
}

// Whatever is shared and however little memory there is, the rows match the definition.
func TestRun(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dataBlocks := rapid.SampledFrom([]uint64{50, 300, 70_000, 1_000_000, 1 << 40}).Draw(rt, "data blocks")
		p := open(t, forge(rt, t, dataBlocks))
		p.Live.DataSpaceMap.NrBlocks = dataBlocks
		var regions []rmap.Region
		for range rapid.IntRange(1, 4).Draw(rt, "regions") {
			begin := rapid.Uint64Range(0, dataBlocks).Draw(rt, "begin")
			n := rapid.SampledFrom([]uint64{1, 7, 100, 1 << 17, 1 << 62}).Draw(rt, "blocks")
			regions = append(regions, rmap.Region{Begin: metadata.DataBlock(begin), End: metadata.DataBlock(begin + n)})
		}
		memory := rapid.SampledFrom([]int{0, 1, 1000}).Draw(rt, "memory")
		got, err := collect(t.Context(), p, rmap.Options{Regions: regions, Memory: memory})
		if err != nil {
			rt.Fatal(err)
		}
		if diff := gocmp.Diff(naive(t, p, regions), got); diff != "" {
			rt.Fatalf("regions %v, memory %d (-want +got):\n%s", regions, memory, diff)
		}
	})
}

// The same for kernel images, in one pass and in many.
func TestKernelImages(t *testing.T) {
	for _, name := range fixtures.Names() {
		p := open(t, fixtures.Mem(t, name))
		n := metadata.DataBlock(p.Live.DataSpaceMap.NrBlocks)
		for _, regions := range [][]rmap.Region{{{0, n}}, {{n / 3, n/3 + 1}}, {{n / 2, n}, {0, n / 4}, {n / 5, n / 3}}} {
			want := naive(t, p, regions)
			for _, memory := range []int{0, 1 << 16} {
				got, err := collect(t.Context(), p, rmap.Options{Regions: regions, Memory: memory})
				if diff := gocmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("%s, %v, memory %d: error %v (-want +got):\n%.1000s", name, regions, memory, err, diff)
				}
			}
		}
	}
}

// A lost leaf only costs its own rows; the error says what is missing.
func TestDamage(t *testing.T) {
	all := []rmap.Region{{0, 1 << 40}}
	dev := fixtures.Mem(t, "sequential")
	whole, err := collect(t.Context(), open(t, dev), rmap.Options{Regions: all})
	if err != nil {
		t.Fatal(err)
	}
	const leaf = 141 // thin blocks 248..495 of device 1
	for name, spoil := range map[string]func(*blocktest.Mem){
		"all zero":   func(m *blocktest.Mem) { block.Write(m, leaf, new(block.Data)) },
		"bad sector": func(m *blocktest.Mem) { m.FailReads(leaf) },
	} {
		t.Run(name, func(t *testing.T) {
			dev := fixtures.Mem(t, "sequential")
			spoil(dev)
			rows, err := collect(t.Context(), open(t, dev), rmap.Options{Regions: all})
			lost, ok := errors.AsType[*metadata.LostError](err)
			if want := (btree.KeyRange{First: 248, Last: 495}); !ok || lost.ID != 1 || lost.Keys != want {
				t.Errorf("error %v, want that device 1 lost %v", err, want)
			}
			if len(rows) < len(whole) { // the hole splits at least one row in two
				t.Errorf("%d rows, %d of the whole image", len(rows), len(whole))
			}
			for _, r := range rows {
				if r.Thin < 496 && r.Thin+metadata.ThinBlock(r.Len) > 248 {
					t.Errorf("row %+v is of the lost leaf", r)
				}
			}
		})
	}
}

// A tree with a loop and a mapping beyond the data device also end with an error.
func TestHostile(t *testing.T) {
	t.Run("loop", func(t *testing.T) {
		f := fixtures.NewForge(t, 64, 1000)
		leaf, loop := f.Leaf(metadata.Run{Data: 5, Len: 10}), f.Next()
		f.InnerAt(loop, btree.Child{Key: 0, Block: leaf}, btree.Child{Key: 100, Block: loop}, btree.Child{Key: 200, Block: loop})
		f.Device(7, loop)
		rows, err := collect(t.Context(), open(t, f.Finish()), rmap.Options{Regions: []rmap.Region{{0, 1000}}})
		if lost, ok := errors.AsType[*metadata.LostError](err); !ok || lost.ID != 7 || !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("error %v", err)
		}
		if len(rows) != 1 {
			t.Errorf("rows %v", rows)
		}
	})
	t.Run("beyond", func(t *testing.T) {
		f := fixtures.NewForge(t, 64, 1000)
		f.Device(7, f.Leaf(metadata.Run{Data: 995, Len: 10}))
		rows, err := collect(t.Context(), open(t, f.Finish()), rmap.Options{Regions: []rmap.Region{{0, 1 << 50}}})
		if lost, ok := errors.AsType[*metadata.LostError](err); !ok || lost.ID != 7 || !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("error %v", err)
		}
		if want := []rmap.Row{{Data: 995, Len: 5, ID: 7}}; !slices.Equal(rows, want) {
			t.Errorf("rows %v, want %v", rows, want)
		}
	})
}

// crowd makes a pool of 300 devices with the same mappings, in two places of the data device. Each
// device has more rows than may wait for their turn.
func crowd(tb testing.TB) *metadata.Pool {
	f := fixtures.NewForge(tb, 400, 1_000_000)
	var children []block.Nr
	for part := range 4 {
		var runs []metadata.Run
		for i := range 100 {
			at := part*100 + i
			place := at * 7919 % 400 // everywhere
			runs = append(runs, metadata.Run{Thin: metadata.ThinBlock(2 * at), Data: metadata.DataBlock(place%2*500_000 + place), Len: 1})
		}
		children = append(children, f.Leaf(runs...))
	}
	root := f.Inner(children...)
	for id := range 300 {
		f.Device(metadata.DevID(id), root)
	}
	return open(tb, f.Finish())
}

// Rows of several buckets are made concurrently, some long before their turn. They still come in
// order, one call after the other, and so does their text.
func TestOrder(t *testing.T) {
	p := crowd(t)
	opt := rmap.Options{Regions: []rmap.Region{{0, 100}, {100, 1_000_000}}}
	rows, err := collect(t.Context(), p, opt)
	if err != nil {
		t.Fatal(err)
	}
	if want := naive(t, p, opt.Regions); !slices.Equal(rows, want) {
		t.Errorf("%d rows are not the %d of the definition", len(rows), len(want))
	}
	line := func(dst []byte, r rmap.Row) []byte { return fmt.Appendf(dst, "%+v\n", r) }
	var want []byte
	for _, r := range rows {
		want = line(want, r)
	}
	for _, memory := range []int{0, 1} {
		var got bytes.Buffer
		opt.Memory = memory
		if err := rmap.Text(t.Context(), p, opt, &got, line); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("memory %d: %d bytes of text are not what the rows make, %d bytes", memory, got.Len(), len(want))
		}
	}
}

// When the caller stops early, everything in progress ends.
func TestStopsAmidst(t *testing.T) {
	p := crowd(t)
	opt := rmap.Options{Regions: []rmap.Region{{0, 1 << 40}}}
	for name, stop := range map[string]func(cancel func()) error{
		"an error":  func(func()) error { return errEnough },
		"cancelled": func(cancel func()) error { cancel(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			calls := 0
			err := rmap.Run(ctx, p, opt, func([]rmap.Row) error {
				if calls++; calls == 5 {
					return stop(cancel)
				}
				return nil
			})
			if !errors.Is(err, errEnough) && !errors.Is(err, context.Canceled) {
				t.Errorf("error %v after %d calls", err, calls)
			}
		})
	}
	r, w := io.Pipe()
	r.Close()
	err := rmap.Text(t.Context(), p, opt, w, func(dst []byte, _ rmap.Row) []byte { return append(dst, '\n') })
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
}

var errEnough = errors.New("enough")

// When the caller stops early, the search ends.
func TestStops(t *testing.T) {
	p := open(t, fixtures.Mem(t, "transactions"))
	err := rmap.Run(t.Context(), p, rmap.Options{Regions: []rmap.Region{{0, 1 << 40}}}, func([]rmap.Row) error { return errEnough })
	if err != errEnough {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := collect(ctx, p, rmap.Options{Regions: []rmap.Region{{0, 1 << 40}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// The mappings of a leaf are scattered over the data device, as in an old pool.
func BenchmarkRun(b *testing.B) {
	const leaves, perLeaf = 2000, 250
	f := fixtures.NewForge(b, leaves+200, leaves*perLeaf)
	data := rand.New(rand.NewPCG(1, 2)).Perm(leaves * perLeaf)
	var roots, children []block.Nr
	for leaf := range leaves {
		var runs []metadata.Run
		for i := range perLeaf {
			at := leaf*perLeaf + i
			runs = append(runs, metadata.Run{Thin: metadata.ThinBlock(at), Data: metadata.DataBlock(data[at]), Len: 1})
		}
		if children = append(children, f.Leaf(runs...)); len(children) == 100 {
			roots, children = append(roots, f.Inner(children...)), nil
		}
	}
	f.Device(1, f.Inner(roots...))
	p := open(b, f.Finish())
	all := rmap.Options{Regions: []rmap.Region{{0, leaves * perLeaf}}}
	b.ReportAllocs()
	for b.Loop() {
		rows := 0
		err := rmap.Run(b.Context(), p, all, func(r []rmap.Row) error {
			rows += len(r)
			return nil
		})
		if err != nil || rows == 0 {
			b.Fatalf("%d rows, error %v", rows, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(leaves*perLeaf), "ns/mapping")
}
