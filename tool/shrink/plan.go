// Package shrink, whose API may change, changes the number of data blocks of a pool. It plans
// which data blocks must move so that all blocks in use are below the new end, copies them, and
// describes the pool with its mappings updated.
//
//	visit the pool with a Usage > Plan > Copy, which flushes > visit it again through Rewrite > new metadata
//
// Copy writes only to places that the old metadata does not use. So the old metadata and everything
// it points to stay valid until the new metadata replaces it, even after a failure or an
// interruption.
package shrink

import (
	"errors"
	"fmt"
	"iter"
	"sort"

	"thinpool/metadata"
)

// A Move moves Len adjacent data blocks to another place, in the same order.
type Move struct {
	From, To metadata.DataBlock
	Len      uint64
}

// A Plan lists the data blocks that must move so that a pool can have NewBlocks of them.
type Plan struct {
	DataBlockSize        uint32 // sectors
	OldBlocks, NewBlocks uint64 // of the data device
	Used                 uint64 // mapped data blocks
	Moved                uint64 // mapped data blocks that move
	// Moves go from NewBlocks or above to below it. Both sides ascend, and no block occurs twice.
	Moves []Move

	usage *Usage
}

// Bytes returns the size of n data blocks.
func (p *Plan) Bytes(n uint64) uint64 { return n * blockBytes(p.DataBlockSize) }

// A SpaceError says that the blocks in use do not fit below the new end.
type SpaceError struct {
	Blocks uint64 // new size; all fields are in data blocks
	Move   uint64 // in use from Blocks on
	Free   uint64 // free below Blocks
	Kept   uint64 // below Blocks, neither mapped nor free
	Least  uint64 // smallest possible size
}

func (e *SpaceError) Error() string {
	text := fmt.Sprintf("Insufficient free space: %d data blocks would have to move below %d, where only %d are free; the smallest possible size is %d",
		e.Move, e.Blocks, e.Free, e.Least)
	if e.Kept > 0 {
		text += fmt.Sprintf(" (%d below are in use according to the space map, although no device maps them)", e.Kept)
	}
	return text
}

// Plan plans how to move all blocks in use from n on to free blocks below n, both by ascending
// number. If there are too few free blocks, the error is a [SpaceError].
func (u *Usage) Plan(n uint64) (*Plan, error) {
	if n == 0 {
		return nil, errors.New("a pool cannot have 0 data blocks")
	}
	if err := checkBlocks(n, u.header.DataBlockSize); err != nil {
		return nil, err
	}
	p := &Plan{
		DataBlockSize: u.header.DataBlockSize, OldBlocks: u.header.NrDataBlocks, NewBlocks: n,
		Used: u.mapped.Below(mostBlocks), Moved: u.usedFrom(n), usage: u,
	}
	if !u.fits(n) {
		free := n - u.taken.Below(n)
		least := 1 + sort.Search(int(p.OldBlocks), func(i int) bool { return u.fits(uint64(i) + 1) })
		return nil, &SpaceError{Blocks: n, Move: p.Moved, Free: free, Kept: n - free - u.mapped.Below(n), Least: uint64(least)}
	}
	next, stop := iter.Pull2(u.taken.Ranges(0, n, false))
	defer stop()
	var to, toEnd uint64
	for from, end := range u.mapped.Ranges(n, p.OldBlocks, true) {
		for from < end {
			if to == toEnd {
				to, toEnd, _ = next() // there are enough
			}
			length := min(end-from, toEnd-to)
			p.Moves = append(p.Moves, Move{metadata.DataBlock(from), metadata.DataBlock(to), length})
			from, to = from+length, to+length
		}
	}
	return p, nil
}

// usedFrom returns the number of blocks in use at n or above.
func (u *Usage) usedFrom(n uint64) uint64 { return u.mapped.Below(mostBlocks) - u.mapped.Below(n) }

// fits reports whether there is room below n for the blocks in use above.
func (u *Usage) fits(n uint64) bool { return u.usedFrom(n) <= n-u.taken.Below(n) }
