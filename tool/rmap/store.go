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

// A store keeps pieces: ranges of mappings of one leaf in one region. It sorts them into buckets
// by their first data block. A piece is a five-byte little-endian number with these bits, from the
// lowest:
//
//	16  its first data block, in its bucket
//	14  its first thin block, less the first of its leaf
//	 8  the block of its leaf, less that of the piece before it
//	 1  wide: what of these three does not fit follows, as three varints
//	 1  long: its length follows, as a varint; else it is 1
//
// Each worker has its own streams, which are linked lists of memory chunks.
//
// If memory runs out, the highest buckets are dropped and left to a later pass.
type store struct {
	base    metadata.DataBlock // first of bucket 0
	shift   int                // log2 of the data blocks in a bucket
	buckets int
	least   int          // first bucket, which is kept whatever it takes
	end     atomic.Int64 // first dropped bucket
	most    int          // maximum number of chunks per worker
	workers []writer
}

const (
	minShift    = 10      // smaller buckets are not worth passing on
	wantBuckets = 1 << 11 // if this makes them neither too small nor too large
	maxShift    = 16      // larger buckets have larger pieces
	maxBuckets  = 1 << 13 // more are slow to write to

	chunkSize   = 512
	chunkHeader = 6 // next chunk, 4 bytes; number of used bytes
	slabChunks  = 512
	none        = -1
)

// The bits of a piece.
const (
	pieceSize = 5
	dataBits  = 16
	thinBits  = 14
	leafBits  = 8

	thinShift = dataBits
	leafShift = thinShift + thinBits
	wide      = 1 << (leafShift + leafBits)
	long      = wide << 1

	maxPiece = pieceSize + 4*binary.MaxVarintLen64
)

func newStore(regions []Region, memory, workers int) *store {
	s := &store{workers: make([]writer, workers), shift: minShift}
	if len(regions) > 0 {
		s.base = regions[0].Begin
		last := uint64(regions[len(regions)-1].End - s.base - 1)
		s.shift = max(minShift, min(maxShift, bits.Len64(last/wantBuckets)), bits.Len64(last/maxBuckets))
		s.buckets = int(last>>s.shift) + 1
	}
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
		w.free, w.fresh, w.used = none, 0, 0
		for b := range w.streams {
			w.streams[b] = stream{head: none, tail: none}
		}
		w.end = s.buckets
	}
}

// limit returns the first bucket that the store does not have.
func (s *store) limit() int { return int(s.end.Load()) }

func (s *store) writer(worker int) *writer { return &s.workers[worker] }

// A writer is the part of a store written by one worker.
type writer struct {
	store   *store
	streams []stream // by bucket
	slabs   [][]byte
	free    int32 // list of freed chunks
	fresh   int32 // first chunk that was never used
	used    int   // chunks in streams
	end     int   // first dropped bucket
	nr      block.Nr
	first   uint64 // thin block of the leaf nr
}

// A stream holds the pieces of one bucket.
type stream struct {
	head, tail int32    // chunks
	used       int32    // used bytes of the tail
	last       block.Nr // leaf of the last piece
}

// begin sets the leaf of the following pieces. Leaves come by ascending block.
func (w *writer) begin(nr block.Nr, first uint64) { w.nr, w.first = nr, first }

// add keeps a piece.
func (w *writer) add(data metadata.DataBlock, thin, length uint64) {
	at := uint64(data - w.store.base)
	bucket := int(at >> w.store.shift)
	if bucket < w.store.least || bucket >= w.limit() {
		return
	}
	st := &w.streams[bucket]
	at, thin = at&(1<<w.store.shift-1), thin-w.first
	leaf := uint64(w.nr - st.last)
	p := at&(1<<dataBits-1) | thin&(1<<thinBits-1)<<thinShift | leaf&(1<<leafBits-1)<<leafShift
	over := at>>dataBits | thin>>thinBits | leaf>>leafBits
	if over == 0 && length == 1 {
		if room := w.room(bucket, pieceSize); room != nil {
			le.PutUint32(room, uint32(p))
			room[4] = byte(p >> 32)
		}
		return
	}
	var more [maxPiece]byte
	n := pieceSize
	if over != 0 {
		p |= wide
		n += binary.PutUvarint(more[n:], at>>dataBits)
		n += binary.PutUvarint(more[n:], thin>>thinBits)
		n += binary.PutUvarint(more[n:], leaf>>leafBits)
	}
	if length > 1 {
		p |= long
		n += binary.PutUvarint(more[n:], length)
	}
	le.PutUint32(more[:], uint32(p))
	more[4] = byte(p >> 32)
	copy(w.room(bucket, n), more[:])
}

// room returns n bytes at the end of a stream for a piece of w.nr, or nil if the bucket was
// dropped.
func (w *writer) room(bucket, n int) []byte {
	st := &w.streams[bucket]
	if st.tail == none || int(st.used)+n > chunkSize {
		if w.makeRoom(); bucket >= w.end {
			return nil
		}
		w.grow(st)
	}
	at := int(st.used)
	st.used += int32(n)
	st.last = w.nr
	return w.chunk(st.tail)[at : at+n]
}

// limit drops the buckets that other workers had to drop, and returns the first one.
func (w *writer) limit() int {
	if end := w.store.limit(); end < w.end {
		w.giveUp(end)
	}
	return w.end
}

// giveUp frees the streams from bucket end on.
func (w *writer) giveUp(end int) {
	for b := end; b < w.end; b++ {
		for c := w.streams[b].head; c != none; {
			chunk := w.chunk(c)
			next := nextChunk(chunk)
			setHeader(chunk, w.free, 0)
			w.free = c
			w.used--
			c = next
		}
		w.streams[b] = stream{head: none, tail: none}
	}
	w.end = end
}

// makeRoom drops the highest non-empty bucket if the worker has used up its chunks.
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

// grow adds a chunk to a stream.
func (w *writer) grow(st *stream) {
	c := w.free
	if c != none {
		w.free = nextChunk(w.chunk(c))
	} else {
		c = w.fresh
		w.fresh++
		if int(c) == len(w.slabs)*slabChunks {
			w.slabs = append(w.slabs, make([]byte, slabChunks*chunkSize))
		}
	}
	w.used++
	setHeader(w.chunk(c), none, 0)
	if st.tail == none {
		st.head = c
	} else {
		setHeader(w.chunk(st.tail), c, st.used)
	}
	st.tail, st.used = c, chunkHeader
}

func (w *writer) chunk(c int32) []byte {
	at := int(c) % slabChunks * chunkSize
	return w.slabs[c/slabChunks][at : at+chunkSize]
}

func setHeader(chunk []byte, next, used int32) {
	le.PutUint32(chunk, uint32(next))
	le.PutUint16(chunk[4:], uint16(used))
}

func nextChunk(chunk []byte) int32 { return int32(le.Uint32(chunk)) }

// A kept is a decoded piece of a store.
type kept struct {
	at       uint64 // first data block, relative to its bucket
	leaf     block.Nr
	fromLeaf uint64 // first thin block, relative to its leaf
	length   uint64
}

// A reader reads pieces back from a store. Each goroutine needs its own.
type reader struct {
	*store
	pieces [chunkSize / pieceSize]kept
}

// each calls fn with the pieces of a bucket, one chunk at a time. Pieces of a leaf are adjacent.
func (r *reader) each(bucket int, fn func([]kept)) {
	for i := range r.workers {
		w := &r.workers[i]
		st := &w.streams[bucket]
		leaf := block.Nr(0)
		for c := st.head; c != none; {
			chunk := w.chunk(c)
			used := int(le.Uint16(chunk[4:]))
			if c == st.tail {
				used = int(st.used)
			}
			n := 0
			for p := chunk[chunkHeader:used]; len(p) >= pieceSize; n++ {
				bits := uint64(le.Uint32(p)) | uint64(p[4])<<32
				p = p[pieceSize:]
				k := kept{at: bits & (1<<dataBits - 1), fromLeaf: bits >> thinShift & (1<<thinBits - 1), length: 1}
				step := bits >> leafShift & (1<<leafBits - 1)
				if bits&(wide|long) != 0 {
					if bits&wide != 0 {
						k.at |= uvarint(&p) << dataBits
						k.fromLeaf |= uvarint(&p) << thinBits
						step |= uvarint(&p) << leafBits
					}
					if bits&long != 0 {
						k.length = uvarint(&p)
					}
				}
				leaf += block.Nr(step)
				k.leaf = leaf
				r.pieces[n] = k
			}
			fn(r.pieces[:n])
			c = nextChunk(chunk)
		}
	}
}

// uvarint removes a number from the start of p.
func uvarint(p *[]byte) uint64 {
	n, k := binary.Uvarint(*p)
	*p = (*p)[k:]
	return n
}

// first returns the first data block of a bucket.
func (s *store) first(bucket int) metadata.DataBlock {
	return s.base + metadata.DataBlock(bucket)<<s.shift
}

// empty reports whether a bucket has no pieces.
func (s *store) empty(bucket int) bool {
	return !slices.ContainsFunc(s.workers, func(w writer) bool { return w.streams[bucket].head != none })
}
