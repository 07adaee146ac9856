package spacemap

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// A Map is an on-disk space map. Everything except its bitmaps is in memory.
type Map struct {
	Root     Root
	Index    *btree.Forest // nil for the metadata space map
	Overflow *btree.Forest
	Entries  []IndexEntry // by number of the bitmap; Block 0: missing

	r        *block.Reader
	high     *Counter                       // the counts in the overflow tree
	findings []Finding                      // from loading
	odd      struct{ index, overflow bool } // which of the trees have findings
}

// LoadData reads the space map of the data device. Pointers must be below limit. The error is
// ctx's; [Map.Compare] reports damage as findings.
func LoadData(ctx context.Context, r *block.Reader, limit block.Nr, root Root) (*Map, error) {
	m := &Map{Root: root, r: r}
	var err error
	if m.Index, err = btree.Load(ctx, r, limit, EntrySize, root.BitmapRoot); err != nil {
		return nil, err
	}
	entries := map[uint64]IndexEntry{}
	want := Bitmaps(root.NrBlocks)
	err = m.eachEntry(ctx, m.Index, "index", func(leaf block.Nr, key uint64, value []byte) {
		if key >= want {
			m.add(Finding{Kind: SurplusEntry, Err: fmt.Errorf("index has %d entries, want %d", key, want)})
			return
		}
		entries[key] = m.checkedEntry(DecodeEntry(value), key, leaf, limit)
	})
	if err != nil {
		return nil, err
	}
	// There are no more bitmaps than blocks to hold them, whatever nr_blocks says.
	m.Entries = make([]IndexEntry, min(want, uint64(limit)))
	for i := uint64(0); i < uint64(len(m.Entries)); i++ {
		first := i
		for ; i < uint64(len(m.Entries)); i++ {
			e, ok := entries[i]
			if m.Entries[i] = e; ok {
				break
			}
		}
		m.addMissing(first, i)
	}
	if want > uint64(limit) {
		m.add(Finding{
			Kind: MissingEntry, First: uint64(limit) * PerBitmap, N: root.NrBlocks - uint64(limit)*PerBitmap,
			Err: fmt.Errorf("nr_blocks is %d, more than the metadata device has bitmaps for", root.NrBlocks),
		})
	}
	return m, m.loadOverflow(ctx, limit)
}

// addMissing records that index entries first to end-1 are missing, if there are any.
func (m *Map) addMissing(first, end uint64) {
	f := Finding{Kind: MissingEntry, First: first * PerBitmap, N: min(end*PerBitmap, m.Root.NrBlocks) - first*PerBitmap}
	switch end - first {
	case 0:
		return
	case 1:
		f.Err = fmt.Errorf("no index entry %d", first)
	default:
		f.Err = fmt.Errorf("no index entries %d..%d", first, end-1)
	}
	m.add(f)
}

// checkedEntry returns entry i, found in block in. It clears the entry's block if that is outside
// the metadata.
func (m *Map) checkedEntry(e IndexEntry, i uint64, in, limit block.Nr) IndexEntry {
	if e.Block > 0 && e.Block < limit {
		return e
	}
	first := i * PerBitmap
	m.add(Finding{
		Kind: Unreadable, Block: in, First: first, N: min(PerBitmap, m.Root.NrBlocks-first),
		Err: &btree.PointerError{Block: in, Entry: int(i), Child: uint64(e.Block), Limit: limit},
	})
	e.Block = 0
	return e
}

// LoadMetadata reads the space map of the metadata device itself. The caller must have checked
// that nr_blocks is at most [MaxMetadata].
func LoadMetadata(ctx context.Context, r *block.Reader, limit block.Nr, root Root) (*Map, error) {
	m := &Map{Root: root, r: r}
	m.Entries = make([]IndexEntry, Bitmaps(root.NrBlocks))
	var b block.Data
	var err error
	if root.BitmapRoot == 0 || root.BitmapRoot >= limit {
		err = &btree.PointerError{Child: uint64(root.BitmapRoot), Limit: limit}
	} else {
		err = r.Read(root.BitmapRoot, &b)
	}
	if err == nil {
		err = block.Verify(root.BitmapRoot, &b, block.Index)
	}
	if err != nil {
		m.Entries = nil
		m.add(Finding{Kind: Unreadable, Block: root.BitmapRoot, N: root.NrBlocks, Err: err})
	}
	p := IndexEntries(&b)
	for i := range m.Entries {
		m.Entries[i] = m.checkedEntry(DecodeEntry(p[i*EntrySize:]), uint64(i), root.BitmapRoot, limit)
	}
	if rest := p[len(m.Entries)*EntrySize:]; err == nil && !allZero(rest) {
		m.add(Finding{Kind: NonZeroTail, Block: root.BitmapRoot, Err: fmt.Errorf("block %d: unused index entries are not zero", root.BitmapRoot)})
	}
	return m, m.loadOverflow(ctx, limit)
}

func (m *Map) loadOverflow(ctx context.Context, limit block.Nr) error {
	m.high = NewCounter(m.covered())
	var err error
	if m.Overflow, err = btree.Load(ctx, m.r, limit, CountSize, m.Root.RefCountRoot); err != nil {
		return err
	}
	return m.eachEntry(ctx, m.Overflow, "overflow", func(leaf block.Nr, key uint64, value []byte) {
		switch count := le.Uint32(value); {
		case key >= m.Root.NrBlocks:
			m.add(Finding{
				Kind: OverflowBeyond, Block: leaf, First: key, N: 1,
				Err: fmt.Errorf("block %d: overflow tree counts block %d, beyond the end", leaf, key),
			})
		case key >= m.covered():
		case count < overflowCount:
			m.add(Finding{
				Kind: LowOverflow, Block: leaf, First: key, N: 1,
				Err: fmt.Errorf("block %d: overflow tree has a count of %d for block %d, want at least 3", leaf, count, key),
			})
			m.high.Add(key, max(1, count))
		default:
			m.high.Add(key, count)
		}
	})
}

// covered returns the number of blocks covered by index entries.
func (m *Map) covered() uint64 {
	return min(m.Root.NrBlocks, uint64(len(m.Entries))*PerBitmap)
}

// eachEntry reads a tree of the map and calls fn for its entries, from one goroutine at a time, in
// no particular order.
func (m *Map) eachEntry(ctx context.Context, f *btree.Forest, what string, fn func(leaf block.Nr, key uint64, value []byte)) error {
	var mu sync.Mutex
	odd := map[block.Nr]btree.HeaderAnomalies{}
	err := f.EachLeaf(ctx, func(_, leaf int, n btree.Node, err error) error {
		if err != nil {
			return nil // the checker reports it below
		}
		nr := f.Leaves()[leaf].Block
		mu.Lock()
		defer mu.Unlock()
		for key, value := range n.All() {
			fn(nr, key, value)
		}
		if q := n.HeaderAnomalies(); q != btree.NoAnomalies {
			odd[nr] = q
		}
		return nil
	})
	root := m.Root.RefCountRoot
	if f == m.Index {
		root = m.Root.BitmapRoot
	}
	checker := btree.NewChecker(f, func(t btree.Finding) {
		if f == m.Index {
			m.odd.index = true
		} else {
			m.odd.overflow = true
		}
		m.add(Finding{Kind: InTree, Block: t.Block, Tree: &t, Err: fmt.Errorf("%s tree: %w", what, t.Err)})
	})
	checker.CheckTree(root)
	for nr, q := range odd { // Compare sorts the findings
		checker.CheckHeader(nr, q)
	}
	return err
}

// Lost reports whether an unreadable part of the map was left out, so that the blocks it points to
// are unknown.
func (m *Map) Lost() bool {
	return slices.ContainsFunc(m.findings, func(f Finding) bool {
		return f.Kind == Unreadable || f.Kind == MissingEntry || f.Kind == InTree && f.Tree.Kind == btree.Lost
	})
}

func (m *Map) add(f Finding) { m.findings = append(m.findings, f) }

func allZero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}
