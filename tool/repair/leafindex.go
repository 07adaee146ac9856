package repair

import (
	"cmp"
	"slices"
	"sort"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
)

// A leafIndex finds the mapping leaves of a survey by key.
type leafIndex struct {
	leaves []*survey.Node // by ascending first key
	reach  []uint64       // highest key up to and including this leaf
}

func newLeafIndex(s *survey.Survey) *leafIndex {
	var x leafIndex
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Kind == survey.MappingLeaf && n.N > 0 {
			x.leaves = append(x.leaves, n)
		}
	}
	slices.SortStableFunc(x.leaves, func(a, b *survey.Node) int { return cmp.Compare(a.First, b.First) })
	highest := uint64(0)
	for _, n := range x.leaves {
		highest = max(highest, n.Last)
		x.reach = append(x.reach, highest)
	}
	return &x
}

// in yields the leaves with keys in a range.
func (x *leafIndex) in(keys btree.KeyRange) func(yield func(*survey.Node) bool) {
	return func(yield func(*survey.Node) bool) {
		end := sort.Search(len(x.leaves), func(i int) bool { return x.leaves[i].First > keys.Last })
		for i := end - 1; i >= 0 && x.reach[i] >= keys.First; i-- {
			if x.leaves[i].Last >= keys.First && !yield(x.leaves[i]) {
				return
			}
		}
	}
}

// A searchBudget is a search for candidates with a limit on its work. A crafted image can have
// leaves whose keys lie in thousands of holes each, which would take forever to search.
type searchBudget struct {
	*leafIndex
	leaves     int // left to look at
	candidates int // left to keep

	inUse   []mapping // mappings of the pool's devices in inUseIn, which many holes share
	inUseIn btree.KeyRange
}

func newSearchBudget(x *leafIndex) *searchBudget {
	const holesOfLeaf, least = 128, 1 << 16
	return &searchBudget{
		leafIndex:  x,
		leaves:     holesOfLeaf*len(x.leaves) + least,
		candidates: btree.MaxEntries(metadata.MappingSize)*len(x.leaves) + least,
	}
}

// isExhausted reports whether the budget is used up.
func (l *searchBudget) isExhausted() bool { return l.leaves <= 0 || l.candidates <= 0 }

// in yields the leaves with keys in a range while the budget lasts.
func (l *searchBudget) in(keys btree.KeyRange) func(yield func(*survey.Node) bool) {
	return func(yield func(*survey.Node) bool) {
		for leaf := range l.leafIndex.in(keys) {
			if l.leaves--; l.leaves <= 0 || !yield(leaf) {
				return
			}
		}
	}
}
