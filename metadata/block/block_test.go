package block_test

import (
	"bytes"
	"context"
	"encoding/binary"
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

	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// The checksums of a zero block, for each kind.
func TestChecksumVectors(t *testing.T) {
	if got := block.Salt(new(block.Data)); got != 0x58CDA791 {
		t.Errorf("salt of zeroes is %#x", got)
	}
	for kind, want := range map[block.Kind]uint32{block.Superblock: 0x58CFD397, block.Node: 0x58CC7E82, block.Bitmap: 0x58CE0B1A, block.Index: 0x58CFD54F} {
		var b block.Data
		block.Seal(0, &b, kind)
		if got := binary.LittleEndian.Uint32(b[:]); got != want {
			t.Errorf("%v: %#x, want %#x", kind, got, want)
		}
		if block.KindOf(&b) != kind || block.Verify(0, &b, kind) != nil {
			t.Errorf("%v: not recognised", kind)
		}
	}
}

func TestVerifyRejects(t *testing.T) {
	sealed := func() *block.Data {
		b := new(block.Data)
		b[100] = 7
		block.Seal(5, b, block.Node)
		return b
	}
	if err := block.Verify(5, sealed(), block.Node); err != nil {
		t.Fatal(err)
	}
	moved, spoilt := sealed(), sealed()
	spoilt[200] = 1
	for name, tc := range map[string]struct {
		b    *block.Data
		loc  block.Nr
		kind block.Kind
		want string
	}{
		"moved":      {moved, 6, block.Node, "block 6, byte 0x8: blocknr is 5, want 6; it holds block 5, with a valid checksum"},
		"other kind": {sealed(), 5, block.Bitmap, "block 5: holds a btree node, want a bitmap"},
		"zero":       {new(block.Data), 5, block.Node, "block 5: all zero, want a btree node"},
	} {
		if err := block.Verify(tc.loc, tc.b, tc.kind); err == nil || err.Error() != tc.want || !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	err, ok := errors.AsType[*block.ChecksumError](block.Verify(5, spoilt, block.Node))
	if want := (block.Correction{Block: 5, Kind: block.Node, Byte: 200, Mask: 1}); !ok || err.Is != block.UnknownKind || !err.Correctable || err.Correction != want {
		t.Errorf("spoilt: %+v", err)
	}
	if spoilt[200] != 1 {
		t.Error("Verify changes the block")
	}
	// As a bitmap it is not correctable, as the corrected block is a node.
	if err, ok := errors.AsType[*block.ChecksumError](block.Verify(5, spoilt, block.Bitmap)); !ok || err.Correctable {
		t.Errorf("spoilt, as a bitmap: %+v", err)
	}
}

// The error of a bad checksum says what is stored and what was computed, unless it knows more.
func TestChecksumErrorText(t *testing.T) {
	var b block.Data // 0x58CC7E82 is the checksum of a node of zeroes
	block.Seal(0, &b, block.Node)
	b[0], b[1] = 1, 1
	if err, want := block.Verify(0, &b, block.Node), "block 0: bad checksum in btree node: stored 0x58cc0101, computed 0x58cc7e82"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	b[1] = 0x7e
	if err, want := block.Verify(0, &b, block.Node), "block 0: bad checksum in btree node: only byte 0x0, part of the checksum, is wrong; thin_repair corrects that"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestInvalidate(t *testing.T) {
	zero, valid := new(block.Data), new(block.Data)
	block.Seal(0, valid, block.Superblock)
	for _, b := range []*block.Data{zero, valid} {
		rest := slices.Clone(b[4:])
		block.Invalidate(b)
		if *b == (block.Data{}) || block.KindOf(b) != block.UnknownKind || !bytes.Equal(b[4:], rest) {
			t.Error("an invalidated block is zero, valid, or changed beyond its checksum")
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(make([]byte, block.Size))
	f.Fuzz(func(t *testing.T, p []byte) {
		var b block.Data
		copy(b[:], p)
		kind := block.KindOf(&b)
		if err := block.Verify(0, &b, block.Node); err == nil && kind != block.Node {
			t.Errorf("a %v passes for a node", kind)
		}
	})
}

// numbered returns a device of n sealed nodes.
func numbered(n int) *blocktest.Mem {
	buf := block.Buffer(n)
	for i := range buf {
		block.Seal(block.Nr(i), &buf[i], block.Node)
	}
	return blocktest.NewMemFrom(bytes.Clone(block.Bytes(buf)))
}

// Every block comes once, with its content. An unreadable block comes alone with its error.
func TestReaderEach(t *testing.T) {
	const n = 1000
	dev := numbered(n)
	dev.FailReads(17, 500)
	rnd := rand.New(rand.NewPCG(1, 1))
	var want []block.Nr
	for nr := range block.Nr(n + 5) { // some beyond the end
		if rnd.IntN(3) > 0 || nr > 300 && nr < 800 {
			want = append(want, nr)
		}
	}
	for _, parallel := range []int{1, 4} {
		var mu sync.Mutex
		var got []block.Nr
		r := block.NewReader(dev, parallel)
		err := r.Each(t.Context(), slices.Values(want), func(worker int, nr block.Nr, b *block.Data, err error) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, nr)
			bad := nr == 17 || nr == 500 || nr >= n
			if (err != nil) != bad || err == nil && block.Verify(nr, b, block.Node) != nil || worker < 0 || worker >= r.Workers() {
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
	all := func(yield func(block.Nr) bool) {
		for nr := block.Nr(0); yield(nr); nr++ {
		}
	}
	r := block.NewReader(numbered(2000), 3)
	if err := r.Each(t.Context(), all, func(_ int, nr block.Nr, _ *block.Data, _ error) error {
		if nr == 1500 {
			return stop
		}
		return nil
	}); err != stop {
		t.Errorf("err %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := r.Each(ctx, all, func(int, block.Nr, *block.Data, error) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, make([]byte, 3*block.Size+5), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := block.Open(filepath.Join(dir, "missing"), block.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for _, path := range []string{dir, os.DevNull} {
		if _, err := block.Open(path, block.Options{}); !errors.Is(err, block.ErrNotBlocks) && runtime.GOOS == "linux" {
			t.Errorf("%s: %v", path, err)
		}
	}
	dev, err := block.Open(path, block.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if dev.Size() != 3*block.Size+5 || block.Blocks(dev) != 3 {
		t.Errorf("size %d, %d blocks", dev.Size(), block.Blocks(dev))
	}
	var b block.Data
	if err := block.Write(dev, 1, &b); !errors.Is(err, block.ErrReadOnly) {
		t.Errorf("a write to a device open for reading: %v", err)
	}
	if err := block.Read(dev, 3, &b); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a read beyond the end: %v", err)
	}
	rw, err := block.Open(path, block.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	b[9] = 9
	if err := errors.Join(block.Write(rw, 2, &b), rw.Flush()); err != nil {
		t.Fatal(err)
	}
	var back block.Data
	if err := block.Read(dev, 2, &back); err != nil || back != b {
		t.Errorf("what was written does not read back: %v", err)
	}
	if err := block.Write(rw, 3, &b); err == nil || dev.Size() != 3*block.Size+5 {
		t.Error("a write beyond the end makes the file longer")
	}
}

func TestBufferAligned(t *testing.T) {
	for n := range 5 {
		buf := block.Buffer(n + 1)
		if len(buf) != n+1 || !aligned(&buf[0]) || len(block.Bytes(buf)) != (n+1)*block.Size {
			t.Errorf("%d blocks: %d, aligned %v", n+1, len(buf), aligned(&buf[0]))
		}
	}
}

func BenchmarkEach(b *testing.B) {
	const n = 4096
	r := block.NewReader(numbered(n), 0)
	all := func(yield func(block.Nr) bool) {
		for nr := block.Nr(0); nr < n && yield(nr); nr++ {
		}
	}
	b.SetBytes(n * block.Size)
	b.ReportAllocs()
	for b.Loop() {
		err := r.Each(b.Context(), all, func(_ int, nr block.Nr, d *block.Data, err error) error {
			return errors.Join(err, block.Verify(nr, d, block.Node))
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func aligned(b *block.Data) bool { return uintptr(unsafe.Pointer(b))%block.Size == 0 }
