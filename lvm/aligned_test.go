package lvm

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// A strict device refuses what direct I/O would.
type strict struct{ *blocktest.Mem }

var errUnaligned = errors.New("not aligned")

func (s strict) ok(p []byte, off int64) bool {
	return off%block.Size == 0 && len(p)%sector == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%block.Size == 0
}

func (s strict) ReadAt(p []byte, off int64) (int, error) {
	if !s.ok(p, off) {
		return 0, errUnaligned
	}
	return s.Mem.ReadAt(p, off)
}

func (s strict) WriteAt(p []byte, off int64) (int, error) {
	if !s.ok(p, off) {
		return 0, errUnaligned
	}
	return s.Mem.WriteAt(p, off)
}

// Reads and writes of any bytes of a block device are as of a file; its size need be no
// multiple of a block.
func TestAligned(t *testing.T) {
	const size = 3*bounceBlocks*block.Size + 3*sector
	rapid.Check(t, func(t *rapid.T) {
		want := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
		a := &aligned{dev: strict{blocktest.NewMemFrom(bytes.Clone(want))}}
		for range 4 {
			off := rapid.IntRange(0, size-1).Draw(t, "off")
			n := rapid.OneOf(rapid.IntRange(0, min(5000, size-off)), rapid.IntRange(0, size-off)).Draw(t, "n")
			if rapid.Bool().Draw(t, "write") {
				p := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, n)
				if m, err := a.WriteAt(p, int64(off)); m != n || err != nil {
					t.Fatalf("write: %d, %v", m, err)
				}
				copy(want[off:], p)
			}
			p := make([]byte, n)
			if m, err := a.ReadAt(p, int64(off)); m != n || err != nil || !bytes.Equal(p, want[off:][:n]) {
				t.Fatalf("read: %d, %v", m, err)
			}
		}
		p := make([]byte, 1000)
		if _, err := a.ReadAt(p, size-500); !errors.Is(err, io.EOF) {
			t.Fatalf("beyond the end: %v", err)
		}
	})
}
