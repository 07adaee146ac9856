package block

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"unsafe"
)

// The checksums of a zero block, as each kind.
func TestChecksumVectors(t *testing.T) {
	if got := register(new(Data)); got != 0x58CDA791 {
		t.Errorf("register after zeroes is %#x", got)
	}
	for kind, want := range map[Kind]uint32{Superblock: 0x58CFD397, Node: 0x58CC7E82, Bitmap: 0x58CE0B1A, Index: 0x58CFD54F} {
		var b Data
		Seal(0, &b, kind)
		if got := le.Uint32(b[:]); got != want {
			t.Errorf("%v: %#x, want %#x", kind, got, want)
		}
		if KindOf(&b) != kind || Verify(0, &b, kind) != nil {
			t.Errorf("%v: not recognised", kind)
		}
	}
}

func TestVerifyRejects(t *testing.T) {
	sealed := func() *Data {
		b := new(Data)
		b[100] = 7
		Seal(5, b, Node)
		return b
	}
	if err := Verify(5, sealed(), Node); err != nil {
		t.Fatal(err)
	}
	moved, spoilt := sealed(), sealed()
	spoilt[200] = 1
	for name, tc := range map[string]struct {
		b    *Data
		loc  Nr
		kind Kind
		want string
	}{
		"moved":      {moved, 6, Node, "block 6, byte 0x8: blocknr is 5, want 6; it holds block 5, with a valid checksum"},
		"other kind": {sealed(), 5, Bitmap, "block 5: holds a btree node, want a bitmap"},
		"zero":       {new(Data), 5, Node, "block 5: all zero, want a btree node"},
	} {
		if err := Verify(tc.loc, tc.b, tc.kind); err == nil || err.Error() != tc.want || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if err, ok := errors.AsType[*ChecksumError](Verify(5, spoilt, Node)); !ok || err.Is != UnknownKind {
		t.Errorf("spoilt: %v", err)
	}
}

func TestSpoil(t *testing.T) {
	zero, valid := new(Data), new(Data)
	Seal(0, valid, Superblock)
	for _, b := range []*Data{zero, valid} {
		rest := slices.Clone(b[4:])
		Spoil(b)
		if *b == (Data{}) || KindOf(b) != UnknownKind || !bytes.Equal(b[4:], rest) {
			t.Error("a spoilt block is zero, valid, or changed beyond its checksum")
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(make([]byte, Size))
	f.Fuzz(func(t *testing.T, p []byte) {
		var b Data
		copy(b[:], p)
		kind := KindOf(&b)
		if err := Verify(0, &b, Node); err == nil && kind != Node {
			t.Errorf("a %v passes for a node", kind)
		}
	})
}

// numbered returns a device of n sealed nodes.
func numbered(n int) *Mem {
	buf := Buffer(n)
	for i := range buf {
		Seal(Nr(i), &buf[i], Node)
	}
	return NewMemFrom(bytes.Clone(Bytes(buf)))
}

// Every block comes once, with its content; one that cannot be read comes alone
// with its error.
func TestReaderEach(t *testing.T) {
	const n = 1000
	dev := numbered(n)
	dev.FailReads(17, 500)
	rnd := rand.New(rand.NewPCG(1, 1))
	var want []Nr
	for nr := range Nr(n + 5) { // some beyond the end
		if rnd.IntN(3) > 0 || nr > 300 && nr < 800 {
			want = append(want, nr)
		}
	}
	for _, parallel := range []int{1, 4} {
		var mu sync.Mutex
		var got []Nr
		r := NewReader(dev, parallel)
		err := r.Each(t.Context(), slices.Values(want), func(worker int, nr Nr, b *Data, err error) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, nr)
			bad := nr == 17 || nr == 500 || nr >= n
			if (err != nil) != bad || err == nil && Verify(nr, b, Node) != nil || worker < 0 || worker >= r.Workers() {
				t.Errorf("block %d: err %v, worker %d", nr, err, worker)
			}
			return nil
		})
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%d blocks of %d, err %v", len(got), len(want), err)
		}
	}
}

func TestReaderEachStops(t *testing.T) {
	stop := errors.New("stop")
	all := func(yield func(Nr) bool) {
		for nr := Nr(0); yield(nr); nr++ {
		}
	}
	r := NewReader(numbered(2000), 3)
	if err := r.Each(t.Context(), all, func(_ int, nr Nr, _ *Data, _ error) error {
		if nr == 1500 {
			return stop
		}
		return nil
	}); err != stop {
		t.Errorf("err %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := r.Each(ctx, all, func(int, Nr, *Data, error) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, make([]byte, 3*Size+5), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(dir, "missing"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for _, path := range []string{dir, os.DevNull} {
		if _, err := Open(path, Options{}); !errors.Is(err, ErrNotBlocks) && runtime.GOOS == "linux" {
			t.Errorf("%s: %v", path, err)
		}
	}
	dev, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if dev.Size() != 3*Size+5 || Blocks(dev) != 3 {
		t.Errorf("size %d, %d blocks", dev.Size(), Blocks(dev))
	}
	var b Data
	if err := Write(dev, 1, &b); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a write to a device open for reading: %v", err)
	}
	if err := Read(dev, 3, &b); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a read beyond the end: %v", err)
	}
	rw, err := Open(path, Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	b[9] = 9
	if err := errors.Join(Write(rw, 2, &b), rw.Flush()); err != nil {
		t.Fatal(err)
	}
	var back Data
	if err := Read(dev, 2, &back); err != nil || back != b {
		t.Errorf("what was written does not read back: %v", err)
	}
	if err := Write(rw, 3, &b); err == nil || dev.Size() != 3*Size+5 {
		t.Error("a write beyond the end makes the file longer")
	}
}

func TestBufferAligned(t *testing.T) {
	for n := range 5 {
		buf := Buffer(n + 1)
		if len(buf) != n+1 || !aligned(&buf[0]) || len(Bytes(buf)) != (n+1)*Size {
			t.Errorf("%d blocks: %d, aligned %v", n+1, len(buf), aligned(&buf[0]))
		}
	}
}

// A power cut keeps what was flushed, and of the rest any part.
func TestMemCrash(t *testing.T) {
	var one, two Data
	for i := range one {
		one[i], two[i] = 1, 2
	}
	m := NewMem(2 * Size)
	if err := errors.Join(Write(m, 0, &one), m.Flush(), Write(m, 0, &two), Write(m, 1, &two)); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for seed := range 200 {
		now := m.Crash(seed).Contents()
		for at := 0; at < len(now); at += sector {
			old := byte(1)
			if at >= Size {
				old = 0
			}
			piece := now[at : at+sector]
			switch {
			case bytes.Equal(piece, bytes.Repeat([]byte{2}, sector)):
				seen["new"] = true
			case bytes.Equal(piece, bytes.Repeat([]byte{old}, sector)):
				seen["old"] = true
			default:
				t.Fatal("a sector is torn")
			}
		}
	}
	if !seen["new"] || !seen["old"] {
		t.Errorf("only %v", seen)
	}
	if err := m.Flush(); err != nil || !bytes.Equal(m.Crash(1).Contents(), m.Contents()) {
		t.Errorf("after a flush something is lost: %v", err)
	}
}

func TestMemFails(t *testing.T) {
	m := NewMem(4 * Size)
	m.FailReads(2)
	m.FailWritesAfter(1)
	var b Data
	if Read(m, 1, &b) != nil || !errors.Is(Read(m, 2, &b), ErrFailed) {
		t.Error("reads")
	}
	b[0] = 1
	if Write(m, 0, &b) != nil || !errors.Is(Write(m, 1, &b), ErrFailed) || !errors.Is(m.Flush(), ErrFailed) || m.Ops() != 1 {
		t.Error("writes")
	}
	if m.Contents()[Size] != 0 {
		t.Error("a failed write is seen")
	}
}

func BenchmarkEach(b *testing.B) {
	const n = 4096
	r := NewReader(numbered(n), 0)
	all := func(yield func(Nr) bool) {
		for nr := Nr(0); nr < n && yield(nr); nr++ {
		}
	}
	b.SetBytes(n * Size)
	b.ReportAllocs()
	for b.Loop() {
		err := r.Each(b.Context(), all, func(_ int, nr Nr, d *Data, err error) error { return errors.Join(err, Verify(nr, d, Node)) })
		if err != nil {
			b.Fatal(err)
		}
	}
}

func aligned(b *Data) bool { return uintptr(unsafe.Pointer(b))%Size == 0 }
