package metadata

import (
	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
)

// Types of the layers below that are part of this package's API. They have their names here
// because programs outside of this module cannot import the packages that they are from.
type (
	// A KeyRange is the keys First..Last, both included: thin blocks of a device, or ids of devices.
	KeyRange = btree.KeyRange
	// A Forest is the upper parts of some trees, which may share nodes, in memory.
	Forest = btree.Forest
	// A Node is a checked node of a tree. It is a view of a block's buffer.
	Node = btree.Node
	// A LeafRange is a leaf of a tree, or a range of its keys that is lost.
	LeafRange = btree.LeafRange
	// A Side says which of the two trees of a [TreePair] something is part of.
	Side = btree.Side
	// PairOptions say what of two trees is of interest.
	PairOptions = btree.PairOptions
	// A SpaceMapRoot is where a space map begins, as the superblock says.
	SpaceMapRoot = spacemap.Root
)

// The sides of a [TreePair].
const (
	Left  = btree.Left
	Right = btree.Right
	Both  = btree.Both // the same block with the same keys
)
