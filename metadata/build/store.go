package build

import (
	"encoding/binary"

	"thinpool/metadata"
	"thinpool/metadata/btree"
)

var le = binary.LittleEndian

const (
	leafEntries = 252             // capacity of a mapping leaf
	leastFill   = leafEntries / 3 // of a leaf that is not the only one
	chunkSize   = 1 << 20         // of the store
	mostRun     = 4 * 10          // bytes a run can take: four varints
)

// A store keeps runs in about six bytes each: numbers of variable length, each
// relative to the run before it, in chunks that hold no pointers.
type store struct {
	chunks [][]byte
	leaves []leaf
}

// A leaf is a leaf of the metadata to be, its mappings still in the store. The
// encoding starts afresh at each full leaf; where the last entries of a stretch
// are spread over two leaves the second one starts inside.
type leaf struct {
	first metadata.ThinBlock
	chunk uint32
	off   uint32
	skip  uint16 // entries from there that belong to the leaf before
	n     uint16 // entries
}

// A stretch is adjacent leaves that are being filled.
type stretch struct {
	s    *store
	from int // index of its first leaf
	open bool
	prev metadata.Run // last run of the open leaf
}

func (s *store) newStretch() stretch { return stretch{s: s, from: len(s.leaves)} }

// entries is how many mappings the stretch has.
func (t *stretch) entries() int {
	n := len(t.s.leaves) - t.from
	if n == 0 {
		return 0
	}
	return (n-1)*leafEntries + int(t.s.leaves[len(t.s.leaves)-1].n)
}

// add appends a run, cut where leaves end.
func (t *stretch) add(r metadata.Run) {
	for r.Len > 0 {
		if !t.open {
			t.openLeaf(r.Thin)
		}
		l := &t.s.leaves[len(t.s.leaves)-1]
		part := r
		part.Len = min(r.Len, uint64(leafEntries-l.n))
		t.s.put(part, t.prev)
		t.prev = part
		l.n += uint16(part.Len)
		if l.n == leafEntries {
			t.open = false
		}
		r.Thin += metadata.ThinBlock(part.Len)
		r.Data += metadata.DataBlock(part.Len)
		r.Len -= part.Len
	}
}

func (t *stretch) openLeaf(first metadata.ThinBlock) {
	s := t.s
	if n := len(s.chunks); n == 0 || len(s.chunks[n-1])+mostRun > chunkSize {
		s.chunks = append(s.chunks, make([]byte, 0, chunkSize))
	}
	last := len(s.chunks) - 1
	s.leaves = append(s.leaves, leaf{first: first, chunk: uint32(last), off: uint32(len(s.chunks[last]))})
	t.open, t.prev = true, metadata.Run{}
}

// put encodes r, which follows prev in its leaf. A leaf may go on in the next chunk.
func (s *store) put(r, prev metadata.Run) {
	last := len(s.chunks) - 1
	if len(s.chunks[last])+mostRun > chunkSize {
		s.chunks = append(s.chunks, make([]byte, 0, chunkSize))
		last++
	}
	gap := uint64(r.Thin - prev.Thin - metadata.ThinBlock(prev.Len))
	delta := int64(r.Data - prev.Data - metadata.DataBlock(prev.Len))
	// Two flags ride along with the gap, unless it is so large that they would
	// not fit: then it has a number of its own.
	p := s.chunks[last]
	flags := uint64(0)
	if r.Len != 1 {
		flags |= hasLen
	}
	if r.Time != prev.Time {
		flags |= hasTime
	}
	if gap >= wideGap {
		p = binary.AppendUvarint(p, wideGap<<2|flags)
		p = binary.AppendUvarint(p, gap)
	} else {
		p = binary.AppendUvarint(p, gap<<2|flags)
	}
	p = binary.AppendVarint(p, delta)
	if flags&hasLen != 0 {
		p = binary.AppendUvarint(p, r.Len)
	}
	if flags&hasTime != 0 {
		p = binary.AppendUvarint(p, uint64(r.Time))
	}
	s.chunks[last] = p
}

const (
	hasLen  = 1
	hasTime = 2
	wideGap = 1 << 61 // this gap and larger ones stand in a number of their own
)

// end finishes the stretch: the entries of the last two leaves are spread evenly
// if the last one would be less than half full.
func (t *stretch) end() {
	t.open = false
	n := len(t.s.leaves) - t.from
	if n < 2 {
		return
	}
	a, b := &t.s.leaves[t.from+n-2], &t.s.leaves[t.from+n-1]
	if b.n >= leafEntries/2 {
		return
	}
	both := a.n + b.n
	b.skip = both - both/2
	b.chunk, b.off, b.n = a.chunk, a.off, both/2
	a.n = b.skip
	for r := range t.s.runs(t.from + n - 1) {
		b.first = r.Thin
		break
	}
}

// runs yields the mappings of a leaf.
func (s *store) runs(i int) func(yield func(metadata.Run) bool) {
	return func(yield func(metadata.Run) bool) {
		l := s.leaves[i]
		skip, left := uint64(l.skip), uint64(l.n)
		chunk, p := l.chunk, s.chunks[l.chunk][l.off:]
		var r metadata.Run
		// Only the last two leaves of a stretch can lie behind a boundary that
		// the encoding does not know; a full leaf in between starts afresh.
		for done := uint64(0); left > 0; {
			if len(p) == 0 {
				chunk++
				p = s.chunks[chunk]
			}
			if done == leafEntries {
				r, done = metadata.Run{}, 0
			}
			r, p = decodeRun(p, r)
			done += r.Len
			part := r
			if skip >= part.Len {
				skip -= part.Len
				continue
			}
			part.Thin += metadata.ThinBlock(skip)
			part.Data += metadata.DataBlock(skip)
			part.Len = min(part.Len-skip, left)
			skip = 0
			left -= part.Len
			if !yield(part) {
				return
			}
		}
	}
}

// decodeRun decodes the run at the start of p, which follows prev.
func decodeRun(p []byte, prev metadata.Run) (metadata.Run, []byte) {
	head, n := binary.Uvarint(p)
	p = p[n:]
	gap := head >> 2
	if gap == wideGap {
		gap, n = binary.Uvarint(p)
		p = p[n:]
	}
	delta, n := binary.Varint(p)
	p = p[n:]
	r := metadata.Run{
		Thin: prev.Thin + metadata.ThinBlock(prev.Len+gap),
		Data: prev.Data + metadata.DataBlock(prev.Len) + metadata.DataBlock(delta),
		Len:  1,
		Time: prev.Time,
	}
	if head&hasLen != 0 {
		r.Len, n = binary.Uvarint(p)
		p = p[n:]
	}
	if head&hasTime != 0 {
		var time uint64
		time, n = binary.Uvarint(p)
		r.Time, p = uint32(time), p[n:]
	}
	return r, p
}

// fill writes the mappings of a leaf into a node.
func (s *store) fill(i int, d *btree.Draft) {
	for r := range s.runs(i) {
		value := metadata.PackMapping(r.Data, r.Time)
		for j := range r.Len {
			d.AddUint64(uint64(r.Thin)+j, value+j<<24)
		}
	}
}
