package btree

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"thinpool/metadata/block"
)

// Each node reachable from roots comes once, after all its parents, except in loops.
func TestParentsFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const nodes = 12
		loops := rapid.Bool().Draw(t, "with loops")
		children := map[block.Nr][]block.Nr{}
		for nr := block.Nr(1); nr <= nodes; nr++ {
			least := nr + 1
			if loops {
				least = 1
			}
			if least <= nodes {
				children[nr] = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) block.Nr {
					return block.Nr(rapid.Uint64Range(uint64(least), nodes).Draw(t, "child"))
				}), 0, 4).Draw(t, "children")
			}
		}
		roots := rapid.SliceOfN(rapid.SampledFrom([]block.Nr{1, 2, 5}), 1, 3).Draw(t, "roots")
		reached := map[block.Nr]bool{}
		for todo := roots; len(todo) > 0; {
			nr := todo[0]
			if todo = todo[1:]; !reached[nr] {
				reached[nr] = true
				todo = append(slices.Clone(todo), children[nr]...)
			}
		}
		seen := map[block.Nr]bool{}
		order := ParentsFirst(roots, func(nr block.Nr) ([]block.Nr, bool) {
			was := seen[nr]
			seen[nr] = true
			return children[nr], !was
		})
		at := map[block.Nr]int{}
		for i, nr := range order {
			at[nr] = i
		}
		if len(order) != len(at) || len(at) != len(reached) {
			t.Fatalf("order %v, but the roots %v lead to %v", order, roots, reached)
		}
		for nr := range reached {
			for _, child := range children[nr] {
				if !loops && at[child] < at[nr] {
					t.Errorf("order %v: %d comes before its parent %d", order, child, nr)
				}
			}
		}
	})
}
