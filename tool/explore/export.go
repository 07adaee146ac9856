package explore

import (
	"context"
	"errors"
	"fmt"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// export asks for a file, and writes the subtree of the page to it.
func (m Model) export() (Model, Effects) {
	p := m.page()
	switch {
	case m.opt.Export == nil:
		return m.say("nothing can be written here"), Effects{}
	case p.block == nil || p.hex:
		return m.say("e exports the mappings below a block: open one first"), Effects{}
	}
	what, place, c, top := p.title, *p.place, p.block, m.super()
	dev := m.device()
	return m.ask("export to file: ", fmt.Sprintf("block-%d.xml", c.nr), func(m Model, path string) (Model, Effects) {
		return m.start("exporting "+what, func(ctx context.Context, r *reader) found {
			x := exporter{r: r, top: top}
			err := r.opt.Export(ctx, path, func(v metadata.Visitor) error { return x.write(ctx, v, place, dev, c) })
			if err != nil {
				return found{err: err}
			}
			return found{note: x.account(path)}
		})
	})
}

// An exporter writes what can be read below a block.
type exporter struct {
	r        *reader
	top      block.Nr // superblock
	mappings uint64
	devices  int
	lost     uint64 // number of unusable blocks
	asStands uint64 // number of invalid blocks that were used as they stand
}

func (x *exporter) account(path string) string {
	devices := "one device"
	if x.devices != 1 {
		devices = plural(uint64(x.devices), "device")
	}
	text := fmt.Sprintf("%s: %s of %s", path, plural(x.mappings, "mapping"), devices)
	if x.lost > 0 {
		text += fmt.Sprintf("; %s could not be used", plural(x.lost, "block"))
	}
	if x.asStands > 0 {
		text += "; the block is invalid, and was taken as it stands"
	}
	return text
}

var errNoMappings = errors.New("there are no mappings below this block: open a node of a mapping tree")

// write writes the devices below a block. It uses an invalid block only if that is the top one, as the screen
// shows it.
func (x *exporter) write(ctx context.Context, v metadata.Visitor, at place, dev *metadata.DevID, c *content) error {
	sb := readBlock(x.r.opt.Device, x.top, x.r.limit)
	live := readBlock(x.r.opt.Device, metadata.SuperblockLocation, x.r.limit)
	if metadata.CheckDataBlockSize(uint64(sb.super.DataBlockSize)) != nil {
		return errors.New("the superblock does not say how large data blocks are, which a dump must")
	}
	h := sb.super.Header()
	h.NrDataBlocks = live.super.DataSpaceMap.NrBlocks
	if c.asItStands {
		x.asStands++
	}
	var devices []metadata.Device
	tree := at.tree
	switch {
	case !c.isNode && c.kind != survey.Superblock:
		return errNoMappings
	case tree == superblocks:
		root := place{nr: c.super.MappingRoot, tree: topLevel, keys: btree.AllKeys}
		at, c = root, x.r.block(root.nr)
		fallthrough
	case tree == topLevel:
		err := x.leaves(ctx, at, c, 0, func(leaf *content, keys metadata.KeyRange) error {
			for i := range leaf.node.Len() {
				if key := leaf.node.Key(i); keys.Contains(key, key) && key <= metadata.MaxDevID && len(devices) < metadata.MaxDevID {
					devices = append(devices, metadata.Device{ID: metadata.DevID(key), Root: block.Nr(leaf.node.Uint64(i))})
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	case tree == mappings || tree == noTree && c.isNode && !c.node.Leaf():
		d := metadata.Device{Root: c.nr}
		if dev != nil {
			d.ID = *dev
		}
		devices = append(devices, d)
	default:
		return errNoMappings
	}
	if err := v.Begin(h); err != nil {
		return err
	}
	for _, d := range devices {
		from := place{nr: d.Root, tree: mappings, keys: btree.AllKeys, dev: &d.ID}
		block := c
		if tree == superblocks || tree == topLevel {
			block = x.r.block(d.Root)
		} else {
			from.keys = at.keys
		}
		if err := x.device(ctx, v, d, from, block, &live.super); err != nil {
			return err
		}
	}
	return v.End()
}

// device writes the mappings below a block as a device. It reads them twice: their number comes first.
func (x *exporter) device(ctx context.Context, v metadata.Visitor, d metadata.Device, at place, c *content, sb *metadata.Superblock) error {
	reader := block.NewReader(x.r.opt.Device, 1)
	if value, ok, err := btree.Lookup(reader, x.r.limit, sb.DetailsRoot, metadata.DetailsSize, uint64(d.ID)); ok && err == nil {
		d.Details = metadata.DecodeDetails(value)
	}
	d.MappedBlocks = 0
	lost := x.lost
	err := x.runs(ctx, at, c, func(runs []metadata.Run) error {
		for _, r := range runs {
			d.MappedBlocks += r.Len
			if r.Time > d.SnapshottedTime {
				d.SnapshottedTime = r.Time // or a restored device would write to shared blocks in place
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := v.BeginDevice(d.ID, d.Details); err != nil {
		return err
	}
	x.lost = lost
	if err := x.runs(ctx, at, c, v.Runs); err != nil {
		return err
	}
	x.devices++
	x.mappings += d.MappedBlocks
	return v.EndDevice()
}

// runs passes on the mappings below a block in ascending order. It leaves out keys outside the range that the
// parents give a leaf: the kernel cannot find them.
func (x *exporter) runs(ctx context.Context, at place, c *content, fn func([]metadata.Run) error) error {
	return x.leaves(ctx, at, c, 0, func(leaf *content, keys metadata.KeyRange) error {
		var kept []metadata.Run
		for _, r := range metadata.AppendRuns(nil, leaf.node) {
			first, last := max(uint64(r.Thin), keys.First), min(uint64(r.Thin)+r.Len-1, keys.Last)
			if first > last || len(kept) > 0 && first < uint64(kept[len(kept)-1].Thin)+kept[len(kept)-1].Len {
				continue
			}
			r.Data += metadata.DataBlock(first - uint64(r.Thin))
			r.Thin, r.Len = metadata.ThinBlock(first), last-first+1
			kept = append(kept, r)
		}
		if len(kept) == 0 {
			return nil
		}
		return fn(kept)
	})
}

// leaves visits the leaves below a block, each with its range of keys. The ranges of a node's children do not
// overlap, so the walk ends even if pointers form a loop.
func (x *exporter) leaves(ctx context.Context, at place, c *content, depth int, fn func(*content, metadata.KeyRange) error) error {
	want := leaves[at.tree]
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !c.isNode || depth > btree.MaxDepth || depth > 0 && (c.asItStands || c.self != c.nr):
		x.lost++
		return nil
	case c.node.Leaf():
		if c.kind != want && !c.mayBeLeaf(at.tree) {
			x.lost++
			return nil
		}
		return fn(c, at.keys)
	}
	for i := range c.node.Len() {
		keys := c.node.ChildRange(i, at.keys)
		if keys.Empty() {
			continue
		}
		child := at
		child.nr, child.keys = block.Nr(c.node.Uint64(i)), keys
		if err := x.leaves(ctx, child, x.r.block(child.nr), depth+1, fn); err != nil {
			return err
		}
	}
	return nil
}
