package scan

import (
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// devices sums up the devices that reach a block: how many, and the first ones, as indexes in
// scanner.ids plus one.
//
// Listing all devices of a node would cost devices times nodes. But in a sound tree, there is a
// single path from a device to a node. So the number of devices is the sum over the parents, and
// the lowest ids are among the lowest of the parents.
type devices struct {
	n     uint32
	least [MaxIDs]uint32
}

func (d *devices) join(p devices) {
	if d.n = d.n + p.n; d.n < p.n { // only damaged trees have so many paths
		d.n = ^uint32(0)
	}
	for _, id := range p.least {
		if id == 0 {
			return
		}
		d.insert(id)
	}
}

func (d *devices) insert(id uint32) {
	for i, have := range d.least {
		switch {
		case have == id:
			return
		case have == 0 || have > id:
			copy(d.least[i+1:], d.least[i:MaxIDs-1])
			d.least[i] = id
			return
		}
	}
}

// A pointer points to a block of a tree.
type pointer struct {
	to, from block.Nr
	entry    int
	keys     btree.KeyRange // allowed by the nodes above
	sides    [sides]bool    // the superblocks whose trees have the pointer
	devices  [sides]devices // for Mappings
}

// fits reports whether a tree may have blocks of that kind. The two kinds of leaf with 8-byte
// values cannot always be told apart by content.
func fits(tree Tree, kind survey.Kind) bool {
	switch tree {
	case Superblock, SnapshotSuperblock:
		return kind == survey.Superblock
	case DataBitmap, MetadataBitmap:
		return kind == survey.Bitmap
	case MetadataIndex:
		return kind == survey.Index
	case TopLevel, Mappings:
		return kind == survey.Inner || kind == survey.TopLeaf || kind == survey.MappingLeaf
	case Details:
		return kind == survey.Inner || kind == survey.DetailsLeaf
	case DataIndex:
		return kind == survey.Inner || kind == survey.IndexLeaf
	}
	return kind == survey.Inner || kind == survey.CountLeaf
}

// trees follows all pointers, starting at the superblock.
func (s *scanner) trees() {
	s.roles[metadata.SuperblockLocation][live] |= 1 << Superblock
	s.refs.Add(uint64(metadata.SuperblockLocation), 1)
	var mapping, details []pointer
	if !s.opt.Snapshot {
		mapping, details = []pointer{s.root(s.sb.MappingRoot)}, []pointer{s.root(s.sb.DetailsRoot)}
	}
	if s.sb.HeldRoot != 0 && s.point(SnapshotSuperblock, s.root(s.sb.HeldRoot)) {
		var b block.Data
		err := s.r.Read(s.sb.HeldRoot, &b)
		if err == nil {
			s.snap, err = metadata.DecodeSuperblock(s.sb.HeldRoot, &b)
		}
		if err == nil {
			mapping = append(mapping, s.heldRoot(s.snap.MappingRoot))
			details = append(details, s.heldRoot(s.snap.DetailsRoot))
			s.hasSnap = true
		} else {
			s.fault(s.sb.HeldRoot, "%v", err)
			s.incomplete = true
		}
	}
	top := s.walk(TopLevel, mapping)
	s.walk(Details, details)
	s.walk(Mappings, s.deviceRoots(top))
	if s.opt.Snapshot {
		return
	}
	for _, leaf := range s.walk(DataIndex, []pointer{s.root(s.sb.DataSpaceMap.BitmapRoot)}) {
		s.dataBitmaps(leaf)
	}
	s.walk(DataOverflow, []pointer{s.root(s.sb.DataSpaceMap.RefCountRoot)})
	s.metadataBitmaps()
	s.walk(MetadataOverflow, []pointer{s.root(s.sb.MetadataSpaceMap.RefCountRoot)})
}

func (s *scanner) root(to block.Nr) pointer {
	return pointer{to: to, keys: btree.AllKeys, sides: [sides]bool{live: true}}
}

func (s *scanner) heldRoot(to block.Nr) pointer {
	return pointer{to: to, from: s.sb.HeldRoot, keys: btree.AllKeys, sides: [sides]bool{held: true}}
}

// point counts a pointer and passes its owners on to its target. It returns false if the target
// does not fit the tree.
func (s *scanner) point(tree Tree, p pointer) bool {
	if p.to == 0 || p.to >= s.limit {
		err := &btree.PointerError{Block: p.from, Entry: p.entry, Child: uint64(p.to), Limit: s.limit}
		s.fault(p.from, "%v: %v", tree, err)
		s.incomplete = true
		return false
	}
	s.refs.Add(uint64(p.to), 1)
	for side := range sides {
		if !p.sides[side] {
			continue
		}
		s.roles[p.to][side] |= 1 << tree
		if tree == Mappings {
			s.devices[side][p.to].join(p.devices[side])
		}
	}
	if fits(tree, s.survey.Kinds[p.to]) {
		s.inBounds(p)
		return true
	}
	if _, ok := s.keys[p.to]; !ok && tree != SnapshotSuperblock && tree != MetadataIndex {
		s.keys[p.to] = p.keys
	}
	s.incomplete = s.incomplete || tree != DataBitmap && tree != MetadataBitmap
	return false
}

// inBounds checks that the keys of a leaf are in the range allowed by the nodes above. This
// detects leaves of earlier transactions.
func (s *scanner) inBounds(p pointer) {
	n, ok := s.survey.Node(p.to)
	if !ok || n.Kind == survey.Inner || n.N == 0 {
		return
	}
	err := p.keys.CheckBounds(p.to, p.from, n.First, n.Last)
	if err != nil && len(s.faults[p.to]) == 0 { // one report is enough
		s.fault(p.to, "%v", err)
	}
}

// walk follows a kind of tree from its roots, each node once and after all its parents. It returns
// the leaves in the order they are met, except for mappings.
func (s *scanner) walk(tree Tree, roots []pointer) []block.Nr {
	var leaves []block.Nr
	bounds := map[block.Nr]btree.KeyRange{}
	visit := func(p pointer) {
		known := p.to < s.limit && (s.roles[p.to][live]|s.roles[p.to][held])&(1<<tree) != 0
		if !s.point(tree, p) || known {
			return
		}
		if s.survey.Kinds[p.to] == survey.Inner {
			bounds[p.to] = p.keys
		} else if tree != Mappings {
			leaves = append(leaves, p.to)
		}
	}
	for _, p := range roots {
		visit(p)
	}
	for _, nr := range s.parentsFirst(tree, roots) {
		n, _ := s.survey.Node(nr)
		entries := s.survey.Entries(n)
		p := pointer{from: nr}
		for side := range sides {
			if p.sides[side] = s.roles[nr][side]&(1<<tree) != 0; tree == Mappings && p.sides[side] {
				p.devices[side] = s.devices[side][nr]
			}
		}
		for i, e := range entries {
			p.to, p.entry = e.Block, i
			p.keys = btree.ChildRange(entries, i, bounds[nr])
			visit(p)
		}
	}
	return leaves
}

// parentsFirst orders the internal nodes below roots so that each comes after its parents.
func (s *scanner) parentsFirst(tree Tree, roots []pointer) []block.Nr {
	nrs := make([]block.Nr, len(roots))
	for i, p := range roots {
		nrs[i] = p.to
	}
	return btree.ParentsFirst(nrs, func(nr block.Nr) ([]block.Nr, bool) {
		if nr == 0 || nr >= s.limit || s.survey.Kinds[nr] != survey.Inner || s.seen[nr] == uint8(tree) {
			return nil, false
		}
		s.seen[nr] = uint8(tree)
		n, _ := s.survey.Node(nr)
		entries := s.survey.Entries(n)
		children := make([]block.Nr, len(entries))
		for i, e := range entries {
			children[i] = e.Block
		}
		return children, true
	})
}

// deviceRoots returns the pointers in leaves of the top level.
func (s *scanner) deviceRoots(leaves []block.Nr) []pointer {
	var roots []pointer
	for _, leaf := range leaves {
		s.eachEntry(leaf, metadata.RootSize, func(i int, key uint64, value []byte) {
			p := pointer{to: block.Nr(le.Uint64(value)), from: leaf, entry: i, keys: btree.AllKeys}
			for side := range sides {
				p.sides[side] = s.roles[leaf][side]&(1<<TopLevel) != 0
			}
			s.ids = append(s.ids, metadata.DevID(key))
			roots = append(roots, p)
		})
	}
	named := slices.Clone(s.ids)
	slices.Sort(s.ids)
	s.ids = slices.Compact(s.ids)
	for i, id := range named {
		at, _ := slices.BinarySearch(s.ids, id)
		for side := range sides {
			roots[i].devices[side] = devices{n: 1, least: [MaxIDs]uint32{uint32(at + 1)}}
		}
	}
	s.devices[live] = make([]devices, s.limit)
	if s.hasSnap {
		s.devices[held] = make([]devices, s.limit)
	}
	return roots
}

// eachEntry calls fn for the entries of a leaf, if it is readable.
func (s *scanner) eachEntry(leaf block.Nr, valueSize int, fn func(i int, key uint64, value []byte)) {
	var b block.Data
	if s.r.Read(leaf, &b) != nil {
		return
	}
	n, err := btree.Decode(leaf, &b, valueSize)
	if err != nil || !n.Leaf() {
		return
	}
	for i := range n.Len() {
		fn(i, n.Key(i), n.Value(i))
	}
}

// dataBitmaps follows a leaf of the index of the data space map.
func (s *scanner) dataBitmaps(leaf block.Nr) {
	blocks := s.sb.DataSpaceMap.NrBlocks
	s.eachEntry(leaf, spacemap.EntrySize, func(i int, key uint64, value []byte) {
		if want := spacemap.Bitmaps(blocks); key >= want {
			s.fault(leaf, "index has %d entries, want %d", key, want)
			return
		}
		s.bitmap(DataBitmap, leaf, i, key, blocks, value)
	})
}

// metadataBitmaps follows the index of the metadata space map.
func (s *scanner) metadataBitmaps() {
	root := s.sb.MetadataSpaceMap
	var b block.Data
	if !s.point(MetadataIndex, s.root(root.BitmapRoot)) || s.r.Read(root.BitmapRoot, &b) != nil {
		return
	}
	entries := spacemap.IndexEntries(&b)
	for i := range min(spacemap.Bitmaps(root.NrBlocks), spacemap.MaxBitmaps) {
		s.bitmap(MetadataBitmap, root.BitmapRoot, int(i), i, root.NrBlocks, entries[i*spacemap.EntrySize:])
	}
}

// bitmap follows an index entry: that of bitmap number of a space map for the given number of
// blocks.
func (s *scanner) bitmap(tree Tree, from block.Nr, entry int, number, blocks uint64, value []byte) {
	first := number * spacemap.PerBitmap
	keys := btree.KeyRange{First: first, Last: first + min(spacemap.PerBitmap, blocks-first) - 1}
	p := pointer{to: spacemap.DecodeEntry(value).Block, from: from, entry: entry, keys: keys, sides: [sides]bool{live: true}}
	if s.point(tree, p) {
		s.keys[p.to] = keys
	}
}
