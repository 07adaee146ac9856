// Package delta finds the differences between two mapping trees: what a backup has to copy from
// one snapshot to the next.
//
// It does not read what both trees share. It streams the leaves of both by their first keys and
// merges runs as they come, so it keeps little more than a leaf in memory.
package delta

import (
	"context"
	"fmt"

	"thinpool/metadata"
)

// A Kind tells how the mappings of a range compare.
type Kind uint8

// The kinds of range.
const (
	LeftOnly  Kind = iota // only mapped on the left
	RightOnly             // only mapped on the right
	Different             // mapped to different data blocks
	Same                  // mapped to the same data blocks
)

var kindNames = [...]string{"left_only", "right_only", "different", "same"}

func (k Kind) String() string { return kindNames[k] }

// A Range is a sequence of adjacent thin blocks of one kind.
type Range struct {
	Kind  Kind
	Begin metadata.ThinBlock
	Len   uint64 // at least 1
	// Left and Right are the data blocks that Begin is mapped to, 0 if unmapped. Without
	// [Options].Data, the rest of the range may continue elsewhere.
	Left, Right metadata.DataBlock
}

func (r Range) String() string {
	return fmt.Sprintf("%v %d..%d", r.Kind, r.Begin, r.Begin+metadata.ThinBlock(r.Len-1))
}

// Options say which differences are wanted.
type Options struct {
	Blocks   uint64 // if not 0, only thin blocks below this: the size of the device
	OmitSame bool   // no ranges of kind Same; what the trees share is not even read
	Data     bool   // end a range where the data blocks of either side do not continue
	Progress func(phase string, done, total uint64)
}

// Run compares the mappings of two trees of p. It calls fn, from one goroutine, with ranges of
// maximum length by ascending thin block; fn may change the slice, but not keep it. The time when
// a mapping was made does not matter. An error that wraps [thinpool/metadata/block.ErrCorrupt]
// says that one of the trees is damaged; the ranges before it are good.
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
		m.send() // the ranges before the damage
		return err
	}
	return m.finish()
}
