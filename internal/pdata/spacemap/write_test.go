package spacemap

import (
	"bytes"
	"encoding/hex"
	"testing"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// The bytes of a root and of an index entry on disk. Encode zeroes the space after the root, and
// Amend leaves it alone; neither writes beyond it.
func TestCodecBytes(t *testing.T) {
	root := Root{0x0102030405060708, 0x11, 0x22, 0x33}
	const used = "0807060504030201" + "1100000000000000" + "2200000000000000" + "3300000000000000"
	for name, tc := range map[string]struct {
		write func([]byte)
		rest  byte
	}{"Encode": {root.Encode, 0}, "Amend": {root.Amend, 0xee}} {
		p := bytes.Repeat([]byte{0xee}, 130)
		tc.write(p)
		want := append(unhex(t, used), bytes.Repeat([]byte{tc.rest}, 96)...)
		if want = append(want, 0xee, 0xee); !bytes.Equal(p, want) {
			t.Errorf("%s: % x", name, p)
		}
		if got := DecodeRoot(p); got != root {
			t.Errorf("%s: %+v", name, got)
		}
	}
	p := bytes.Repeat([]byte{0xee}, 17)
	entry := IndexEntry{0x0102030405060708, 0x11121314, 0x21222324}
	entry.Encode(p)
	if want := unhex(t, "0807060504030201"+"14131211"+"24232221"+"ee"); !bytes.Equal(p, want) || DecodeEntry(p) != entry {
		t.Errorf("entry % x is %+v", p, DecodeEntry(p))
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The ends of a bitmap: count 0 is in byte 16, and count 16319 in byte 4095.
func TestBitmapEnds(t *testing.T) {
	var b block.Data
	m := Bitmap{&b}
	m.Set(0, 1)
	m.Set(PerBitmap-1, 2)
	var want block.Data
	want[16], want[4095] = 0b10, 0b01<<6
	if b != want {
		t.Errorf("byte 16 is %#b, byte 4095 is %#b", b[16], b[4095])
	}
	if m.Count(0) != 1 || m.Count(1) != 0 || m.Count(PerBitmap-2) != 0 || m.Count(PerBitmap-1) != 2 {
		t.Error("counts do not read back")
	}
	if m.word(0) != 1 || m.word(wordsPerBitmap-1) != 2<<62 {
		t.Errorf("words %#x, %#x", m.word(0), m.word(wordsPerBitmap-1))
	}
}

// tallies returns counts with index entries that are easy to predict: the first bitmap has blocks 0 to
// 39 and 41 in use, the second one is full, and the third one covers 77 blocks, all used.
func tallies() *Counter {
	c := NewCounter(2*PerBitmap + 77)
	c.AddRange(0, 40)
	c.Add(41, 1)
	c.AddRange(PerBitmap, PerBitmap+77)
	return c
}

// overflows raises some counts: block 1 to 2, which fits in a bitmap, and others to 3 and more,
// which do not.
func overflows(c *Counter) map[uint64]uint32 {
	c.Set(1, 2)
	high := map[uint64]uint32{2: 3, 39: 4, PerBitmap: 70000, 2*PerBitmap + 76: 3}
	for b, n := range high {
		c.Set(b, n)
	}
	return high
}

// An index entry tells how many blocks are free, even beyond the end, and below which block none is.
// High counts do not change it; they are in the overflow tree.
func TestWrittenIndex(t *testing.T) {
	for _, withHigh := range []bool{false, true} {
		c := tallies()
		high := map[uint64]uint32{}
		if withHigh {
			high = overflows(c)
		}
		if c.Overflowing() != len(high) {
			t.Errorf("%d counts overflow, want %d", c.Overflowing(), len(high))
		}
		d := newDevice(100)
		root, err := WriteData(d, c)
		if err != nil {
			t.Fatal(err)
		}
		if root.NrBlocks != 2*PerBitmap+77 || root.NrAllocated != 41+PerBitmap+77 {
			t.Errorf("root %+v", root)
		}
		r := block.NewReader(d, 1)
		want := []IndexEntry{{NrFree: PerBitmap - 41, NoneFreeBefore: 40}, {NrFree: 0, NoneFreeBefore: PerBitmap}, {NrFree: PerBitmap - 77, NoneFreeBefore: 77}}
		i := 0
		for e, err := range btree.LeafValues(t.Context(), r, d.next, root.BitmapRoot, EntrySize) {
			if err != nil || e.Key != uint64(i) || i >= len(want) {
				t.Fatalf("entry %d: %+v, %v", i, e, err)
			}
			got := DecodeEntry(e.Value)
			var b block.Data
			if err := block.Read(d, got.Block, &b); err != nil {
				t.Fatal(err)
			}
			if got.Block = 0; got != want[i] {
				t.Errorf("entry %d: %+v, want %+v", i, got, want[i])
			}
			verifyBitmap(t, &b, c, uint64(i))
			i++
		}
		if i != len(want) {
			t.Errorf("%d entries", i)
		}
		overflow := map[uint64]uint32{}
		for e, err := range btree.LeafValues(t.Context(), r, d.next, root.RefCountRoot, CountSize) {
			if err != nil {
				t.Fatal(err)
			}
			overflow[e.Key] = le.Uint32(e.Value)
		}
		for b, n := range high {
			if overflow[b] != n {
				t.Errorf("block %d has count %d in the overflow tree, want %d", b, overflow[b], n)
			}
		}
		if len(overflow) != len(high) {
			t.Errorf("overflow tree %v, want %v", overflow, high)
		}
	}
}

// verifyBitmap compares bitmap i with c. Counts beyond the end are 0.
func verifyBitmap(t *testing.T, b *block.Data, c *Counter, i uint64) {
	t.Helper()
	for k := range uint64(PerBitmap) {
		want := uint32(0)
		if at := i*PerBitmap + k; at < c.Len() {
			want = min(c.Get(at), 3)
		}
		if got := (Bitmap{b}).Count(int(k)); got != want {
			t.Fatalf("bitmap %d: count %d is %d, want %d", i, k, got, want)
		}
	}
}

// The index block of a metadata space map has its entries from byte 16 on. It counts itself, its
// bitmaps and its overflow tree.
func TestWrittenIndexBlock(t *testing.T) {
	const blocks = PerBitmap + 5
	d := newDevice(blocks) // block 0 is counted
	root, err := WriteMetadata(d, d.counts)
	if err != nil {
		t.Fatal(err)
	}
	// Blocks 0 to 4: superblock, overflow tree, index block, two bitmaps.
	if want := (Root{blocks, 5, 2, 1}); root != want {
		t.Errorf("root %+v, want %+v", root, want)
	}
	var b block.Data
	if err := block.Read(d, root.BitmapRoot, &b); err != nil {
		t.Fatal(err)
	}
	var want block.Data
	le.PutUint64(want[16:], 3)
	le.PutUint32(want[24:], PerBitmap-5)
	le.PutUint32(want[28:], 5)
	le.PutUint64(want[32:], 4)
	le.PutUint32(want[40:], PerBitmap) // blocks beyond the end are free
	block.Seal(2, &want, block.Index)
	if b != want {
		t.Errorf("index block % x", b[:64])
	}
	for i := range uint64(2) {
		if err := block.Read(d, block.Nr(3+i), &b); err != nil {
			t.Fatal(err)
		}
		verifyBitmap(t, &b, d.counts, i)
	}
}
