package metadata

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// Mappings are the mapping trees of some devices, with their upper parts in memory.
type Mappings struct {
	Forest *Forest
	leafReader
}

// A leafReader reads leaves of mapping trees.
type leafReader struct {
	pool   *Pool
	leaves int // approximate number of leaves
}

// Mappings loads the upper parts of the mapping trees of the given devices. It reads a subtree
// shared by several devices once.
func (p *Pool) Mappings(ctx context.Context, devices ...Device) (*Mappings, error) {
	roots := make([]block.Nr, len(devices))
	for i, d := range devices {
		roots[i] = d.Root
	}
	f, err := btree.Load(ctx, p.r, p.limit, MappingSize, roots...)
	return &Mappings{f, leafReader{p, len(f.Leaves())}}, err
}

// A Step is a leaf to read in a [Mappings.Stream], or a mark between leaves.
type Step struct {
	ID   DevID    // owner of the leaf, for errors
	Root block.Nr // if not 0, the root of a tree that is used instead of a device's
	Leaf LeafRange
	Side Side // in a [TreePair]
	Mark int  // if not 0, the step is a mark: no leaf is read, and the caller gives it a meaning
}

// Steps yields the steps that read the mappings of d.
func (m *Mappings) Steps(d Device) iter.Seq[Step] {
	return func(yield func(Step) bool) {
		for part := range m.Forest.LeafRanges(d.Root) {
			if !yield(Step{ID: d.ID, Leaf: part}) {
				return
			}
		}
	}
}

// windowLeaves returns how many leaves a Stream reads ahead: enough to turn key order into a block
// order that suits a disk, but not more than a share of all, as the results take memory.
func (m *leafReader) windowLeaves() int {
	const share, least, most = 64, 16, 256
	return min(max(m.leaves/share, least), most)
}

// A window is a series of steps and the results for their leaves.
type window[T any] struct {
	steps []Step
	made  []T // by index of the step
	errs  []error
}

// Stream calls fn for each step, in order, with the runs of its leaf; a mark has none. It reads
// leaves ahead and in parallel. Runs are valid until fn returns; those that continue in the next
// leaf are not joined. A lost leaf ends the stream with an error that wraps [block.ErrCorrupt].
func (m *Mappings) Stream(ctx context.Context, steps iter.Seq[Step], fn func(*Step, []Run) error) error {
	return eachStep(ctx, &m.leafReader, steps, keepRuns, fn)
}

func keepRuns(dst, runs []Run) []Run { return append(dst[:0], runs...) }

// StreamAs is like [Mappings.Stream], but turns the runs into something else, such as text. It
// calls keep for each leaf as soon as it is read, on all processors. keep may reuse dst, an
// earlier result, and must not retain runs. fn gets the results in step order, each valid until it
// returns.
func StreamAs[T any](ctx context.Context, m *Mappings, steps iter.Seq[Step], keep func(dst T, runs []Run) T, fn func(*Step, T) error) error {
	return eachStep(ctx, &m.leafReader, steps, keep, fn)
}

// eachStep implements StreamAs.
func eachStep[T any](ctx context.Context, m *leafReader, steps iter.Seq[Step], keep func(dst T, runs []Run) T, fn func(*Step, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	full, empty := make(chan *window[T], 1), make(chan *window[T], 2)
	empty <- new(window[T])
	empty <- new(window[T])
	g.Go(func() error {
		defer close(full)
		return fillWindows(ctx, m, steps, keep, full, empty)
	})
	g.Go(func() error {
		for w := range full {
			if err := w.deliver(fn); err != nil {
				return err
			}
			empty <- w
		}
		return nil
	})
	return g.Wait()
}

// fillWindows reads one window after the other.
func fillWindows[T any](ctx context.Context, m *leafReader, steps iter.Seq[Step], keep func(T, []Run) T, full, empty chan *window[T]) error {
	var w *window[T]
	most := m.windowLeaves()
	send := func() error {
		if err := w.read(ctx, m.pool.r, keep); err != nil {
			return err
		}
		select {
		case full <- w:
			w = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for step := range steps {
		if w == nil {
			select {
			case w = <-empty:
				w.steps = w.steps[:0]
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		w.steps = append(w.steps, step)
		if len(w.steps) == most {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if w == nil {
		return nil
	}
	return send()
}

// read reads the leaves of a window in block order.
func (w *window[T]) read(ctx context.Context, r *block.Reader, keep func(T, []Run) T) error {
	n := len(w.steps)
	if n > len(w.made) {
		w.made, w.errs = slices.Grow(w.made, n)[:n], slices.Grow(w.errs, n)[:n]
	}
	type leaf struct {
		nr   block.Nr
		step int
	}
	var leaves []leaf
	for i, s := range w.steps {
		w.errs[i] = s.Leaf.Err
		if s.Mark == 0 && s.Leaf.Err == nil {
			leaves = append(leaves, leaf{s.Leaf.Block, i})
		}
	}
	slices.SortFunc(leaves, func(a, b leaf) int { return cmp.Compare(a.nr, b.nr) })
	byBlock := func(yield func(block.Nr) bool) {
		for i, l := range leaves {
			if (i == 0 || l.nr != leaves[i-1].nr) && !yield(l.nr) {
				return
			}
		}
	}
	runs := make([][]Run, r.Workers()) // of the current leaf
	return r.Each(ctx, byBlock, func(worker int, nr block.Nr, b *block.Data, err error) error {
		var n btree.Node
		if err == nil {
			n, err = btree.Decode(nr, b, MappingSize)
		}
		i, _ := slices.BinarySearchFunc(leaves, nr, func(l leaf, nr block.Nr) int { return cmp.Compare(l.nr, nr) })
		for ; i < len(leaves) && leaves[i].nr == nr; i++ {
			step := leaves[i].step
			if w.errs[step] = err; err == nil {
				runs[worker], w.errs[step] = leafRuns(runs[worker][:0], n, w.steps[step].Leaf)
				w.made[step] = keep(w.made[step], runs[worker])
			}
		}
		return nil
	})
}

// leafRuns appends the mappings in the leaf n to dst.
func leafRuns(dst []Run, n btree.Node, part LeafRange) ([]Run, error) {
	if !n.Leaf() {
		return dst, &btree.MisplacedError{Block: part.Block}
	}
	if err := part.CheckBounds(0, n); err != nil {
		return dst, err
	}
	return AppendRuns(dst, n), nil
}

// AppendRuns appends the mappings in a leaf of a mapping tree to dst, joined into runs.
func AppendRuns(dst []Run, n Node) []Run {
	keys, values := n.Uint64s()
	var key, value, length uint64 // of the current run
	for ; len(keys) >= 8 && len(values) >= 8; keys, values = keys[8:], values[8:] {
		k, v := le.Uint64(keys), le.Uint64(values)
		// The time is in the low bits, so one comparison covers both time and block.
		if length > 0 && k == key+length && v == value+length<<timeBits {
			length++
			continue
		}
		if length > 0 {
			dst = append(dst, makeRun(key, value, length))
		}
		key, value, length = k, v, 1
	}
	if length > 0 {
		dst = append(dst, makeRun(key, value, length))
	}
	return dst
}

func makeRun(key, value, length uint64) Run {
	data, time := UnpackMapping(value)
	return Run{ThinBlock(key), data, length, time}
}

// deliver calls fn for the steps of a window, in order.
func (w *window[T]) deliver(fn func(*Step, T) error) error {
	var none T
	for i := range w.steps {
		s := &w.steps[i]
		var err error
		switch {
		case s.Mark != 0:
			err = fn(s, none)
		case w.errs[i] != nil:
			err = &LostError{s.ID, s.Root, s.Leaf.Keys, w.errs[i]}
		default:
			err = fn(s, w.made[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A LostError says that a part of a device's mappings cannot be read.
type LostError struct {
	ID   DevID
	Root block.Nr // if not 0, the root of a tree that is used instead of a device's
	Keys KeyRange // thin blocks
	Err  error
}

func (e *LostError) Error() string { return e.Named("") }

// DevID returns the device that the error is about.
func (e *LostError) DevID() DevID { return e.ID }

// Named is like Error, for a device with the given user name.
func (e *LostError) Named(name string) string {
	if e.Root != 0 {
		return fmt.Sprintf("mapping tree at block %d: lost the mappings of %v: %v", e.Root, e.Keys, e.Err)
	}
	return fmt.Sprintf("%s: lost the mappings of %v: %v", Label(e.ID, name), e.Keys, e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }
