package metadata

import (
	"context"
	"iter"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// A MappingTree is a mapping tree: that of a device, or one that only its root names.
type MappingTree struct {
	ID     DevID
	Root   block.Nr
	ByRoot bool // it is known by its root; ID means nothing
}

// A TreePair is two mapping trees, to be read side by side.
type TreePair struct {
	trees [2]MappingTree
	parts *btree.TreePair
	leafReader
}

// TreePair loads what has to be read of the upper parts of two mapping trees.
func (p *Pool) TreePair(ctx context.Context, left, right MappingTree, opt PairOptions) (*TreePair, error) {
	parts, err := btree.LoadTreePair(ctx, p.r, p.limit, MappingSize, left.Root, right.Root, opt)
	if err != nil {
		return nil, err
	}
	return &TreePair{[2]MappingTree{left, right}, parts, leafReader{p, parts.Len()}}, nil
}

// Len is how many leaves [TreePair.Each] reads.
func (p *TreePair) Len() int { return p.parts.Len() }

// Each calls fn with the runs of each leaf, and the step that reads it: its Side says
// which of the trees it belongs to, its Leaf.Keys what it covers of them. Leaves come
// by their first keys, and are read as [Mappings.Stream] reads them, which
// the errors are those of, too. The runs are fn's to change, until it returns.
func (p *TreePair) Each(ctx context.Context, fn func(*Step, []Run) error) error {
	return eachStep(ctx, &p.leafReader, p.steps(), keepRuns, fn)
}

func (p *TreePair) steps() iter.Seq[Step] {
	return func(yield func(Step) bool) {
		for part := range p.parts.LeafRanges() {
			tree := p.trees[0]
			if part.Side == btree.Right {
				tree = p.trees[1]
			}
			step := Step{ID: tree.ID, Leaf: part.LeafRange, Side: part.Side}
			if tree.ByRoot {
				step.Root = tree.Root
			}
			if !yield(step) {
				return
			}
		}
	}
}
