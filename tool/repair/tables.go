package repair

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"sync"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

var le = binary.LittleEndian

// A table is one of the two trees of devices, as far as it can be read: the top level of the
// mapping tree, or the device details.
type table struct {
	root    block.Nr          // 0: unknown
	entries []btree.Entry     // by ascending key
	lost    []btree.LeafRange // by ascending keys
	// found are the roots that the space map supplied for lost parts; foundIDs are the device ids in
	// them.
	found    []block.Nr
	foundIDs map[uint64]bool
}

// has reports whether the table has a device, or may have had it.
func (t *table) has(id uint64) (is, maybe bool) {
	_, is = slices.BinarySearchFunc(t.entries, id, func(e btree.Entry, id uint64) int { return cmp.Compare(e.Key, id) })
	return is, slices.ContainsFunc(t.lost, func(p btree.LeafRange) bool { return p.Keys.Contains(id, id) })
}

// topKind and detailsKind are the leaf kinds of the two tables.
const (
	topKind     = survey.TopLeaf
	detailsKind = survey.DetailsLeaf
)

func valueSizeOf(kind survey.Kind) int {
	if kind == detailsKind {
		return metadata.DetailsSize
	}
	return metadata.RootSize
}

// readTable reads the table at root.
func readTable(ctx context.Context, m *medium, limit, root block.Nr, kind survey.Kind) (*table, error) {
	t := &table{root: root}
	forest, err := btree.Load(ctx, m.r, limit, valueSizeOf(kind), root)
	if err != nil {
		return nil, err
	}
	values := map[block.Nr][]btree.Entry{}
	foreign := map[block.Nr]error{}
	var mu sync.Mutex
	err = forest.EachLeaf(ctx, func(_, leaf int, n btree.Node, err error) error {
		if err != nil {
			return nil // LeafRanges reports it
		}
		nr := forest.Leaves()[leaf].Block
		mu.Lock()
		defer mu.Unlock()
		if kind == topKind && n.Len() > 0 && !survey.IsTopLeaf(n) {
			foreign[nr] = &foreignError{nr}
			return nil
		}
		var own []btree.Entry
		for key, value := range n.All() {
			own = append(own, btree.Entry{Key: key, Value: slices.Clone(value)})
		}
		values[nr] = own
		return nil
	})
	if err != nil {
		return nil, err
	}
	for part := range forest.LeafRanges(root) {
		own := values[part.Block]
		if part.Err == nil {
			part.Err = foreign[part.Block]
		}
		if part.Err == nil && len(own) > 0 {
			part.Err = part.Keys.CheckBounds(part.Block, 0, own[0].Key, own[len(own)-1].Key)
		}
		switch {
		case part.Err != nil:
			t.lost = append(t.lost, part)
		case len(own) > 0 && own[len(own)-1].Key <= metadata.MaxDevID:
			t.entries = append(t.entries, own...)
		}
	}
	return t, nil
}

// A foreignError says that a block is a node of another tree.
type foreignError struct{ Block block.Nr }

func (e *foreignError) Error() string {
	return fmt.Sprintf("block %d: not a node of the top level: its values are not metadata blocks", e.Block)
}

func (e *foreignError) Unwrap() error { return block.ErrCorrupt }

// fill looks for the lost parts of a table among the nodes that a generation counts but that have
// no parent among its nodes.
func (t *table) fill(ctx context.Context, e *evidence, g *generation, kind survey.Kind) error {
	if g == nil || len(t.lost) == 0 {
		return nil
	}
	stray := e.tableRoots(g, kind)
	t.foundIDs = map[uint64]bool{}
	for _, part := range t.lost {
		last, any := uint64(0), false
		for _, root := range stray {
			tree := e.survey.Subtree(root)
			if tree.N == 0 || !part.Keys.Contains(tree.First, tree.Last) || any && tree.First <= last {
				continue
			}
			found, err := readTable(ctx, e.medium, e.limit, root, kind)
			if err != nil {
				return err
			}
			t.entries = append(t.entries, found.entries...)
			for _, entry := range found.entries {
				t.foundIDs[entry.Key] = true
			}
			t.found = append(t.found, root)
			last, any = tree.Last, true
		}
	}
	sort.Slice(t.entries, func(i, j int) bool { return t.entries[i].Key < t.entries[j].Key })
	t.entries = slices.CompactFunc(t.entries, func(a, b btree.Entry) bool { return a.Key == b.Key })
	if len(t.found) > 0 {
		e.noteOnce("block %d: %d leaves of the %s with %d devices were found with the help of the space map", t.lost[0].Block, len(t.found), tableNames[kind], len(t.foundIDs))
	}
	return nil
}

var tableNames = map[survey.Kind]string{topKind: "top level of the mapping tree", detailsKind: "device details"}

// strayRoots returns the roots of trees of a kind: nodes that g counts, but that have no parent of
// that kind that g counts. They are in order of ascending keys.
func (e *evidence) strayRoots(g *generation, kind survey.Kind) []block.Nr {
	pointed := e.noBlocks()
	for _, n := range e.byKind[kind] {
		if n.Kind == survey.Inner && g.has(n.Block) {
			for _, c := range e.survey.Entries(n) {
				pointed.add(c.Block)
			}
		}
	}
	var roots []block.Nr
	for _, n := range e.byKind[kind] {
		if g.has(n.Block) && !pointed.has(n.Block) {
			roots = append(roots, n.Block)
		}
	}
	slices.SortStableFunc(roots, func(a, b block.Nr) int {
		return cmp.Compare(e.survey.Subtree(a).First, e.survey.Subtree(b).First)
	})
	return roots
}
