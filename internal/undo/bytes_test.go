package undo_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"thinpool/internal/undo"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// The undo file of a repair in place, byte for byte, with as many blocks as fit in one block of
// numbers, one fewer, one more, and many more. Applied, it restores the device.
func TestInPlaceBytes(t *testing.T) {
	const blocks = 1300
	old0 := superblock(blocks)
	sb, err := metadata.DecodeSuperblock(0, old0)
	if err != nil {
		t.Fatal(err)
	}
	sb.MappingRoot = 77
	new0 := sb.Amend(*old0)
	image := make([]byte, blocks*block.Size+512)
	for i := range image {
		image[i] = byte(i/block.Size) ^ byte(i/block.Size>>8) ^ byte(i%251)
	}
	copy(image, old0[:])
	for released, tables := range map[int]int{1: 1, 508: 1, 509: 1, 510: 2, 1022: 3} {
		change := undo.Change{Written: []block.Nr{1200, 3}, Block0: &new0} // with block 0, three more
		for i := range released {
			change.Released = append(change.Released, block.Nr(1199-i))
		}
		var file bytes.Buffer
		if err := undo.Write(t.Context(), &file, blocktest.NewMemFrom(slices.Clone(image)), change); err != nil {
			t.Fatal(err)
		}
		n := released + 3
		want := append([]byte("thinundo"), 1, 0, 0, 0, 0, 0, 0, 0)
		for _, v := range []int{len(image), n, released} {
			want = binary.LittleEndian.AppendUint64(want, uint64(v))
		}
		want = append(want, make([]byte, block.Size-40)...)
		want = append(want, new0[:]...)
		numbers := make([]byte, tables*block.Size)
		var old []byte
		for i, nr := range slices.Concat(change.Released, []block.Nr{0, 1200, 3}) {
			binary.LittleEndian.PutUint64(numbers[8*i:], uint64(nr))
			old = append(old, image[nr*block.Size:][:block.Size]...)
		}
		want = slices.Concat(want, numbers, old)
		sum := sha256.Sum256(want)
		if want = append(want, sum[:]...); !bytes.Equal(file.Bytes(), want) {
			t.Errorf("%d blocks: a file of %d bytes, want other %d bytes", n, file.Len(), len(want))
			continue
		}
		repaired := slices.Clone(image)
		copy(repaired, new0[:])
		for _, nr := range slices.Concat(change.Released, change.Written) {
			repaired[nr*block.Size+9] ^= 0xff
		}
		restored(t, want, blocktest.NewMemFrom(repaired), image)
	}
}
