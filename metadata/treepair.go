package metadata

import (
	"context"
	"iter"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// A MappingTree is the mapping tree of a device, or one that is only known by its root.
type MappingTree struct {
	ID     DevID
	Root   block.Nr
	ByRoot bool // only the root is known; ID is unused
}

// A TreePair is two mapping trees, to be read side by side.
type TreePair struct {
	trees [2]MappingTree
	parts *btree.TreePair
	leafReader
}

// TreePair loads the needed upper parts of two mapping trees.
func (p *Pool) TreePair(ctx context.Context, left, right MappingTree, opt PairOptions) (*TreePair, error) {
	parts, err := btree.LoadTreePair(ctx, p.r, p.limit, MappingSize, left.Root, right.Root, opt)
	if err != nil {
		return nil, err
	}
	return &TreePair{[2]MappingTree{left, right}, parts, leafReader{p, parts.Len()}}, nil
}

// Len returns how many leaves [TreePair.Each] reads.
func (p *TreePair) Len() int { return p.parts.Len() }

// Each calls fn with the runs of each leaf and the step that reads it. The step's Side tells which
// trees have the leaf, and its Leaf.Keys the range it covers. Leaves come by their first keys.
// They are read as in [Mappings.Stream], with the same errors. fn may change the runs until it
// returns.
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
