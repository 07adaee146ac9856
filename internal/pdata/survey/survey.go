// Package survey finds out what every block of a metadata device is, without trusting any pointer.
// It finds what the superblock leads to and what earlier transactions left behind. The kernel
// never overwrites a block that a committed superblock reaches, so older trees stay readable until
// their blocks are needed.
package survey

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"sort"
	"sync"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Kind is the kind of a block, judging by its content alone.
type Kind uint8

// The kinds of block.
const (
	Unreadable  Kind = iota // read error
	Empty                   // all zero
	Unknown                 // not a valid block of any kind
	Superblock              // block 0, or the copy of a metadata snapshot
	Index                   // of the metadata space map
	Bitmap                  // of a space map
	Inner                   // internal node of some tree
	MappingLeaf             // thin block -> data block, time
	TopLeaf                 // device id -> root of its mappings
	DetailsLeaf             // device id -> device details
	IndexLeaf               // number of a bitmap -> index entry of the data space map
	CountLeaf               // block -> reference count above 2
)

var kindNames = [...]string{
	"unreadable", "empty", "unknown", "superblock", "index block", "bitmap",
	"internal node", "mapping leaf", "top-level leaf", "details leaf", "index leaf", "count leaf",
}

func (s Kind) String() string { return kindNames[s] }

// leafKinds are the kinds of leaves by value size. With 8-byte values, the values tell more.
var leafKinds = map[int]Kind{
	metadata.MappingSize: MappingLeaf,
	metadata.DetailsSize: DetailsLeaf,
	spacemap.EntrySize:   IndexLeaf,
	spacemap.CountSize:   CountLeaf,
}

var le = binary.LittleEndian

// A Survey is what was found on a device.
type Survey struct {
	Kinds     []Kind      // by block
	Nodes     []Node      // valid nodes of trees, by ascending block
	Corrected []Corrected // damaged blocks that were corrected, by ascending block
	Misplaced []Misplaced // blocks found in another's place, by ascending Block

	limit    block.Nr
	at       []int32         // by block: index in Nodes, or -1
	entries  [][]btree.Child // of internal nodes and top-level leaves
	subtrees []Subtree       // by node, once known
	states   []uint8         // by node: whether subtrees has it
	pointed  []bool          // by node: a whole tree points to it
	pointers sync.Once       // guards pointed
}

// A Corrected block is valid except for damage that its checksum could correct.
type Corrected struct {
	block.Correction
	Content *block.Data // corrected content
}

// A Misplaced block has a valid checksum but the self reference of another block, and there is
// nothing valid in that block's place.
type Misplaced struct {
	Block block.Nr // the block it claims to be
	At    block.Nr // where it was found
}

// A Node is a valid node of a tree.
type Node struct {
	Block       block.Nr
	Kind        Kind
	N           int    // entries
	First, Last uint64 // keys, if N is not 0
	Time        uint32 // newest time in a mapping leaf

	entries int32 // index in Survey.entries, or -1
}

// Read surveys the device of r. Blocks whose damage the checksum can correct are taken as
// corrected. The error is ctx's.
func Read(ctx context.Context, r *block.Reader) (*Survey, error) {
	s := &Survey{Kinds: make([]Kind, r.Blocks()), limit: r.Blocks()}
	finds := make([]finder, r.Workers())
	all := func(yield func(block.Nr) bool) {
		for nr := block.Nr(0); nr < s.limit && yield(nr); nr++ {
		}
	}
	err := r.Each(ctx, all, func(worker int, nr block.Nr, b *block.Data, err error) error {
		if err != nil {
			s.Kinds[nr] = Unreadable
			return nil
		}
		f := &finds[worker]
		if s.Kinds[nr] = f.examine(nr, b, s.limit); s.Kinds[nr] != Unknown {
			return nil
		}
		if correction, ok := block.Correct(nr, b); ok {
			s.Kinds[nr] = f.examine(nr, b, s.limit)
			content := *b
			f.corrected = append(f.corrected, Corrected{correction, &content})
		} else if own, ok := misplaced(nr, b, s.limit); ok {
			f.misplaced = append(f.misplaced, Misplaced{own, nr})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.mergeFound(finds)
	return s, nil
}

// Examine returns the kind of b as block nr of a device with limit blocks. To identify a misplaced
// block, pass the number that b itself names.
func Examine(nr block.Nr, b *block.Data, limit block.Nr) Kind {
	return new(finder).examine(nr, b, limit)
}

// A finder holds what one goroutine has found.
type finder struct {
	nodes     []Node
	entries   [][]btree.Child
	corrected []Corrected
	misplaced []Misplaced
}

// misplaced returns the block number that a valid block at nr claims, if it differs.
func misplaced(nr block.Nr, b *block.Data, limit block.Nr) (block.Nr, bool) {
	kind := block.KindOf(b)
	own := block.SelfReference(b)
	// Only a superblock can be block 0.
	return own, kind != block.UnknownKind && own != nr && own < limit && (own > 0 || kind == block.Superblock)
}

// examine returns the kind of a block and keeps tree nodes.
func (f *finder) examine(nr block.Nr, b *block.Data, limit block.Nr) Kind {
	switch kind := block.KindOf(b); kind {
	case block.UnknownKind:
		if *b == (block.Data{}) {
			return Empty
		}
		return Unknown
	case block.Node:
		n, err := btree.DecodeAny(nr, b)
		if err != nil {
			return Unknown
		}
		return f.node(nr, n, limit)
	default:
		if block.Verify(nr, b, kind) != nil {
			return Unknown
		}
		return map[block.Kind]Kind{block.Superblock: Superblock, block.Bitmap: Bitmap, block.Index: Index}[kind]
	}
}

func (f *finder) node(nr block.Nr, n btree.Node, limit block.Nr) Kind {
	node := Node{Block: nr, N: n.Len(), entries: -1}
	if n.Len() > 0 {
		node.First, node.Last = n.Key(0), n.Key(n.Len()-1)
	}
	switch kind, known := leafKinds[n.ValueSize()]; {
	case !n.Leaf():
		node.Kind = Inner
	case !known:
		return Unknown
	case kind == MappingLeaf && IsTopLeaf(n):
		node.Kind = TopLeaf // or a mapping leaf, see resolveSmallLeaves
	default:
		node.Kind = kind
	}
	if node.Kind == Inner || node.Kind == TopLeaf {
		node.entries = int32(len(f.entries))
		entries := make([]btree.Child, n.Len())
		for i := range entries {
			entries[i] = btree.Child{Key: n.Key(i), Block: block.Nr(n.Uint64(i))}
		}
		f.entries = append(f.entries, entries)
	}
	if node.Kind == MappingLeaf {
		node.Time = newest(n)
	}
	f.nodes = append(f.nodes, node)
	return node.Kind
}

// IsTopLeaf reports whether a leaf can be part of the top level of the mapping tree: most of its
// keys are device ids, and most values are blocks of the metadata device. As a mapping leaf, it
// would map data block 0 with each of these values. If the device was truncated, they may lie
// beyond its end.
func IsTopLeaf(n btree.Node) bool {
	fit := 0
	for i := range n.Len() {
		if v := n.Uint64(i); v > 0 && v < spacemap.MaxMetadata && n.Key(i) <= metadata.MaxDevID {
			fit++
		}
	}
	return fit > n.Len()/2
}

func newest(n btree.Node) uint32 {
	_, values := n.Uint64s()
	most := uint32(0)
	for ; len(values) >= 8; values = values[8:] {
		_, time := metadata.UnpackMapping(le.Uint64(values))
		most = max(most, time)
	}
	return most
}

// mergeFound merges what the goroutines found.
func (s *Survey) mergeFound(finds []finder) {
	for _, f := range finds {
		base := int32(len(s.entries))
		for _, n := range f.nodes {
			if n.entries >= 0 {
				n.entries += base
			}
			s.Nodes = append(s.Nodes, n)
		}
		s.entries = append(s.entries, f.entries...)
		s.Corrected = append(s.Corrected, f.corrected...)
		for _, m := range f.misplaced {
			switch s.Kinds[m.Block] {
			case Unreadable, Empty, Unknown:
				s.Misplaced = append(s.Misplaced, m)
			}
		}
	}
	slices.SortFunc(s.Nodes, func(a, b Node) int { return cmp.Compare(a.Block, b.Block) })
	sort.Slice(s.Corrected, func(i, j int) bool { return s.Corrected[i].Block < s.Corrected[j].Block })
	sort.Slice(s.Misplaced, func(i, j int) bool {
		a, b := s.Misplaced[i], s.Misplaced[j]
		return cmp.Or(cmp.Compare(a.Block, b.Block), cmp.Compare(a.At, b.At)) < 0
	})
	s.at = make([]int32, s.limit)
	for i := range s.at {
		s.at[i] = -1
	}
	for i, n := range s.Nodes {
		s.at[n.Block] = int32(i)
	}
	s.resolveSmallLeaves()
	s.subtrees, s.states = make([]Subtree, len(s.Nodes)), make([]uint8, len(s.Nodes))
}

// resolveSmallLeaves decides how to read leaves with one small value: as a thin block mapped to
// data block 0, or as a device and its root. The value is a root unless that block is known not to
// be part of a mapping tree. A tree maps data block 0 at most once, so leaves with several such
// values are not mapping leaves.
func (s *Survey) resolveSmallLeaves() {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Kind != TopLeaf || n.N > 1 {
			continue
		}
		if to := s.entries[n.entries][0].Block; to < s.limit && to != n.Block {
			switch s.Kinds[to] {
			case MappingLeaf, Inner, Unreadable, Empty, Unknown:
				continue
			}
		}
		n.Kind, n.Time = MappingLeaf, uint32(s.entries[n.entries][0].Block)
		s.Kinds[n.Block] = MappingLeaf
	}
}

// Node returns the node at nr; false if there is no valid node.
func (s *Survey) Node(nr block.Nr) (*Node, bool) {
	if nr >= s.limit || s.at[nr] < 0 {
		return nil, false
	}
	return &s.Nodes[s.at[nr]], true
}

// Entries returns the entries of an internal node or top-level leaf; nil for others. They must not
// be changed.
func (s *Survey) Entries(n *Node) []btree.Child {
	if n.entries < 0 {
		return nil
	}
	return s.entries[n.entries]
}
