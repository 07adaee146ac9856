package spacemap

import (
	"math/bits"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// Overflowing returns the number of blocks whose counts need an entry in the overflow tree.
func (c *Counter) Overflowing() int {
	n := 0
	for b := range c.Repeated() {
		if c.Get(b) >= overflowCount {
			n++
		}
	}
	return n
}

// WriteData writes the space map of a data device (all bitmaps, the overflow tree, the index tree)
// and returns its root.
func WriteData(a btree.Allocator, c *Counter) (Root, error) {
	root := Root{NrBlocks: c.Len()}
	entries := make([]IndexEntry, Bitmaps(c.Len()))
	for i := range entries {
		nr, err := a.Alloc()
		if err != nil {
			return root, err
		}
		if entries[i], err = writeBitmap(a, c, nr, uint64(i), &root); err != nil {
			return root, err
		}
	}
	var err error
	if root.RefCountRoot, err = writeOverflow(a, c); err != nil {
		return root, err
	}
	root.BitmapRoot, err = writeIndexTree(a, entries)
	return root, err
}

// writeIndexTree writes the index of the data space map and returns its root.
func writeIndexTree(a btree.Allocator, entries []IndexEntry) (block.Nr, error) {
	return btree.Build(a, EntrySize, len(entries), func(i int, value []byte) uint64 {
		entries[i].Encode(value)
		return uint64(i)
	})
}

// writeIndexBlock writes the index of the metadata space map as block nr.
func writeIndexBlock(a btree.Allocator, nr block.Nr, entries []IndexEntry) error {
	var b block.Data
	for i, e := range entries {
		e.Encode(IndexEntries(&b)[i*EntrySize:])
	}
	block.Seal(nr, &b, block.Index)
	return a.Write(nr, &b)
}

// WriteMetadata writes the space map of the metadata device itself. c has the counts of all blocks
// except those still to be allocated; a counts these in c when it allocates them, and all of them
// have count 1. So the overflow tree can be written first: blocks allocated for it or after it
// never belong in it.
func WriteMetadata(a btree.Allocator, c *Counter) (Root, error) {
	root := Root{NrBlocks: c.Len()}
	var err error
	if root.RefCountRoot, err = writeOverflow(a, c); err != nil {
		return root, err
	}
	if root.BitmapRoot, err = a.Alloc(); err != nil {
		return root, err
	}
	entries := make([]IndexEntry, Bitmaps(c.Len()))
	for i := range entries {
		if entries[i].Block, err = a.Alloc(); err != nil {
			return root, err
		}
	}
	for i, e := range entries { // only now are all counts final
		if entries[i], err = writeBitmap(a, c, e.Block, uint64(i), &root); err != nil {
			return root, err
		}
	}
	return root, writeIndexBlock(a, root.BitmapRoot, entries)
}

// writeBitmap writes bitmap i as block nr and adds its counts to root.
func writeBitmap(a btree.Allocator, c *Counter, nr block.Nr, i uint64, root *Root) (IndexEntry, error) {
	var b block.Data
	m := Bitmap{&b}
	base := i * PerBitmap
	here := int(min(PerBitmap, c.Len()-base))
	used, free := 0, here
	for w := range (here + countsPerWord - 1) / countsPerWord {
		at := w * countsPerWord
		counts := c.saturated(base+uint64(at), here-at)
		m.setWord(w, counts)
		nonzero := (counts | counts>>1) & lowBits
		used += bits.OnesCount64(nonzero)
		if zero := ^nonzero & lowBits; zero != 0 {
			free = min(free, at+bits.TrailingZeros64(zero)/2)
		}
	}
	root.NrAllocated += uint64(used)
	block.Seal(nr, &b, block.Bitmap)
	// As in the kernel, blocks beyond the end count as free.
	return IndexEntry{nr, uint32(PerBitmap - used), uint32(free)}, a.Write(nr, &b)
}

// saturated returns the counts of up to 32 blocks from b on, with 3 for 3 or more.
func (c *Counter) saturated(b uint64, n int) uint64 {
	if n >= countsPerWord {
		if counts, ok := c.words32(b); ok {
			return counts
		}
	}
	var counts uint64
	for j := range min(n, countsPerWord) {
		counts |= uint64(min(c.Get(b+uint64(j)), overflowCount)) << (2 * j)
	}
	return counts
}

func writeOverflow(a btree.Allocator, c *Counter) (block.Nr, error) {
	var high []uint64
	for b := range c.Repeated() {
		if c.Get(b) >= overflowCount {
			high = append(high, b)
		}
	}
	return btree.Build(a, CountSize, len(high), func(i int, value []byte) uint64 {
		le.PutUint32(value, c.Get(high[i]))
		return high[i]
	})
}
