package generate_test

import (
	"bytes"
	"context"
	"errors"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/generate"
)

var spoilable = generate.Shape{Devices: 2, Mappings: 3000, RunLength: 3, Snapshots: 2, Divergence: 0.3, Seed: 1}

// Each kind of damage changes the requested number of blocks in its own way, and no others. A
// check finds it.
func TestSpoil(t *testing.T) {
	const n = 5
	for _, kind := range generate.Damages {
		t.Run(string(kind), func(t *testing.T) {
			dev := made(t, spoilable)
			before := dev.Contents()
			spoilt, err := generate.Spoil(dev, kind, n, 7)
			if err != nil || len(spoilt) != n {
				t.Fatalf("blocks %v, %v", spoilt, err)
			}
			after := dev.Contents()
			for nr := range block.Blocks(dev) {
				old, now := before[nr*block.Size:][:block.Size], after[nr*block.Size:][:block.Size]
				if wanted := slices.Contains(spoilt, nr); wanted == bytes.Equal(old, now) {
					t.Errorf("block %d, to be spoilt: %v, changed: %v", nr, wanted, !wanted)
				} else if wanted {
					spoiltAs(t, kind, nr, old, now, before)
				}
			}
			sum, err := check.Run(t.Context(), dev, check.Options{Parallel: 1}, func(check.Fault) {})
			if err != nil || sum.Fatal == 0 {
				t.Errorf("%d fatal faults, %v", sum.Fatal, err)
			}
		})
	}
}

// spoiltAs checks that a block was changed as the kind says.
func spoiltAs(t *testing.T, kind generate.Damage, nr block.Nr, old, now, all []byte) {
	t.Helper()
	first, last, flipped := -1, -1, 0
	for i := range now {
		if d := bits.OnesCount8(old[i] ^ now[i]); d > 0 {
			if last = i; first < 0 {
				first = i
			}
			flipped += d
		}
	}
	right := false
	switch kind {
	case generate.Zero:
		right = !slices.ContainsFunc(now, func(c byte) bool { return c != 0 })
	case generate.Flip:
		right = flipped == 1
	case generate.Scribble:
		right = last-first < 64
	case generate.Misplace:
		at := bytes.Index(all, now)
		right = at >= 0 && at%block.Size == 0 && nr > 0
	}
	if !right {
		t.Errorf("block %d: %d bits differ, in bytes %d to %d", nr, flipped, first, last)
	}
}

// The seed decides which blocks are damaged, never the superblock.
func TestSpoilSeed(t *testing.T) {
	spoilt := func(seed uint64) []block.Nr {
		nrs, err := generate.Spoil(made(t, spoilable), generate.Zero, 10, seed)
		if err != nil || slices.Contains(nrs, metadata.SuperblockLocation) {
			t.Fatalf("blocks %v, %v", nrs, err)
		}
		return nrs
	}
	if !slices.Equal(spoilt(1), spoilt(1)) || slices.Equal(spoilt(1), spoilt(2)) {
		t.Error("the seed does not decide")
	}
}

// A request to damage more blocks than are in use is refused, and nothing is written. So is one to
// misplace a block if there is no other.
func TestSpoilRefused(t *testing.T) {
	dev := made(t, spoilable)
	before := dev.Contents()
	if _, err := generate.Spoil(dev, generate.Zero, 1<<20, 1); err == nil || !strings.Contains(err.Error(), "1048576 blocks are to be damaged, but only") {
		t.Errorf("more than there are: %v", err)
	}
	if !bytes.Equal(before, dev.Contents()) {
		t.Error("the device was written to")
	}
	one := blocktest.NewMem(2 * block.Size)
	var b block.Data
	block.Seal(1, &b, block.Bitmap)
	if err := block.Write(one, 1, &b); err != nil {
		t.Fatal(err)
	}
	if _, err := generate.Spoil(one, generate.Misplace, 1, 1); err == nil {
		t.Error("a block is misplaced where there is no other")
	}
}

// Device errors are returned.
func TestSpoilErrors(t *testing.T) {
	dev := made(t, spoilable)
	dev.FailWritesAfter(0)
	if _, err := generate.Spoil(dev, generate.Flip, 1, 1); err == nil {
		t.Error("the write fails, and nothing is said")
	}
	dev.FailReads(3)
	if _, err := generate.Spoil(dev, generate.Flip, 1, 1); err == nil {
		t.Error("the read fails, and nothing is said")
	}
}

// An error from any visitor call stops the generation.
func TestVisitorErrors(t *testing.T) {
	no := errors.New("no more")
	calls := 0
	if err := generate.Run(t.Context(), spoilable, &stopping{Visitor: new(fixtures.Recorder), left: 1 << 30, calls: &calls}); err != nil {
		t.Fatal(err)
	}
	for left := range calls {
		if err := generate.Run(t.Context(), spoilable, &stopping{Visitor: new(fixtures.Recorder), left: left, err: no, calls: new(int)}); !errors.Is(err, no) {
			t.Errorf("call %d fails: %v", left, err)
		}
	}
}

// A stopping Visitor fails after some calls.
type stopping struct {
	metadata.Visitor
	left  int
	err   error
	calls *int
}

func (s *stopping) next(call func() error) error {
	*s.calls++
	if s.left--; s.left < 0 {
		return s.err
	}
	return call()
}

func (s *stopping) Begin(h metadata.Header) error {
	return s.next(func() error { return s.Visitor.Begin(h) })
}

func (s *stopping) BeginDef(name string) error {
	return s.next(func() error { return s.Visitor.BeginDef(name) })
}

func (s *stopping) EndDef() error { return s.next(s.Visitor.EndDef) }

func (s *stopping) BeginDevice(id metadata.DevID, d metadata.Details) error {
	return s.next(func() error { return s.Visitor.BeginDevice(id, d) })
}

func (s *stopping) EndDevice() error { return s.next(s.Visitor.EndDevice) }

func (s *stopping) Ref(name string) error {
	return s.next(func() error { return s.Visitor.Ref(name) })
}

func (s *stopping) Runs(runs []metadata.Run) error {
	return s.next(func() error { return s.Visitor.Runs(runs) })
}

func (s *stopping) End() error { return s.next(s.Visitor.End) }

// The generation stops when the context is cancelled.
func TestCancel(t *testing.T) {
	for name, s := range map[string]generate.Shape{"snapshots": spoilable, "none": {Devices: 1, Mappings: 10, RunLength: 1}} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := generate.Run(ctx, s, new(fixtures.Recorder)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A header only keeps the header that a Visitor gets.
type header struct {
	fixtures.Recorder
	got metadata.Header
}

func (h *header) Begin(got metadata.Header) error {
	h.got = got
	return nil
}

// The header has the requested values, and the usual ones for everything else.
func TestHeader(t *testing.T) {
	for name, tc := range map[string]struct {
		shape generate.Shape
		want  metadata.Header
	}{
		"as usual": {
			generate.Shape{Devices: 1, Mappings: 1000, RunLength: 1, NrDataBlocks: 5},
			metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 1008}, // whole pieces, although fewer were requested
		},
		"all of it": {
			generate.Shape{Devices: 1, Snapshots: 3, Mappings: 10, RunLength: 1, DataBlockSize: 256, NrDataBlocks: 99999, TransactionID: 7, NeedsCheck: true},
			metadata.Header{Version: 2, DataBlockSize: 256, NrDataBlocks: 99999, TransactionID: 7, Flags: metadata.NeedsCheck, Time: 3},
		},
	} {
		var h header
		if err := generate.Run(t.Context(), tc.shape, &h); err != nil || h.got != tc.want {
			t.Errorf("%s: %+v, %v; want %+v", name, h.got, err, tc.want)
		}
	}
	if err := generate.Run(t.Context(), generate.Shape{Devices: 2, Snapshots: metadata.MaxTime/2 + 1, RunLength: 1}, new(header)); err == nil {
		t.Error("more snapshots than a pool can have are taken")
	}
}
