package shrink_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/dump"
	"thinpool/tool/shrink"
)

type mapping struct {
	where string // device or def
	thin  metadata.ThinBlock
	data  metadata.DataBlock
	time  uint32
}

// Every thin block reads as before, all data is below the new end, shared parts are still shared,
// and the data of the old metadata has not changed. The moves match the definition of the plan.
func TestShrink(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPool(t)
		var before model
		if err := p.tell(&before); err != nil {
			t.Fatal(err)
		}
		n := rapid.Uint64Range(1, p.nr+5).Draw(t, "new size")
		want, move, free := before.moves(p.kept, p.nr, n)
		u := p.usage(t)
		plan, err := u.Plan(n)
		if space, ok := errors.AsType[*shrink.SpaceError](err); ok || move > free {
			least := uint64(1)
			for {
				if _, move, free := before.moves(p.kept, p.nr, least); move <= free {
					break
				}
				least++
			}
			if !ok || space.Move != move || space.Free != free || space.Least != least {
				t.Fatalf("error %v, want %d to move, %d free, %d the least", err, move, free, least)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		checkMoves(t, plan, want)

		old := dataOf(max(p.nr, n))
		dev := blocktest.NewMemFrom(slices.Clone(old))
		if err := plan.Copy(context.Background(), dev, shrink.Options{}); err != nil {
			t.Fatal(err)
		}
		now := dev.Crash(1).Contents() // it was flushed
		unchanged(t, &before, p.kept, old, now)
		var after model
		if err := p.tell(plan.Rewrite(&after)); err != nil {
			t.Fatal(err)
		}
		before.calls[0] = strings.Replace(before.calls[0], fmt.Sprintf("NrDataBlocks:%d", p.nr), fmt.Sprintf("NrDataBlocks:%d", n), 1)
		if diff := cmp.Diff(before.calls, after.calls); diff != "" {
			t.Fatalf("calls differ (-want +got):\n%s", diff)
		}
		if len(after.mappings) != len(before.mappings) {
			t.Fatalf("%d mappings, want %d", len(after.mappings), len(before.mappings))
		}
		for i, b := range before.mappings {
			a := after.mappings[i]
			if uint64(a.data) >= n {
				t.Fatalf("%+v has become %+v", b, a)
			}
			if !bytes.Equal(blockOf(old, b.data), blockOf(now, a.data)) {
				t.Fatalf("%+v has become %+v, with other data", b, a)
			}
			if b.data = a.data; a != b {
				t.Fatalf("want %+v, got %+v", b, a)
			}
		}
	})
}

// checkMoves compares a plan with the moves block by block, and checks its order and sums.
func checkMoves(t *rapid.T, plan *shrink.Plan, want map[metadata.DataBlock]metadata.DataBlock) {
	got := map[metadata.DataBlock]metadata.DataBlock{}
	for i, m := range plan.Moves {
		if i > 0 {
			last := plan.Moves[i-1]
			from, to := last.From+metadata.DataBlock(last.Len), last.To+metadata.DataBlock(last.Len)
			if m.From < from || m.To < to || m.From == from && m.To == to {
				t.Fatalf("move %+v after %+v", m, last)
			}
		}
		for i := range metadata.DataBlock(m.Len) {
			got[m.From+i] = m.To + i
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || plan.Moved != uint64(len(want)) {
		t.Fatalf("%d blocks move (-want +got):\n%s", plan.Moved, diff)
	}
}

// unchanged checks that everything the old metadata points to, or counts, is still on the device.
func unchanged(t interface{ Fatalf(string, ...any) }, m *model, kept []metadata.DataBlock, old, now []byte) {
	for _, x := range m.mappings {
		if !bytes.Equal(blockOf(old, x.data), blockOf(now, x.data)) {
			t.Fatalf("%+v: the data has changed", x)
		}
	}
	for _, b := range kept {
		if !bytes.Equal(blockOf(old, b), blockOf(now, b)) {
			t.Fatalf("data block %d is kept, and has changed", b)
		}
	}
}

// scattered is a pool of 64 blocks whose upper half goes to single free blocks below.
func scattered() *pool {
	p := &pool{nr: 64}
	p.device(1, func() {
		for i := range 32 {
			p.runs(metadata.Run{Thin: metadata.ThinBlock(i), Data: metadata.DataBlock(2 * i), Len: 1})
		}
	})
	return p
}

// A failure of a write, a flush or the power at any point leaves the data of the old metadata
// unchanged. Copy returns an error unless all new data is on stable storage.
func TestFailures(t *testing.T) {
	p := scattered()
	p.kept = []metadata.DataBlock{3, 33}
	var before model
	if err := p.tell(&before); err != nil {
		t.Fatal(err)
	}
	old := dataOf(p.nr)
	whole := blocktest.NewMemFrom(slices.Clone(old))
	plan, err := p.usage(t).Plan(40)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Copy(t.Context(), whole, shrink.Options{}); err != nil {
		t.Fatal(err)
	}
	if whole.Ops() < 10 {
		t.Fatalf("only %d writes and flushes to fail", whole.Ops())
	}
	for op := range whole.Ops() + 1 {
		dev := blocktest.NewMemFrom(slices.Clone(old))
		dev.FailWritesAfter(op)
		err := plan.Copy(t.Context(), dev, shrink.Options{})
		if done := op == whole.Ops(); done != (err == nil) || !done && !errors.Is(err, blocktest.ErrFailed) {
			t.Fatalf("op %d: %v", op, err)
		}
		unchanged(t, &before, p.kept, old, dev.Contents())
		for seed := range 20 {
			now := dev.Crash(seed).Contents()
			unchanged(t, &before, p.kept, old, now)
			if err == nil && !bytes.Equal(now, whole.Contents()) {
				t.Fatalf("seed %d: something was not flushed", seed)
			}
		}
	}
	dev := blocktest.NewMemFrom(slices.Clone(old))
	dev.FailReads(50 * blockBytes / block.Size)
	if err := plan.Copy(t.Context(), dev, shrink.Options{}); !errors.Is(err, blocktest.ErrFailed) || dev.Ops() > 0 {
		t.Errorf("a block that cannot be read: %v, %d writes", err, dev.Ops())
	}
}

func TestCopyRefuses(t *testing.T) {
	plan, err := scattered().usage(t).Plan(40)
	if err != nil {
		t.Fatal(err)
	}
	short := blocktest.NewMem(64*blockBytes - 1)
	if err := plan.Copy(t.Context(), short, shrink.Options{}); !errors.Is(err, shrink.ErrTooSmall) || short.Ops() > 0 {
		t.Errorf("a short device: %v, %d writes", err, short.Ops())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dev := blocktest.NewMem(64 * blockBytes)
	if err := plan.Copy(ctx, dev, shrink.Options{}); !errors.Is(err, context.Canceled) || dev.Ops() > 0 {
		t.Errorf("interrupted: %v, %d writes", err, dev.Ops())
	}
}

// A vast device returns the number of each metadata block as its content, and records all writes.
type vast struct {
	block.Device
	size    int64
	largest int
	reads   int
	from    map[int64]int64 // by destination
	writes  int
}

func (v *vast) Size() int64 { return v.size }

func (v *vast) Flush() error { return nil }

func (v *vast) ReadAt(p []byte, off int64) (int, error) {
	v.reads, v.largest = v.reads+1, max(v.largest, len(p))
	for i := 0; i < len(p); i += block.Size {
		binary.LittleEndian.PutUint64(p[i:], uint64(off)+uint64(i))
	}
	return len(p), nil
}

func (v *vast) WriteAt(p []byte, off int64) (int, error) {
	v.writes++
	for i := 0; i < len(p); i += block.Size {
		v.from[off+int64(i)] = int64(binary.LittleEndian.Uint64(p[i:]))
	}
	return len(p), nil
}

// Data blocks larger than the buffer are copied in parts, small ones together.
func TestRequests(t *testing.T) {
	for _, c := range []struct {
		sectors       uint32
		reads, writes int
	}{
		{128, 1, 4},             // 10 adjacent blocks go to 4 gaps
		{65536, 2 * 10, 2 * 10}, // of 32 MiB, in halves
	} {
		var u shrink.Usage
		errs := []error{
			u.Begin(metadata.Header{Version: 2, DataBlockSize: c.sectors, NrDataBlocks: 100}),
			u.Runs([]metadata.Run{{Data: 2, Len: 1}, {Data: 4, Len: 2}, {Data: 9, Len: 1}, {Data: 50, Len: 10}}),
		}
		plan, err := u.Plan(14)
		if err := errors.Join(append(errs, err)...); err != nil {
			t.Fatal(err)
		}
		size := int64(c.sectors) * 512
		dev := &vast{size: 100 * size, from: map[int64]int64{}}
		if err := plan.Copy(t.Context(), dev, shrink.Options{}); err != nil {
			t.Fatal(err)
		}
		for i, to := range []int64{0, 1, 3, 6, 7, 8, 10, 11, 12, 13} {
			for at := int64(0); at < size; at += block.Size {
				if got, want := dev.from[to*size+at], (50+int64(i))*size+at; got != want {
					t.Fatalf("blocks of %d sectors: at %d is what was at %d, want %d", c.sectors, to*size+at, got, want)
				}
				delete(dev.from, to*size+at)
			}
		}
		if len(dev.from) > 0 || dev.reads != c.reads || dev.writes != c.writes || dev.largest > 16<<20 {
			t.Errorf("blocks of %d sectors: %d reads of up to %d bytes, %d writes, %d too many", c.sectors, dev.reads, dev.largest, dev.writes, len(dev.from))
		}
	}
}

// Hostile descriptions are refused or cost next to nothing.
func TestHostile(t *testing.T) {
	const most = 255 * 16320 * 16320
	for name, c := range map[string]struct {
		header metadata.Header
		runs   []metadata.Run
		want   string
	}{
		"snapshot":       {metadata.Header{DataBlockSize: 128}, nil, "metadata snapshot"},
		"block size":     {metadata.Header{DataBlockSize: 100, NrDataBlocks: 5}, nil, "data_block_size"},
		"many blocks":    {metadata.Header{DataBlockSize: 128, NrDataBlocks: most + 1}, nil, "more than a pool can have"},
		"many bytes":     {metadata.Header{DataBlockSize: 1 << 21, NrDataBlocks: 1 << 33}, nil, "more than a pool can have"},
		"beyond":         {metadata.Header{DataBlockSize: 128, NrDataBlocks: 10}, []metadata.Run{{Data: 9, Len: 2}}, "data block 10 is beyond"},
		"far beyond":     {metadata.Header{DataBlockSize: 128, NrDataBlocks: 10}, []metadata.Run{{Data: 1 << 63, Len: 1 << 63}}, "beyond"},
		"long run":       {metadata.Header{DataBlockSize: 128, NrDataBlocks: most}, []metadata.Run{{Data: 1, Len: most - 1}}, "mappings"},
		"many long runs": {metadata.Header{DataBlockSize: 128, NrDataBlocks: most}, slices.Repeat([]metadata.Run{{Data: 5, Len: 1 << 29}}, 3), "mappings"},
	} {
		t.Run(name, func(t *testing.T) {
			var u shrink.Usage
			err := u.Begin(c.header)
			if err == nil {
				err = u.Runs(c.runs)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
	var u shrink.Usage
	if err := u.Begin(metadata.Header{DataBlockSize: 128, NrDataBlocks: most}); err != nil {
		t.Fatal(err)
	}
	if err := u.Runs([]metadata.Run{{Data: most - 1, Len: 1}, {Data: 1 << 20, Len: 1 << 29}}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []uint64{0, most + 1, 1 << 63} {
		if plan, err := u.Plan(n); err == nil {
			t.Errorf("%d blocks: %+v", n, plan)
		}
	}
	plan, err := u.Plan(1 << 35)
	if diff := cmp.Diff([]shrink.Move{{From: most - 1, To: 0, Len: 1}}, plan.Moves); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

// A description that differs the second time is refused, unless its mappings are all known.
func TestChanged(t *testing.T) {
	header := metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 100}
	runs := []metadata.Run{{Data: 50, Len: 10}, {Data: 70, Len: 1}}
	other := header
	other.TransactionID++
	for name, c := range map[string]struct {
		header metadata.Header
		runs   []metadata.Run
	}{
		"other header":   {other, runs},
		"other block":    {header, []metadata.Run{{Data: 50, Len: 10}, {Data: 71, Len: 1}}},
		"other length":   {header, []metadata.Run{{Data: 51, Len: 10}, {Data: 70, Len: 1}}},
		"fewer mappings": {header, runs[:1]},
		"more mappings":  {header, append(slices.Clone(runs), runs...)},
	} {
		t.Run(name, func(t *testing.T) {
			var u shrink.Usage
			if err := errors.Join(u.Begin(header), u.Runs(runs)); err != nil {
				t.Fatal(err)
			}
			plan, err := u.Plan(40)
			if err != nil {
				t.Fatal(err)
			}
			v := plan.Rewrite(new(model))
			err = v.Begin(c.header)
			if err == nil {
				err = v.Runs(c.runs)
			}
			if err == nil {
				err = v.End()
			}
			if err != shrink.ErrChanged {
				t.Errorf("error %v", err)
			}
		})
	}
}

// In pools made by the kernel, as many data blocks are in use as an independent reader counts, and
// the pools shrink to exactly that size.
func TestKernel(t *testing.T) {
	for _, name := range fixtures.Names() {
		p, err := metadata.Open(fixtures.Mem(t, name), metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var u shrink.Usage
		if err := dump.Run(t.Context(), p, dump.Options{}, &u); err != nil {
			t.Fatal(err)
		}
		truth := fixtures.TruthOf(t, name)
		plan, err := u.Plan(truth.DataBlocks)
		if err != nil || len(plan.Moves) > 0 {
			t.Fatalf("%s: %v, %d moves to what it has", name, err, len(plan.Moves))
		}
		if leaks := truth.Verify == 3; plan.Used != truth.DataUsed && !leaks && truth.HeldRoot == 0 {
			t.Errorf("%s: %d blocks are in use, want %d", name, plan.Used, truth.DataUsed)
		}
		if plan.Used == 0 {
			continue
		}
		least, err := u.Plan(plan.Used)
		if err != nil {
			t.Fatal(err)
		}
		var after model
		if err := dump.Run(t.Context(), p, dump.Options{}, least.Rewrite(&after)); err != nil {
			t.Fatal(err)
		}
		there := map[metadata.DataBlock]bool{}
		for _, m := range after.mappings {
			there[m.data] = true
		}
		if uint64(len(there)) != plan.Used || slices.MaxFunc(after.mappings, func(a, b mapping) int { return int(a.data) - int(b.data) }).data != metadata.DataBlock(plan.Used-1) {
			t.Errorf("%s: %d blocks in use, want 0 to %d", name, len(there), plan.Used-1)
		}
		if _, err := u.Plan(plan.Used - 1); err == nil && plan.Used > 1 {
			t.Errorf("%s: has room in less than it uses", name)
		}
	}
}
