package spacemap

import (
	"cmp"
	"context"
	"slices"
	"sort"
)

// Counts are the counts that a space map holds.
type Counts struct {
	*Counter // of the blocks whose counts can be read; 0 for all others
	// Unknown is what hides counts, by ascending blocks. Findings in the overflow
	// tree come first and concern no range: which counts they hide comes as NoOverflow.
	Unknown []Finding
}

// Counts reads all counts of m, for size blocks or as many as m covers if that is more.
func (m *Map) Counts(ctx context.Context, size uint64) (*Counts, error) {
	c := &Counts{Counter: NewCounter(max(m.Root.NrBlocks, size))}
	_, err := m.Compare(ctx, NewCounter(m.Root.NrBlocks), true, func(f Finding) {
		switch f.Kind {
		case TooHigh:
			for b := range f.N {
				c.Add(f.First+b, f.Stored)
			}
		case Unreadable, MissingEntry, NoOverflow, InTree:
			c.Unknown = append(c.Unknown, f)
		}
	})
	slices.SortStableFunc(c.Unknown, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.N, b.N)) })
	return c, err
}

// Hidden returns what hides the count of block b; nil if it is known.
func (c *Counts) Hidden(b uint64) *Finding {
	i := sort.Search(len(c.Unknown), func(i int) bool { return c.Unknown[i].First > b }) - 1
	if i < 0 || b-c.Unknown[i].First >= c.Unknown[i].N {
		return nil
	}
	return &c.Unknown[i]
}
