package build

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/btree"
)

var le = binary.LittleEndian

const (
	leafEntries = 252             // capacity of a mapping leaf
	leastFill   = leafEntries / 3 // of a leaf that is not the only one
	chunkSize   = 1 << 20         // of the store
	bitsSlack   = 8               // bytes behind the last bit that may be read
)

// A store keeps leaves in as few bits as they need, in chunks that hold no pointers.
type store struct {
	chunks [][]byte
	leaves []leaf
}

// A leaf is a leaf of the metadata to be, its mappings still in the store.
type leaf struct {
	first metadata.ThinBlock
	chunk uint32
	off   uint32
	n     uint16 // entries
}

// A stretch is adjacent leaves that are being filled.
type stretch struct {
	s    *store
	from int            // index of its first leaf
	open []metadata.Run // of the leaf that is not full yet
	n    int            // entries in open
}

func (s *store) newStretch() stretch { return stretch{s: s, from: len(s.leaves)} }

// entries is how many mappings the stretch has.
func (t *stretch) entries() int { return (len(t.s.leaves)-t.from)*leafEntries + t.n }

// add appends a run, cut where leaves end.
func (t *stretch) add(r metadata.Run) {
	for r.Len > 0 {
		part := r
		part.Len = min(r.Len, uint64(leafEntries-t.n))
		t.open = append(t.open, part)
		t.n += int(part.Len)
		if t.n == leafEntries {
			t.closeLeaf()
		}
		r.Thin += metadata.ThinBlock(part.Len)
		r.Data += metadata.DataBlock(part.Len)
		r.Len -= part.Len
	}
}

// closeLeaf puts the open leaf, which may be empty, into the store.
func (t *stretch) closeLeaf() {
	t.s.put(t.open)
	t.open, t.n = t.open[:0], 0
}

// end finishes the stretch: the entries of the last two leaves are spread evenly
// if the last one would be less than half full.
func (t *stretch) end() {
	last := len(t.s.leaves) - 1
	switch {
	case t.n == 0:
		return
	case t.n >= leafEntries/2 || last < t.from:
		t.closeLeaf()
		return
	}
	runs := slices.Collect(t.s.runs(last))
	runs = append(runs, t.open...)
	both := leafEntries + t.n
	t.s.drop(last)
	t.open, t.n = t.open[:0], 0
	for _, r := range runs {
		if room := both - both/2 - t.n; len(t.s.leaves) == last && uint64(room) <= r.Len {
			part := r
			part.Len = uint64(room)
			t.add(part)
			t.closeLeaf()
			r = metadata.Run{Thin: r.Thin + metadata.ThinBlock(room), Data: r.Data + metadata.DataBlock(room), Len: r.Len - uint64(room), Time: r.Time}
		}
		t.add(r)
	}
	t.closeLeaf()
}

// A field is one of the four numbers of a run. All runs of a leaf have as many bits
// for it as the largest needs, above the least.
type field struct {
	least, most uint64
}

func (f *field) add(v uint64) {
	f.least, f.most = min(f.least, v), max(f.most, v)
}

func (f field) width() uint { return uint(bits.Len64(f.most - f.least)) }

const (
	fieldGap = iota // thin blocks since the end of the run before
	fieldData
	fieldLen
	fieldTime
	nrFields
)

// put appends a leaf: for each field the least and the width, then the number of
// runs, then the runs.
func (s *store) put(runs []metadata.Run) {
	const mostHeader = nrFields*(binary.MaxVarintLen64+1) + binary.MaxVarintLen64
	var l leaf
	if len(runs) > 0 {
		l.first = runs[0].Thin
	}
	fields := [nrFields]field{{least: 1<<64 - 1}, {least: 1<<64 - 1}, {least: 1<<64 - 1}, {least: 1<<64 - 1}}
	next := l.first
	for _, r := range runs {
		fields[fieldGap].add(uint64(r.Thin - next))
		fields[fieldData].add(uint64(r.Data))
		fields[fieldLen].add(r.Len)
		fields[fieldTime].add(uint64(r.Time))
		next = r.Thin + metadata.ThinBlock(r.Len)
		l.n += uint16(r.Len)
	}
	width := uint(0)
	for i := range fields {
		if len(runs) == 0 {
			fields[i] = field{}
		}
		width += fields[i].width()
	}
	need := mostHeader + (int(width)*len(runs)+7)/8 + bitsSlack
	if n := len(s.chunks); n == 0 || len(s.chunks[n-1])+need > chunkSize {
		s.chunks = append(s.chunks, make([]byte, 0, chunkSize))
	}
	chunk := &s.chunks[len(s.chunks)-1]
	l.chunk, l.off = uint32(len(s.chunks)-1), uint32(len(*chunk))
	p := *chunk
	for _, f := range fields {
		p = append(binary.AppendUvarint(p, f.least), byte(f.width()))
	}
	p = binary.AppendUvarint(p, uint64(len(runs)))
	w := bitWriter{p: p}
	next = l.first
	for _, r := range runs {
		w.put(uint64(r.Thin-next)-fields[fieldGap].least, fields[fieldGap].width())
		w.put(uint64(r.Data)-fields[fieldData].least, fields[fieldData].width())
		w.put(r.Len-fields[fieldLen].least, fields[fieldLen].width())
		w.put(uint64(r.Time)-fields[fieldTime].least, fields[fieldTime].width())
		next = r.Thin + metadata.ThinBlock(r.Len)
	}
	*chunk = w.end()
	s.leaves = append(s.leaves, l)
}

// drop takes back the last leaf.
func (s *store) drop(last int) {
	l := s.leaves[last]
	s.leaves = s.leaves[:last]
	s.chunks[l.chunk] = s.chunks[l.chunk][:l.off]
}

// runs yields the mappings of a leaf.
func (s *store) runs(i int) func(yield func(metadata.Run) bool) {
	return func(yield func(metadata.Run) bool) {
		l := s.leaves[i]
		c := s.chunks[l.chunk]
		p := c[l.off:cap(c)] // the slack may lie beyond what is in use
		var least [nrFields]uint64
		var width [nrFields]uint
		for i := range nrFields {
			v, n := binary.Uvarint(p)
			least[i], width[i] = v, uint(p[n])
			p = p[n+1:]
		}
		count, n := binary.Uvarint(p)
		r := bitReader{p: p[n:]}
		next := l.first
		for range count {
			run := metadata.Run{
				Thin: next + metadata.ThinBlock(least[fieldGap]+r.get(width[fieldGap])),
				Data: metadata.DataBlock(least[fieldData] + r.get(width[fieldData])),
				Len:  least[fieldLen] + r.get(width[fieldLen]),
				Time: uint32(least[fieldTime] + r.get(width[fieldTime])),
			}
			if !yield(run) {
				return
			}
			next = run.Thin + metadata.ThinBlock(run.Len)
		}
	}
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

// A bitWriter appends numbers of some bits to bytes, the lowest bits first.
type bitWriter struct {
	p    []byte
	held uint64 // bits that do not fill a byte yet
	n    uint   // how many
}

const mostBits = 56 // that fit beside those of a byte that is not full

func (w *bitWriter) put(v uint64, width uint) {
	if width > mostBits {
		w.put(v&(1<<mostBits-1), mostBits)
		v, width = v>>mostBits, width-mostBits
	}
	w.held |= v << w.n
	w.n += width
	for w.n >= 8 {
		w.p = append(w.p, byte(w.held))
		w.held >>= 8
		w.n -= 8
	}
}

// end returns all that was appended.
func (w *bitWriter) end() []byte {
	if w.n > 0 {
		w.p = append(w.p, byte(w.held))
	}
	return w.p
}

// A bitReader reads what a bitWriter wrote. It may look at up to eight bytes beyond.
type bitReader struct {
	p  []byte
	at uint // bit
}

func (r *bitReader) get(width uint) uint64 {
	if width > mostBits {
		low := r.get(mostBits)
		return low | r.get(width-mostBits)<<mostBits
	}
	v := le.Uint64(r.p[r.at/8:]) >> (r.at % 8) & (1<<width - 1)
	r.at += width
	return v
}
