// Package delta finds the differences between two mapping trees: what a backup has to copy
// from one snapshot to the next.
//
// What both trees share is not read. The leaves of both are streamed by their first keys, and
// runs are merged as they come, so little more than a leaf is kept in memory.
package delta

import (
	"context"
	"fmt"

	"thinpool/metadata"
)

// A Kind says how the mappings of a range compare.
type Kind uint8

// The kinds of range.
const (
	LeftOnly  Kind = iota // mapped on the left, not on the right
	RightOnly             // the other way round
	Different             // mapped to different data blocks
	Same                  // mapped to the same data blocks
)

var kindNames = [...]string{"left_only", "right_only", "different", "same"}

func (k Kind) String() string { return kindNames[k] }

// A Range is adjacent thin blocks of one kind.
type Range struct {
	Kind  Kind
	Begin metadata.ThinBlock
	Len   uint64 // at least 1
	// Left and Right are the data blocks that Begin is mapped to, 0 where it is not.
	// The rest of the range need not follow on them without [Options].Data.
	Left, Right metadata.DataBlock
}

func (r Range) String() string {
	return fmt.Sprintf("%v %d..%d", r.Kind, r.Begin, r.Begin+metadata.ThinBlock(r.Len-1))
}

// Options say what of the difference is wanted.
type Options struct {
	Blocks   uint64 // if not 0, only thin blocks below this: the size of the device
	OmitSame bool   // no ranges of kind Same: what the trees share is then not even read
	Data     bool   // a range ends where the data blocks of either side do not continue
	Progress func(phase string, done, total uint64)
}

// Run compares the mappings of two trees of p. It calls fn, from one goroutine, with
// ranges by ascending thin block, as long as they can be; fn may change
// the slice, but not keep it. When a mapping was made, and so its time, does not matter. An error that wraps
// [thinpool/metadata/block.ErrCorrupt] says that one of the trees is damaged; the ranges
// before it are good.
func Run(ctx context.Context, p *metadata.Pool, left, right metadata.MappingTree, opt Options, fn func([]Range) error) error {
	pair, err := p.TreePair(ctx, left, right, metadata.PairOptions{End: opt.Blocks, Same: !opt.OmitSame})
	if err != nil {
		return err
	}
	m := newMerger(opt, fn)
	done := uint64(0)
	err = pair.Each(ctx, func(s *metadata.Step, runs []metadata.Run) error {
		if done++; opt.Progress != nil && done%1024 == 0 {
			opt.Progress("comparing", done, uint64(pair.Len()))
		}
		if s.Side == metadata.Both {
			return m.both(runs, s.Leaf.Keys)
		}
		return m.feed(s.Side, runs, s.Leaf.Keys)
	})
	if err != nil {
		m.send() // what came before the damage
		return err
	}
	return m.finish()
}
