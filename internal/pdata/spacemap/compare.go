package spacemap

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// A FindingKind says what is wrong with a space map.
type FindingKind int

// The kinds of finding.
const (
	Unreadable     FindingKind = iota // index block or bitmap cannot be read; its counts are unknown
	InTree                            // in the index or overflow tree; Tree says what
	MissingEntry                      // no bitmap for some blocks
	SurplusEntry                      // an index entry beyond the last bitmap
	NonZeroTail                       // bytes that should be zero are not
	NoOverflow                        // bitmap says 3 or more, overflow tree has no count
	LowOverflow                       // a count in the overflow tree is below 3
	StrayOverflow                     // a count in the overflow tree, but the bitmap says below 3
	OverflowBeyond                    // a count in the overflow tree beyond the last block
	CountBeyond                       // a count in a bitmap beyond the last block
	WrongNrFree
	WrongHint // none_free_before hides free blocks
	WrongNrAllocated
	TooLow  // stored counts below the references
	TooHigh // stored counts above the references
)

// A Finding is one fault in a space map.
type Finding struct {
	Kind            FindingKind
	Block           block.Nr // metadata block with the fault, if there is one
	First, N        uint64   // the affected blocks
	Stored, Counted uint32   // TooLow, TooHigh
	Tree            *btree.Finding
	Err             error // a sentence; nil for TooLow and TooHigh
}

// Limits on how many bitmaps are compared before the findings are reported. Findings take memory
// until then, so the number only grows while there are few of them.
const (
	leastBitmaps = 32
	mostBitmaps  = 256
	fewFindings  = 1 << 13
)

// A Comparison is a map, the counts it should have, and the parts that must be rewritten to get
// there.
type Comparison struct {
	m       *Map
	counted *Counter
	stale   stale
}

// Compare reads the bitmaps, compares the stored counts with the counted ones, and reports all
// findings: first those from loading, then by block. If exact is false, the counted ones are only
// lower bounds, and higher stored counts are correct. A [Fix] takes what Compare returns.
func (m *Map) Compare(ctx context.Context, counted *Counter, exact bool, report func(Finding)) (*Comparison, error) {
	slices.SortStableFunc(m.findings, func(a, b Finding) int { // trees were read in any order
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.First, b.First), cmp.Compare(a.Block, b.Block))
	})
	c := comparison{Map: m, counted: counted, stale: newStale(m), exact: exact, report: report}
	for _, f := range m.findings {
		c.stale.note(f)
		report(f)
	}
	c.unread = m.covered() < m.Root.NrBlocks
	for first, n := 0, leastBitmaps; first < len(m.Entries); {
		end := min(first+n, len(m.Entries))
		findings, err := c.compareBitmaps(ctx, first, end)
		if err != nil {
			return nil, err
		}
		if first, n = end, min(8*n, mostBitmaps); findings > fewFindings {
			n = leastBitmaps
		}
	}
	c.flush()
	if !c.unread && c.used != m.Root.NrAllocated {
		report(Finding{
			Kind: WrongNrAllocated, N: m.Root.NrBlocks,
			Err: fmt.Errorf("nr_allocated is %d, but %d counts are non-zero", m.Root.NrAllocated, c.used),
		})
	}
	return &Comparison{m, counted, c.stale}, nil
}

// A comparison holds the state of Compare.
type comparison struct {
	*Map
	counted *Counter
	stale   stale
	exact   bool
	report  func(Finding)
	pending Finding // a range of counts that may continue; N is 0 if there is none
	used    uint64  // counts above 0
	unread  bool    // some bitmaps are missing from used
}

// A bitmapResult is the result of comparing one bitmap.
type bitmapResult struct {
	findings []Finding
	used     uint64
	right    IndexEntry // as it should be
	unread   bool
}

// compareBitmaps compares bitmaps first to end-1 and returns the number of findings.
func (c *comparison) compareBitmaps(ctx context.Context, first, end int) (findings int, err error) {
	results := make([]bitmapResult, end-first)
	for i := first; i < end; i++ {
		c.unread = c.unread || c.Entries[i].Block == 0
	}
	err = c.eachBitmap(ctx, first, end, func(i int, b *block.Data, err error) {
		results[i-first] = c.compareBitmap(i, b, err)
	})
	for k, res := range results {
		findings += len(res.findings)
		for _, f := range res.findings {
			c.stale.note(f)
			if f.Kind == WrongNrFree || f.Kind == WrongHint {
				c.stale.entries[first+k] = res.right
			}
			c.addFinding(f)
		}
		c.stale.used[first+k] = uint16(res.used)
		c.used += res.used
		c.unread = c.unread || res.unread
	}
	return findings, err
}

// eachBitmap reads the blocks of bitmaps first to end-1, each once, and calls fn for each, from
// several goroutines. It skips entries without a block.
func (m *Map) eachBitmap(ctx context.Context, first, end int, fn func(i int, b *block.Data, err error)) error {
	type place struct {
		nr block.Nr
		i  int
	}
	places := make([]place, 0, end-first)
	for i := first; i < end; i++ {
		if m.Entries[i].Block != 0 {
			places = append(places, place{m.Entries[i].Block, i})
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.nr, b.nr), cmp.Compare(a.i, b.i)) })
	blocks := func(yield func(block.Nr) bool) {
		for k, p := range places {
			if (k == 0 || p.nr != places[k-1].nr) && !yield(p.nr) {
				return
			}
		}
	}
	return m.r.Each(ctx, blocks, func(_ int, nr block.Nr, b *block.Data, err error) error {
		k, _ := slices.BinarySearchFunc(places, nr, func(p place, nr block.Nr) int { return cmp.Compare(p.nr, nr) })
		for ; k < len(places) && places[k].nr == nr; k++ {
			fn(places[k].i, b, err)
		}
		return nil
	})
}

// compareBitmap compares bitmap i, whose block is b.
func (c *comparison) compareBitmap(i int, b *block.Data, err error) bitmapResult {
	e := c.Entries[i]
	base := uint64(i) * PerBitmap
	here := int(min(PerBitmap, c.Root.NrBlocks-base))
	var res bitmapResult
	add := func(f Finding) {
		if last := len(res.findings) - 1; last < 0 || !res.findings[last].join(f) {
			res.findings = append(res.findings, f)
		}
	}
	m, unreadable := c.bitmap(i, b, err)
	if unreadable != nil {
		return bitmapResult{unread: true, findings: []Finding{*unreadable}}
	}
	firstFree := here
	for w := range wordsPerBitmap {
		at := w * countsPerWord
		stored := m.word(w)
		if at+countsPerWord <= here && c.wordAgrees(base+uint64(at), stored) {
			nonzero := (stored | stored>>1) & lowBits // one bit for each count above 0
			res.used += uint64(bits.OnesCount64(nonzero))
			if free := ^nonzero & lowBits; free != 0 {
				firstFree = min(firstFree, at+bits.TrailingZeros64(free)/2)
			}
			continue
		}
		for j := range countsPerWord {
			count := m.Count(at + j)
			switch {
			case at+j >= here:
				if count != 0 {
					add(Finding{
						Kind: CountBeyond, Block: e.Block, First: base + uint64(at+j), N: 1,
						Err: fmt.Errorf("block %d: has a count for block %d, beyond the end", e.Block, base+uint64(at+j)),
					})
				}
				continue
			case count == 0:
				firstFree = min(firstFree, at+j)
			default:
				res.used++
			}
			c.compareCount(base+uint64(at+j), count, e.Block, add)
		}
	}
	res.right = IndexEntry{e.Block, PerBitmap - uint32(res.used), uint32(firstFree)}
	c.compareEntry(i, here, res.right, add)
	return res
}

// wordAgrees reports whether 32 stored counts from block b on match the counted ones, without
// looking at each. False only means that it cannot tell.
func (c *comparison) wordAgrees(b, stored uint64) bool {
	counted, plain := c.counted.words32(b)
	if !plain || counted != stored || stored&(stored>>1)&lowBits != 0 {
		return false
	}
	high, plain := c.high.words32(b)
	return plain && high == 0
}

// compareCount compares the count of one block; stored is 3 for 3 or more.
func (c *comparison) compareCount(b uint64, stored uint32, bitmap block.Nr, add func(Finding)) {
	high := c.high.Get(b)
	switch {
	case stored == overflowCount && high == 0:
		add(noOverflow(bitmap, b))
		return // any count from 3 up is possible
	case stored == overflowCount:
		stored = high
	case high != 0:
		add(Finding{
			Kind: StrayOverflow, Block: bitmap, First: b, N: 1,
			Err: fmt.Errorf("block %d: count of block %d is %d, but the overflow tree has %d", bitmap, b, stored, high),
		})
	}
	counted := c.counted.Get(b)
	switch {
	case stored < counted:
		add(Finding{Kind: TooLow, First: b, N: 1, Stored: stored, Counted: counted})
	case stored > counted && c.exact:
		add(Finding{Kind: TooHigh, First: b, N: 1, Stored: stored, Counted: counted})
	}
}

// bitmap decodes bitmap i, or returns why it cannot be read.
func (m *Map) bitmap(i int, b *block.Data, err error) (Bitmap, *Finding) {
	nr := m.Entries[i].Block
	var bitmap Bitmap
	if err == nil {
		bitmap, err = DecodeBitmap(nr, b)
	}
	if err == nil {
		return bitmap, nil
	}
	first := uint64(i) * PerBitmap
	return Bitmap{}, &Finding{Kind: Unreadable, Block: nr, First: first, N: min(PerBitmap, m.Root.NrBlocks-first), Err: err}
}

// noOverflow returns the finding that the overflow tree lacks the count of block b.
func noOverflow(bitmap block.Nr, b uint64) Finding {
	return Finding{
		Kind: NoOverflow, Block: bitmap, First: b, N: 1,
		Err: fmt.Errorf("block %d: count of block %d is 3 or more, but the overflow tree has none", bitmap, b),
	}
}

// compareEntry checks the index entry of a bitmap.
func (c *comparison) compareEntry(i, here int, right IndexEntry, add func(Finding)) {
	e := c.Entries[i]
	// The kernel counts blocks beyond the end as free, thin_restore 0.9 does not.
	covered := right.NrFree - uint32(PerBitmap-here)
	if e.NrFree != right.NrFree && e.NrFree != covered {
		add(Finding{
			Kind: WrongNrFree, Block: e.Block, First: uint64(i) * PerBitmap, N: uint64(here),
			Err: fmt.Errorf("index entry %d, of the bitmap in block %d: nr_free is %d, want %d", i, e.Block, e.NrFree, right.NrFree),
		})
	}
	if min(e.NoneFreeBefore, PerBitmap) > right.NoneFreeBefore {
		add(Finding{
			Kind: WrongHint, Block: e.Block, First: uint64(i) * PerBitmap, N: uint64(here),
			Err: fmt.Errorf("index entry %d, of the bitmap in block %d: none_free_before is %d, want at most %d", i, e.Block, e.NoneFreeBefore, right.NoneFreeBefore),
		})
	}
}

// addFinding reports f. It first joins adjacent findings about counts.
func (c *comparison) addFinding(f Finding) {
	if f.Kind != TooLow && f.Kind != TooHigh {
		c.flush()
		c.report(f)
		return
	}
	if c.pending.N > 0 && c.pending.join(f) {
		return
	}
	c.flush()
	c.pending = f
}

// join adds g, which follows f, if both are about the same wrong count.
func (f *Finding) join(g Finding) bool {
	if f.Kind != g.Kind || f.Kind != TooLow && f.Kind != TooHigh || f.First+f.N != g.First || f.Stored != g.Stored || f.Counted != g.Counted {
		return false
	}
	f.N += g.N
	return true
}

func (c *comparison) flush() {
	if c.pending.N > 0 {
		c.report(c.pending)
		c.pending.N = 0
	}
}
