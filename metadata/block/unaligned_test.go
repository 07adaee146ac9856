package block_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"unsafe"

	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// demanding is a device that refuses what direct I/O would refuse.
type demanding struct{ *blocktest.Mem }

func (d demanding) ReadAt(p []byte, off int64) (int, error) {
	if off%block.Size != 0 || len(p)%block.Size != 0 || uintptr(unsafe.Pointer(&p[0]))%block.Size != 0 {
		return 0, errors.New("not aligned")
	}
	return d.Mem.ReadAt(p, off)
}

func (d demanding) WriteAt(p []byte, off int64) (int, error) {
	if off%block.Size != 0 || len(p)%block.SectorSize != 0 || uintptr(unsafe.Pointer(&p[0]))%block.Size != 0 {
		return 0, errors.New("not aligned")
	}
	return d.Mem.WriteAt(p, off)
}

// Any range can be read, even if the device ends within a block.
func TestUnaligned(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, 300*block.Size+512)
	for i := range want {
		want[i] = byte(rnd.Uint32())
	}
	dev := demanding{blocktest.NewMemFrom(bytes.Clone(want))}
	r := block.Unaligned(dev)
	for i := range 1000 {
		off := rnd.IntN(len(want) + 10)
		p := make([]byte, rnd.IntN(200*block.Size)>>rnd.IntN(16)+1)
		if i%10 == 0 {
			off, p = off/block.Size*block.Size, block.Bytes(block.Buffer(1+len(p)/block.Size))
		}
		n, err := r.ReadAt(p, int64(off))
		rest := want[min(off, len(want)):]
		rest = rest[:min(len(rest), len(p))]
		if n != len(rest) || (err == io.EOF) != (n < len(p)) || err != nil && err != io.EOF || !bytes.Equal(p[:n], rest) {
			t.Fatalf("%d bytes at %d: %d, %v", len(p), off, n, err)
		}
	}
	dev.FailReads(3)
	if _, err := r.ReadAt(make([]byte, 100), 3*block.Size+5); !errors.Is(err, blocktest.ErrFailed) {
		t.Errorf("a read that fails: %v", err)
	}
	if n, err := r.ReadAt(nil, 5); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
}

// Any range can be written, even if the device ends within a block, and no other byte changes.
func TestUnalignedWrites(t *testing.T) {
	const size = 300*block.Size + 3*block.SectorSize
	want := make([]byte, size)
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range want {
		want[i] = byte(rnd.Uint32())
	}
	mem := blocktest.NewMemFrom(bytes.Clone(want))
	dev := block.Unaligned(demanding{mem})
	for i := range 300 {
		off := rnd.IntN(size)
		p := bytes.Repeat([]byte{byte(i)}, min(rnd.IntN(200*block.Size)>>rnd.IntN(16)+1, size-off))
		if n, err := dev.WriteAt(p, int64(off)); n != len(p) || err != nil {
			t.Fatalf("%d bytes at %d: %d, %v", len(p), off, n, err)
		}
		copy(want[off:], p)
	}
	got := make([]byte, size)
	if _, err := dev.ReadAt(got, 0); err != nil && err != io.EOF || !bytes.Equal(got, want) {
		t.Errorf("not what was written: %v", err)
	}
	if n, err := dev.WriteAt(make([]byte, 10), size-9); n != 0 || err == nil {
		t.Errorf("beyond the end: %d, %v", n, err)
	}
	mem.FailReads(3)
	if _, err := dev.WriteAt(make([]byte, 100), 3*block.Size+5); !errors.Is(err, blocktest.ErrFailed) {
		t.Errorf("a block that cannot be read: %v", err)
	}
}
