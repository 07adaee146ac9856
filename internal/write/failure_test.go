package write_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/dump"
)

// errMedium is the error of a failed write.
var errMedium = errors.New("medium error")

// A faulty device fails single writes or flushes, while in a [blocktest.Mem] all fail from some
// point on. A failed write reaches the medium in part or not at all.
type faulty struct {
	*blocktest.Mem
	fails func(op int, off int64, n int) bool // a flush has n = 0
	part  float64                             // part of a failed write that reaches the medium
	op    int
	hit   int // failures so far
}

func (f *faulty) failing(off int64, n int) bool {
	f.op++
	fail := f.fails(f.op-1, off, n)
	if fail {
		f.hit++
	}
	return fail
}

func (f *faulty) WriteAt(p []byte, off int64) (int, error) {
	if !f.failing(off, len(p)) {
		return f.Mem.WriteAt(p, off)
	}
	done := int(f.part*float64(len(p))) / 512 * 512
	if _, err := f.Mem.WriteAt(p[:done], off); err != nil {
		return 0, err
	}
	return done, errMedium
}

func (f *faulty) Flush() error {
	if f.failing(0, 0) {
		return errMedium
	}
	return f.Mem.Flush()
}

func built(t *testing.T, p *pool) *write.Builder {
	t.Helper()
	b := write.New(write.Options{Parallel: 1})
	if err := p.tell(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// One write or flush fails, and the device works again after it. This is still an error, and the
// device is as after a power cut.
func TestSingleFailure(t *testing.T) {
	b := built(t, sample())
	for name, old := range oldDevices(t) {
		whole := blocktest.NewMemFrom(bytes.Clone(old))
		if err := b.Write(t.Context(), whole); err != nil {
			t.Fatal(err)
		}
		for op := range whole.Ops() {
			for _, part := range []float64{0, 0.5, 1} {
				t.Run(fmt.Sprintf("%s, op %d, %v of it done", name, op, part), func(t *testing.T) {
					dev := &faulty{Mem: blocktest.NewMemFrom(bytes.Clone(old)), part: part}
					dev.fails = func(at int, _ int64, _ int) bool { return at == op }
					if err := b.Write(t.Context(), dev); !errors.Is(err, errMedium) {
						t.Errorf("error %v, want that of the device", err)
					}
					if dev.op > op+1 {
						t.Errorf("%d writes and flushes after one had failed", dev.op-op-1)
					}
					afterCut(t, blocktest.NewMemFrom(dev.Contents()), old)
					for seed := range 10 {
						afterCut(t, dev.Crash(seed), old)
					}
				})
			}
		}
	}
}

// A block that cannot be written matters only if the metadata needs it. The same holds if all
// blocks from one on fail, as on a full file system.
func TestBadBlocks(t *testing.T) {
	b := built(t, sample())
	old := oldDevices(t)["other metadata"]
	for bad := range block.Nr(len(old) / block.Size) {
		for _, full := range []bool{false, true} {
			dev := &faulty{Mem: blocktest.NewMemFrom(bytes.Clone(old))}
			dev.fails = func(_ int, off int64, n int) bool {
				end := off + int64(n)
				return n > 0 && end > int64(bad)*block.Size && (full || off < int64(bad+1)*block.Size)
			}
			err := b.Write(t.Context(), dev)
			if (err != nil) != (dev.hit > 0) {
				t.Fatalf("block %d, full: %v: error %v, but %d writes failed", bad, full, err, dev.hit)
			}
			if (bad < b.Least()) != (err != nil) {
				t.Errorf("block %d of the %d that are needed, full: %v: error %v", bad, b.Least(), full, err)
			}
			if complete := afterCut(t, blocktest.NewMemFrom(dev.Contents()), old); complete != (err == nil) {
				t.Errorf("block %d, full: %v: complete: %v, error %v", bad, full, complete, err)
			}
		}
	}
}

// An unreadable block 0 can still be written.
func TestUnreadableSuperblock(t *testing.T) {
	b := built(t, sample())
	for name, old := range oldDevices(t) {
		whole := blocktest.NewMemFrom(bytes.Clone(old))
		whole.FailReads(0)
		if err := b.Write(t.Context(), whole); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		mustPass(t, blocktest.NewMemFrom(whole.Contents()))
		for op := range whole.Ops() {
			dev := blocktest.NewMemFrom(bytes.Clone(old))
			dev.FailReads(0)
			dev.FailWritesAfter(op)
			if err := b.Write(t.Context(), dev); err == nil {
				t.Fatalf("%s: after %d writes: no error", name, op)
			}
			for seed := range 20 {
				afterCut(t, dev.Crash(seed), old)
			}
		}
	}
}

// Kernel metadata is restored over itself, and the power fails at every write. The old superblock
// must never be valid over overwritten blocks, or it would show a mixture of both.
func TestPowerCutOverKernelMetadata(t *testing.T) {
	for _, name := range []string{"transactions", "wide-sharing"} {
		old, err := fixtures.Image(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := metadata.Open(blocktest.NewMemFrom(bytes.Clone(old)), metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := write.New(write.Options{Parallel: 1})
		if err := dump.Run(t.Context(), p, dump.Options{}, b); err != nil {
			t.Fatal(err)
		}
		whole := blocktest.NewMemFrom(bytes.Clone(old))
		if err := b.Write(t.Context(), whole); err != nil {
			t.Fatal(err)
		}
		was, complete := p.Superblock, 0
		for op := range whole.Ops() + 1 {
			dev := blocktest.NewMemFrom(bytes.Clone(old))
			dev.FailWritesAfter(op)
			if err := b.Write(t.Context(), dev); (err == nil) != (op == whole.Ops()) {
				t.Fatalf("%s: after %d writes: error %v", name, op, err)
			}
			for seed := range 4 {
				left := dev.Crash(seed)
				p, err := metadata.Open(left, metadata.Options{})
				switch {
				case err != nil && errors.Is(err, metadata.ErrUnformatted):
					t.Fatalf("%s: after %d writes, seed %d: the kernel would format the device", name, op, seed)
				case err != nil: // refused
				case p.Superblock == was && !bytes.Equal(left.Contents(), old):
					t.Fatalf("%s: after %d writes, seed %d: the old superblock over new blocks", name, op, seed)
				case p.Superblock != was:
					complete++
					mustPass(t, left)
				}
			}
		}
		if complete < 4 {
			t.Errorf("%s: %d devices are complete, want at least the 4 after the last flush", name, complete)
		}
	}
}

// Block 0 is known before anything is written, whatever the device holds.
func TestBlock0(t *testing.T) {
	b := built(t, sample())
	for name, old := range oldDevices(t) {
		dev := blocktest.NewMemFrom(bytes.Clone(old))
		want, err := b.Block0(t.Context(), block.Blocks(dev))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Write(t.Context(), dev); err != nil {
			t.Fatal(err)
		}
		if got := dev.Contents()[:block.Size]; !bytes.Equal(got, want[:]) {
			t.Errorf("%s: block 0 is another", name)
		}
	}
	if _, err := b.Block0(t.Context(), b.Least()-1); err == nil {
		t.Error("block 0 of a device that is too small")
	} else if _, ok := errors.AsType[*write.SpaceError](err); !ok {
		t.Errorf("error %v, want a SpaceError", err)
	}
}

// A builder has read everything by End, so metadata can be written over its source.
func TestWriteOverSource(t *testing.T) {
	source := blocktest.NewMem(64 * block.Size)
	if err := built(t, sample()).Write(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	p, err := metadata.Open(source, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := write.New(write.Options{})
	if err := dump.Run(t.Context(), p, dump.Options{}, b); err != nil {
		t.Fatal(err)
	}
	elsewhere := blocktest.NewMemFrom(source.Contents())
	for nr := range block.Blocks(source) { // none of it is readable any more, not even block 0
		source.FailReads(nr)
	}
	for _, dev := range []*blocktest.Mem{source, elsewhere} {
		if err := b.Write(t.Context(), dev); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(source.Contents(), elsewhere.Contents()) {
		t.Error("what was written over its source is something else")
	}
}
