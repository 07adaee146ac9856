package metadata

import (
	"context"
	"iter"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// A Tree is a mapping tree: that of a device, or one that only its root names.
type Tree struct {
	ID    DevID
	Root  block.Nr
	Loose bool // it is known by its root; ID means nothing
}

// A Pair is two mapping trees, to be read side by side.
type Pair struct {
	trees [2]Tree
	parts *btree.TreePair
	stream
}

// Pair loads what has to be read of the upper parts of two mapping trees.
func (p *Pool) Pair(ctx context.Context, left, right Tree, opt btree.PairOptions) (*Pair, error) {
	parts, err := btree.LoadTreePair(ctx, p.r, p.limit, MappingSize, left.Root, right.Root, opt)
	if err != nil {
		return nil, err
	}
	return &Pair{[2]Tree{left, right}, parts, stream{p, parts.Len()}}, nil
}

// Len is how many leaves [Pair.Each] reads.
func (p *Pair) Len() int { return p.parts.Len() }

// Each calls fn with the runs of each leaf, and the step that reads it: its Side says
// which of the trees it belongs to, its Leaf.Keys what it covers of them. Leaves come
// by their first keys, and are read as [Mappings.Stream] reads them, which
// the errors are those of, too. The runs are fn's to change, until it returns.
func (p *Pair) Each(ctx context.Context, fn func(*Step, []Run) error) error {
	return each(ctx, &p.stream, p.steps(), keepRuns, fn)
}

func (p *Pair) steps() iter.Seq[Step] {
	return func(yield func(Step) bool) {
		for part := range p.parts.LeafRanges() {
			tree := p.trees[0]
			if part.Side == btree.Right {
				tree = p.trees[1]
			}
			step := Step{ID: tree.ID, Leaf: part.LeafRange, Side: part.Side}
			if tree.Loose {
				step.Root = tree.Root
			}
			if !yield(step) {
				return
			}
		}
	}
}
