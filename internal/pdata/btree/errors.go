package btree

import (
	"fmt"

	"thinpool/metadata/block"
)

// An OrderError says that the keys of a node do not ascend.
type OrderError struct {
	Block     block.Nr
	Entry     int // index of the key that is not above the one before it
	Key, Last uint64
}

func (e *OrderError) Error() string {
	return fmt.Sprintf("block %d, byte %#x: key %d is %d, not above %d before it",
		e.Block, headerSize+keySize*e.Entry, e.Entry, e.Key, e.Last)
}

// Unwrap makes an OrderError a [block.ErrCorrupt].
func (e *OrderError) Unwrap() error { return block.ErrCorrupt }

// A PointerError says that a node points outside the metadata.
type PointerError struct {
	Block block.Nr // the node, or 0 for a root named by the superblock
	Entry int      // index of the pointer in it
	Child uint64
	Limit block.Nr // first block beyond the metadata
}

func (e *PointerError) Error() string {
	if e.Block == 0 {
		return fmt.Sprintf("the root is block %d, want 1..%d", e.Child, e.Limit-1)
	}
	return fmt.Sprintf("block %d, entry %d: points to block %d, want 1..%d", e.Block, e.Entry, e.Child, e.Limit-1)
}

// Unwrap makes a PointerError a [block.ErrCorrupt].
func (e *PointerError) Unwrap() error { return block.ErrCorrupt }

// A LoopError says that a node is its own ancestor, or that a tree is deeper than the kernel
// allows.
type LoopError struct{ Block block.Nr }

func (e *LoopError) Error() string {
	return fmt.Sprintf("block %d: the tree leads back to itself or is deeper than %d levels", e.Block, MaxDepth)
}

// Unwrap makes a LoopError a [block.ErrCorrupt].
func (e *LoopError) Unwrap() error { return block.ErrCorrupt }

// A MisplacedError says that an internal node is in the place of a leaf.
type MisplacedError struct{ Block block.Nr }

func (e *MisplacedError) Error() string {
	return fmt.Sprintf("block %d: is an internal node, but its siblings are leaves", e.Block)
}

// Unwrap makes a MisplacedError a [block.ErrCorrupt].
func (e *MisplacedError) Unwrap() error { return block.ErrCorrupt }

// A BoundsError says that a subtree holds keys outside the range its parent allows.
type BoundsError struct {
	Block       block.Nr // root of the subtree
	Parent      block.Nr
	First, Last uint64   // keys found below Block
	Want        KeyRange // keys that the parent allows
}

func (e *BoundsError) Error() string {
	return fmt.Sprintf("block %d: holds keys %d..%d, but its parent, block %d, gives it %v", e.Block, e.First, e.Last, e.Parent, e.Want)
}

// Unwrap makes a BoundsError a [block.ErrCorrupt].
func (e *BoundsError) Unwrap() error { return block.ErrCorrupt }
