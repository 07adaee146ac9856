package fsmap

import (
	"encoding/binary"
	"fmt"
)

var be = binary.BigEndian

// Features of XFS that matter here.
const (
	xfsFtypeV4 = 0x200 // features2

	xfsFtype   = 0x1 // incompat
	xfsSparse  = 0x2
	xfsMetaDir = 0x100
	xfsKnown   = 0xff

	xfsFinobt  = 0x1 // ro compat
	xfsRmapbt  = 0x2
	xfsReflink = 0x4
)

// An xfsFS is an XFS file system.
type xfsFS struct {
	*search
	bs, sector                      int64
	blocks                          int64
	agBlocks, agCount               int64
	inodeSize                       int64
	blockLog, perLog, agLog, dirLog uint
	v5, ftype                       bool
	incompat, roCompat              uint32
	special                         map[uint64]Kind
	todo                            []xfsDir
}

// An xfsDir is a directory to read.
type xfsDir struct {
	inode uint64
	short []byte      // the entries, if stored in the inode
	parts []xfsExtent // of the content, without the index
}

// An xfsExtent is a range of blocks of a file.
type xfsExtent struct{ logical, at, n int64 } // at: block of the volume

// findXFS searches XFS. ok reports whether it is one.
func findXFS(s *search) (ok bool, err error) {
	sb, at, ok := s.xfsSuperblock()
	if !ok {
		return false, nil
	}
	fs := &xfsFS{search: s}
	if err := fs.open(sb); err != nil {
		return true, err
	}
	if at != 0 {
		s.problem(Problem{Range: Range{0, int64(len(sb))}, Text: fmt.Sprintf("the superblock cannot be used; its copy at byte %d was taken", at)})
	}
	for ag := range fs.agCount {
		if s.ended() != nil || s.ran {
			break
		}
		if s.opt.Progress != nil {
			s.opt.Progress(uint64(ag), uint64(fs.agCount))
		}
		fs.group(ag)
	}
	fs.byName(fs.root)
	for i := 0; i < len(fs.todo); i++ { // reading one may add more
		if s.ended() != nil || s.ran {
			break
		}
		fs.readDir(&fs.todo[i])
	}
	return true, nil
}

// xfsSuperblock finds a superblock: the first, or a copy where mkfs puts one on a volume of this
// size.
func (s *search) xfsSuperblock() (sb []byte, at int64, ok bool) {
	sb = make([]byte, 512)
	whole := func(at int64) bool { return s.read(sb, at) == nil && string(sb[:4]) == "XFSB" }
	if whole(0) {
		return sb, 0, true
	}
	const mostGroups = 1024
	for bs := int64(512); bs <= 65536; bs *= 2 {
		for n := int64(2); n <= mostGroups; n++ {
			group := (s.size/bs + n - 1) / n
			if group < 64 || !whole(group*bs) || int64(be.Uint32(sb[4:])) != bs || int64(be.Uint32(sb[84:])) != group {
				continue
			}
			at := group * bs
			// mkfs records the root inode only in the last copy and in one in the middle.
			if last := (int64(be.Uint32(sb[88:])) - 1) * group * bs; be.Uint64(sb[56:]) == ^uint64(0) && whole(last) {
				at = last
			}
			return sb, at, string(sb[:4]) == "XFSB"
		}
	}
	return nil, 0, false
}

// open parses the superblock and refuses values that no XFS has.
func (fs *xfsFS) open(sb []byte) error {
	fs.result.FileSystem = "XFS"
	fs.bs, fs.sector = int64(be.Uint32(sb[4:])), int64(be.Uint16(sb[102:]))
	fs.blocks = int64(be.Uint64(sb[8:]) & (1<<62 - 1))
	fs.agBlocks, fs.agCount = int64(be.Uint32(sb[84:])), int64(be.Uint32(sb[88:]))
	fs.inodeSize = int64(be.Uint16(sb[104:]))
	fs.blockLog, fs.perLog, fs.agLog, fs.dirLog = uint(sb[120]), uint(sb[123]), uint(sb[124]), uint(sb[192])
	fs.v5 = be.Uint16(sb[100:])&0xf == 5
	if fs.v5 {
		fs.roCompat, fs.incompat = be.Uint32(sb[212:]), be.Uint32(sb[216:])
		fs.ftype = fs.incompat&xfsFtype != 0
	} else {
		fs.ftype = be.Uint32(sb[200:])&xfsFtypeV4 != 0
	}
	if unknown := fs.incompat &^ xfsKnown; unknown != 0 {
		return fmt.Errorf("XFS with unknown features %#x: %w", unknown, ErrUnsupported)
	}
	for what, bad := range map[string]bool{
		"block size":           fs.bs < 512 || fs.bs > 65536 || fs.bs != 1<<fs.blockLog,
		"sector size":          fs.sector < 512 || fs.sector > 32768 || fs.sector&(fs.sector-1) != 0,
		"inode size":           fs.inodeSize < 256 || fs.inodeSize > 2048 || fs.inodeSize&(fs.inodeSize-1) != 0 || fs.inodeSize<<fs.perLog != fs.bs,
		"allocation groups":    fs.agCount < 1 || fs.agBlocks < 5 || fs.agLog > 31 || fs.agBlocks > 1<<fs.agLog,
		"size of directories":  fs.dirLog > 7 || fs.bs<<fs.dirLog > 65536,
		"number of its blocks": fs.blocks < 5 || fs.blocks > 1<<50,
	} {
		if bad {
			return fmt.Errorf("XFS: superblock: impossible %s: %w", what, ErrDamaged)
		}
	}
	fs.root, fs.result.BlockSize = be.Uint64(sb[56:]), fs.bs
	fs.special = map[uint64]Kind{be.Uint64(sb[64:]): Other, be.Uint64(sb[72:]): Other}
	for _, at := range []int{160, 168, 232} {
		if n := be.Uint64(sb[at:]); n != 0 && n != ^uint64(0) && (fs.v5 || at != 232) {
			fs.special[n] = Quota
		}
	}
	delete(fs.special, fs.root)
	if whole := fs.size / fs.bs; fs.blocks > whole {
		fs.problem(Problem{Range: Range{whole * fs.bs, (fs.blocks - whole) * fs.bs}, Text: "the file system goes on beyond the end of the volume"})
		fs.blocks = whole
	}
	fs.agCount = min(fs.agCount, (fs.blocks+fs.agBlocks-1)/fs.agBlocks)
	if log, n := be.Uint64(sb[48:]), int64(be.Uint32(sb[96:])); log != 0 {
		if at, ok := fs.block(log); ok {
			fs.found(Piece{Kind: Journal, Offset: NoOffset, Group: int(at / fs.agBlocks)}, at*fs.bs, n*fs.bs)
		}
	}
	return nil
}

// block converts a block number of the file system to a block of the volume.
func (fs *xfsFS) block(nr uint64) (at int64, ok bool) {
	ag, in := int64(nr>>fs.agLog), int64(nr&(1<<fs.agLog-1))
	at = ag*fs.agBlocks + in
	return at, ag < fs.agCount && ag >= 0 && in < fs.agBlocks && at < fs.blocks
}

// place returns the location of an inode's record; n is 0 if the number is invalid.
func (fs *xfsFS) place(inode uint64) (at, n int64) {
	block, ok := fs.block(inode >> fs.perLog)
	if !ok {
		return 0, 0
	}
	return block*fs.bs + int64(inode&(1<<fs.perLog-1))*fs.inodeSize, fs.inodeSize
}

// inodesOf returns the range of inode numbers of an allocation group.
func (fs *xfsFS) inodesOf(ag int64) (first, last uint64) {
	shift := fs.agLog + fs.perLog
	return uint64(ag) << shift, uint64(ag+1)<<shift - 1
}

// group searches an allocation group.
func (fs *xfsFS) group(ag int64) {
	start := ag * fs.agBlocks * fs.bs
	fs.metadata(Superblock, int(ag), start, max(4*fs.sector, fs.bs))
	p := make([]byte, fs.sector)
	if err := fs.header(p, start+fs.sector, "XAGF"); err != nil {
		fs.problem(Problem{Range: Range{start + fs.sector, fs.sector}, Text: fmt.Sprintf("where the trees for free space are in group %d is not known", ag)})
	} else {
		fs.freeSpace(ag, p)
	}
	if err := fs.header(p, start+2*fs.sector, "XAGI"); err != nil {
		first, last := fs.inodesOf(ag)
		fs.problem(Problem{Range: Range{start + 2*fs.sector, fs.sector}, Text: fmt.Sprintf("the inode tree of group %d is not known", ag), First: first, Last: last})
		return
	}
	first, last := fs.inodesOf(ag)
	t := &xfsTree{fs: fs, ag: ag, kind: InodeTree, key: 4, first: first, last: last, leaf: fs.chunks}
	t.walk(be.Uint32(p[20:]), int(be.Uint32(p[24:])))
	if fs.v5 && fs.roCompat&xfsFinobt != 0 {
		t := &xfsTree{fs: fs, ag: ag, kind: InodeTree, key: 4}
		t.walk(be.Uint32(p[328:]), int(be.Uint32(p[332:])))
	}
}

// header reads a header of an allocation group.
func (fs *xfsFS) header(p []byte, at int64, magic string) error {
	if err := fs.read(p, at); err != nil {
		return err
	}
	if string(p[:4]) != magic {
		return ErrDamaged
	}
	return nil
}

// freeSpace records the trees and the list that the header agf points to.
func (fs *xfsFS) freeSpace(ag int64, agf []byte) {
	trees := []struct {
		kind        Kind
		key         int64
		root, level int
		has         bool
	}{
		{FreeSpaceTree, 8, 16, 28, true},
		{FreeSpaceTree, 8, 20, 32, true},
		{ReverseMapTree, 40, 24, 36, fs.v5 && fs.roCompat&xfsRmapbt != 0},
		{ReferenceTree, 4, 88, 92, fs.v5 && fs.roCompat&xfsReflink != 0},
	}
	for _, x := range trees {
		if x.has {
			t := &xfsTree{fs: fs, ag: ag, kind: x.kind, key: x.key}
			t.walk(be.Uint32(agf[x.root:]), int(be.Uint32(agf[x.level:])))
		}
	}
	list := make([]byte, fs.sector)
	if fs.read(list, (ag*fs.agBlocks)*fs.bs+3*fs.sector) != nil {
		return // only a few blocks, and they are free
	}
	if fs.v5 {
		list = list[36:]
	}
	size := uint32(len(list) / 4)
	first, n := be.Uint32(agf[40:]), min(be.Uint32(agf[48:]), size)
	for i := range n {
		if b := int64(be.Uint32(list[(first%size+i)%size*4:])); b > 0 && b < fs.agBlocks {
			fs.metadata(FreeList, int(ag), (ag*fs.agBlocks+b)*fs.bs, fs.bs)
		}
	}
}

// An xfsTree is a tree of an allocation group.
type xfsTree struct {
	fs          *xfsFS
	ag          int64
	kind        Kind
	key         int64                         // key size
	first, last uint64                        // inodes it covers
	leaf        func(ag int64, record []byte) // called for each inode record; nil: leaves are not read
}

const mostXFSDepth = 10

// walk searches a tree with the given number of levels.
func (t *xfsTree) walk(root uint32, levels int) {
	if levels < 1 || levels > mostXFSDepth {
		t.lost(int64(root), t.first, t.last)
		return
	}
	t.node(int64(root), levels-1, t.first, t.last)
}

// lost records that a part of a tree is missing.
func (t *xfsTree) lost(block int64, first, last uint64) {
	if t.fs.ran || t.fs.ended() != nil {
		return
	}
	at := (t.ag*t.fs.agBlocks + block) * t.fs.bs
	if t.leaf == nil { // no files are affected
		t.fs.problem(Problem{Range: Range{at, t.fs.bs}, Text: fmt.Sprintf("the %s of group %d cannot be read here", t.kind, t.ag)})
		return
	}
	t.fs.problem(Problem{Range: Range{at, t.fs.bs}, Text: fmt.Sprintf("the inode tree of group %d cannot be read here", t.ag), First: first, Last: last})
}

// node searches a block of the tree that covers inodes first to last.
func (t *xfsTree) node(block int64, level int, first, last uint64) {
	fs := t.fs
	if block <= 0 || block >= fs.agBlocks {
		t.lost(block, first, last)
		return
	}
	at := (t.ag*fs.agBlocks + block) * fs.bs
	fs.metadata(t.kind, int(t.ag), at, fs.bs)
	if level == 0 && t.leaf == nil {
		return
	}
	p := make([]byte, fs.bs)
	head := int64(16)
	if fs.v5 {
		head = 56
	}
	if fs.read(p, at) != nil || int(be.Uint16(p[4:])) != level {
		t.lost(block, first, last)
		return
	}
	n := int64(be.Uint16(p[6:]))
	if level == 0 {
		for i := range min(n, (fs.bs-head)/16) {
			t.leaf(t.ag, p[head+16*i:][:16])
		}
		return
	}
	most := (fs.bs - head) / (t.key + 4)
	n = min(n, most)
	for i := range n {
		from, to := first, last
		if t.leaf != nil {
			base, _ := fs.inodesOf(t.ag)
			from = base + uint64(be.Uint32(p[head+i*t.key:]))
			if i+1 < n {
				to = max(base+uint64(be.Uint32(p[head+(i+1)*t.key:])), 1) - 1
			}
		}
		t.node(int64(be.Uint32(p[head+most*t.key+4*i:])), level-1, from, to)
	}
}
