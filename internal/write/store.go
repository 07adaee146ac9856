package write

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
)

var le = binary.LittleEndian

const (
	leafEntries = 252             // capacity of a mapping leaf
	leastFill   = leafEntries / 3 // minimum fill of a leaf with siblings
	chunkSize   = 1 << 20         // of the store
	bitsSlack   = 8               // bytes that may be read after the last bit
)

// A store keeps leaves in as few bits as they need, in chunks without pointers.
type store struct {
	chunks [][]byte
	leaves []leaf
}

// A leaf is a leaf to be written. Its mappings are still in the store.
type leaf struct {
	first metadata.ThinBlock
	chunk uint32
	off   uint32
	n     uint16 // entries
}

// A stretch is a sequence of adjacent leaves being filled.
type stretch struct {
	s    *store
	from int            // index of its first leaf
	open []metadata.Run // runs of the unfinished leaf
	n    int            // entries in open
}

func (s *store) newStretch() stretch { return stretch{s: s, from: len(s.leaves)} }

// entries returns the number of mappings in the stretch.
func (t *stretch) entries() int { return (len(t.s.leaves)-t.from)*leafEntries + t.n }

// add appends a run, split where leaves end.
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

// end finishes the stretch. If the last leaf would be less than half full, it spreads the entries
// of the last two evenly.
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

// Runs are packed field by field: the gap in thin blocks since the end of the previous run, and
// the other three. In each leaf, a field takes as many bits as its largest value above the minimum
// needs.
type fields struct{ gap, data, length, time uint64 }

// fieldsOf returns the fields of r. The previous run ends at next.
func fieldsOf(r *metadata.Run, next metadata.ThinBlock) fields {
	return fields{uint64(r.Thin - next), uint64(r.Data), r.Len, uint64(r.Time)}
}

// A form tells how the runs of a leaf are packed.
type form struct {
	least                   fields
	gap, data, length, time uint // bits
}

// formFor returns the form for the runs of a leaf that starts at first.
func formFor(runs []metadata.Run, first metadata.ThinBlock) form {
	if len(runs) == 0 {
		return form{}
	}
	least, most := fieldsOf(&runs[0], first), fields{}
	next := first
	for i := range runs {
		v := fieldsOf(&runs[i], next)
		next = runs[i].Thin + metadata.ThinBlock(runs[i].Len)
		least = fields{min(least.gap, v.gap), min(least.data, v.data), min(least.length, v.length), min(least.time, v.time)}
		most = fields{max(most.gap, v.gap), max(most.data, v.data), max(most.length, v.length), max(most.time, v.time)}
	}
	width := func(least, most uint64) uint { return uint(bits.Len64(most - least)) }
	return form{
		least, width(least.gap, most.gap), width(least.data, most.data), width(least.length, most.length), width(least.time, most.time),
	}
}

// total returns the number of bits per run.
func (f *form) total() uint { return f.gap + f.data + f.length + f.time }

// put appends a run, in one piece if it fits, as nearly all do.
func (f *form) put(w *bitWriter, v fields) {
	v.gap -= f.least.gap
	v.data -= f.least.data
	v.length -= f.least.length
	v.time -= f.least.time
	if total := f.total(); total <= mostBits {
		all := v.time
		all = all<<(f.length%64) | v.length
		all = all<<(f.data%64) | v.data
		all = all<<(f.gap%64) | v.gap
		w.put(all, total)
		return
	}
	w.put(v.gap, f.gap)
	w.put(v.data, f.data)
	w.put(v.length, f.length)
	w.put(v.time, f.time)
}

// get reads a run.
func (f *form) get(r *bitReader) (v fields) {
	if total := f.total(); total <= mostBits {
		all := r.get(total)
		v.gap, all = all&(1<<(f.gap%64)-1), all>>(f.gap%64)
		v.data, all = all&(1<<(f.data%64)-1), all>>(f.data%64)
		v.length, v.time = all&(1<<(f.length%64)-1), all>>(f.length%64)
	} else {
		v = fields{r.get(f.gap), r.get(f.data), r.get(f.length), r.get(f.time)}
	}
	v.gap += f.least.gap
	v.data += f.least.data
	v.length += f.least.length
	v.time += f.least.time
	return v
}

// append appends the form itself: minimum and bits for each field.
func (f *form) append(dst []byte) []byte {
	dst = append(binary.AppendUvarint(dst, f.least.gap), byte(f.gap))
	dst = append(binary.AppendUvarint(dst, f.least.data), byte(f.data))
	dst = append(binary.AppendUvarint(dst, f.least.length), byte(f.length))
	return append(binary.AppendUvarint(dst, f.least.time), byte(f.time))
}

// readForm reads a form from the start of p and returns the rest.
func readForm(p []byte) (f form, rest []byte) {
	for _, field := range []struct {
		least *uint64
		width *uint
	}{{&f.least.gap, &f.gap}, {&f.least.data, &f.data}, {&f.least.length, &f.length}, {&f.least.time, &f.time}} {
		v, n := binary.Uvarint(p)
		*field.least, *field.width = v, uint(p[n])
		p = p[n+1:]
	}
	return f, p
}

// newest returns an upper bound for the newest time in leaf i.
func (s *store) newest(i int) uint64 {
	l := s.leaves[i]
	f, _ := readForm(s.chunks[l.chunk][l.off:])
	return f.least.time + 1<<f.time - 1
}

// put appends a leaf: the form, then the number of runs, then the runs.
func (s *store) put(runs []metadata.Run) {
	const mostHeader = 4*(binary.MaxVarintLen64+1) + binary.MaxVarintLen64
	var l leaf
	if len(runs) > 0 {
		l.first = runs[0].Thin
	}
	f := formFor(runs, l.first)
	need := mostHeader + (int(f.total())*len(runs)+7)/8 + bitsSlack
	if n := len(s.chunks); n == 0 || len(s.chunks[n-1])+need > chunkSize {
		s.chunks = append(s.chunks, make([]byte, 0, chunkSize))
	}
	chunk := &s.chunks[len(s.chunks)-1]
	l.chunk, l.off = uint32(len(s.chunks)-1), uint32(len(*chunk))
	w := bitWriter{p: binary.AppendUvarint(f.append(*chunk), uint64(len(runs)))}
	next := l.first
	for i := range runs {
		f.put(&w, fieldsOf(&runs[i], next))
		next = runs[i].Thin + metadata.ThinBlock(runs[i].Len)
		l.n += uint16(runs[i].Len)
	}
	*chunk = w.end()
	s.leaves = append(s.leaves, l)
}

// drop removes the last leaf.
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
		p := c[l.off:cap(c)] // the slack may be beyond the used part
		f, p := readForm(p)
		count, n := binary.Uvarint(p)
		r := bitReader{p: p[n:]}
		next := l.first
		for range count {
			v := f.get(&r)
			run := metadata.Run{Thin: next + metadata.ThinBlock(v.gap), Data: metadata.DataBlock(v.data), Len: v.length, Time: uint32(v.time)}
			if !yield(run) {
				return
			}
			next = run.Thin + metadata.ThinBlock(run.Len)
		}
	}
}

// fill writes the mappings of a leaf into a node.
func (s *store) fill(i int, d *btree.NodeBuilder) {
	for r := range s.runs(i) {
		value := metadata.PackMapping(r.Data, r.Time)
		for j := range r.Len {
			d.AddUint64(uint64(r.Thin)+j, value+j<<24)
		}
	}
}

// A bitWriter appends numbers of any width to bytes, lowest bits first.
type bitWriter struct {
	p    []byte
	held uint64 // bits that do not fill a byte yet
	n    uint   // number of bits in held
}

const mostBits = 56 // fit beside those of an incomplete byte

func (w *bitWriter) put(v uint64, width uint) {
	if width > mostBits {
		w.put(v&(1<<mostBits-1), mostBits)
		v, width = v>>mostBits, width-mostBits
	}
	w.held |= v << w.n
	w.n += width
	bytes := w.n / 8
	w.p = le.AppendUint64(w.p, w.held)
	w.p = w.p[:len(w.p)-8+int(bytes)]
	w.held >>= 8 * bytes
	w.n %= 8
}

// end returns everything that was appended.
func (w *bitWriter) end() []byte {
	if w.n > 0 {
		w.p = append(w.p, byte(w.held))
	}
	return w.p
}

// A bitReader reads what a bitWriter wrote. It may look at up to eight bytes beyond the end.
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
