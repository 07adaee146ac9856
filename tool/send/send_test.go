package send_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/streamfmt"
	"thinpool/tool/send"
)

// act makes a random change to a pool.
func act(t *rapid.T, k *kernel) {
	ids := slices.Collect(func(yield func(metadata.DevID) bool) {
		for id := range metadata.DevID(5) {
			if k.devices[id] != nil && !yield(id) {
				return
			}
		}
	})
	id := metadata.DevID(rapid.IntRange(0, 4).Draw(t, "id"))
	some := func() metadata.DevID { return rapid.SampledFrom(ids).Draw(t, "device") }
	thin := metadata.ThinBlock(rapid.IntRange(0, 3).Draw(t, "thin"))
	switch what := rapid.IntRange(0, 12).Draw(t, "what"); {
	case len(ids) == 0 || what == 0 && k.devices[id] == nil:
		if k.devices[id] == nil {
			k.create(id)
		}
	case what <= 2 && k.devices[id] == nil:
		k.snapshot(id, some())
	case what == 3:
		k.remove(some())
	case what == 4:
		k.discard(some(), thin)
	default:
		k.write(some(), thin)
	}
}

// After any changes by the kernel between two streams, base and increment yield the final pool. An
// increment is only refused if nothing in the base is reliable.
func TestIncrements(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := newKernel(16)
		for range rapid.IntRange(1, 30).Draw(rt, "before") {
			act(rt, k)
		}
		stream, index := k.stream(t, nil, send.Stream{})
		base, data := blocktest.NewMem(metaBytes), blocktest.NewMem(32*blockBytes)
		if err := receive(t, stream, base, data, rapid.Bool().Draw(rt, "keep"), send.Target{}); err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(rt, "increments") {
			for range rapid.IntRange(0, 20).Draw(rt, "between") {
				act(rt, k)
			}
			x := loadIndex(t, index)
			if plan, err := send.NewPlan(k.visit, send.Options{Since: x}); err != nil {
				if !errors.Is(err, send.ErrBase) {
					rt.Fatal(err)
				}
				rt.Skip(err)
			} else if err := plan.CheckBase(bytes.NewReader(k.data)); err != nil {
				if strings.Contains(err.Error(), "another content") {
					rt.Fatal(err) // the kernel never does that
				}
				rt.Skip(err)
			}
			stream, index = k.stream(t, x, send.Stream{})
			before := contentOf(t, base, data.Contents())
			meta := blocktest.NewMem(metaBytes)
			if err := onto(t, stream, base, meta, data); err != nil {
				rt.Fatal(err)
			}
			if !same(contentOf(t, base, data.Contents()), before) {
				rt.Fatal("the old metadata leads to other data")
			}
			if got := contentOf(t, meta, data.Contents()); !same(got, k.content()) {
				rt.Fatalf("the devices have other content: %d blocks, want %d", len(got), len(k.content()))
			}
			base = meta
		}
	})
}

// withSnapshot returns a pool with a device, its snapshot, and a device without a snapshot.
func withSnapshot() *kernel {
	k := newKernel(40)
	k.create(1)
	for b := range metadata.ThinBlock(10) {
		k.write(1, b)
	}
	k.snapshot(2, 1)
	k.write(1, 3)
	k.create(3)
	k.write(3, 0)
	k.write(3, 5)
	clear(k.data[2*blockBytes : 4*blockBytes]) // blocks of zeros are not sent
	return k
}

// scattered returns the pool of withSnapshot with a free block after most blocks.
func scattered() *kernel {
	k := newKernel(40)
	k.create(8)
	k.create(1)
	for b := range metadata.ThinBlock(12) {
		k.write(1, b)
		k.write(8, b)
	}
	k.remove(8)
	k.snapshot(2, 1)
	k.create(3)
	k.write(3, 0)
	k.write(3, 5)
	clear(k.data[4*blockBytes : 5*blockBytes])
	return k
}

// An increment contains new data, and data that may have been overwritten in place without a trace
// in the metadata.
func TestRule(t *testing.T) {
	k := withSnapshot()
	full, index := k.stream(t, nil, send.Stream{})
	sent := func() uint64 {
		t.Helper()
		stream, _ := k.stream(t, loadIndex(t, index), send.Stream{})
		in, err := send.Open(bytes.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		return in.Header.Sent
	}
	// Block 3 of device 1 and both blocks of device 3 are not shared.
	if n := sent(); n != 3 {
		t.Errorf("nothing has changed: %d blocks, want 3", n)
	}
	k.write(3, 0) // in place
	if n := sent(); n != 3 {
		t.Errorf("after a write in place: %d blocks, want 3", n)
	}
	k.write(1, 7)
	if n := sent(); n != 4 {
		t.Errorf("after a write to a shared block: %d blocks, want 4", n)
	}
	k.snapshot(4, 3) // the blocks it now shares could have been overwritten before
	if n := sent(); n != 4 {
		t.Errorf("after a snapshot: %d blocks, want 4", n)
	}
	k.remove(2) // frees block 7, which only this device still used; another device takes it
	k.create(5)
	for b := range metadata.ThinBlock(20) {
		k.write(5, b)
	}
	if n, free := sent(), uint64(slices.Index(k.refs, 0)); n != k.used()-8 || free == 7 {
		t.Errorf("after its blocks were used again: %d blocks, want %d", n, k.used()-8)
	}
	base, data, meta := blocktest.NewMem(metaBytes), blocktest.NewMem(80*blockBytes), blocktest.NewMem(metaBytes)
	if err := receive(t, full, base, data, false, send.Target{}); err != nil {
		t.Fatal(err)
	}
	stream, _ := k.stream(t, loadIndex(t, index), send.Stream{})
	if err := onto(t, stream, base, meta, data); err != nil {
		t.Fatal(err)
	}
	if !same(contentOf(t, meta, data.Contents()), k.content()) {
		t.Error("the devices have other content")
	}
}

// An index that cannot be used as a base is refused.
func TestRefusedBase(t *testing.T) {
	for name, c := range map[string]struct {
		change func(k *kernel)
	}{
		"set back":           {func(k *kernel) { k.time-- }},
		"older transaction":  {func(k *kernel) { k.transaction-- }},
		"no device is left":  {func(k *kernel) { k.remove(1); k.remove(2); k.remove(3); k.create(1) }},
		"no block is frozen": {func(k *kernel) { k.remove(1); k.remove(2) }},
		"other data": {func(k *kernel) {
			for i := 0; i < len(k.data); i += blockBytes {
				k.data[i]++
			}
		}},
	} {
		k := withSnapshot()
		_, index := k.stream(t, nil, send.Stream{})
		c.change(k)
		plan, err := send.NewPlan(k.visit, send.Options{Since: loadIndex(t, index)})
		if err == nil {
			err = plan.CheckBase(bytes.NewReader(k.data))
		}
		if !errors.Is(err, send.ErrBase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	k := newKernel(10) // no snapshot
	k.create(1)
	k.write(1, 0)
	_, index := k.stream(t, nil, send.Stream{})
	if _, err := send.NewPlan(k.visit, send.Options{Since: loadIndex(t, index)}); !errors.Is(err, send.ErrBase) {
		t.Errorf("without a snapshot: %v", err)
	}
}

// An increment can only be received onto the pool it is based on.
func TestOntoRefuses(t *testing.T) {
	k := withSnapshot()
	full, index := k.stream(t, nil, send.Stream{})
	k.write(1, 8)
	increment, _ := k.stream(t, loadIndex(t, index), send.Stream{})
	newer, _ := k.stream(t, nil, send.Stream{})
	pool := func(stream []byte) (meta, data *blocktest.Mem) {
		meta, data = blocktest.NewMem(metaBytes), blocktest.NewMem(80*blockBytes)
		if err := receive(t, stream, meta, data, false, send.Target{}); err != nil {
			t.Fatal(err)
		}
		return meta, data
	}
	untouched := func(name string, err error, data *blocktest.Mem, ops int) {
		t.Helper()
		if !errors.Is(err, send.ErrBase) || data.Ops() != ops {
			t.Errorf("%s: %v, %d writes", name, err, data.Ops()-ops)
		}
	}
	meta, data := pool(newer)
	ops := data.Ops()
	untouched("another state", onto(t, increment, meta, blocktest.NewMem(metaBytes), data), data, ops)
	meta, _ = pool(full)
	other := blocktest.NewMem(80 * blockBytes)
	untouched("other data", onto(t, increment, meta, blocktest.NewMem(metaBytes), other), other, 0)
	if err := receive(t, increment, blocktest.NewMem(metaBytes), blocktest.NewMem(80*blockBytes), false, send.Target{}); err == nil {
		t.Error("an increment was received without its base")
	}
	if err := onto(t, full, meta, blocktest.NewMem(metaBytes), data); err == nil {
		t.Error("a whole pool was received onto another one")
	}
}

// All ways to send and receive yield the same pool, over any old content.
func TestForms(t *testing.T) {
	k := withSnapshot()
	for _, level := range []int{0, 1, 9} {
		stream, _ := k.stream(t, nil, send.Stream{Level: level})
		if used := int(k.used()); len(stream) > used*blockBytes+4096 {
			t.Errorf("level %d: %d bytes for %d data blocks", level, len(stream), used)
		}
		for _, keep := range []bool{false, true} {
			meta, data := blocktest.NewMemFrom(bytes.Repeat([]byte{7}, metaBytes)), blocktest.NewMemFrom(bytes.Repeat([]byte{8}, 40*blockBytes))
			if err := receive(t, stream, meta, data, keep, send.Target{}); err != nil {
				t.Fatal(err)
			}
			if !same(contentOf(t, meta, data.Contents()), k.content()) {
				t.Errorf("level %d, keep %v: the devices have other content", level, keep)
			}
			p, err := metadata.Open(meta, metadata.Options{})
			if err != nil || p.Live.DataSpaceMap.NrAllocated != k.used() {
				t.Errorf("%d data blocks are in use, want %d (%v)", p.Live.DataSpaceMap.NrAllocated, k.used(), err)
			}
		}
		least := blocktest.NewMem(int64(k.used()) * blockBytes)
		if err := receive(t, stream, blocktest.NewMem(metaBytes), least, false, send.Target{Zero: true}); err != nil {
			t.Errorf("into the least possible: %v", err)
		}
		small := blocktest.NewMem(int64(k.used())*blockBytes - 1)
		if err := receive(t, stream, blocktest.NewMem(metaBytes), small, false, send.Target{}); !errors.Is(err, send.ErrTooSmall) || small.Ops() > 0 {
			t.Errorf("into less: %v, %d writes", err, small.Ops())
		}
	}
}

// oldPool returns metadata with a valid superblock.
func oldPool(t testing.TB) []byte {
	t.Helper()
	k := newKernel(1)
	k.create(1)
	stream, _ := k.stream(t, nil, send.Stream{})
	meta := blocktest.NewMem(metaBytes)
	if err := receive(t, stream, meta, blocktest.NewMem(blockBytes), false, send.Target{}); err != nil {
		t.Fatal(err)
	}
	return meta.Contents()
}

// A truncated or altered stream leaves no metadata that leads to wrong data. If anything was
// written, it leaves no valid metadata at all.
func TestSpoiled(t *testing.T) {
	k := withSnapshot()
	old := oldPool(t)
	for _, level := range []int{0, 1} {
		stream, _ := k.stream(t, nil, send.Stream{Level: level, Volumes: []streamfmt.Volume{{DevID: 1, Name: "a"}}, Text: []byte("text")})
		refused := func(what string, at int, stream []byte) {
			t.Helper()
			meta, data := blocktest.NewMemFrom(bytes.Clone(old)), blocktest.NewMem(40*blockBytes)
			err := receive(t, stream, meta, data, false, send.Target{})
			if err == nil {
				t.Fatalf("level %d: %s at byte %d of %d is accepted", level, what, at, len(stream))
			}
			_, open := metadata.Open(meta, metadata.Options{})
			if written := data.Ops() > 0; written && open == nil {
				t.Fatalf("level %d: %s at byte %d: there is a valid superblock, although data was written", level, what, at)
			}
		}
		for i := range 50 {
			at := len(stream) * i / 50
			refused("a cut", at, stream[:at])
		}
		refused("a cut", len(stream)-1, stream[:len(stream)-1])
		refused("something after the end", len(stream), append(bytes.Clone(stream), 0))
		for at := 0; at < len(stream); at += max(1, min(len(stream)/300, at/3)) {
			spoiled := bytes.Clone(stream)
			spoiled[at] ^= 1 << (at % 8)
			refused("a bit", at, spoiled)
		}
	}
}

// If a write, a flush or the power fails at any point, new metadata that the kernel would accept
// leads to the right data. For an increment, so does the old metadata.
func TestPowerCuts(t *testing.T) {
	k := scattered()
	want := k.content()
	stream, index := k.stream(t, nil, send.Stream{})
	old := oldPool(t)
	run := func(metaOps, dataOps int) (meta, data *blocktest.Mem, err error) {
		meta, data = blocktest.NewMemFrom(bytes.Clone(old)), blocktest.NewMemFrom(bytes.Repeat([]byte{9}, 40*blockBytes))
		meta.FailWritesAfter(metaOps)
		data.FailWritesAfter(dataOps)
		return meta, data, receive(t, stream, meta, data, false, send.Target{})
	}
	base, content, err := run(-1, -1)
	if err != nil {
		t.Fatal(err)
	}
	metaOps, dataOps := base.Ops(), content.Ops()
	if metaOps < 5 || dataOps < 5 {
		t.Fatalf("only %d and %d writes", metaOps, dataOps)
	}
	check := func(meta, data *blocktest.Mem, err error, want map[string][]byte) {
		t.Helper()
		for seed := range 8 {
			got := contentOf(t, meta.Crash(seed), data.Crash(seed).Contents())
			if err == nil && got == nil || got != nil && data.Ops() > 0 && !same(got, want) {
				t.Fatalf("%d and %d writes, seed %d: wrong data (%v)", meta.Ops(), data.Ops(), seed, err)
			}
		}
	}
	for op := range metaOps {
		meta, data, err := run(op, -1)
		if !errors.Is(err, blocktest.ErrFailed) {
			t.Fatalf("%d of %d writes of metadata: %v", op, metaOps, err)
		}
		check(meta, data, err, want)
	}
	for op := range dataOps {
		meta, data, err := run(-1, op)
		if !errors.Is(err, blocktest.ErrFailed) {
			t.Fatalf("%d of %d writes of data: %v", op, dataOps, err)
		}
		check(meta, data, err, want)
	}
	check(base, content, nil, want)

	k.write(1, 1)
	k.write(3, 0)
	k.write(1, 20)
	increment, _ := k.stream(t, loadIndex(t, index), send.Stream{})
	before, after := want, k.content()
	for op := range 50 {
		meta, data := blocktest.NewMem(metaBytes), blocktest.NewMemFrom(content.Contents())
		data.FailWritesAfter(op / 2)
		if op%2 == 1 {
			data.FailWritesAfter(-1)
			meta.FailWritesAfter(op / 2)
		}
		err := onto(t, increment, base, meta, data)
		check(meta, data, err, after)
		for seed := range 8 {
			if !same(contentOf(t, base, data.Crash(seed).Contents()), before) {
				t.Fatalf("op %d, seed %d: the old metadata leads to other data", op, seed)
			}
		}
	}
}

// A receive interrupted at any point resumes to the same pool, with the whole stream or with one
// that starts where it stopped.
func TestResume(t *testing.T) {
	k := scattered()
	stream, _ := k.stream(t, nil, send.Stream{})
	for i := range 20 {
		for _, whole := range []bool{true, false} {
			meta, data := blocktest.NewMemFrom(oldPool(t)), blocktest.NewMemFrom(bytes.Repeat([]byte{9}, 40*blockBytes))
			position := uint64(0)
			opt := send.Target{Interval: 2 * blockBytes, Checkpoint: func(p uint64) error { position = p; return nil }}
			if err := receive(t, stream[:len(stream)*i/20], meta, data, false, opt); err == nil {
				t.Fatal("a cut stream was accepted")
			}
			data = data.Crash(i)
			rest := stream
			if !whole {
				plan, err := send.NewPlan(k.visit, send.Options{Start: position})
				if err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				if _, err := plan.Send(t.Context(), &out, bytes.NewReader(k.data), send.Stream{}); err != nil {
					t.Fatal(err)
				}
				if rest = out.Bytes(); i > 14 && len(rest) > len(stream)/2 {
					t.Errorf("%d bytes of %d are sent again", len(rest), len(stream))
				}
				if position > 0 {
					fresh := blocktest.NewMem(40 * blockBytes)
					if err := receive(t, rest, blocktest.NewMem(metaBytes), fresh, false, send.Target{}); err == nil || fresh.Ops() > 0 {
						t.Errorf("the second part alone: %v", err)
					}
				}
			}
			opt.From = position
			if err := receive(t, rest, meta, data, false, opt); err != nil {
				t.Fatal(err)
			}
			if !same(contentOf(t, meta, data.Contents()), k.content()) {
				t.Errorf("part %d, whole %v: the devices have other content", i, whole)
			}
		}
	}
}

// The ID depends only on the pool, not on compression or start. Another pool has another ID.
func TestID(t *testing.T) {
	k := withSnapshot()
	id := func(opt send.Stream) string {
		t.Helper()
		stream, _ := k.stream(t, nil, opt)
		in, err := send.Open(bytes.NewReader(stream))
		if err == nil {
			err = in.Place(40, false)
		}
		if err == nil {
			err = in.Build(nil, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		return in.ID()
	}
	first := id(send.Stream{})
	if again := id(send.Stream{Level: 3}); again != first {
		t.Error("compression makes it another stream")
	}
	k.write(1, 9)
	if other := id(send.Stream{}); other == first {
		t.Error("another pool is the same stream")
	}
}

// A read error tells its place.
func TestReadError(t *testing.T) {
	k := withSnapshot()
	plan, err := send.NewPlan(k.visit, send.Options{})
	if err != nil {
		t.Fatal(err)
	}
	data := blocktest.NewMemFrom(k.data)
	data.FailReads(block.Nr(5 * blockBytes / block.Size))
	var out bytes.Buffer
	if _, err := plan.Send(t.Context(), &out, data, send.Stream{}); !errors.Is(err, blocktest.ErrFailed) {
		t.Errorf("%v", err)
	}
	short := bytes.NewReader(k.data[:3*blockBytes])
	if _, err := plan.Send(t.Context(), &out, short, send.Stream{}); err == nil {
		t.Error("data that ends early is accepted")
	}
}
