package spacemap

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"sync"

	"thinpool/metadata/block"
)

// Counts are the counts stored in a space map.
type Counts struct {
	*Counter // of the blocks with readable counts; 0 for all others
	// Unknown tells why counts are unknown, by ascending blocks. Findings in the overflow tree come
	// first and have no range; the counts they hide follow as NoOverflow.
	Unknown []Finding
}

// Counts reads all counts of m, for size blocks or for all that m covers, if that is more.
func (m *Map) Counts(ctx context.Context, size uint64) (*Counts, error) {
	c := &Counts{Counter: NewCounter(max(m.Root.NrBlocks, size))}
	for _, f := range m.findings {
		switch f.Kind {
		case Unreadable, MissingEntry, NoOverflow, InTree:
			c.Unknown = append(c.Unknown, f)
		}
	}
	var mu sync.Mutex // guards c.Unknown
	err := m.eachBitmap(ctx, 0, len(m.Entries), func(i int, b *block.Data, err error) {
		unknown := m.readCounts(c.Counter, i, b, err)
		mu.Lock()
		c.Unknown = append(c.Unknown, unknown...)
		mu.Unlock()
	})
	slices.SortStableFunc(c.Unknown, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.N, b.N), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Block, b.Block))
	})
	return c, err
}

// readCounts adds the counts of bitmap i to counts, which has none of them yet. It returns
// findings for the counts that are unknown.
func (m *Map) readCounts(counts *Counter, i int, b *block.Data, err error) []Finding {
	bitmap, unreadable := m.bitmap(i, b, err)
	if unreadable != nil {
		return []Finding{*unreadable}
	}
	var unknown []Finding
	first := uint64(i) * PerBitmap
	here := min(PerBitmap, m.Root.NrBlocks-first)
	for at := uint64(0); at < here; at += countsPerWord {
		word := bitmap.word(int(at / countsPerWord))
		if word&(word>>1)&lowBits == 0 && at+countsPerWord <= here {
			counts.setWord(first+at, word)
			continue
		}
		for b := first + at; b < first+min(at+countsPerWord, here); b++ {
			count := bitmap.Count(int(b - first))
			if count == overflowCount {
				if count = m.high.Get(b); count == 0 {
					unknown = append(unknown, noOverflow(m.Entries[i].Block, b))
				}
			}
			if count > 0 {
				counts.Add(b, count)
			}
		}
	}
	return unknown
}

// Hidden returns why the count of block b is unknown; nil if it is known.
func (c *Counts) Hidden(b uint64) *Finding {
	i := sort.Search(len(c.Unknown), func(i int) bool { return c.Unknown[i].First > b }) - 1
	if i < 0 || b-c.Unknown[i].First >= c.Unknown[i].N {
		return nil
	}
	return &c.Unknown[i]
}
