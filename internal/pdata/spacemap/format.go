// Package spacemap reads, compares, writes and fixes the reference counts of dm-thin metadata: how
// often each data block and each metadata block is used (the kernel's dm-space-map-disk and
// dm-space-map-metadata).
//
//	root in superblock      index                       bitmap block
//	  0  8  nr_blocks        data: a b-tree, metadata:    0  4  checksum
//	  8  8  nr_allocated     one block; entries of         8  8  blocknr
//	 16  8  bitmap_root       0  8  blocknr of bitmap     16     16320 counts of 2 bits
//	 24  8  ref_count_root    8  4  nr_free
//	 32 96  zero             12  4  none_free_before
//
// Counts from 3 up are kept in a b-tree, the overflow tree.
//
// # Counting
//
// A [Counter] keeps two bits for each block, by region, and widens a region when a count needs it.
// References come in batches sorted by region, so counting stays in the processor's cache. Two
// bits are also the on-disk form, so a bitmap is compared with the counts 32 blocks at a time.
//
// # A fix in place is one more transaction
//
// A fix does what the kernel does at a commit. It writes new bitmaps, indexes and overflow trees,
// only those that change, to unused blocks; then it points the superblock to them. The blocks it
// takes and releases change counts themselves, so the plan grows until it covers all its own
// changes. Other rewritten trees, such as the device details, join the plan as a [Change].
// Planning and writing are the same function, called twice; the first time, it writes nothing. So
// the new superblock is known, and in the undo file, before the first write.
package spacemap

import (
	"encoding/binary"

	"thinpool/metadata/block"
)

// Sizes of the format.
const (
	RootSize       = 128   // room for a root in the superblock
	RootUsed       = 32    // bytes of it that have a meaning; the others are zero
	EntrySize      = 16    // of an index entry; the value size of the data index tree
	CountSize      = 4     // value size of overflow trees
	PerBitmap      = 16320 // counts in a bitmap block
	MaxBitmaps     = 255   // entries in the index block of the metadata space map
	MaxMetadata    = MaxBitmaps * PerBitmap
	overflowCount  = 3 // counts from here up are in the overflow tree
	offBitmap      = 16
	offIndex       = 16
	countsPerWord  = 32
	bytesPerWord   = 8
	wordsPerBitmap = PerBitmap / countsPerWord
	lowBits        = 0x5555555555555555
)

var le = binary.LittleEndian

// A Root is where a space map begins.
type Root struct {
	NrBlocks     uint64 // blocks covered
	NrAllocated  uint64 // number of blocks with a count above 0
	BitmapRoot   block.Nr
	RefCountRoot block.Nr // of the overflow tree
}

// DecodeRoot reads a root from its [RootSize] bytes.
func DecodeRoot(p []byte) Root {
	return Root{le.Uint64(p), le.Uint64(p[8:]), block.Nr(le.Uint64(p[16:])), block.Nr(le.Uint64(p[24:]))}
}

// Encode writes r and zeroes the rest of the [RootSize] bytes.
func (r Root) Encode(p []byte) {
	clear(p[RootUsed:RootSize])
	r.Amend(p)
}

// Amend writes r and leaves the rest of the [RootSize] bytes unchanged.
func (r Root) Amend(p []byte) {
	le.PutUint64(p, r.NrBlocks)
	le.PutUint64(p[8:], r.NrAllocated)
	le.PutUint64(p[16:], uint64(r.BitmapRoot))
	le.PutUint64(p[24:], uint64(r.RefCountRoot))
}

// Bitmaps returns the number of bitmaps that cover nrBlocks blocks.
func Bitmaps(nrBlocks uint64) uint64 {
	return nrBlocks/PerBitmap + min(1, nrBlocks%PerBitmap)
}

// An IndexEntry describes a bitmap.
type IndexEntry struct {
	Block          block.Nr
	NrFree         uint32 // number of counts of 0
	NoneFreeBefore uint32 // a hint: there is no count of 0 below this position
}

// DecodeEntry reads an index entry from its [EntrySize] bytes.
func DecodeEntry(p []byte) IndexEntry {
	return IndexEntry{block.Nr(le.Uint64(p)), le.Uint32(p[8:]), le.Uint32(p[12:])}
}

// Encode writes e into [EntrySize] bytes.
func (e IndexEntry) Encode(p []byte) {
	le.PutUint64(p, uint64(e.Block))
	le.PutUint32(p[8:], e.NrFree)
	le.PutUint32(p[12:], e.NoneFreeBefore)
}

// IndexEntries returns the bytes of the index entries in the metadata space map's index block:
// [MaxBitmaps] times [EntrySize].
func IndexEntries(b *block.Data) []byte { return b[offIndex:] }

// A Bitmap is a view of a bitmap block.
type Bitmap struct{ b *block.Data }

// DecodeBitmap checks that b is the bitmap at loc.
func DecodeBitmap(loc block.Nr, b *block.Data) (Bitmap, error) {
	return Bitmap{b}, block.Verify(loc, b, block.Bitmap)
}

// Count returns count i, from 0 to PerBitmap-1: 0, 1, 2, or 3 for "3 or more". The lower of its
// two bits on disk is the higher one of the count.
func (m Bitmap) Count(i int) uint32 {
	pair := m.b[offBitmap+i/4] >> (2 * (i % 4)) & 3
	return uint32(pair&1<<1 | pair>>1)
}

// Set sets count i; counts above 3 are stored as 3.
func (m Bitmap) Set(i int, count uint32) {
	c := byte(min(count, overflowCount))
	at, shift := offBitmap+i/4, 2*(i%4)
	m.b[at] = m.b[at]&^(3<<shift) | (c&1<<1|c>>1)<<shift
}

// word returns counts 32w to 32w+31, two bits each, the lowest first.
func (m Bitmap) word(w int) uint64 {
	return swapPairs(le.Uint64(m.b[offBitmap+bytesPerWord*w:]))
}

// A UsedSet has a bit for each count of a bitmap, set where the count is not 0.
type UsedSet [PerBitmap / 64]uint64

// Used returns which counts of m are not 0.
func (m Bitmap) Used() *UsedSet {
	var set UsedSet
	for w := range wordsPerBitmap {
		word := m.word(w)
		half := uint64(evenBits(word | word>>1))
		set[w/2] |= half << (countsPerWord * (w % 2))
	}
	return &set
}

// evenBits returns the bits 0, 2, 4 ... of w, packed.
func evenBits(w uint64) uint32 {
	w &= lowBits
	w = (w | w>>1) & 0x3333333333333333
	w = (w | w>>2) & 0x0f0f0f0f0f0f0f0f
	w = (w | w>>4) & 0x00ff00ff00ff00ff
	w = (w | w>>8) & 0x0000ffff0000ffff
	return uint32(w | w>>16)
}

func (m Bitmap) setWord(w int, counts uint64) {
	le.PutUint64(m.b[offBitmap+bytesPerWord*w:], swapPairs(counts))
}

func swapPairs(w uint64) uint64 { return w&lowBits<<1 | w>>1&lowBits }
