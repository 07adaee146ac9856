package damage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

var le = binary.LittleEndian

// Sizes of tree values that package metadata does not know.
const (
	indexSize    = 16
	overflowSize = 4
)

// A node is a decoded tree block.
type node struct {
	nr     block.Nr
	leaf   bool
	keys   []uint64
	values []uint64 // values of 8 bytes
	bytes  []byte   // other values
	size   int
	// For leaves of devices:
	dataSum uint64 // added to the facts
	freeSum uint64
	maxTime uint32
	maxData uint64
}

func (n *node) raw(i int) []byte { return n.bytes[n.size*i:] }

// parse decodes a block like the kernel does. It refuses unordered keys, which make a search
// impossible.
func parse(nr block.Nr, b *block.Data, size int) (*node, error) {
	if err := block.Verify(nr, b, block.Node); err != nil {
		return nil, err
	}
	flags := le.Uint32(b[4:]) & 3
	n, room, valueSize := le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
	if flags == 1 {
		size = 8
	}
	if flags != 1 && flags != 2 || valueSize != uint32(size) || n > room || n == 0 && flags == 1 ||
		uint64(room)*(8+uint64(valueSize)) > block.Size-32 {
		return nil, fmt.Errorf("flags %d, %d entries of %d, values of %d bytes", flags, n, room, valueSize)
	}
	out := &node{nr: nr, leaf: flags == 2, size: size, keys: make([]uint64, n)}
	values := b[32+8*room:]
	for i := range out.keys {
		out.keys[i] = le.Uint64(b[32+8*i:])
		if i > 0 && out.keys[i] <= out.keys[i-1] {
			return nil, errors.New("keys do not ascend")
		}
		if size == 8 {
			out.values = append(out.values, le.Uint64(values[8*i:]))
		}
	}
	out.bytes = append([]byte(nil), values[:size*int(n)]...)
	return out, nil
}

// sums computes what a mapping leaf contributes to the facts.
func (n *node) sums() {
	for i, v := range n.values {
		data, time := metadata.UnpackMapping(v)
		n.dataSum += mix(uint64(data), 0, 0)
		n.freeSum += mix(n.keys[i], v, 1)
		n.maxTime, n.maxData = max(n.maxTime, time), max(n.maxData, uint64(data))
	}
}

// node returns the node at nr. size is the value size in the leaves.
func (r *reader) node(nr block.Nr, size int) (*node, error) {
	at := place{nr, size}
	if r.im != nil && r.same(nr) {
		if n := r.im.cache[at]; n != nil {
			return n, nil
		}
	}
	b, err := r.read(nr)
	if err != nil {
		return nil, err
	}
	n, err := parse(nr, b, size)
	if err != nil {
		return nil, err
	}
	if n.leaf && size == metadata.MappingSize {
		n.sums()
	}
	if r.learn {
		r.im.cache[at] = n
	}
	return n, nil
}

// An owner is the device whose tree is being read, and the block that names its root.
type owner struct {
	id  metadata.DevID
	top block.Nr
}

// walk is the state of a tree walk.
type walk struct {
	*reader
	role  Role
	size  int
	owner *owner
	path  map[block.Nr]bool
	parts []part
}

// tree reads the tree at root and returns its leaves in key order.
func (r *reader) tree(root block.Nr, role Role, size int, o *owner) []part {
	w := &walk{r, role, size, o, map[block.Nr]bool{}, nil}
	parent := metadata.SuperblockLocation
	if o != nil {
		parent = o.top
	}
	if o == nil {
		r.point(root, role) // for devices, the pointer is counted with the node that contains it
	}
	w.down(root, parent, 0, 0)
	return w.parts
}

func (w *walk) lose(nr, parent block.Nr, begin, end uint64, err error) {
	l := Lost{Role: w.role, Block: nr, Parent: parent, Begin: begin, End: end, Err: err}
	if w.owner != nil {
		l.Devices = []metadata.DevID{w.owner.id}
	}
	w.reader.lose(l)
}

// maxDepth is the kernel's limit on tree depth.
const maxDepth = 64

// down reads the subtree at nr. Its parent leaves it the keys from begin up to, not including, end.
func (w *walk) down(nr, parent block.Nr, begin, end uint64) {
	switch {
	case !w.inside(nr):
		w.lose(nr, parent, begin, end, errBeyond)
		return
	case w.path[nr] || len(w.path) == maxDepth:
		w.lose(nr, parent, begin, end, errors.New("the tree leads back to itself"))
		return
	}
	n, err := w.node(nr, w.size)
	if err != nil {
		w.lose(nr, parent, begin, end, err)
		return
	}
	w.count(n)
	if n.leaf {
		w.take(n, parent, begin, end)
		return
	}
	w.path[nr] = true
	for i, child := range n.values {
		from, to := max(n.keys[i], begin), end
		if i+1 < len(n.keys) && (end == 0 || n.keys[i+1] < end) {
			to = n.keys[i+1]
		}
		w.down(block.Nr(child), nr, from, to)
	}
	delete(w.path, nr)
}

// take adds the entries of a leaf within its bounds. Others are unreachable.
func (w *walk) take(n *node, parent block.Nr, begin, end uint64) {
	first := sort.Search(len(n.keys), func(i int) bool { return n.keys[i] >= begin })
	last := len(n.keys)
	if end != 0 {
		last = sort.Search(len(n.keys), func(i int) bool { return n.keys[i] >= end })
	}
	if first > 0 || last < len(n.keys) {
		w.lose(n.nr, parent, begin, end, errors.New("keys out of bounds"))
	}
	w.parts = append(w.parts, part{n, first, max(first, last)})
}

// count adds the facts of a node, once.
func (w *walk) count(n *node) {
	at := place{n.nr, int(w.role)}
	if w.counted[at] {
		return
	}
	w.counted[at] = true
	switch {
	case !n.leaf:
		for _, child := range n.values {
			w.point(block.Nr(child), w.role)
		}
	case w.role == TopLevel:
		for _, root := range n.values {
			w.point(block.Nr(root), Mapping)
		}
	case w.role == Mapping:
		w.out.Facts[dataRefs] += n.dataSum
		w.out.Free += n.freeSum
		if n.maxTime > w.out.SB.Time {
			w.fact(tooHigh, uint64(n.nr), 2, 0)
		}
		if len(n.keys) > 0 && n.maxData >= w.out.SB.DataSpaceMap.NrBlocks {
			w.fact(tooHigh, uint64(n.nr), 3, 0)
		}
	}
}

// dataMap reads the data space map.
func (r *reader) dataMap(sb metadata.Superblock) {
	sm := sb.DataSpaceMap
	high := r.overflow(sm.RefCountRoot)
	seen := uint64(0)
	for _, p := range r.tree(sm.BitmapRoot, DataIndex, indexSize, nil) {
		for i := p.first; i < p.end; i++ {
			if p.leaf.keys[i] == seen {
				seen++
			}
			nr := block.Nr(le.Uint64(p.leaf.raw(i)))
			r.bitmap(nr, p.leaf.nr, DataBitmap, p.leaf.keys[i], sm.NrBlocks, high, storedData)
		}
	}
	if want := bitmaps(sm.NrBlocks); seen < want {
		r.fact(storedData, seen, want, 4)
	}
}

func bitmaps(nrBlocks uint64) uint64 { return (nrBlocks + spacemap.PerBitmap - 1) / spacemap.PerBitmap }

// metadataMap reads the metadata space map.
func (r *reader) metadataMap(sb metadata.Superblock) {
	sm := sb.MetadataSpaceMap
	high := r.overflow(sm.RefCountRoot)
	r.point(sm.BitmapRoot, Index)
	b, err := (*block.Data)(nil), errBeyond
	if r.inside(sm.BitmapRoot) {
		b, err = r.read(sm.BitmapRoot)
	}
	if err == nil {
		err = block.Verify(sm.BitmapRoot, b, block.Index)
	}
	if err != nil {
		r.lose(Lost{Role: Index, Block: sm.BitmapRoot, Err: err})
		return
	}
	for i := range min(bitmaps(sm.NrBlocks), 255) {
		nr := block.Nr(le.Uint64(b[16+16*i:]))
		r.bitmap(nr, sm.BitmapRoot, Bitmap, i, sm.NrBlocks, high, storedMeta)
	}
}

// overflow reads the reference counts of 3 and more.
func (r *reader) overflow(root block.Nr) map[uint64]uint32 {
	high := map[uint64]uint32{}
	for _, p := range r.tree(root, Overflow, overflowSize, nil) {
		for i := p.first; i < p.end; i++ {
			high[p.leaf.keys[i]] = le.Uint32(p.leaf.raw(i))
		}
	}
	return high
}

// bitmap adds the counts in bitmap i of a space map to the facts.
func (r *reader) bitmap(nr, parent block.Nr, role Role, i, nrBlocks uint64, high map[uint64]uint32, topic int) {
	r.point(nr, role)
	b, err := (*block.Data)(nil), errBeyond
	if r.inside(nr) {
		b, err = r.read(nr)
	}
	if err == nil {
		err = block.Verify(nr, b, block.Bitmap)
	}
	if err != nil {
		r.lose(Lost{Role: role, Block: nr, Parent: parent, Err: err})
		return
	}
	first := i * spacemap.PerBitmap
	for at := 16; at < block.Size; at += 8 {
		for word, e := le.Uint64(b[at:]), uint64(at-16)*4; word != 0; word, e = word>>2, e+1 {
			if word&3 == 0 {
				continue
			}
			count := uint64(word&1<<1 | word>>1&1)
			if count == 3 {
				count = uint64(high[first+e])
			}
			r.fact(topic, first+e, count, 0)
		}
	}
}
