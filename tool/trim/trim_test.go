package trim_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/trim"
)

// used records which data blocks the mappings of all devices use, by definition.
func used(tb testing.TB, dev block.Device, opt metadata.Options, into map[metadata.DataBlock]bool) *metadata.Pool {
	tb.Helper()
	p, err := metadata.Open(dev, opt)
	if err != nil {
		tb.Fatal(err)
	}
	for d, err := range p.Devices(tb.Context()) {
		if err != nil {
			tb.Fatal(err)
		}
		for r, err := range p.Runs(tb.Context(), d) {
			if err != nil {
				tb.Fatal(err)
			}
			for i := range r.Len {
				into[r.Data+metadata.DataBlock(i)] = true
			}
		}
	}
	return p
}

// Free blocks in kernel-made images are not mapped, and their number agrees with an independent
// reader.
func TestFree(t *testing.T) {
	for _, name := range fixtures.Names() {
		dev, truth := fixtures.Mem(t, name), fixtures.TruthOf(t, name)
		before := dev.Contents()
		got, err := trim.Free(t.Context(), dev, trim.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		mapped := map[metadata.DataBlock]bool{}
		if p := used(t, dev, metadata.Options{}, mapped); p.Live.HeldRoot != 0 {
			used(t, dev, metadata.Options{Snapshot: true}, mapped)
		}
		free := uint64(0)
		for i, r := range got {
			if i > 0 && r.Begin <= got[i-1].End || r.End <= r.Begin {
				t.Errorf("%s: %v follows %v", name, r, got[max(i, 1)-1])
			}
			free += uint64(r.End - r.Begin)
			for b := r.Begin; b < r.End; b++ {
				if mapped[b] {
					t.Fatalf("%s: data block %d is free and mapped", name, b)
				}
			}
		}
		if want := truth.DataBlocks - truth.DataUsed; free != want {
			t.Errorf("%s: %d blocks are free, want %d", name, free, want)
		}
		if !slices.Equal(before, dev.Contents()) {
			t.Errorf("%s: the metadata has changed", name)
		}
	}
}

// small is a pool of 300 data blocks: 10..19 and 100..149 are mapped, 200 is leaked.
func small(tb testing.TB) *blocktest.Mem {
	f := fixtures.NewForge(tb, 64, 300)
	f.Device(1, f.Leaf(metadata.Run{Thin: 5, Data: 10, Len: 10}, metadata.Run{Thin: 50, Data: 100, Len: 50}))
	f.LeakData(200)
	return f.Finish()
}

var smallFree = []trim.Range{{0, 10}, {20, 100}, {150, 200}, {201, 300}}

func TestSmall(t *testing.T) {
	got, err := trim.Free(t.Context(), small(t), trim.Options{})
	if diff := cmp.Diff(smallFree, got); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

// bitmap returns the block with the counts of the first data blocks.
func bitmap(tb testing.TB, dev block.Device) block.Nr {
	tb.Helper()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	m, err := spacemap.LoadData(tb.Context(), p.Reader(), p.Limit(), p.Live.DataSpaceMap)
	if err != nil {
		tb.Fatal(err)
	}
	return m.Entries[0].Block
}

// Any doubt means that nothing is free.
func TestDoubt(t *testing.T) {
	root := func(t *testing.T, dev block.Device) block.Nr {
		p, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := p.Device(1)
		if err != nil {
			t.Fatal(err)
		}
		return d.Root
	}
	for name, spoil := range map[string]func(*testing.T, *blocktest.Mem){
		"count too low": func(t *testing.T, m *blocktest.Mem) {
			fixtures.Edit(t, m, bitmap(t, m), func(b *block.Data) {
				const header, blocksPerByte = 16, 4
				b[header+100/blocksPerByte] = 0
			})
		},
		"lost bitmap":     func(t *testing.T, m *blocktest.Mem) { block.Write(m, bitmap(t, m), new(block.Data)) },
		"unread bitmap":   func(t *testing.T, m *blocktest.Mem) { m.FailReads(bitmap(t, m)) },
		"lost mappings":   func(t *testing.T, m *blocktest.Mem) { block.Write(m, root(t, m), new(block.Data)) },
		"unread mappings": func(t *testing.T, m *blocktest.Mem) { m.FailReads(root(t, m)) },
		"fewer mappings": func(t *testing.T, m *blocktest.Mem) {
			fixtures.Edit(t, m, root(t, m), func(b *block.Data) {
				const nrEntries = 16
				b[nrEntries]--
			})
		},
		"lost superblock": func(_ *testing.T, m *blocktest.Mem) { block.Write(m, 0, new(block.Data)) },
	} {
		t.Run(name, func(t *testing.T) {
			dev := small(t)
			spoil(t, dev)
			if free, err := trim.Free(t.Context(), dev, trim.Options{}); err == nil || free != nil {
				t.Errorf("free %v, error %v", free, err)
			} else {
				t.Log(err)
			}
		})
	}
}

// A recorder is a data device that records the discarded bytes.
type recorder struct {
	size  int64
	areas [][2]int64
	left  int // discards until they fail
}

func (r *recorder) Size() int64  { return r.size }
func (r *recorder) Close() error { return nil }
func (r *recorder) Discard(off, n int64) error {
	if r.left--; r.left < 0 {
		return blocktest.ErrFailed
	}
	r.areas = append(r.areas, [2]int64{off, off + n})
	return nil
}

// Exactly the given ranges are discarded, in requests of limited size. A failed or interrupted run
// has discarded a part of them and nothing else.
func TestDiscard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blockSize := rapid.SampledFrom([]uint32{128, 384, 2048, 1 << 21}).Draw(t, "sectors")
		var ranges []trim.Range
		end := metadata.DataBlock(0)
		for range rapid.IntRange(0, 5).Draw(t, "ranges") {
			begin := end + metadata.DataBlock(rapid.IntRange(1, 1000).Draw(t, "used"))
			end = begin + metadata.DataBlock(rapid.IntRange(1, 30000).Draw(t, "free"))
			ranges = append(ranges, trim.Range{Begin: begin, End: end})
		}
		bytes := int64(blockSize) * 512
		d := &recorder{size: int64(end) * bytes, left: rapid.SampledFrom([]int{0, 1, 5, 1 << 30}).Draw(t, "work")}
		err := trim.Discard(context.Background(), d, blockSize, ranges, trim.Options{})
		if done := d.left >= 0; done != (err == nil) {
			t.Fatalf("error %v", err)
		}
		var joined []trim.Range
		for _, a := range d.areas {
			if a[1]-a[0] > 1<<30 {
				t.Fatalf("one request for %d bytes", a[1]-a[0])
			}
			i := slices.IndexFunc(ranges, func(r trim.Range) bool { return int64(r.Begin)*bytes <= a[0] && a[1] <= int64(r.End)*bytes })
			if i < 0 {
				t.Fatalf("bytes %v are in no range of %v", a, ranges)
			}
			if a[0] == int64(ranges[i].Begin)*bytes {
				joined = append(joined, trim.Range{Begin: ranges[i].Begin})
			}
			joined[len(joined)-1].End = metadata.DataBlock(a[1] / bytes)
		}
		if err == nil && !slices.Equal(joined, ranges) {
			t.Fatalf("discarded %v, want %v", joined, ranges)
		}
	})
}

func TestDiscardRefuses(t *testing.T) {
	d := &recorder{size: 300*65536 - 1, left: 100}
	if err := trim.Discard(t.Context(), d, 128, smallFree, trim.Options{}); !errors.Is(err, trim.ErrTooSmall) || len(d.areas) > 0 {
		t.Errorf("error %v, discarded %v", err, d.areas)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.size++
	if err := trim.Discard(ctx, d, 128, smallFree, trim.Options{}); !errors.Is(err, context.Canceled) || len(d.areas) > 0 {
		t.Errorf("error %v, discarded %v", err, d.areas)
	}
}
