package explore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/scan"
)

// subject returns the block that o and c ask about: the page's, or the one the selected row leads to.
func (m Model) subject() (block.Nr, bool) {
	p := m.page()
	if p.block != nil {
		return p.block.nr, true
	}
	if row := p.selected(); row != nil && row.to != nil {
		return row.to.nr, true
	}
	return 0, false
}

// owners finds everything that leads to a block.
func (m Model) owners() (Model, Effects) {
	nr, ok := m.subject()
	if !ok {
		return m.say("o finds what leads to a block: open one first"), Effects{}
	}
	return m.start(fmt.Sprintf("owners of block %d", nr), func(ctx context.Context, r *reader) found { return r.owners(ctx, nr) })
}

// A reference is an entry that leads to a block.
type reference struct {
	from block.Nr
	what string
	row  scan.Row // of the block with the entry
}

// mostPointers limits how many pointers to a block are listed.
const mostPointers = 1000

// owners reads the whole device twice: once for all pointers to a block, in any tree, and once as thin_scan
// does, to know which of them count.
func (r *reader) owners(ctx context.Context, nr block.Nr) found {
	pointers, err := r.pointers(ctx, nr)
	if err != nil {
		return found{err: err}
	}
	var own scan.Row
	sum, err := scan.Run(ctx, r.opt.Device, scan.Options{Snapshot: r.opt.Snapshot, Progress: r.progress}, func(row scan.Row) error {
		if nr >= row.First && uint64(nr-row.First) < row.N {
			own = row
		}
		for i := range pointers {
			if f := pointers[i].from; f >= row.First && uint64(f-row.First) < row.N {
				pointers[i].row = row
			}
		}
		return nil
	})
	if err != nil {
		return found{err: err}
	}
	p := page{judged: true, title: fmt.Sprintf("owners of block %d", nr), none: "nothing leads to this block"}
	p.notes = []string{fmt.Sprintf("block %d: %s", nr, own.Kind), own.Use.String(), "stored count  " + optional(own.Stored), "counted       " + optional(own.Counted)}
	if own.Stored != nil && own.Counted != nil && *own.Stored != *own.Counted {
		p.notes = append(p.notes, "! the counts differ")
	}
	for _, fault := range own.Faults {
		p.notes = append(p.notes, "! "+fault)
	}
	if sum.Superblock != nil {
		p.notes = append(p.notes, "! owners are unknown: "+plainError(sum.Superblock))
	}
	for _, o := range own.Owners {
		p.rows = append(p.rows, row{text: ownerText(o, r.opt.Name), run: ownerDevice(o, r.opt.Snapshot), about: []string{"a tree of the superblock that leads here"}})
	}
	for _, from := range pointers {
		to := place{nr: from.from, keys: btree.AllKeys}
		p.rows = append(p.rows, row{
			text: fmt.Sprintf("%s\t> block %d\t%s", from.what, from.from, from.row.Use), to: &to,
			about: []string{"a pointer to this block", fmt.Sprintf("in block %d, which is %s", from.from, from.row.Use)},
		})
	}
	if len(pointers) == mostPointers {
		p.notes = append(p.notes, fmt.Sprintf("only the first %d pointers are listed", mostPointers))
	}
	p.align()
	return found{pages: []page{p}, push: true}
}

func optional(n *uint32) string {
	if n == nil {
		return "not known"
	}
	return fmt.Sprint(*n)
}

func ownerText(o scan.Owner, name namer) string {
	text := o.Tree.String()
	if o.Tree == scan.Mappings {
		text += " of " + name.label(o.FirstIDs[0])
		if o.Devices > 1 {
			text += fmt.Sprintf(" and %d more", o.Devices-1)
		}
	}
	if o.Snapshot {
		text += " (metadata snapshot)"
	}
	return text
}

// ownerDevice goes to the device that an owner names first.
func ownerDevice(o scan.Owner, snapshot bool) func(Model) (Model, Effects) {
	if o.Tree != scan.Mappings || o.Snapshot != snapshot {
		return nil
	}
	return func(m Model) (Model, Effects) { return m.toDevice(o.FirstIDs[0], nil) }
}

// pointers finds the entries of valid blocks that lead to a block. While a pool is in use, only some blocks
// of its metadata hold still. Nothing leads to block 0.
func (r *reader) pointers(ctx context.Context, nr block.Nr) ([]reference, error) {
	if r.opt.Snapshot || nr == metadata.SuperblockLocation {
		return nil, nil
	}
	var mu sync.Mutex
	var all []reference
	var done uint64
	wanted := le.AppendUint64(nil, uint64(nr))
	numbers := func(yield func(block.Nr) bool) {
		for from := range r.limit {
			if !yield(from) {
				return
			}
		}
	}
	err := block.NewReader(r.opt.Device, 0).Each(ctx, numbers, func(_ int, from block.Nr, b *block.Data, err error) error {
		mu.Lock()
		if done++; done%1024 == 0 {
			r.progress("looking for pointers", done, uint64(r.limit))
		}
		mu.Unlock()
		if err != nil || !bytes.Contains(b[:], wanted) && (block.KindOf(b) != block.UnknownKind || *b == block.Data{}) {
			return nil
		}
		found := referencesIn(from, b, nr, r.limit)
		mu.Lock()
		defer mu.Unlock()
		if len(all) < mostPointers {
			all = append(all, found...)
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b reference) int { return cmp.Compare(a.from, b.from) })
	return all[:min(len(all), mostPointers)], err
}

// referencesIn returns the entries of a block that lead to block nr.
func referencesIn(from block.Nr, b *block.Data, nr, limit block.Nr) (all []reference) {
	c := &content{nr: from, self: from, raw: b}
	if c.examine(limit); c.asItStands {
		return nil
	}
	for i, to := range c.children() {
		if to == nr {
			all = append(all, reference{from: from, what: fmt.Sprintf("%s, entry %d", c.kindName(), i)})
		}
	}
	if c.kind == survey.Superblock {
		for name, to := range roots(&c.super) {
			if to == nr {
				all = append(all, reference{from: from, what: c.kindName() + ", " + name})
			}
		}
	}
	return all
}

// children returns the blocks that the entries of a block lead to.
func (c *content) children() []block.Nr {
	var all []block.Nr
	switch c.kind {
	case survey.Inner, survey.TopLeaf:
		for i := range c.node.Len() {
			all = append(all, block.Nr(c.node.Uint64(i)))
		}
	case survey.IndexLeaf:
		for i := range c.node.Len() {
			all = append(all, spacemap.DecodeEntry(c.node.Value(i)).Block)
		}
	case survey.Index:
		entries := spacemap.IndexEntries(c.data)
		for i := range spacemap.MaxBitmaps {
			all = append(all, spacemap.DecodeEntry(entries[i*spacemap.EntrySize:]).Block)
		}
	}
	return all
}

// roots yields the blocks that a superblock leads to.
func roots(sb *metadata.Superblock) func(yield func(string, block.Nr) bool) {
	return func(yield func(string, block.Nr) bool) {
		_ = yield("mapping tree", sb.MappingRoot) && yield("device details", sb.DetailsRoot) &&
			yield("data space map", sb.DataSpaceMap.BitmapRoot) && yield("data space map, overflow", sb.DataSpaceMap.RefCountRoot) &&
			yield("metadata space map", sb.MetadataSpaceMap.BitmapRoot) && yield("metadata space map, overflow", sb.MetadataSpaceMap.RefCountRoot) &&
			yield("metadata snapshot", sb.HeldRoot)
	}
}
