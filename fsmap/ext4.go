package fsmap

import (
	"encoding/binary"
	"fmt"
)

// Features of ext2, ext3 and ext4 that matter here.
const (
	extSparse2     = 0x200 // compat
	extResizeInode = 0x10
	extHasJournal  = 0x4
	extOrphanFile  = 0x1000

	extCompression = 0x1 // incompat
	extRecover     = 0x4
	extJournalDev  = 0x8
	extMetaBG      = 0x10
	extExtents     = 0x40
	ext64          = 0x80
	extMMP         = 0x100
	extKnown       = 0x2 | extRecover | extMetaBG | extExtents | ext64 | extMMP | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000

	extSparse = 0x1 // ro compat
	extGDTSum = 0x10
	extSums   = 0x400
	extBig    = 0x200 // bigalloc
)

// Inode numbers and flags.
const (
	extRoot     = 2
	extBadInode = 1
	extResize   = 7

	extInodeExtents = 0x80000
	extInodeInline  = 0x10000000

	modeKind    = 0xf000
	modeDir     = 0x4000
	modeRegular = 0x8000
	modeLink    = 0xa000
)

// An extFS is an ext2, ext3 or ext4 file system.
type extFS struct {
	*search
	bs                         int64
	first                      int64 // first block of group 0
	blocks                     int64
	perGroup                   int64
	inodesPerGroup             int64
	inodeSize                  int64
	inodes                     uint64
	descSize                   int64
	reserved                   int64 // blocks reserved for more descriptors
	firstMeta                  int64
	compat, incompat, roCompat uint32
	backups                    [2]uint32
	groups                     int64
	tables                     []int64 // start of the inode table by group; 0: unknown
	unused                     []int64 // inodes at the end of each table that were never used
	special                    map[uint64]Kind
	mmp                        int64
	dirExtents                 []extDir
	inline                     []extInline
	superAt                    int64 // block with the superblock of group 0
	buf                        []byte
}

// An extDir is a range of blocks of a directory.
type extDir struct {
	inode uint64
	at, n int64 // blocks
}

// An extInline has directory entries stored in the inode.
type extInline struct {
	inode   uint64
	entries []byte
}

// findExt searches ext2, ext3 and ext4. ok reports whether it is one of them.
func findExt(s *search) (ok bool, err error) {
	sb, at, ok := s.extSuperblock()
	if !ok {
		return false, nil
	}
	fs := &extFS{search: s}
	if err := fs.open(sb); err != nil {
		return true, err
	}
	if at != 1024 {
		s.problem(Problem{Range: Range{1024, 1024}, Text: fmt.Sprintf("the superblock cannot be used; its copy at byte %d was taken", at)})
	}
	fs.layout()
	fs.descriptors()
	fs.searchInodes()
	fs.readDirs()
	return true, nil
}

// extSuperblock finds a superblock: the first one, or a copy where a file system with groups of the
// usual size has one.
func (s *search) extSuperblock() (sb []byte, at int64, ok bool) {
	sb = make([]byte, 1024)
	whole := func(at int64) bool {
		return s.read(sb, at) == nil && le.Uint16(sb[56:]) == 0xef53 && le.Uint32(sb[24:]) <= 6 && le.Uint32(sb[32:]) > 0 && le.Uint32(sb[40:]) > 0
	}
	if whole(1024) {
		return sb, 1024, true
	}
	for shift := range 7 {
		bs := int64(1024) << shift
		for _, g := range []int64{1, 3, 5, 7} {
			at := g * bs * 8 * bs
			if shift == 0 {
				at += bs
			}
			if whole(at) && int64(le.Uint16(sb[90:])) == g && le.Uint32(sb[24:]) == uint32(shift) {
				return sb, at, true
			}
		}
	}
	return nil, 0, false
}

var le = binary.LittleEndian

// open parses the superblock and refuses values that no such file system has.
func (fs *extFS) open(sb []byte) error {
	fs.compat, fs.incompat, fs.roCompat = le.Uint32(sb[92:]), le.Uint32(sb[96:]), le.Uint32(sb[100:])
	if le.Uint32(sb[76:]) == 0 { // revision 0 has none of the following fields
		fs.compat, fs.incompat, fs.roCompat = 0, 0, 0
	}
	fs.result.FileSystem = fs.generation()
	if unknown := fs.incompat &^ extKnown; unknown != 0 {
		return fmt.Errorf("%s with unknown features %#x: %w", fs.result.FileSystem, unknown, ErrUnsupported)
	}
	fs.bs = 1024 << le.Uint32(sb[24:])
	fs.blocks = int64(le.Uint32(sb[4:]))
	if fs.incompat&ext64 != 0 {
		fs.blocks |= int64(le.Uint32(sb[336:])&0x7fffffff) << 32
	}
	fs.first = int64(le.Uint32(sb[20:]))
	fs.superAt = 1024 / fs.bs
	fs.perGroup, fs.inodesPerGroup = int64(le.Uint32(sb[32:])), int64(le.Uint32(sb[40:]))
	fs.inodes = uint64(le.Uint32(sb[0:]))
	fs.inodeSize, fs.descSize = 128, 32
	if le.Uint32(sb[76:]) > 0 {
		fs.inodeSize = int64(le.Uint16(sb[88:]))
	}
	if fs.incompat&ext64 != 0 {
		fs.descSize = int64(le.Uint16(sb[254:]))
	}
	fs.reserved, fs.firstMeta = int64(le.Uint16(sb[206:])), int64(le.Uint32(sb[260:]))
	fs.backups = [2]uint32{le.Uint32(sb[588:]), le.Uint32(sb[592:])}
	if fs.incompat&extMMP != 0 {
		fs.mmp = int64(le.Uint64(sb[360:]))
	}
	for what, bad := range map[string]bool{
		"block size":        fs.bs > 65536,
		"inode size":        fs.inodeSize < 128 || fs.inodeSize > fs.bs || fs.inodeSize&(fs.inodeSize-1) != 0,
		"descriptor size":   fs.descSize < 32 || fs.descSize > fs.bs || fs.descSize&(fs.descSize-1) != 0,
		"blocks of a group": fs.perGroup < 8 || fs.roCompat&extBig == 0 && fs.perGroup > 8*fs.bs,
		"inodes of a group": fs.inodesPerGroup < 1 || fs.inodesPerGroup > 8*fs.bs,
		"first block":       fs.first > 1 || fs.first >= fs.blocks,
	} {
		if bad {
			return fmt.Errorf("%s: superblock: impossible %s: %w", fs.result.FileSystem, what, ErrDamaged)
		}
	}
	fs.root, fs.result.BlockSize = extRoot, fs.bs
	if whole := fs.size / fs.bs; fs.blocks > whole {
		fs.problem(Problem{Range: Range{whole * fs.bs, (fs.blocks - whole) * fs.bs}, Text: "the file system goes on beyond the end of the volume"})
		fs.blocks = whole
	}
	fs.groups = (fs.blocks - fs.first + fs.perGroup - 1) / fs.perGroup
	fs.groups = min(fs.groups, (int64(fs.inodes)+fs.inodesPerGroup-1)/fs.inodesPerGroup)
	fs.inodes = min(fs.inodes, uint64(fs.groups*fs.inodesPerGroup))
	fs.buf = make([]byte, fs.bs)
	fs.specialInodes(sb)
	if fs.incompat&extRecover != 0 {
		fs.note("the journal was not replayed: the newest changes may not be in what was searched")
	}
	if fs.roCompat&extBig != 0 {
		fs.note("the file system uses clusters (bigalloc): the end of a cluster that no extent maps is listed as free")
	}
	return nil
}

func (fs *extFS) generation() string {
	switch {
	case fs.incompat&(extExtents|ext64|extMetaBG) != 0 || fs.roCompat&(extGDTSum|extSums|extBig) != 0:
		return "ext4"
	case fs.compat&extHasJournal != 0:
		return "ext3"
	}
	return "ext2"
}

// specialInodes collects the inodes that have no name and contain metadata.
func (fs *extFS) specialInodes(sb []byte) {
	fs.special = map[uint64]Kind{extBadInode: Other, extResize: ReservedDescriptors}
	set := func(at int, kind Kind) {
		if n := le.Uint32(sb[at:]); n != 0 && n != extRoot {
			fs.special[uint64(n)] = kind
		}
	}
	if fs.compat&extHasJournal != 0 {
		set(224, Journal)
	}
	if fs.compat&extOrphanFile != 0 {
		set(640, Other)
	}
	set(576, Quota)
	set(580, Quota)
	set(620, Quota)
}

// start returns the first block of a group.
func (fs *extFS) start(group int64) int64 { return fs.first + group*fs.perGroup }

// hasSuper reports whether a group starts with a superblock.
func (fs *extFS) hasSuper(group int64) bool {
	switch {
	case group == 0:
		return true
	case fs.compat&extSparse2 != 0:
		return group == int64(fs.backups[0]) || group == int64(fs.backups[1])
	case fs.roCompat&extSparse == 0 || group == 1:
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// superBlock returns the superblock of a group.
func (fs *extFS) superBlock(group int64) int64 {
	if group == 0 {
		return max(fs.first, fs.superAt)
	}
	return fs.start(group)
}

// descPerBlock returns the number of descriptors per block.
func (fs *extFS) descPerBlock() int64 { return fs.bs / fs.descSize }

// descBlocks returns the number of descriptor blocks that follow a superblock.
func (fs *extFS) descBlocks() int64 {
	n := (fs.groups + fs.descPerBlock() - 1) / fs.descPerBlock()
	if fs.incompat&extMetaBG != 0 {
		n = min(n, fs.firstMeta)
	}
	return n
}

// layout records superblocks and descriptors.
func (fs *extFS) layout() {
	old, per := fs.descBlocks(), fs.descPerBlock()
	for g := range fs.groups {
		at, has := fs.superBlock(g), fs.hasSuper(g)
		if has {
			fs.metadata(Superblock, int(g), at*fs.bs, fs.bs)
			at++
		}
		if meta := g / per; fs.incompat&extMetaBG != 0 && meta >= fs.firstMeta {
			if in := g % per; in == 0 || in == 1 || in == per-1 {
				fs.metadata(Descriptors, int(g), at*fs.bs, fs.bs)
			}
			continue
		}
		if has {
			fs.metadata(Descriptors, int(g), at*fs.bs, old*fs.bs)
			if fs.compat&extResizeInode != 0 {
				fs.metadata(ReservedDescriptors, int(g), (at+old)*fs.bs, fs.reserved*fs.bs)
			}
		}
	}
	if fs.mmp > 0 && fs.mmp < fs.blocks {
		fs.metadata(Other, 0, fs.mmp*fs.bs, fs.bs)
	}
}

// descPlaces returns the locations of a descriptor block, in order of preference.
func (fs *extFS) descPlaces(i int64) []int64 {
	var places []int64
	per := fs.descPerBlock()
	if fs.incompat&extMetaBG != 0 && i >= fs.firstMeta {
		for _, g := range []int64{i * per, i*per + 1, i*per + per - 1} {
			if g < fs.groups {
				at := fs.superBlock(g)
				if fs.hasSuper(g) {
					at++
				}
				places = append(places, at)
			}
		}
		return places
	}
	const most = 8 // number of copies to try
	for g := int64(0); g < fs.groups && len(places) < most; g++ {
		if fs.hasSuper(g) {
			places = append(places, fs.superBlock(g)+1+i)
		}
	}
	return places
}
