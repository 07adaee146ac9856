package explore

import (
	"fmt"

	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// leaf shows the entries of a leaf by its own kind, not by the tree that leads to it.
func (b *builder) leaf() {
	kind := b.c.kind
	if kind == survey.TopLeaf && b.at.tree == mappings {
		kind = survey.MappingLeaf // a few mappings may look like pointers to roots
	}
	switch kind {
	case survey.TopLeaf:
		b.devices()
	case survey.DetailsLeaf:
		b.details()
	case survey.MappingLeaf:
		b.mappings()
	case survey.IndexLeaf:
		for i := range b.c.node.Len() {
			b.bitmapOf(b.c.node.Key(i), spacemap.DecodeEntry(b.c.node.Value(i)), dataBitmaps)
		}
	case survey.CountLeaf:
		b.counts()
	}
	if len(b.page.rows) == 0 {
		b.page.none = "there are no entries"
	}
}

// devices shows the entries of the top level.
func (b *builder) devices() {
	for i := range b.c.node.Len() {
		key, root := b.c.node.Key(i), block.Nr(b.c.node.Uint64(i))
		id := metadata.DevID(key)
		to := &place{nr: root, tree: mappings, keys: metadata.KeyRange{Last: 1<<64 - 1}, dev: &id, top: b.at.top}
		b.add(row{
			text: fmt.Sprintf("%s\t> block %d", b.name.label(id), root), key: &key, to: to, bad: key > metadata.MaxDevID,
			about: []string{fmt.Sprintf("entry %d: %s", i, b.name.label(id)), fmt.Sprintf("root of its mappings: block %d", root)},
		})
	}
}

// details shows the device details.
func (b *builder) details() {
	for i := range b.c.node.Len() {
		key := b.c.node.Key(i)
		d, id := metadata.DecodeDetails(b.c.node.Value(i)), metadata.DevID(key)
		b.add(row{
			text: fmt.Sprintf("%s\t%d mapped", b.name.label(id), d.MappedBlocks), key: &key, bad: key > metadata.MaxDevID,
			about: []string{
				fmt.Sprintf("entry %d: %s", i, b.name.label(id)), fmt.Sprintf("mapped blocks    %d", d.MappedBlocks),
				fmt.Sprintf("transaction id   %d", d.TransactionID), fmt.Sprintf("creation time    %d", d.CreationTime),
				fmt.Sprintf("snapshotted time %d", d.SnapshottedTime), "Enter goes to its mappings",
			},
			run: func(m Model) (Model, Effects) { return m.toDevice(id, nil) },
		})
	}
}

// mappings shows the entries of a leaf as runs. An entry with a key out of order ends a run.
func (b *builder) mappings() {
	for _, r := range metadata.AppendRuns(nil, b.c.node) {
		key := uint64(r.Thin)
		text := fmt.Sprintf("thin %s\tdata %s\ttime %d", span(key, r.Len), span(uint64(r.Data), r.Len), r.Time)
		about := []string{"thin  " + span(key, r.Len), "data  " + span(uint64(r.Data), r.Len), fmt.Sprintf("count %d, time %d", r.Len, r.Time)}
		b.add(row{text: text, about: about, key: &key, data: &dataRun{r.Data, r.Len}})
	}
}

// span formats n numbers from first on.
func span(first, n uint64) string {
	if n == 1 {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d..%d", first, first+n-1)
}

// counts shows the entries of an overflow tree.
func (b *builder) counts() {
	name := "block"
	if b.at.tree == dataCounts {
		name = "data block"
	}
	for i := range b.c.node.Len() {
		key, count := b.c.node.Key(i), le.Uint32(b.c.node.Value(i))
		r := row{text: fmt.Sprintf("%s %d\tcount %d", name, key, count), key: &key, bad: count < 3}
		switch b.at.tree {
		case dataCounts:
			r.data = &dataRun{metadata.DataBlock(key), 1}
		case metaCounts:
			r.to = b.blank(block.Nr(key))
		}
		if r.bad {
			r.about = []string{"! counts below 3 belong into the bitmap"}
		}
		b.add(r)
	}
}

// blank returns the place of a block of which only the number is known.
func (b *builder) blank(nr block.Nr) *place {
	p := at(nr)
	p.top = b.at.top
	return &p
}

// bitmapOf shows the entry of an index for a bitmap.
func (b *builder) bitmapOf(num uint64, e spacemap.IndexEntry, t tree) {
	first := num * spacemap.PerBitmap
	to := b.child(e.Block, t, metadata.KeyRange{First: first, Last: first + spacemap.PerBitmap - 1})
	to.num = num
	b.add(row{
		text: fmt.Sprintf("bitmap %d\t%d free\t> block %d", num, e.NrFree, e.Block), key: &num, to: to,
		about: []string{
			fmt.Sprintf("counts of %s %d..%d", keyNames[t], first, first+spacemap.PerBitmap-1),
			fmt.Sprintf("free %d; none before %d", e.NrFree, e.NoneFreeBefore),
		},
	})
}

// index shows the index block of the metadata space map. Entries after the last are zero.
func (b *builder) index() {
	entries := spacemap.IndexEntries(b.c.data)
	for i := range spacemap.MaxBitmaps {
		if e := spacemap.DecodeEntry(entries[i*spacemap.EntrySize:]); e != (spacemap.IndexEntry{}) {
			b.bitmapOf(uint64(i), e, metaBitmaps)
		}
	}
	b.page.none = "there are no entries"
}

// bitmap shows counts as runs of equal ones.
func (b *builder) bitmap() {
	bits, err := spacemap.DecodeBitmap(b.c.self, b.c.data)
	if err != nil {
		b.page.none = plainError(err)
		return
	}
	first, name := b.at.num*spacemap.PerBitmap, keyNames[b.at.tree]
	if b.at.tree == noTree {
		name = "position"
	}
	for i := 0; i < spacemap.PerBitmap; {
		count, from := bits.Count(i), i
		for i < spacemap.PerBitmap && bits.Count(i) == count {
			i++
		}
		key, n := first+uint64(from), uint64(i-from)
		text := fmt.Sprint(count)
		if count == 3 {
			text = "3 or more: see the overflow tree"
		}
		r := row{text: fmt.Sprintf("%s %s\tcount %s", name, span(key, n), text), key: &key, about: []string{fmt.Sprintf("%s, count %s", plural(n, "block"), text)}}
		switch {
		case b.at.tree == dataBitmaps:
			r.data = &dataRun{metadata.DataBlock(key), n}
		case b.at.tree == metaBitmaps && key > 0 && key < uint64(b.limit):
			r.to = b.blank(block.Nr(key))
		}
		b.add(r)
	}
}

// superblock shows the fields of a superblock, pointers first.
func (b *builder) superblock() {
	sb := &b.c.super
	b.at.top = b.c.nr
	b.at.tree = superblocks
	to := func(name string, nr block.Nr, t tree) {
		b.add(row{text: fmt.Sprintf("%s\t> block %d", name, nr), to: b.child(nr, t, metadata.KeyRange{Last: 1<<64 - 1})})
	}
	field := func(name, value string, about ...string) {
		b.add(row{text: fmt.Sprintf("%s\t%s", name, value), about: about})
	}
	to("mapping tree", sb.MappingRoot, topLevel)
	to("device details", sb.DetailsRoot, details)
	if b.c.nr == metadata.SuperblockLocation {
		to("data space map", sb.DataSpaceMap.BitmapRoot, dataIndex)
		to("data space map, overflow", sb.DataSpaceMap.RefCountRoot, dataCounts)
		to("metadata space map", sb.MetadataSpaceMap.BitmapRoot, metaIndex)
		to("metadata space map, overflow", sb.MetadataSpaceMap.RefCountRoot, metaCounts)
		if sb.HeldRoot == 0 {
			field("metadata snapshot", "none")
		} else {
			to("metadata snapshot", sb.HeldRoot, superblocks)
		}
	}
	flags := "none"
	switch {
	case sb.Flags == metadata.NeedsCheck:
		flags = "needs_check"
	case sb.Flags != 0:
		flags = fmt.Sprintf("%#x", sb.Flags)
	}
	b.add(row{})
	field("transaction id", fmt.Sprint(sb.TransactionID))
	field("time", fmt.Sprint(sb.Time), "the clock of snapshots")
	field("flags", flags)
	field("version", fmt.Sprint(sb.Version))
	field("data block size", fmt.Sprintf("%d sectors", sb.DataBlockSize), size(uint64(sb.DataBlockSize), block.SectorSize))
	used := func(root metadata.SpaceMapRoot) string {
		return fmt.Sprintf("%d, %d used", root.NrBlocks, root.NrAllocated)
	}
	if b.c.nr == metadata.SuperblockLocation {
		field("data blocks", used(sb.DataSpaceMap), size(sb.DataSpaceMap.NrBlocks, uint64(sb.DataBlockSize)*block.SectorSize))
		field("metadata blocks", used(sb.MetadataSpaceMap), size(sb.MetadataSpaceMap.NrBlocks, block.Size), fmt.Sprintf("the device has %d", b.limit))
	}
	field("incompatible features", fmt.Sprintf("%#x", sb.IncompatFlags))
}

// size formats n times unit bytes.
func size(n, unit uint64) string {
	bytes := n * unit
	if unit != 0 && bytes/unit != n {
		return "more than 16 EiB"
	}
	units := [...]string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	value, i := float64(bytes), 0
	for value >= 1024 && i < len(units)-1 {
		value, i = value/1024, i+1
	}
	if value == float64(uint64(value)) {
		return fmt.Sprintf("%d %s", uint64(value), units[i])
	}
	return fmt.Sprintf("%.1f %s", value, units[i])
}
