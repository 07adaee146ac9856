package fsmap

import "fmt"

// descriptors reads the locations of bitmaps and inode tables, and searches the tables.
func (fs *extFS) descriptors() {
	fs.tables = make([]int64, fs.groups)
	fs.unused = make([]int64, fs.groups)
	per := fs.descPerBlock()
	for i := int64(0); i*per < fs.groups; i++ {
		first := i * per
		n := min(per, fs.groups-first)
		places := fs.descPlaces(i)
		if !fs.descBlock(places, first, n) {
			if fs.ended() != nil {
				return
			}
			fs.problem(Problem{
				Range: Range{places[0] * fs.bs, fs.bs}, Text: "descriptors cannot be read, nor any copy of them",
				First: uint64(first*fs.inodesPerGroup) + 1, Last: uint64((first + n) * fs.inodesPerGroup),
			})
		}
	}
}

// descBlock parses the descriptors of n groups from the first usable copy.
func (fs *extFS) descBlock(places []int64, first, n int64) bool {
	for copied, at := range places {
		if fs.read(fs.buf, at*fs.bs) != nil || !fs.plausible(fs.buf, n) {
			continue
		}
		for k := range n {
			fs.descriptor(first+k, fs.buf[k*fs.descSize:][:fs.descSize], copied > 0)
		}
		if copied > 0 {
			fs.note("descriptors at byte %d cannot be used; their copy at byte %d was taken", places[0]*fs.bs, at*fs.bs)
		}
		return true
	}
	return false
}

// high adds the upper half of a block number in a descriptor.
func (fs *extFS) high(d []byte, low, high int) int64 {
	n := int64(le.Uint32(d[low:]))
	if fs.descSize >= 64 {
		n |= int64(le.Uint32(d[high:])) << 32
	}
	return n
}

// tableBlocks returns the number of blocks in an inode table.
func (fs *extFS) tableBlocks() int64 { return (fs.inodesPerGroup*fs.inodeSize + fs.bs - 1) / fs.bs }

// plausible reports whether a block contains descriptors.
func (fs *extFS) plausible(p []byte, n int64) bool {
	for k := range n {
		d := p[k*fs.descSize:][:fs.descSize]
		for _, at := range []int64{fs.high(d, 0, 32), fs.high(d, 4, 36), fs.high(d, 8, 40)} {
			if at <= fs.first || at >= fs.blocks {
				return false
			}
		}
	}
	return true
}

// descriptor parses a descriptor. A copy may be old: only its locations are used.
func (fs *extFS) descriptor(g int64, d []byte, copied bool) {
	fs.metadata(BlockBitmap, int(g), fs.high(d, 0, 32)*fs.bs, fs.bs)
	fs.metadata(InodeBitmap, int(g), fs.high(d, 4, 36)*fs.bs, fs.bs)
	fs.tables[g] = fs.high(d, 8, 40)
	fs.metadata(InodeTable, int(g), fs.tables[g]*fs.bs, fs.tableBlocks()*fs.bs)
	if copied || fs.roCompat&(extGDTSum|extSums) == 0 {
		return
	}
	if le.Uint16(d[18:])&1 != 0 {
		fs.unused[g] = fs.inodesPerGroup
		return
	}
	n := int64(le.Uint16(d[28:]))
	if fs.descSize >= 64 {
		n |= int64(le.Uint16(d[50:])) << 16
	}
	fs.unused[g] = min(n, fs.inodesPerGroup)
}

// place returns the location of an inode's record; n is 0 if it is unknown.
func (fs *extFS) place(inode uint64) (at, n int64) {
	if inode == 0 || inode > fs.inodes {
		return 0, 0
	}
	g, in := int64(inode-1)/fs.inodesPerGroup, int64(inode-1)%fs.inodesPerGroup
	if fs.tables[g] == 0 {
		return 0, 0
	}
	return fs.tables[g]*fs.bs + in*fs.inodeSize, fs.inodeSize
}

// tableChunk is how much of an inode table to read at once.
const tableChunk = 1 << 18

// searchInodes searches all inodes.
func (fs *extFS) searchInodes() {
	chunk := make([]byte, max(tableChunk, fs.bs))
	perBlock := fs.bs / fs.inodeSize
	for g := range fs.groups {
		if fs.opt.Progress != nil {
			fs.opt.Progress(uint64(g*fs.inodesPerGroup), fs.inodes)
		}
		used := min(fs.inodesPerGroup-fs.unused[g], int64(fs.inodes)-g*fs.inodesPerGroup)
		if fs.tables[g] == 0 {
			continue
		}
		blocks := (used + perBlock - 1) / perBlock
		for b := int64(0); b < blocks; {
			n := min(int64(len(chunk))/fs.bs, blocks-b)
			if fs.ended() != nil || fs.ran {
				return
			}
			if fs.read(chunk[:n*fs.bs], (fs.tables[g]+b)*fs.bs) == nil {
				fs.table(chunk[:n*fs.bs], g, b*perBlock, used)
				b += n
				continue
			}
			for range n { // retry block by block
				if err := fs.read(chunk[:fs.bs], (fs.tables[g]+b)*fs.bs); err == nil {
					fs.table(chunk[:fs.bs], g, b*perBlock, used)
				} else {
					begin := uint64(g*fs.inodesPerGroup+b*perBlock) + 1
					fs.problem(Problem{
						Range: Range{(fs.tables[g] + b) * fs.bs, fs.bs}, Text: "inodes cannot be read",
						First: begin, Last: begin + uint64(min(perBlock, used-b*perBlock)) - 1,
					})
				}
				b++
			}
		}
	}
}

// table searches the inodes of a group, starting at first.
func (fs *extFS) table(p []byte, g, first, used int64) {
	for in := first; len(p) >= int(fs.inodeSize) && in < used; in++ {
		fs.inode(uint64(g*fs.inodesPerGroup+in)+1, p[:fs.inodeSize])
		p = p[fs.inodeSize:]
	}
}

// inode searches an inode.
func (fs *extFS) inode(nr uint64, p []byte) {
	mode := le.Uint16(p) & modeKind
	special, isSpecial := fs.special[nr]
	orphan := le.Uint16(p[26:]) == 0 && mode != 0 && uint64(le.Uint32(p[20:])) <= fs.inodes
	if le.Uint16(p[26:]) == 0 && !orphan && !isSpecial {
		return
	}
	if mode == 0 && !isSpecial {
		return
	}
	flags := le.Uint32(p[32:])
	fs.used.set(nr)
	if isSpecial || nr < 11 && nr != extRoot {
		fs.named.set(nr) // has no name and needs none
	}
	at, n := fs.place(nr)
	fs.ofInode(Inode, nr, at, n)
	acl := int64(le.Uint32(p[104:])) | int64(le.Uint16(p[118:]))<<32
	if acl != 0 && acl < fs.blocks {
		fs.ofInode(Attributes, nr, acl*fs.bs, fs.bs)
	}
	f := &extFile{fs: fs, inode: nr, kind: Data, fileSize: int64(le.Uint32(p[4:]))}
	switch {
	case isSpecial:
		f.kind = special
	case mode == modeDir:
		f.kind = Directory
		fs.dirs.set(nr)
	case mode == modeLink:
		f.kind = Symlink
	case mode != modeRegular:
		return
	}
	switch {
	case flags&extInodeInline != 0:
		if f.kind == Directory {
			fs.inlineDir(nr, p)
		}
	case flags&extInodeExtents != 0:
		f.extents(p[40:100], -1)
	case mode == modeLink && f.fileSize < 60:
	default:
		f.blocks(p[40:100])
	}
}

// An extFile is a file whose blocks are being searched.
type extFile struct {
	fs       *extFS
	inode    uint64
	kind     Kind
	fileSize int64
}

// data records n blocks of the file, starting at block at.
func (f *extFile) data(logical, at, n int64, unwritten bool) {
	fs := f.fs
	if at <= 0 || n <= 0 || at >= fs.blocks {
		return
	}
	n = min(n, fs.blocks-at)
	kind, offset := f.kind, logical*fs.bs
	switch {
	case f.kind == ReservedDescriptors:
		return // known from the layout
	case f.kind == Directory:
		fs.dirExtents = append(fs.dirExtents, extDir{f.inode, at, n})
	case unwritten && f.kind == Data:
		kind = Unwritten
	}
	fs.found(Piece{Kind: kind, Inode: f.inode, Offset: offset, Group: -1}, at*fs.bs, n*fs.bs)
}

// node reads a block of the file's extent tree.
func (f *extFile) node(at int64) ([]byte, bool) {
	fs := f.fs
	if at <= 0 || at >= fs.blocks {
		f.lost(at, "leads beyond the file system")
		return nil, false
	}
	if f.kind == ReservedDescriptors { // the blocks are its tree
		fs.metadata(f.kind, int((at-fs.first)/fs.perGroup), at*fs.bs, fs.bs)
	} else {
		fs.ofInode(ExtentTree, f.inode, at*fs.bs, fs.bs)
	}
	p := make([]byte, fs.bs)
	if err := fs.read(p, at*fs.bs); err != nil {
		f.lost(at, "cannot be read")
		return nil, false
	}
	return p, true
}

// lost records that a part of the extent tree is missing.
func (f *extFile) lost(at int64, why string) {
	if f.fs.ran || f.fs.ended() != nil {
		return
	}
	f.fs.wanted.set(f.inode)
	f.fs.problem(Problem{Range: Range{at * f.fs.bs, f.fs.bs}, Text: fmt.Sprintf("the extent tree of inode %d %s: the rest of the file may be anywhere", f.inode, why)})
}

// mostExtentDepth is the maximum depth of an extent tree.
const mostExtentDepth = 5

// extents searches a node of an extent tree. depth is the expected depth; -1 for the root.
func (f *extFile) extents(p []byte, depth int) {
	n, d := int(le.Uint16(p[2:])), int(le.Uint16(p[6:]))
	switch {
	case le.Uint16(p) != 0xf30a || n > (len(p)-12)/12 || d > mostExtentDepth || depth >= 0 && d != depth:
		at, _ := f.fs.place(f.inode)
		f.lost(at/f.fs.bs, "is damaged")
		return
	}
	for i := range n {
		e := p[12+12*i:]
		logical := int64(le.Uint32(e))
		if d > 0 {
			if child, ok := f.node(int64(le.Uint32(e[4:])) | int64(le.Uint16(e[8:]))<<32); ok {
				f.extents(child, d-1)
			}
			continue
		}
		length, unwritten := int64(le.Uint16(e[4:])), false
		if length > 32768 {
			length, unwritten = length-32768, true
		}
		f.data(logical, int64(le.Uint32(e[8:]))|int64(le.Uint16(e[6:]))<<32, length, unwritten)
	}
}

// blocks searches the block map of an inode.
func (f *extFile) blocks(p []byte) {
	f.direct(p[:48], 0)
	logical, span := int64(12), f.fs.bs/4
	for level := range 3 {
		if at := int64(le.Uint32(p[48+4*level:])); at != 0 {
			f.indirect(at, logical, span, level)
		}
		logical += span
		span *= f.fs.bs / 4
	}
}

// direct records the blocks listed in p.
func (f *extFile) direct(p []byte, logical int64) {
	var at, n, from int64
	for i := 0; i < len(p); i += 4 {
		b := int64(le.Uint32(p[i:]))
		if at != 0 && b == at+n {
			n++
			continue
		}
		f.data(from, at, n, false)
		at, n, from = b, 1, logical+int64(i/4)
	}
	f.data(from, at, n, false)
}

// indirect searches an indirect block that covers span blocks.
func (f *extFile) indirect(at, logical, span int64, level int) {
	p, ok := f.node(at)
	if !ok {
		return
	}
	if level == 0 {
		f.direct(p, logical)
		return
	}
	each := span / (f.fs.bs / 4)
	for i := range f.fs.bs / 4 {
		if child := int64(le.Uint32(p[4*i:])); child != 0 {
			f.indirect(child, logical+i*each, each, level-1)
		}
	}
}
