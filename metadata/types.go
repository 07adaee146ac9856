package metadata

import (
	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
)

// Types of lower layers that are part of this package's API. They are named here because programs
// outside this module cannot import the internal packages.
type (
	// A KeyRange is the keys First to Last, inclusive: thin blocks of a device, or device ids.
	KeyRange = btree.KeyRange
	// A Forest holds the upper parts of some trees, which may share nodes, in memory.
	Forest = btree.Forest
	// A Node is a checked node of a tree. It is a view of a block's buffer.
	Node = btree.Node
	// A LeafRange is a leaf of a tree, or a lost range of its keys.
	LeafRange = btree.LeafRange
	// A Side tells which of the two trees of a [TreePair] has something.
	Side = btree.Side
	// PairOptions select what to read of two trees.
	PairOptions = btree.PairOptions
	// A SpaceMapRoot is the root of a space map in the superblock.
	SpaceMapRoot = spacemap.Root
)

// The sides of a [TreePair].
const (
	Left  = btree.Left
	Right = btree.Right
	Both  = btree.Both // the same block with the same keys
)
