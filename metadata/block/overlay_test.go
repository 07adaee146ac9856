package block_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// An Overlay reads like a copy of the device with the replaced blocks written to it.
func TestOverlay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const blocks = 12
		base := blocktest.NewMem(blocks * block.Size)
		for nr := range block.Nr(blocks) {
			b := sealed(nr, block.Node, uint64(nr))
			if err := block.Write(base, nr, &b); err != nil {
				t.Fatal(err)
			}
		}
		shown := rapid.IntRange(1, blocks+3).Draw(t, "shown")
		p := block.NewOverlay(base, block.Nr(shown))
		want := base.Contents()[:min(shown, blocks)*block.Size]
		put := func(nr block.Nr) {
			b := sealed(nr, block.Bitmap, uint64(nr)+100)
			p.Put(nr, &b)
			if end := int(nr+1) * block.Size; end > len(want) {
				want = append(want, make([]byte, end-len(want))...)
			}
			copy(want[nr*block.Size:], b[:])
		}
		for _, nr := range rapid.SliceOfN(rapid.Uint64Range(0, blocks+5), 0, 6).Draw(t, "patches") {
			put(block.Nr(nr))
		}
		if rapid.Bool().Draw(t, "alloc") {
			nr, _ := p.Alloc()
			if int(nr)*block.Size != len(want) {
				t.Fatalf("Alloc: %d, want %d", nr, len(want)/block.Size)
			}
			put(nr)
		}
		if p.Size() != int64(len(want)) {
			t.Fatalf("size %d, want %d", p.Size(), len(want))
		}
		from := rapid.IntRange(0, len(want)/block.Size-1).Draw(t, "from")
		n := rapid.IntRange(1, len(want)/block.Size-from).Draw(t, "n")
		got := make([]byte, n*block.Size)
		if _, err := p.ReadAt(got, int64(from)*block.Size); err != nil || !bytes.Equal(got, want[from*block.Size:][:len(got)]) {
			t.Fatalf("%d blocks from %d on: %v", n, from, err)
		}
	})
}

// An unreadable block can be replaced, and its neighbours can still be read.
func TestOverlayOverFailure(t *testing.T) {
	base := blocktest.NewMem(4 * block.Size)
	base.FailReads(2)
	p := block.NewOverlay(base, 4)
	want := sealed(2, block.Node, 1)
	p.Put(2, &want)
	var b block.Data
	if err := block.Read(p, 2, &b); err != nil || b != want {
		t.Errorf("block 2: %v", err)
	}
	if _, err := p.ReadAt(make([]byte, 4*block.Size), 0); err != nil {
		t.Errorf("all blocks: %v", err)
	}
	if err := block.Write(p, 1, &b); !errors.Is(err, block.ErrReadOnly) {
		t.Errorf("Write: %v", err)
	}
	if _, err := p.ReadAt(make([]byte, 2*block.Size), 3*block.Size); err == nil {
		t.Error("no error beyond the end")
	}
}
