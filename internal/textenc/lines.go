package textenc

import (
	"context"
	"iter"

	"thinpool/metadata"
)

// A Formatter is a [metadata.Visitor] that writes runs as text. Formatting can happen ahead of
// time, on all processors.
type Formatter interface {
	metadata.Visitor
	// Format appends the text of runs to dst. It must be safe for concurrent use.
	Format(dst []byte, runs []metadata.Run) []byte
	// Formatted replaces Runs for the runs of a leaf when Format has already formatted all but the
	// first and the last. These two may continue in other leaves. mapped is the number of blocks in
	// all runs. The text belongs to the caller and is valid only until Formatted returns.
	Formatted(first metadata.Run, between []byte, last metadata.Run, mapped uint64) error
}

// lines are the mappings of a leaf as text, except for the first and the last run.
type lines struct {
	runs        int          // 0: the leaf is empty
	first, last metadata.Run // identical if runs is 1
	between     []byte
	mapped      uint64
}

// StreamLines takes the steps in order. It passes the runs of each leaf to v and marks to mark.
// Runs are formatted where leaves are read, on all processors.
func StreamLines(ctx context.Context, m *metadata.Mappings, steps iter.Seq[metadata.Step], v Formatter, mark func(*metadata.Step) error) error {
	keep := func(dst lines, runs []metadata.Run) lines {
		dst = lines{runs: len(runs), between: dst.between[:0]}
		if len(runs) == 0 {
			return dst
		}
		last := len(runs) - 1
		dst.first, dst.last = runs[0], runs[last]
		if last > 1 {
			dst.between = v.Format(dst.between, runs[1:last])
		}
		for _, r := range runs {
			dst.mapped += r.Len
		}
		return dst
	}
	return metadata.StreamAs(ctx, m, steps, keep, func(s *metadata.Step, l lines) error {
		switch {
		case s.Mark != 0:
			return mark(s)
		case l.runs == 0:
			return nil
		case l.runs == 1:
			return v.Runs([]metadata.Run{l.first})
		}
		return v.Formatted(l.first, l.between, l.last, l.mapped)
	})
}
