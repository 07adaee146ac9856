package spacemap

import (
	"context"
	"fmt"
	"sync"

	"thinpool/metadata/block"
	"thinpool/metadata/btree"
)

// A Map is a space map as it is on disk, all but its bitmaps in memory.
type Map struct {
	Root     Root
	Index    *btree.Forest // nil for the metadata space map
	Overflow *btree.Forest
	Entries  []IndexEntry // by number of the bitmap; Block 0: there is none

	r        *block.Reader
	high     *Counter // the counts in the overflow tree
	findings []Finding
}

// LoadData reads the space map of the data device. Pointers must lie below
// limit. The error is ctx's; damage becomes findings of [Map.Compare].
func LoadData(ctx context.Context, r *block.Reader, limit block.Nr, root Root) (*Map, error) {
	m := &Map{Root: root, r: r}
	var err error
	if m.Index, err = btree.Load(ctx, r, limit, EntrySize, root.BitmapRoot); err != nil {
		return nil, err
	}
	entries := map[uint64]IndexEntry{}
	want := Bitmaps(root.NrBlocks)
	err = m.eachLeaf(ctx, m.Index, "index", func(key uint64, value []byte) {
		if key >= want {
			m.add(Finding{Kind: SurplusEntry, Err: fmt.Errorf("index entry %d where %d are wanted", key, want)})
			return
		}
		entries[key] = DecodeEntry(value)
	})
	if err != nil {
		return nil, err
	}
	// There are no more bitmaps than blocks to hold them, whatever nr_blocks says.
	m.Entries = make([]IndexEntry, min(want, uint64(limit)))
	for i := range m.Entries {
		e, ok := entries[uint64(i)]
		if !ok {
			m.add(Finding{Kind: MissingEntry, First: uint64(i) * PerBitmap, N: PerBitmap, Err: fmt.Errorf("no index entry %d", i)})
		}
		m.Entries[i] = e
	}
	if want > uint64(limit) {
		m.add(Finding{
			Kind: MissingEntry, First: uint64(limit) * PerBitmap, N: root.NrBlocks - uint64(limit)*PerBitmap,
			Err: fmt.Errorf("nr_blocks is %d, more than the metadata device has bitmaps for", root.NrBlocks),
		})
	}
	return m, m.loadOverflow(ctx, limit)
}

// LoadMetadata reads the space map of the metadata device itself, whose
// nr_blocks the caller has checked to be at most [MaxMetadata].
func LoadMetadata(ctx context.Context, r *block.Reader, limit block.Nr, root Root) (*Map, error) {
	m := &Map{Root: root, r: r}
	m.Entries = make([]IndexEntry, Bitmaps(root.NrBlocks))
	var b block.Data
	err := r.Read(root.BitmapRoot, &b)
	if err == nil {
		err = block.Verify(root.BitmapRoot, &b, block.Index)
	}
	if err != nil {
		m.Entries = nil
		m.add(Finding{Kind: Unreadable, Block: root.BitmapRoot, N: root.NrBlocks, Err: err})
	}
	p := IndexEntries(&b)
	for i := range m.Entries {
		m.Entries[i] = DecodeEntry(p[i*EntrySize:])
	}
	if rest := p[len(m.Entries)*EntrySize:]; err == nil && !allZero(rest) {
		m.add(Finding{Kind: OddTail, Block: root.BitmapRoot, Err: fmt.Errorf("block %d: unused index entries are not zero", root.BitmapRoot)})
	}
	return m, m.loadOverflow(ctx, limit)
}

func (m *Map) loadOverflow(ctx context.Context, limit block.Nr) error {
	m.high = NewCounter(m.covered())
	var err error
	if m.Overflow, err = btree.Load(ctx, m.r, limit, CountSize, m.Root.RefCountRoot); err != nil {
		return err
	}
	return m.eachLeaf(ctx, m.Overflow, "overflow", func(key uint64, value []byte) {
		switch count := le.Uint32(value); {
		case key >= m.Root.NrBlocks:
			m.add(Finding{Kind: OverflowBeyond, First: key, N: 1, Err: fmt.Errorf("overflow tree counts block %d, beyond the end", key)})
		case key >= m.covered():
		case count < overflowCount:
			m.add(Finding{Kind: LowOverflow, First: key, N: 1, Err: fmt.Errorf("overflow tree has a count of %d, want at least 3", count)})
			m.high.Add(key, max(1, count))
		default:
			m.high.Add(key, count)
		}
	})
}

// covered is the number of blocks for which there is an index entry.
func (m *Map) covered() uint64 {
	return min(m.Root.NrBlocks, uint64(len(m.Entries))*PerBitmap)
}

// eachLeaf reads a tree of the map and calls fn for its entries, from one
// goroutine at a time, in no order.
func (m *Map) eachLeaf(ctx context.Context, f *btree.Forest, what string, fn func(key uint64, value []byte)) error {
	var mu sync.Mutex
	err := f.EachLeaf(ctx, func(_, _ int, n btree.Node, err error) error {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			for key, value := range n.All() {
				fn(key, value)
			}
		}
		return nil
	})
	root := m.Root.RefCountRoot
	if f == m.Index {
		root = m.Root.BitmapRoot
	}
	judge := btree.NewJudge(f, func(t btree.Finding) {
		m.add(Finding{Kind: InTree, Block: t.Block, Tree: &t, Err: fmt.Errorf("%s tree: %w", what, t.Err)})
	})
	judge.Tree(root)
	return err
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
