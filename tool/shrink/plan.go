// Package shrink, whose API may change, gives a pool another number of data blocks. It plans which of them have
// to move, so that all in use lie below the new end, copies these, and describes the pool with
// its mappings led to where they are.
//
//	visit the pool with a Usage > Plan > Copy, which flushes > visit it again through Rewrite > new metadata
//
// Blocks are copied only to where the old metadata has nothing. So that stays valid, with all
// that it leads to, until the new metadata takes its place: whatever fails or interrupts it.
package shrink

import (
	"errors"
	"fmt"
	"iter"
	"sort"

	"thinpool/metadata"
)

// A Move is adjacent data blocks that go to another place, Len of them in the same order.
type Move struct {
	From, To metadata.DataBlock
	Len      uint64
}

// A Plan says which data blocks have to move for a pool to have NewBlocks of them.
type Plan struct {
	DataBlockSize        uint32 // sectors
	OldBlocks, NewBlocks uint64 // of the data device
	Used                 uint64 // data blocks that mappings lead to
	Moved                uint64 // of these, how many move
	// Moves go from NewBlocks or above to below it, both ascending and none twice.
	Moves []Move

	usage *Usage
}

// Bytes is the size of n data blocks.
func (p *Plan) Bytes(n uint64) uint64 { return n * blockBytes(p.DataBlockSize) }

// A SpaceError says that the blocks in use do not fit below the new end.
type SpaceError struct {
	Blocks uint64 // new size, in data blocks, as the others
	Move   uint64 // in use from there on
	Free   uint64 // below
	Kept   uint64 // below, neither mapped nor free
	Least  uint64 // smallest size that works
}

func (e *SpaceError) Error() string {
	text := fmt.Sprintf("Insufficient free space: %d data blocks would have to move below %d, where only %d are free; the smallest possible size is %d",
		e.Move, e.Blocks, e.Free, e.Least)
	if e.Kept > 0 {
		text += fmt.Sprintf(" (%d below are in use according to the space map, although no device maps them)", e.Kept)
	}
	return text
}

// Plan plans how all blocks in use come to lie below n: those from n on go to the free ones
// below, both by ascending number. The error is a [SpaceError] if there are too few.
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

// usedFrom is how many blocks in use lie at n and above.
func (u *Usage) usedFrom(n uint64) uint64 { return u.mapped.Below(mostBlocks) - u.mapped.Below(n) }

// fits reports whether there is room below n for what lies above.
func (u *Usage) fits(n uint64) bool { return u.usedFrom(n) <= n-u.taken.Below(n) }
