package rmap

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync/atomic"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

var le = binary.LittleEndian

// A store keeps pieces: stretches of mappings of one leaf that lie in one region.
// It sorts them into buckets by their first data block. A piece is
//
//	bytes   its first data block, in its bucket: as few as the size of a bucket needs
//	varint  2 * the block of its leaf, less that of the piece before it,
//	        + 1 if it is longer than one mapping
//	varint  its first thin block, less the first of its leaf
//	varint  if it is longer than one mapping: its length
//
// which is five bytes for a lone mapping, as a rule. Each worker has streams of
// its own, in chunks of memory linked to lists.
//
// If the memory does not suffice the highest buckets are given up: they are for
// another time.
type store struct {
	base    metadata.DataBlock // first of bucket 0
	shift   int                // log2 of the data blocks in a bucket
	width   int                // bytes of a data block within a bucket
	buckets int
	least   int          // bucket to begin with, which is kept whatever it takes
	end     atomic.Int64 // first bucket that was given up
	most    int          // chunks a worker may have
	workers []writer
}

const (
	minShift   = 16      // smaller buckets have no smaller pieces
	maxBuckets = 1 << 13 // more are slow to write to
	chunkSize  = 256
	slabChunks = 1024
	none       = -1
)

func newStore(regions []Region, memory, workers int) *store {
	s := &store{workers: make([]writer, workers), shift: minShift}
	if len(regions) > 0 {
		s.base = regions[0].Begin
		n := uint64(regions[len(regions)-1].End - s.base)
		s.shift = max(minShift, bits.Len64((n-1)/maxBuckets))
		s.buckets = int((n-1)>>s.shift) + 1
	}
	s.width = (s.shift + 7) / 8
	s.most = max(1, memory/chunkSize/workers)
	for i := range s.workers {
		s.workers[i] = writer{store: s, streams: make([]stream, s.buckets)}
	}
	s.reset(0)
	return s
}

// reset empties the store for the buckets from least on.
func (s *store) reset(least int) {
	s.least = least
	s.end.Store(int64(s.buckets))
	for i := range s.workers {
		w := &s.workers[i]
		w.free, w.used = w.free[:0], 0
		for c := range w.next {
			w.free = append(w.free, int32(c))
		}
		for b := range w.streams {
			w.streams[b] = stream{head: none, tail: none}
		}
		w.end = s.buckets
	}
}

// limit is the first bucket that the store does not have.
func (s *store) limit() int { return int(s.end.Load()) }

func (s *store) writer(worker int) *writer { return &s.workers[worker] }

// A writer is the part of a store that one worker writes.
type writer struct {
	store   *store
	streams []stream // by bucket
	slabs   [][]byte
	next    []int32 // by chunk: the one after it
	length  []int32 // by chunk: bytes in use
	free    []int32 // chunks
	used    int     // chunks that are not free
	end     int     // bucket from which on streams are given up
	nr      block.Nr
	first   uint64 // thin block of the leaf nr
}

// A stream is the pieces of one bucket.
type stream struct {
	head, tail int32
	last       block.Nr // leaf of the last piece
}

// begin says which leaf the pieces to come are of. Leaves come by ascending block.
func (w *writer) begin(nr block.Nr, first uint64) { w.nr, w.first = nr, first }

// add keeps a piece.
func (w *writer) add(data metadata.DataBlock, thin, length uint64) {
	at := uint64(data - w.store.base)
	bucket := int(at >> w.store.shift)
	if bucket < w.store.least || bucket >= w.limit() {
		return
	}
	st := &w.streams[bucket]
	var piece [8 + 3*binary.MaxVarintLen64]byte
	le.PutUint64(piece[:], at&(1<<w.store.shift-1))
	n := w.store.width
	leaf := uint64(w.nr-st.last) << 1
	if length > 1 {
		leaf |= 1
	}
	n += binary.PutUvarint(piece[n:], leaf)
	n += binary.PutUvarint(piece[n:], thin-w.first)
	if length > 1 {
		n += binary.PutUvarint(piece[n:], length)
	}
	c := st.tail
	if c == none || int(w.length[c])+n > chunkSize {
		if w.makeRoom(); bucket >= w.end { // it was itself given up
			return
		}
		c = w.grow(st)
	}
	copy(w.chunk(c)[w.length[c]:], piece[:n])
	w.length[c] += int32(n)
	st.last = w.nr
}

// limit gives up what others had to give up, and returns the first bucket that is.
func (w *writer) limit() int {
	if end := w.store.limit(); end < w.end {
		w.giveUp(end)
	}
	return w.end
}

// giveUp frees the streams from bucket end on.
func (w *writer) giveUp(end int) {
	for b := end; b < w.end; b++ {
		for c := w.streams[b].head; c != none; c = w.next[c] {
			w.free = append(w.free, c)
			w.used--
		}
		w.streams[b] = stream{head: none, tail: none}
	}
	w.end = end
}

// makeRoom gives up the highest bucket that has any pieces, if there are chunks enough.
func (w *writer) makeRoom() {
	if w.used < w.store.most {
		return
	}
	end := w.end - 1
	for end > w.store.least && w.streams[end].head == none {
		end--
	}
	if end <= w.store.least {
		return
	}
	for now := w.store.end.Load(); int64(end) < now && !w.store.end.CompareAndSwap(now, int64(end)); {
		now = w.store.end.Load()
	}
	w.limit()
}

// grow gives a stream one more chunk.
func (w *writer) grow(st *stream) int32 {
	if len(w.free) == 0 {
		w.slabs = append(w.slabs, make([]byte, slabChunks*chunkSize))
		n := len(w.next)
		w.next, w.length = slices.Grow(w.next, slabChunks)[:n+slabChunks], slices.Grow(w.length, slabChunks)[:n+slabChunks]
		for c := n + slabChunks; c > n; c-- {
			w.free = append(w.free, int32(c-1))
		}
	}
	c := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	w.used++
	w.next[c], w.length[c] = none, 0
	if st.tail == none {
		st.head = c
	} else {
		w.next[st.tail] = c
	}
	st.tail = c
	return c
}

func (w *writer) chunk(c int32) []byte {
	at := int(c) % slabChunks * chunkSize
	return w.slabs[c/slabChunks][at : at+chunkSize]
}

// each calls fn with the pieces of a bucket: first data block, leaf, thin blocks between the
// first of the leaf and the first of the piece, and length. Pieces of a leaf follow each other.
func (s *store) each(bucket int, fn func(data metadata.DataBlock, leaf block.Nr, fromLeaf, length uint64)) {
	base := s.base + metadata.DataBlock(bucket)<<s.shift
	for i := range s.workers {
		w := &s.workers[i]
		var leaf block.Nr
		for c := w.streams[bucket].head; c != none; c = w.next[c] {
			for p := w.chunk(c)[:w.length[c]]; len(p) > 0; {
				var at, step, thin uint64
				if s.width == minShift/8 { // as in all but vast pools
					at = uint64(le.Uint16(p))
				} else {
					for i := s.width - 1; i >= 0; i-- {
						at = at<<8 | uint64(p[i])
					}
				}
				step, p = uvarint(p[s.width:])
				thin, p = uvarint(p)
				length := uint64(1)
				if step&1 != 0 {
					length, p = uvarint(p)
				}
				leaf += block.Nr(step >> 1)
				fn(base+metadata.DataBlock(at), leaf, thin, length)
			}
		}
	}
}

// uvarint takes a number off p. Most have one byte or two.
func uvarint(p []byte) (uint64, []byte) {
	if p[0] < 0x80 {
		return uint64(p[0]), p[1:]
	}
	n, k := binary.Uvarint(p)
	return n, p[k:]
}

// A piece is a stretch of mappings of one leaf in one region, ready to be sorted. It says what
// most rows need, so that the leaf is not looked up again in the order of data blocks,
// where every look would wait for memory.
type piece struct {
	data   metadata.DataBlock
	thin   uint64
	ref    int32 // if it is a row as it is: its device, else its leaf; by index
	length uint16
	isRow  bool
}

// sorted sorts pieces by their first data blocks within the bucket, a byte at a time.
// It uses room, and returns both slices in the roles they then have.
func (s *store) sorted(pieces, room []piece) (byData, free []piece) {
	room = slices.Grow(room[:0], len(pieces))[:len(pieces)]
	for b := range s.width {
		var ends [256]int
		for i := range pieces {
			ends[uint64(pieces[i].data-s.base)>>(8*b)&0xff]++
		}
		at := 0
		for i, n := range ends {
			ends[i] = at
			at += n
		}
		for i := range pieces {
			digit := uint64(pieces[i].data-s.base) >> (8 * b) & 0xff
			room[ends[digit]] = pieces[i]
			ends[digit]++
		}
		pieces, room = room, pieces
	}
	return pieces, room
}
