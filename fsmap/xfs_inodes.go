package fsmap

import "fmt"

// chunkInodes is the number of inodes per record of the inode tree.
const chunkInodes = 64

// chunks handles a record of the inode tree.
func (fs *xfsFS) chunks(ag int64, record []byte) {
	base, last := fs.inodesOf(ag)
	first := base + uint64(be.Uint32(record))
	free, holes := be.Uint64(record[8:]), uint16(0)
	if fs.incompat&xfsSparse != 0 {
		holes = be.Uint16(record[4:])
	}
	if first+chunkInodes-1 > last {
		return
	}
	p := make([]byte, fs.inodeSize)
	for i := uint64(0); i < chunkInodes; i++ {
		at, n := fs.place(first + i)
		if n == 0 || holes>>(i/4)&1 != 0 {
			continue
		}
		fs.metadata(InodeTable, int(ag), at, n)
		if free>>i&1 != 0 {
			continue
		}
		fs.used.set(first + i)
		fs.ofInode(Inode, first+i, at, n)
		if err := fs.read(p, at); err != nil || !fs.isInode(p, first+i) {
			if fs.ended() != nil || fs.ran {
				return
			}
			fs.problem(Problem{Range: Range{at, n}, Text: "inodes in use cannot be read: their blocks may be anywhere", First: first + i, Last: first + i})
			continue
		}
		fs.inode(first+i, p)
	}
}

// isInode reports whether p is the record of an inode.
func (fs *xfsFS) isInode(p []byte, nr uint64) bool {
	return string(p[:2]) == "IN" && (p[4] < 3 || be.Uint64(p[152:]) == nr)
}

// byName reads an inode that is known only by name, because part of the inode tree is lost.
func (fs *xfsFS) byName(nr uint64) {
	at, n := fs.place(nr)
	if n == 0 || fs.used.has(nr) {
		return
	}
	p := make([]byte, n)
	if fs.read(p, at) == nil && fs.isInode(p, nr) && be.Uint16(p[2:]) != 0 {
		fs.used.set(nr)
		fs.ofInode(Inode, nr, at, n)
		fs.inode(nr, p)
	}
}

// An xfsFile is a file whose blocks are being searched.
type xfsFile struct {
	fs    *xfsFS
	inode uint64
	kind  Kind
	dir   *xfsDir // directory to read; nil: none
}

// Formats of a fork.
const (
	xfsLocal = 1 + iota
	xfsExtents
	xfsBtree
)

// inode searches an inode.
func (fs *xfsFS) inode(nr uint64, p []byte) {
	start := int64(100)
	if p[4] >= 3 {
		start = 176
	}
	f := &xfsFile{fs: fs, inode: nr, kind: Data}
	switch be.Uint16(p[2:]) & modeKind {
	case modeDir:
		f.kind, f.dir = Directory, &xfsDir{inode: nr}
		fs.dirs.set(nr)
	case modeLink:
		f.kind = Symlink
	}
	if kind, ok := fs.special[nr]; ok {
		f.kind, f.dir = kind, nil
		fs.named.set(nr)
	}
	end := fs.inodeSize
	extents, attrs := uint64(be.Uint32(p[76:])), uint64(be.Uint16(p[80:]))
	if p[4] >= 3 && be.Uint64(p[120:])&0x10 != 0 {
		extents, attrs = be.Uint64(p[24:]), uint64(be.Uint32(p[76:]))
	}
	if fork := int64(p[82]) * 8; fork > 0 && start+fork < fs.inodeSize {
		end = start + fork
		a := &xfsFile{fs: fs, inode: nr, kind: Attributes}
		a.fork(p[end:], p[83], attrs)
	}
	if be.Uint16(p[90:])&1 == 0 { // not on the realtime device
		f.fork(p[start:end], p[5], extents)
	}
	if f.dir != nil {
		if p[5] == xfsLocal {
			f.dir.short = append([]byte(nil), p[start:end]...)
		}
		fs.todo = append(fs.todo, *f.dir)
	}
}

// fork searches a fork of the inode.
func (f *xfsFile) fork(p []byte, format byte, extents uint64) {
	switch format {
	case xfsExtents:
		f.extents(p, int64(min(extents, uint64(len(p)/16))))
	case xfsBtree:
		level, n, most := int(be.Uint16(p)), int(be.Uint16(p[2:])), (len(p)-4)/16
		if level < 1 || level > mostXFSDepth || n > most {
			at, _ := f.fs.place(f.inode)
			f.lost(at)
			return
		}
		for i := range n {
			f.node(be.Uint64(p[4+8*most+8*i:]), level-1)
		}
	}
}

// lost records that a part of the extent tree is missing.
func (f *xfsFile) lost(at int64) {
	if f.fs.ran || f.fs.ended() != nil {
		return
	}
	f.fs.wanted.set(f.inode)
	f.fs.problem(Problem{Range: Range{at, f.fs.bs}, Text: fmt.Sprintf("the extent tree of inode %d cannot be read: the rest of the file may be anywhere", f.inode)})
}

// node searches a block of the extent tree.
func (f *xfsFile) node(nr uint64, level int) {
	fs := f.fs
	at, ok := fs.block(nr)
	if !ok {
		f.lost(0)
		return
	}
	fs.ofInode(ExtentTree, f.inode, at*fs.bs, fs.bs)
	p := make([]byte, fs.bs)
	if fs.read(p, at*fs.bs) != nil || int(be.Uint16(p[4:])) != level {
		f.lost(at * fs.bs)
		return
	}
	head := int64(24)
	if fs.v5 {
		head = 72
	}
	n, most := int64(be.Uint16(p[6:])), (fs.bs-head)/16
	n = min(n, most)
	if level == 0 {
		f.extents(p[head:], n)
		return
	}
	for i := range n {
		f.node(be.Uint64(p[head+8*most+8*i:]), level-1)
	}
}

// extents parses n extents.
func (f *xfsFile) extents(p []byte, n int64) {
	fs := f.fs
	for i := range n {
		high, low := be.Uint64(p[16*i:]), be.Uint64(p[16*i+8:])
		logical := int64(high >> 9 & (1<<54 - 1))
		at, ok := fs.block(high&0x1ff<<43 | low>>21)
		count := min(int64(low&(1<<21-1)), fs.blocks-at)
		if !ok || count < 1 || logical > 1<<62/fs.bs {
			continue
		}
		piece := Piece{Kind: f.kind, Inode: f.inode, Offset: logical * fs.bs, Group: -1}
		if f.kind == Data && high>>63 != 0 {
			piece.Kind = Unwritten
		}
		if f.kind == Attributes {
			piece.Offset = NoOffset
		}
		fs.found(piece, at*fs.bs, count*fs.bs)
		if f.dir != nil && logical*fs.bs < xfsDirIndex {
			f.dir.parts = append(f.dir.parts, xfsExtent{logical, at, count})
		}
	}
}
