// Package btree reads and builds the b-trees of dm-thin metadata (the kernel's dm-btree). One node
// fills one block:
//
//	 0   4  checksum                     20   4  max_entries: capacity
//	 4   4  flags: 1 internal, 2 leaf    24   4  value_size in bytes
//	 8   8  blocknr: self reference      28   4  padding, 0
//	16   4  nr_entries: in use           32      keys, 8 bytes each, room for max_entries
//	                                             values, after the room for all keys
//
// Keys ascend. The values of an internal node are the blocks of its children; its keys are lower
// bounds of their keys. Trees share subtrees, which are only copied on write, so a node may have
// many parents.
//
// # A forest
//
// Thin devices share subtrees: a snapshot is one more pointer to an old root. So a [Forest] holds
// the internal nodes of all trees together, each node once. Leaves are nearly all of the metadata.
// A Forest only knows their numbers, and the caller chooses the order in which to read them. A
// check reads them in disk order, each once, however many devices reach it. A dump goes by key and
// sorts a window of leaves by block. All leaves of a healthy tree have the same depth, so the
// first child of a node tells what its siblings are, and no leaf is read just to find out.
//
// # Damage is data
//
// A block that cannot be used stays in the forest with its error. A walk over a tree yields its
// leaves in key order, and the lost key ranges between them. Only a device failure ends a walk.
//
// # Two trees at once
//
// [LoadTreePair] descends two trees level by level. Levels are counted from the leaves, because a
// tree grows at its root. Nodes that both trees have at the same place (the same block with the
// same keys) are dropped before they are read, unless the caller asks for them.
package btree

import (
	"encoding/binary"
	"iter"

	"thinpool/metadata/block"
)

// Offsets in a node. The header is followed by room for max_entries keys, then by room for as many
// values.
const (
	offFlags      = 4
	offNrEntries  = 16
	offMaxEntries = 20
	offValueSize  = 24
	offPadding    = 28
	headerSize    = 32
	keySize       = 8
)

const (
	flagInternal = 1
	flagLeaf     = 2
	kindMask     = flagInternal | flagLeaf
)

// PointerSize is the size of the values of internal nodes: block numbers.
const PointerSize = 8

// MaxDepth is the maximum number of levels a walk goes down from a root. It is the size of the
// kernel's own stack; real trees need five.
const MaxDepth = 64

var le = binary.LittleEndian

// MaxEntries returns the capacity of a node with values of valueSize bytes: what fits, rounded
// down to a multiple of three so that the kernel can split and merge evenly.
func MaxEntries(valueSize int) int {
	return (block.Size - headerSize) / (keySize + valueSize) / 3 * 3
}

// A Node is a checked view of a block. It copies nothing, so it is only valid as long as the
// block's buffer is.
type Node struct {
	b             *block.Data
	nr            int // entries in use
	values        int // offset of the values
	leafValueSize int // value size of the tree's leaves
	valueSize     int // of this node
}

// Decode checks that b is the node at loc of a tree whose leaves have values of valueSize bytes:
// checksum, self reference, header, order of keys. No method of the returned Node goes out of
// range, whatever the bytes are. The error wraps [block.ErrCorrupt].
func Decode(loc block.Nr, b *block.Data, valueSize int) (Node, error) {
	if err := block.Verify(loc, b, block.Node); err != nil {
		return Node{}, err
	}
	flags, size := le.Uint32(b[offFlags:])&kindMask, le.Uint32(b[offValueSize:])
	nr, room := le.Uint32(b[offNrEntries:]), le.Uint32(b[offMaxEntries:])
	want := uint32(valueSize)
	if flags == flagInternal {
		want = PointerSize
	}
	switch most := (block.Size - headerSize) / (keySize + want); {
	case flags != flagInternal && flags != flagLeaf:
		return Node{}, block.Bad(loc, offFlags, "flags", flags, flagLeaf)
	case size != want:
		return Node{}, block.Bad(loc, offValueSize, "value_size", size, want)
	case room > most:
		return Node{}, block.TooBig(loc, offMaxEntries, "max_entries", room, most)
	case nr > room:
		return Node{}, block.TooBig(loc, offNrEntries, "nr_entries", nr, room)
	case nr == 0 && flags == flagInternal:
		return Node{}, block.Bad(loc, offNrEntries, "nr_entries of an internal node", nr, 1)
	}
	n := Node{b, int(nr), headerSize + keySize*int(room), valueSize, int(size)}
	return n, n.checkOrder(loc)
}

// DecodeAny is like Decode, for a node of an unknown tree. [Node.ValueSize] tells more about a
// leaf, but nothing about an internal node.
func DecodeAny(loc block.Nr, b *block.Data) (Node, error) {
	return Decode(loc, b, int(le.Uint32(b[offValueSize:])))
}

func (n Node) checkOrder(loc block.Nr) error {
	keys := n.b[headerSize : headerSize+keySize*n.nr]
	if len(keys) == 0 {
		return nil
	}
	last := le.Uint64(keys)
	for i := keySize; i+keySize <= len(keys); i += keySize {
		key := le.Uint64(keys[i:])
		if key <= last {
			return &OrderError{loc, i / keySize, key, last}
		}
		last = key
	}
	return nil
}

// Leaf reports whether n is a leaf.
func (n Node) Leaf() bool { return le.Uint32(n.b[offFlags:])&flagLeaf != 0 }

// Len returns the number of entries in use.
func (n Node) Len() int { return n.nr }

// Cap returns the number of entries there is room for.
func (n Node) Cap() int { return (n.values - headerSize) / keySize }

// ValueSize returns the size of the values of this node in bytes.
func (n Node) ValueSize() int { return n.valueSize }

// Key returns key i, from 0 to Len()-1.
func (n Node) Key(i int) uint64 { return le.Uint64(n.b[headerSize+keySize*i:]) }

// Value returns the bytes of value i, from 0 to Len()-1.
func (n Node) Value(i int) []byte {
	at := n.values + n.valueSize*i
	return n.b[at : at+n.valueSize : at+n.valueSize]
}

// Uint64 returns value i of a node with 8-byte values.
func (n Node) Uint64(i int) uint64 { return le.Uint64(n.b[n.values+PointerSize*i:]) }

// All yields the entries in the order of the node.
func (n Node) All() iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for i := 0; i < n.nr && yield(n.Key(i), n.Value(i)); i++ {
		}
	}
}

// A Layout tells where a node has its keys and values, used or not.
type Layout struct {
	Leaf      bool
	Entries   int // capacity
	Values    int // offset of the values; the keys are before them, from [HeaderSize] on
	ValueSize int
}

// HeaderSize is the size of a node's header. The keys follow it.
const HeaderSize = headerSize

// LayoutOf returns the layout that the header of b gives, without looking at anything else; false
// if it does not fit the block.
func LayoutOf(b *block.Data) (Layout, bool) {
	room, size := uint64(le.Uint32(b[offMaxEntries:])), uint64(le.Uint32(b[offValueSize:]))
	if room > block.Size || headerSize+room*(keySize+size) > block.Size {
		return Layout{}, false
	}
	leaf := le.Uint32(b[offFlags:])&flagLeaf != 0
	return Layout{leaf, int(room), headerSize + keySize*int(room), int(size)}, true
}

// Uint64s returns the keys and values of a node with 8-byte values, as raw bytes. In hot loops,
// this saves two bounds checks per entry.
func (n Node) Uint64s() (keys, values []byte) {
	return n.b[headerSize : headerSize+keySize*n.nr], n.b[n.values : n.values+PointerSize*n.nr]
}

// Search returns the index of the last key not above key; -1 if there is none.
func (n Node) Search(key uint64) int {
	lo, hi := 0, n.nr
	for lo < hi {
		if mid := (lo + hi) / 2; n.Key(mid) <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// HeaderAnomalies are oddities in a node's header that do not harm readers.
type HeaderAnomalies struct {
	Flags    uint32 // bits other than internal and leaf
	Padding  uint32
	Capacity int // max_entries if it is not the usual one, else -1
}

// HeaderAnomalies returns the anomalies in the header of n.
func (n Node) HeaderAnomalies() HeaderAnomalies {
	q := HeaderAnomalies{le.Uint32(n.b[offFlags:]) &^ kindMask, le.Uint32(n.b[offPadding:]), -1}
	if n.Cap() != MaxEntries(n.valueSize) {
		q.Capacity = n.Cap()
	}
	return q
}

// NoAnomalies is what [Node.HeaderAnomalies] returns for an ordinary node.
var NoAnomalies = HeaderAnomalies{Capacity: -1}

// A NodeBuilder builds a node.
type NodeBuilder struct {
	b         *block.Data
	valueSize int
	max, nr   int
}

// NewNodeBuilder clears b and makes it an empty node for values of valueSize bytes.
func NewNodeBuilder(b *block.Data, leaf bool, valueSize int) NodeBuilder {
	*b = block.Data{}
	flags := uint32(flagInternal)
	if leaf {
		flags = flagLeaf
	}
	le.PutUint32(b[offFlags:], flags)
	le.PutUint32(b[offMaxEntries:], uint32(MaxEntries(valueSize)))
	le.PutUint32(b[offValueSize:], uint32(valueSize))
	return NodeBuilder{b: b, valueSize: valueSize, max: MaxEntries(valueSize)}
}

// Add appends key, which must be above the last one, and returns the slice for its value. Do not
// add more than MaxEntries.
func (d *NodeBuilder) Add(key uint64) []byte {
	i := d.nr
	d.nr++
	le.PutUint64(d.b[headerSize+keySize*i:], key)
	at := headerSize + keySize*d.max + d.valueSize*i
	return d.b[at : at+d.valueSize]
}

// AddUint64 appends an entry with an 8-byte value.
func (d *NodeBuilder) AddUint64(key, value uint64) { le.PutUint64(d.Add(key), value) }

// Seal finishes the node, to be written at loc.
func (d *NodeBuilder) Seal(loc block.Nr) {
	le.PutUint32(d.b[offNrEntries:], uint32(d.nr))
	block.Seal(loc, d.b, block.Node)
}
