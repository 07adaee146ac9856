package textenc

import (
	"context"
	"iter"

	"thinpool/metadata"
)

// A Formatter is a [metadata.Visitor] that makes text of runs. That can be done before their turn
// comes, and on all processors.
type Formatter interface {
	metadata.Visitor
	// Format appends the text of runs to dst. Several goroutines call it at once, at any time.
	Format(dst []byte, runs []metadata.Run) []byte
	// Lines takes the place of Runs: those of a leaf, whose text Format has made. They belong
	// to the caller and are valid only until Lines returns.
	Lines(*Lines) error
}

// Lines are the mappings of a leaf as text, but for the first and the last run, which may
// go on in others.
type Lines struct {
	First, Last metadata.Run // one and the same if Runs is 1
	Between     []byte
	Runs        int    // 0: the leaf is empty
	Mapped      uint64 // blocks
}

// StreamLines goes through the steps in their order and calls fn with the text of each leaf. It is
// made by format where leaves are read, on all processors. The lines are valid until fn returns.
func StreamLines(ctx context.Context, m *metadata.Mappings, steps iter.Seq[metadata.Step], format Format, fn func(*Lines) error) error {
	keep := func(dst Lines, runs []metadata.Run) Lines {
		dst = Lines{Between: dst.Between[:0], Runs: len(runs)}
		if len(runs) == 0 {
			return dst
		}
		last := len(runs) - 1
		dst.First, dst.Last = runs[0], runs[last]
		if last > 1 {
			dst.Between = format(dst.Between, runs[1:last])
		}
		for _, r := range runs {
			dst.Mapped += r.Len
		}
		return dst
	}
	return metadata.StreamAs(ctx, m, steps, keep, func(lines Lines) error { return fn(&lines) })
}
