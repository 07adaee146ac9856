package btree

import (
	"context"
	"iter"
	"slices"

	"thinpool/metadata/block"
)

// A LoadedLeaf is a leaf or a lost part of a tree.
type LoadedLeaf struct {
	LeafRange      // its Leaf is not set
	Node      Node // valid if Err is nil, until the next part
}

// Leaves yields the leaves of the tree at root that may hold keys in want, and the lost parts
// there, in key order. Keys in none of these parts are not in the tree. Unlike a [Forest], Leaves
// only keeps the children of one node per level in memory, at most a MiB each. It reads them
// together, in block order. The error is ctx's; it comes last, once.
func Leaves(ctx context.Context, r *block.Reader, limit block.Nr, valueSize int, root block.Nr, want KeyRange) iter.Seq2[LoadedLeaf, error] {
	return func(yield func(LoadedLeaf, error) bool) {
		w := &leafWalk{r: r, limit: min(limit, r.Blocks()), valueSize: valueSize, want: want, yield: yield}
		w.descend(ctx, []LeafRange{{Keys: AllKeys, Block: root}}, 0, 0, 0)
	}
}

type leafWalk struct {
	r         *block.Reader
	limit     block.Nr
	valueSize int
	want      KeyRange
	yield     func(LoadedLeaf, error) bool
	levels    [][]block.Data // the nodes read, from the root down
}

// descend walks down from siblings, the children of parent from entry on. It reports whether to
// continue.
func (w *leafWalk) descend(ctx context.Context, siblings []LeafRange, parent block.Nr, entry, depth int) bool {
	nodes, err := w.read(ctx, siblings, depth)
	if err != nil {
		w.yield(LoadedLeaf{}, err)
		return false
	}
	for i, p := range siblings {
		var n Node
		switch {
		case p.Block == 0 || p.Block >= w.limit:
			p.Err = &PointerError{parent, entry + i, uint64(p.Block), w.limit}
		case depth > MaxDepth:
			p.Err = &LoopError{p.Block}
		default:
			n, p.Err = nodes(p.Block)
		}
		if p.Err == nil && n.Leaf() {
			p.Err = p.CheckBounds(parent, n)
		}
		if p.Err != nil || n.Leaf() {
			if !w.yield(LoadedLeaf{p, n}, nil) {
				return false
			}
			continue
		}
		children, first := w.children(n, p.Keys)
		if len(children) > 0 && !w.descend(ctx, children, p.Block, first, depth+1) {
			return false
		}
	}
	return true
}

// children returns the children of n that may hold wanted keys; first is the index of the first
// one. A child with an empty range cannot be reached.
func (w *leafWalk) children(n Node, keys KeyRange) (parts []LeafRange, first int) {
	for i := max(n.Search(w.want.First), 0); i < n.Len(); i++ {
		r := n.ChildRange(i, keys)
		switch {
		case r.Empty(), !r.Overlaps(w.want):
			if len(parts) > 0 {
				return parts, first
			}
		default:
			if len(parts) == 0 {
				first = i
			}
			parts = append(parts, LeafRange{Keys: r, Block: block.Nr(n.Uint64(i))})
		}
	}
	return parts, first
}

// read reads the nodes at siblings, each once. It returns a function that returns them by block.
func (w *leafWalk) read(ctx context.Context, siblings []LeafRange, depth int) (func(block.Nr) (Node, error), error) {
	nrs := make([]block.Nr, 0, len(siblings))
	for _, p := range siblings {
		if p.Block > 0 && p.Block < w.limit {
			nrs = append(nrs, p.Block)
		}
	}
	slices.Sort(nrs)
	nrs = slices.Compact(nrs)
	if depth == len(w.levels) {
		w.levels = append(w.levels, nil)
	}
	if len(w.levels[depth]) < len(nrs) {
		w.levels[depth] = make([]block.Data, len(nrs))
	}
	room, errs := w.levels[depth], make([]error, len(nrs))
	err := w.r.Each(ctx, slices.Values(nrs), func(_ int, nr block.Nr, b *block.Data, err error) error {
		i, _ := slices.BinarySearch(nrs, nr)
		if errs[i] = err; err == nil {
			room[i] = *b
		}
		return nil
	})
	return func(nr block.Nr) (Node, error) {
		i, _ := slices.BinarySearch(nrs, nr)
		if errs[i] != nil {
			return Node{}, errs[i]
		}
		return Decode(nr, &room[i], w.valueSize)
	}, err
}
