package spacemap

import (
	"testing"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// For any index block, loading metadata terminates and finds the counts in the bitmaps that the block
// names.
func FuzzLoadMetadata(f *testing.F) {
	entry := make([]byte, 2*EntrySize)
	IndexEntry{Block: bitmapBlock, NrFree: 7}.Encode(entry)
	f.Add(entry[:EntrySize], []byte{0xAA, 1}, uint64(8))
	f.Add(entry, []byte{2}, uint64(PerBitmap+1))                                                     // no second bitmap
	f.Add(append(entry[:EntrySize:EntrySize], entry[:EntrySize]...), []byte{6}, uint64(MaxMetadata)) // the same bitmap twice
	f.Fuzz(func(t *testing.T, index, counts []byte, nrBlocks uint64) {
		nrBlocks = 1 + nrBlocks%MaxMetadata
		dev := indexed(t, index, counts)
		m, err := LoadMetadata(t.Context(), block.NewReader(dev, 1), block.Blocks(dev), Root{NrBlocks: nrBlocks, BitmapRoot: indexBlock, RefCountRoot: overflowBlock})
		if err != nil {
			t.Fatal(err)
		}
		found, all := uint64(0), true
		_, err = m.Compare(t.Context(), NewCounter(nrBlocks), true, func(f Finding) {
			switch f.Kind {
			case TooHigh:
				found += f.N
			case NoOverflow: // the count is unknown
				all = false
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := stored(t, dev, nrBlocks); all && found != want {
			t.Errorf("%d blocks are said to have counts, want %d", found, want)
		}
	})
}

// Locations of the parts of the fuzzed map.
const (
	indexBlock = 1 + iota
	overflowBlock
	bitmapBlock
	deviceBlocks
)

// indexed returns a device with an index block, a bitmap with the given content, and no counts
// above 2.
func indexed(t *testing.T, index, counts []byte) *blocktest.Mem {
	t.Helper()
	dev := blocktest.NewMem(deviceBlocks * block.Size)
	put := func(nr block.Nr, b *block.Data) {
		if err := block.Write(dev, nr, b); err != nil {
			t.Fatal(err)
		}
	}
	var b block.Data
	copy(b[offIndex:], index)
	block.Seal(indexBlock, &b, block.Index)
	put(indexBlock, &b)
	d := btree.NewNodeBuilder(&b, true, CountSize)
	d.Seal(overflowBlock)
	put(overflowBlock, &b)
	b = block.Data{}
	copy(b[offBitmap:], counts)
	block.Seal(bitmapBlock, &b, block.Bitmap)
	put(bitmapBlock, &b)
	return dev
}

// stored counts the blocks with a count, one by one, through the index.
func stored(t *testing.T, dev *blocktest.Mem, nrBlocks uint64) uint64 {
	t.Helper()
	var index, bitmap block.Data
	if block.Read(dev, indexBlock, &index) != nil || block.Read(dev, bitmapBlock, &bitmap) != nil {
		t.Fatal("the device cannot be read")
	}
	n := uint64(0)
	for i := range nrBlocks {
		e := DecodeEntry(IndexEntries(&index)[i/PerBitmap*EntrySize:])
		if at := i % PerBitmap; e.Block == bitmapBlock && bitmap[offBitmap+at/4]>>(2*(at%4))&3 != 0 {
			n++
		}
	}
	return n
}
