package explore

import (
	"context"
	"errors"
	"fmt"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A reader does the reading for one job.
type reader struct {
	opt      *Options
	limit    block.Nr
	progress func(phase string, done, total uint64)
	read     []*content
}

// mostDepth limits how far down a path goes.
const mostDepth = 2 * btree.MaxDepth

func (r *reader) block(nr block.Nr) *content {
	c := readBlock(r.opt.Device, nr, r.limit)
	if r.read = append(r.read, c); len(r.read) > mostCached {
		r.read = r.read[1:]
	}
	return c
}

// page reads the block at a place.
func (r *reader) page(at place) page { return blockPage(r.opt, r.limit, at, r.block(at.nr)) }

// open returns the page of a place, to go on top of the current one.
func (r *reader) open(at place) found {
	return found{pages: []page{r.page(at)}, push: true, blocks: r.read}
}

// top returns the superblock to begin at.
func (r *reader) top() (page, error) {
	p := r.page(place{nr: metadata.SuperblockLocation, tree: superblocks, keys: btree.AllKeys})
	if !r.opt.Snapshot {
		return p, nil
	}
	held := p.block.super.HeldRoot
	if p.block.kind != survey.Superblock || held == 0 {
		return p, metadata.ErrNoSnapshot
	}
	return r.page(place{nr: held, tree: superblocks, keys: btree.AllKeys}), nil
}

// start returns the first page.
func (r *reader) start() found {
	p, err := r.top()
	return found{pages: []page{p}, blocks: r.read, err: err}
}

// descend goes from the last page down to the leaf with a key, or as far as possible.
func (r *reader) descend(ctx context.Context, pages []page, key uint64) []page {
	for range mostDepth {
		p := &pages[len(pages)-1]
		p.selectKey(key)
		row := p.selected()
		if ctx.Err() != nil || !p.block.isNode || p.block.node.Leaf() || row == nil || row.to == nil {
			break
		}
		pages = append(pages, r.page(*row.to))
	}
	return pages
}

// field moves the cursor of a superblock to the row of a tree, and appends the page of the tree's root.
func (r *reader) field(pages []page, t tree) ([]page, error) {
	p := &pages[len(pages)-1]
	for i := range p.rows {
		if to := p.rows[i].to; to != nil && to.tree == t {
			p.cursor = i
			return append(pages, r.page(*to)), nil
		}
	}
	return pages, fmt.Errorf("the superblock does not lead to the %s", t)
}

// device returns the path from superblock top to a device and, if thin is not nil, to a thin block of it.
func (r *reader) device(ctx context.Context, top block.Nr, id metadata.DevID, thin *uint64) found {
	pages := []page{r.page(place{nr: top, tree: superblocks, keys: btree.AllKeys})}
	pages, err := r.field(pages, topLevel)
	if err == nil {
		pages = r.descend(ctx, pages, uint64(id))
		row := pages[len(pages)-1].selected()
		switch {
		case row == nil || row.key == nil || *row.key != uint64(id):
			err = fmt.Errorf("device %d: %w", id, metadata.ErrNoDevice)
		case row.to == nil:
			err = fmt.Errorf("device %d: its root cannot be read", id)
		default:
			pages = append(pages, r.page(*row.to))
			if thin != nil {
				pages = r.descend(ctx, pages, *thin)
				err = r.reached(pages, *thin)
			}
		}
	}
	return found{pages: pages, blocks: r.read, err: err}
}

// reached returns an error if the last page has no mapping of a thin block.
func (r *reader) reached(pages []page, thin uint64) error {
	p := &pages[len(pages)-1]
	if row := p.selected(); row != nil && row.data != nil && row.key != nil && thin >= *row.key && thin-*row.key < row.data.n {
		return nil
	}
	if !p.block.isNode || !p.block.node.Leaf() {
		return fmt.Errorf("thin block %d: the way there ends at block %d", thin, p.block.nr)
	}
	return fmt.Errorf("thin block %d is not mapped", thin)
}

// path follows blocks from a superblock on. It also shows a block that its predecessor does not lead to.
func (r *reader) path(nrs []block.Nr) found {
	var pages []page
	var err error
	for i, nr := range nrs {
		to := at(nr)
		if i > 0 {
			last := &pages[len(pages)-1]
			to.top = last.place.top
			if known := last.selectBlock(nr); known != nil {
				to = *known
			} else if err == nil {
				err = fmt.Errorf("block %d does not lead to block %d", nrs[i-1], nr)
			}
		} else if nr == metadata.SuperblockLocation {
			to.tree = superblocks
		}
		pages = append(pages, r.page(to))
	}
	return found{pages: pages, blocks: r.read, err: err}
}

// nodePath returns the path given as an option.
func (r *reader) nodePath(text string) found {
	nrs, err := ParseNodePath(text)
	if err != nil {
		f := r.start()
		f.err = err
		return f
	}
	return r.path(nrs)
}

// stored reads the count of a block in a space map, and returns the bitmap that holds it.
func (r *reader) stored(sb *metadata.Superblock, nr uint64, data bool) (count uint32, bitmap place, err error) {
	dev := block.NewReader(r.opt.Device, 1)
	root, counts := sb.MetadataSpaceMap, metaCounts
	bitmap = place{tree: metaBitmaps, num: nr / spacemap.PerBitmap, keys: btree.AllKeys}
	if data {
		root, counts, bitmap.tree = sb.DataSpaceMap, dataCounts, dataBitmaps
	}
	if nr >= root.NrBlocks {
		return 0, bitmap, fmt.Errorf("%s %d is beyond the end of the space map, which has %d", keyNames[counts], nr, root.NrBlocks)
	}
	var entry spacemap.IndexEntry
	if data {
		value, ok, err := btree.Lookup(dev, r.limit, root.BitmapRoot, spacemap.EntrySize, bitmap.num)
		if err != nil || !ok {
			return 0, bitmap, errors.Join(err, fmt.Errorf("the index does not lead to bitmap %d", bitmap.num))
		}
		entry = spacemap.DecodeEntry(value)
	} else {
		c := r.block(root.BitmapRoot)
		if c.kind != survey.Index || bitmap.num >= spacemap.MaxBitmaps {
			return 0, bitmap, fmt.Errorf("block %d is not the index of the metadata space map", root.BitmapRoot)
		}
		entry = spacemap.DecodeEntry(spacemap.IndexEntries(c.data)[bitmap.num*spacemap.EntrySize:])
	}
	bitmap.nr = entry.Block
	c := r.block(entry.Block)
	if c.kind != survey.Bitmap {
		return 0, bitmap, fmt.Errorf("block %d is not a bitmap", entry.Block)
	}
	bits, err := spacemap.DecodeBitmap(c.self, c.data)
	if err != nil {
		return 0, bitmap, err
	}
	if count = bits.Count(int(nr % spacemap.PerBitmap)); count < 3 {
		return count, bitmap, nil
	}
	value, ok, err := btree.Lookup(dev, r.limit, root.RefCountRoot, spacemap.CountSize, nr)
	switch {
	case err != nil:
		return 3, bitmap, fmt.Errorf("3 or more: %w", err)
	case !ok:
		return 3, bitmap, errors.New("3 or more by the bitmap, but the overflow tree does not have it")
	}
	return le.Uint32(value), bitmap, nil
}
