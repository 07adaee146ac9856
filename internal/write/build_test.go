package write_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
)

// A pool is a description for tests.
type pool struct {
	header  metadata.Header
	defs    []content
	devices []content
}

// content is the content of a def or device.
type content struct {
	name  string
	id    metadata.DevID
	items []item
}

// An item is runs, or a reference to a def.
type item struct {
	runs []metadata.Run
	ref  int // index of a def; -1: runs
}

// tell makes the calls that describe p.
func (p *pool) tell(v metadata.Visitor) error {
	var errs []error
	do := func(err error) { errs = append(errs, err) }
	do(v.Begin(p.header))
	for _, d := range p.defs {
		do(v.BeginDef(d.name))
		for _, it := range d.items {
			do(v.Runs(it.runs))
		}
		do(v.EndDef())
	}
	for _, d := range p.devices {
		do(v.BeginDevice(d.id, metadata.Details{MappedBlocks: 12345, SnapshottedTime: 1}))
		for _, it := range d.items {
			if it.ref >= 0 {
				do(v.Ref(p.defs[it.ref].name))
			} else {
				do(v.Runs(it.runs))
			}
		}
		do(v.EndDevice())
	}
	do(v.End())
	return errors.Join(errs...)
}

// flat returns the mappings of a device, one per block.
func (p *pool) flat(d content) []metadata.Run {
	var flat []metadata.Run
	add := func(runs []metadata.Run) {
		for _, r := range runs {
			for i := range r.Len {
				flat = append(flat, metadata.Run{Thin: r.Thin + metadata.ThinBlock(i), Data: r.Data + metadata.DataBlock(i), Len: 1, Time: r.Time})
			}
		}
	}
	for _, it := range d.items {
		if it.ref < 0 {
			add(it.runs)
			continue
		}
		for _, inner := range p.defs[it.ref].items {
			add(inner.runs)
		}
	}
	return flat
}

const dataBlocks = 40000

// drawRuns draws runs of about n mappings, from thin block at on. Different calls use different
// data blocks, so no device maps one twice.
func drawRuns(t *rapid.T, at, data *uint64, n int) []metadata.Run {
	var runs []metadata.Run
	for n > 0 {
		r := metadata.Run{
			Thin: metadata.ThinBlock(*at + rapid.SampledFrom([]uint64{0, 0, 1, 7, 1 << 33}).Draw(t, "gap")),
			Len:  min(uint64(n), rapid.SampledFrom([]uint64{1, 1, 2, 30, 600}).Draw(t, "length")),
			Time: uint32(rapid.IntRange(0, 5).Draw(t, "time")),
		}
		r.Data = metadata.DataBlock(*data)
		*data += r.Len + rapid.Uint64Range(0, 1).Draw(t, "skip")
		*at = uint64(r.Thin) + r.Len
		n -= int(r.Len)
		runs = append(runs, r)
	}
	return runs
}

func drawPool(t *rapid.T) *pool {
	p := &pool{header: metadata.Header{Time: 8, TransactionID: 4, Version: 2, DataBlockSize: 128, NrDataBlocks: dataBlocks}}
	var data uint64
	sizes := rapid.SampledFrom([]int{0, 1, 5, 83, 84, 100, 252, 253, 300, 700})
	const far = 1 << 44 // defs are far apart, so any order by number ascends
	for i := range rapid.IntRange(0, 4).Draw(t, "defs") {
		at := uint64(i+1) * far
		p.defs = append(p.defs, content{name: fmt.Sprint("d", i), items: []item{{drawRuns(t, &at, &data, sizes.Draw(t, "size")), -1}}})
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "devices") {
		d := content{id: metadata.DevID(3 * i)}
		at := uint64(0)
		for j := range len(p.defs) + 1 {
			if rapid.Bool().Draw(t, "own runs") {
				d.items = append(d.items, item{drawRuns(t, &at, &data, sizes.Draw(t, "size")), -1})
			}
			if j < len(p.defs) && rapid.Bool().Draw(t, "ref") {
				d.items = append(d.items, item{nil, j})
			}
			at = uint64(j+1)*far + far/2
		}
		p.devices = append(p.devices, d)
	}
	return p
}

// Built metadata passes the strictest check and has the content it was given.
func TestBuild(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPool(rt)
		b := write.New(write.Options{Parallel: 1 + rapid.IntRange(0, 2).Draw(rt, "parallel")})
		if err := p.tell(b); err != nil {
			rt.Fatal(err)
		}
		// The smallest device it fits must do, and one block less must not.
		if err := b.Write(context.Background(), blocktest.NewMem(int64(b.Least()-1)*block.Size)); err == nil {
			rt.Errorf("fits into %d blocks, but Least is %d", b.Least()-1, b.Least())
		}
		dev := blocktest.NewMem(int64(b.Least()) * block.Size)
		if err := b.Write(context.Background(), dev); err != nil {
			rt.Fatal(err)
		}
		sum := mustPass(rt, dev)
		if sum.MetadataBlocks != uint64(b.Least()) {
			rt.Errorf("%d blocks are used, but %d were planned", sum.MetadataBlocks, b.Least())
		}
		got := readBack(rt, dev)
		for _, d := range p.devices {
			if diff := cmp.Diff(p.flat(d), got[d.id]); diff != "" {
				rt.Fatalf("device %d (-want +got):\n%s", d.id, diff)
			}
		}
	})
}

// mustPass checks the metadata on dev.
func mustPass(t rapid.TB, dev block.Device) check.Summary {
	t.Helper()
	sum, err := check.Run(context.Background(), dev, check.Options{}, func(f check.Fault) {
		t.Errorf("%v", f.String())
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// A recorder is a Visitor that keeps each mapping of each device.
type recorder struct {
	devices map[metadata.DevID][]metadata.Run
	id      metadata.DevID
}

func (r *recorder) Begin(metadata.Header) error { return nil }
func (r *recorder) BeginDef(string) error       { return errors.New("a flat dump has no defs") }
func (r *recorder) EndDef() error               { return nil }
func (r *recorder) Ref(string) error            { return nil }
func (r *recorder) EndDevice() error            { return nil }
func (r *recorder) End() error                  { return nil }

func (r *recorder) BeginDevice(id metadata.DevID, _ metadata.Details) error {
	r.id = id
	return nil
}

func (r *recorder) Runs(runs []metadata.Run) error {
	for _, run := range runs {
		for i := range run.Len {
			r.devices[r.id] = append(r.devices[r.id],
				metadata.Run{Thin: run.Thin + metadata.ThinBlock(i), Data: run.Data + metadata.DataBlock(i), Len: 1, Time: run.Time})
		}
	}
	return nil
}

func readBack(t rapid.TB, dev block.Device) map[metadata.DevID][]metadata.Run {
	t.Helper()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{devices: map[metadata.DevID][]metadata.Run{}}
	if err := dump.Run(context.Background(), p, dump.Options{Flat: true}, r); err != nil {
		t.Fatal(err)
	}
	return r.devices
}

// sample returns a pool with sharing, where no leaf is too small to be shared.
func sample() *pool {
	const n = 1000
	shared := item{[]metadata.Run{{Thin: 5000, Data: 0, Len: n}}, -1}
	own := func(thin metadata.ThinBlock, data metadata.DataBlock) item {
		return item{[]metadata.Run{{Thin: thin, Data: data, Len: 100}}, -1}
	}
	return &pool{
		header: metadata.Header{Time: 1, Version: 2, DataBlockSize: 128, NrDataBlocks: dataBlocks},
		defs:   []content{{name: "s", items: []item{shared}}},
		devices: []content{
			{id: 1, items: []item{{nil, 0}}},
			{id: 2, items: []item{{nil, 0}}},
			{id: 3, items: []item{own(0, n), {nil, 0}, own(9000, n+100)}},
		},
	}
}

// Leaves shared in the description exist once, and devices with the same leaves share a tree.
func TestSharing(t *testing.T) {
	b := write.New(write.Options{})
	if err := sample().tell(b); err != nil {
		t.Fatal(err)
	}
	dev := blocktest.NewMem(64 * block.Size)
	if err := b.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	sum := mustPass(t, dev)
	if want := uint64(1000/252 + 1 + 2); sum.DistinctLeaves != want {
		t.Errorf("%d leaves, want %d: those of the def once, and two of device 3", sum.DistinctLeaves, want)
	}
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	roots := map[block.Nr]int{}
	for d, err := range p.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		roots[d.Root]++
	}
	if len(roots) != 2 {
		t.Errorf("devices 1 and 2 should share their root: %v", roots)
	}
}

// Wherever the power fails, the device holds what it held before, or something that the kernel
// refuses and does not format, or all of the new metadata.
func TestPowerCut(t *testing.T) {
	b := write.New(write.Options{Parallel: 1})
	if err := sample().tell(b); err != nil {
		t.Fatal(err)
	}
	for name, old := range oldDevices(t) {
		t.Run(name, func(t *testing.T) {
			whole := blocktest.NewMemFrom(bytes.Clone(old))
			if err := b.Write(t.Context(), whole); err != nil {
				t.Fatal(err)
			}
			complete := 0
			for op := range whole.Ops() + 1 {
				dev := blocktest.NewMemFrom(bytes.Clone(old))
				dev.FailWritesAfter(op)
				if err := b.Write(t.Context(), dev); (err == nil) != (op == whole.Ops()) {
					t.Fatalf("after %d writes: err %v", op, err)
				}
				for seed := range 40 {
					if afterCut(t, dev.Crash(seed), old) {
						complete++
					}
				}
			}
			if complete < 40 {
				t.Errorf("only %d devices are complete, want at least the 40 after the last flush", complete)
			}
		})
	}
}

// oldDevices returns possible previous contents of a device.
func oldDevices(t *testing.T) map[string][]byte {
	const size = 64 * block.Size
	other := &pool{header: metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 9}}
	b := write.New(write.Options{})
	if err := other.tell(b); err != nil {
		t.Fatal(err)
	}
	dev := blocktest.NewMem(size)
	if err := b.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"other metadata": dev.Contents(),
		"zeroes":         make([]byte, size),
		"garbage":        bytes.Repeat([]byte{0xa5}, size),
	}
}

// afterCut checks a device after a power cut; true if the new metadata is complete.
func afterCut(t *testing.T, dev *blocktest.Mem, old []byte) bool {
	t.Helper()
	now := dev.Contents()
	if bytes.Equal(now, old) {
		return false
	}
	if bytes.Equal(now[:block.Size], make([]byte, block.Size)) {
		t.Fatal("block 0 is all zero over blocks that were written: the kernel would format it")
	}
	sb, err := metadata.DecodeSuperblock(0, (*block.Data)(now))
	if err != nil {
		return false
	}
	if sb.DataSpaceMap.NrBlocks != dataBlocks {
		t.Fatal("the old superblock is valid over blocks that were written")
	}
	mustPass(t, dev)
	return true
}

func TestTooSmall(t *testing.T) {
	b := write.New(write.Options{})
	if err := sample().tell(b); err != nil {
		t.Fatal(err)
	}
	old := bytes.Repeat([]byte{7}, 12*block.Size)
	dev := blocktest.NewMemFrom(bytes.Clone(old))
	err := b.Write(t.Context(), dev)
	if space, ok := errors.AsType[*write.SpaceError](err); !ok || space.Have != 12 || space.Needed != b.Least() {
		t.Errorf("err %v, want a SpaceError with 12 of %d blocks", err, b.Least())
	}
	if !bytes.Equal(dev.Contents(), old) {
		t.Error("the device has changed")
	}
}

func TestWrongCalls(t *testing.T) {
	header := metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 100}
	run := func(thin, data, n uint64) []metadata.Run {
		return []metadata.Run{{Thin: metadata.ThinBlock(thin), Data: metadata.DataBlock(data), Len: n}}
	}
	device := func(b *write.Builder) { _ = b.BeginDevice(1, metadata.Details{}) }
	for name, call := range map[string]func(b *write.Builder) error{
		"begin twice":      func(b *write.Builder) error { return b.Begin(header) },
		"runs outside":     func(b *write.Builder) error { return b.Runs(run(0, 0, 1)) },
		"ref outside":      func(b *write.Builder) error { return b.Ref("x") },
		"unknown ref":      func(b *write.Builder) error { device(b); return b.Ref("x") },
		"end inside":       func(b *write.Builder) error { device(b); return b.End() },
		"device in device": func(b *write.Builder) error { device(b); return b.BeginDevice(2, metadata.Details{}) },
		"device twice": func(b *write.Builder) error {
			device(b)
			_ = b.EndDevice()
			return b.BeginDevice(1, metadata.Details{})
		},
		"descending":        func(b *write.Builder) error { device(b); _ = b.Runs(run(5, 0, 2)); return b.Runs(run(6, 4, 1)) },
		"beyond data":       func(b *write.Builder) error { device(b); return b.Runs(run(0, 99, 2)) },
		"beyond all thin":   func(b *write.Builder) error { device(b); return b.Runs(run(1<<64-1, 0, 2)) },
		"after the highest": func(b *write.Builder) error { device(b); _ = b.Runs(run(1<<64-1, 0, 1)); return b.Runs(run(0, 1, 1)) },
		"write before end":  func(b *write.Builder) error { return b.Write(t.Context(), blocktest.NewMem(1<<20)) },
		"late time":         func(b *write.Builder) error { device(b); return b.Runs([]metadata.Run{{Len: 1, Time: 1 << 24}}) },
		"overlapping ref": func(b *write.Builder) error {
			_ = b.BeginDef("x")
			_ = b.Runs(run(5, 0, 1))
			_ = b.EndDef()
			device(b)
			_ = b.Runs(run(0, 1, 6))
			return b.Ref("x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := write.New(write.Options{})
			if err := b.Begin(header); err != nil {
				t.Fatal(err)
			}
			if err := call(b); err == nil {
				t.Error("no error")
			}
		})
	}
}

// A description of a few bytes can ask for more than any device can hold. This must fail at once.
func TestHuge(t *testing.T) {
	for name, p := range map[string]*pool{
		"mappings": {
			header:  metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 1 << 40},
			devices: []content{{id: 1, items: []item{{[]metadata.Run{{Len: 1 << 40}}, -1}}}},
		},
		"data blocks": {header: metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 1 << 40}},
	} {
		if err := p.tell(write.New(write.Options{})); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func ExampleBuilder() {
	b := write.New(write.Options{})
	_ = b.Begin(metadata.Header{DataBlockSize: 128, NrDataBlocks: 1000})
	_ = b.BeginDevice(1, metadata.Details{})
	_ = b.Runs([]metadata.Run{{Thin: 0, Data: 500, Len: 300}})
	_ = b.EndDevice()
	_ = b.End() // ignore errors here; any call may return one

	dev := blocktest.NewMem(1 << 20)
	fmt.Println("blocks needed:", b.Needed(block.Blocks(dev)))
	fmt.Println(b.Write(context.Background(), dev))
	// Output:
	// blocks needed: 12
	// <nil>
}

func BenchmarkRuns(b *testing.B) {
	const n = 4096
	runs := make([]metadata.Run, n)
	for i := range runs {
		runs[i] = metadata.Run{Thin: metadata.ThinBlock(i * 2), Data: metadata.DataBlock(i * 7919 % dataBlocks), Len: 1}
	}
	b.ReportAllocs()
	for b.Loop() {
		m := write.New(write.Options{})
		_ = m.Begin(metadata.Header{DataBlockSize: 128, NrDataBlocks: dataBlocks})
		_ = m.BeginDevice(1, metadata.Details{})
		if err := m.Runs(runs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/run")
}
