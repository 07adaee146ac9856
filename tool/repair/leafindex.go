package repair

import (
	"cmp"
	"slices"
	"sort"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
)

// A leafIndex finds the mapping leaves of a survey by their keys.
type leafIndex struct {
	leaves []*survey.Node // by ascending first key
	reach  []uint64       // highest key of those up to and including this one
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

// in yields the leaves that have keys in a range.
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

// A searchBudget is the search for candidates, and how much of it may still be done. Leaves
// whose keys lie in thousands of holes, each, were made to be searched for ever.
type searchBudget struct {
	*leafIndex
	leaves     int // to be looked at
	candidates int // to be kept

	inUse   []mapping // what the devices of the pool map in this range: many holes have the same
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

// isExhausted reports whether no more may be looked at.
func (l *searchBudget) isExhausted() bool { return l.leaves <= 0 || l.candidates <= 0 }

// in yields the leaves that have keys in a range, as long as that may be done.
func (l *searchBudget) in(keys btree.KeyRange) func(yield func(*survey.Node) bool) {
	return func(yield func(*survey.Node) bool) {
		for leaf := range l.leafIndex.in(keys) {
			if l.leaves--; l.leaves <= 0 || !yield(leaf) {
				return
			}
		}
	}
}
