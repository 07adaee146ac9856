package fsmap

import (
	"cmp"
	"fmt"
	"slices"
	"unicode/utf16"
)

// Metadata records of the master file table (MFT).
const (
	ntfsMFT     = 0
	ntfsMirror  = 1
	ntfsLog     = 2
	ntfsRoot    = 5
	ntfsBitmap  = 6
	ntfsBoot    = 7
	ntfsBad     = 8
	ntfsRecords = 16 // first record for users' files
)

// Types of attributes.
const (
	ntfsList       = 0x20
	ntfsName       = 0x30
	ntfsData       = 0x80
	ntfsIndexRoot  = 0x90
	ntfsIndex      = 0xa0
	ntfsBitmapAttr = 0xb0
	ntfsEnd        = 0xffffffff
)

// An ntfsFS is an NTFS file system.
type ntfsFS struct {
	*search
	cluster int64
	record  int64     // size
	index   int64     // size of a directory block
	table   []ntfsRun // location of the MFT, in the order found
	sorted  []ntfsRun // the same by inode, once complete
	records uint64
	blocks  []ntfsRun // directory blocks, to read if records are lost
	buf     []byte
}

// An ntfsRun is a range of clusters of an attribute.
type ntfsRun struct {
	inode          uint64
	logical, at, n int64 // clusters
	begin          uint64
}

// findNTFS searches NTFS. ok reports whether it is one.
func findNTFS(s *search) (ok bool, err error) {
	boot := make([]byte, 512)
	at := int64(0)
	whole := func(at int64) bool { return s.read(boot, at) == nil && string(boot[3:11]) == "NTFS    " }
	if !whole(0) {
		if at = s.size/512*512 - 512; !whole(at) {
			return false, nil
		}
	}
	fs := &ntfsFS{search: s}
	if err := fs.open(boot); err != nil {
		return true, err
	}
	if at != 0 {
		s.problem(Problem{Range: Range{0, 512}, Text: fmt.Sprintf("the boot sector cannot be used; its copy at byte %d was taken", at)})
	}
	if err := fs.findTable(boot); err != nil {
		return true, err
	}
	fs.eachRecord(fs.inode, true)
	fs.sorted = slices.SortedFunc(slices.Values(fs.table), func(a, b ntfsRun) int { return cmp.Compare(a.logical, b.logical) })
	fs.left += int64(fs.records) * fs.record // names are read in a second pass
	fs.eachRecord(fs.names, false)
	if !fs.result.Complete() {
		fs.readIndexes()
	}
	return true, nil
}

// size8 decodes a size in clusters, or as a negative power of two.
func (fs *ntfsFS) size8(v byte) int64 {
	if n := int8(v); n < 0 {
		return 1 << min(uint(-int(n)), 40)
	}
	return int64(v) * fs.cluster
}

// open parses the boot sector.
func (fs *ntfsFS) open(p []byte) error {
	fs.result.FileSystem = "NTFS"
	sector, per := int64(le.Uint16(p[11:])), int64(p[13])
	if per > 0x80 {
		per = 1 << min(256-per, 30)
	}
	fs.cluster = sector * per
	fs.record, fs.index = fs.size8(p[0x40]), fs.size8(p[0x44])
	for what, bad := range map[string]bool{
		"sector size":          sector < 256 || sector > 4096 || sector&(sector-1) != 0,
		"cluster size":         fs.cluster < 512 || fs.cluster > 2<<20 || fs.cluster&(fs.cluster-1) != 0,
		"record size":          fs.record < 512 || fs.record > 65536 || fs.record&(fs.record-1) != 0,
		"size of index blocks": fs.index < 512 || fs.index > 65536 || fs.index&(fs.index-1) != 0,
	} {
		if bad {
			return fmt.Errorf("NTFS: boot sector: impossible %s: %w", what, ErrDamaged)
		}
	}
	fs.root, fs.result.BlockSize = ntfsRoot, fs.cluster
	fs.buf = make([]byte, fs.record)
	return nil
}

// findTable locates the MFT through its first record, or the copy of that record.
func (fs *ntfsFS) findTable(boot []byte) error {
	for i, at := range []uint64{le.Uint64(boot[0x30:]), le.Uint64(boot[0x38:])} {
		if at > uint64(fs.size/fs.cluster) || fs.read(fs.buf, int64(at)*fs.cluster) != nil || !fs.fixUp(fs.buf, "FILE") {
			continue
		}
		fs.tableRuns(fs.buf)
		if i > 0 && len(fs.table) > 0 {
			fs.note("the first record of the MFT cannot be used; its copy was taken")
		}
		if len(fs.table) > 0 {
			return nil
		}
	}
	return fmt.Errorf("NTFS: neither the first record of the MFT nor its copy can be used: %w", ErrDamaged)
}

// tableRuns adds the MFT's runs in a record.
func (fs *ntfsFS) tableRuns(p []byte) {
	for a := range attributes(p) {
		if a.kind != ntfsData || a.runs == nil || a.named {
			continue
		}
		for r := range a.each(fs.size / fs.cluster) {
			if r.logical+r.n > fs.size/fs.cluster {
				break // a table without holes cannot be that large
			}
			r.begin = uint64(r.logical*fs.cluster) / uint64(fs.record)
			fs.table = append(fs.table, r)
			fs.records = max(fs.records, uint64((r.logical+r.n)*fs.cluster)/uint64(fs.record))
		}
	}
}

// fixUp restores the last bytes of each sector. It reports whether p is a valid block of that kind.
func (fs *ntfsFS) fixUp(p []byte, magic string) bool {
	at, n := int(le.Uint16(p[4:])), int(le.Uint16(p[6:]))
	if string(p[:4]) != magic || n < 1 || (n-1)*512 > len(p) || at < 8 || at+2*n > len(p) {
		return false
	}
	for i := 1; i < n; i++ {
		end := p[512*i-2 : 512*i]
		if string(end) != string(p[at:at+2]) {
			return false
		}
		copy(end, p[at+2*i:])
	}
	return true
}

// place returns the location of a record; n is 0 if it is unknown.
func (fs *ntfsFS) place(inode uint64) (at, n int64) {
	i, _ := slices.BinarySearchFunc(fs.sorted, int64(inode)*fs.record, func(r ntfsRun, at int64) int {
		return cmp.Compare((r.logical+r.n)*fs.cluster, at+1)
	})
	if i == len(fs.sorted) || inode >= fs.records {
		return 0, 0
	}
	r := fs.sorted[i]
	if in := int64(inode)*fs.record - r.logical*fs.cluster; in >= 0 && in < r.n*fs.cluster {
		return r.at*fs.cluster + in, fs.record
	}
	return 0, 0
}

// eachRecord calls fn for each readable record in use.
func (fs *ntfsFS) eachRecord(fn func(at int64, nr, base uint64, p []byte), say bool) {
	for i := 0; i < len(fs.table); i++ { // records may add more runs
		r := fs.table[i]
		if say {
			fs.metadata(InodeTable, -1, r.at*fs.cluster, r.n*fs.cluster)
		}
		nr := r.begin
		for at := r.at * fs.cluster; at+fs.record <= (r.at+r.n)*fs.cluster; at, nr = at+fs.record, nr+1 {
			if fs.ended() != nil || fs.ran {
				return
			}
			if fs.opt.Progress != nil && nr%1024 == 0 {
				fs.opt.Progress(nr, fs.records)
			}
			err := fs.read(fs.buf, at)
			switch {
			case err == nil && string(fs.buf[:4]) == "FILE" && !fs.fixUp(fs.buf, "FILE"):
				err = ErrDamaged
			case err == nil && (string(fs.buf[:4]) != "FILE" || fs.buf[22]&1 == 0):
				if string(fs.buf[:4]) == "FILE" || allZero(fs.buf) {
					continue
				}
				err = ErrDamaged
			}
			if err != nil {
				if say {
					fs.problem(Problem{Range: Range{at, fs.record}, Text: "records of the MFT cannot be read", First: nr, Last: nr})
				}
				continue
			}
			base := le.Uint64(fs.buf[32:]) & (1<<48 - 1)
			if base == 0 && nr != ntfsMFT && le.Uint64(fs.buf[32:]) == 0 {
				base = nr
			}
			fn(at, nr, base, fs.buf)
		}
	}
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// inode searches a record of the file base.
func (fs *ntfsFS) inode(at int64, nr, base uint64, p []byte) {
	n := fs.record
	if base != ntfsMFT { // 0 also means no base
		fs.ofInode(Inode, base, at, n)
	}
	if fs.used.set(base); base < ntfsRecords {
		fs.named.set(base)
	}
	if nr != base && base == ntfsMFT {
		fs.tableRuns(p)
	}
	if p[22]&2 != 0 {
		fs.dirs.set(base)
	}
	for a := range attributes(p) {
		if a.runs == nil {
			continue
		}
		kind, isContent := fs.kind(base, a)
		for r := range a.each(fs.size / fs.cluster) {
			offset := int64(NoOffset)
			if isContent {
				offset = r.logical * fs.cluster
			}
			if kind != InodeTable {
				fs.found(Piece{Kind: kind, Inode: base, Offset: offset, Group: -1}, r.at*fs.cluster, r.n*fs.cluster)
			}
			if r.inode = base; a.kind == ntfsIndex {
				fs.blocks = append(fs.blocks, r)
			}
		}
		if a.broken {
			fs.wanted.set(base)
			fs.problem(Problem{Range: Range{at, n}, Text: fmt.Sprintf("the runs of inode %d are damaged: the rest of the file may be anywhere", base)})
		}
	}
}

// kind returns the kind of an attribute's clusters.
func (fs *ntfsFS) kind(base uint64, a *ntfsAttribute) (kind Kind, content bool) {
	switch {
	case a.kind == ntfsIndex || a.kind == ntfsBitmapAttr && base != ntfsMFT:
		return Directory, a.kind == ntfsIndex
	case a.kind == ntfsBitmapAttr:
		return InodeBitmap, false
	case a.kind == ntfsList:
		return ExtentTree, false
	case a.kind != ntfsData:
		return Attributes, false
	case base >= ntfsRecords:
		return Data, true
	}
	switch base {
	case ntfsMFT:
		return InodeTable, false
	case ntfsLog:
		return Journal, true
	case ntfsBitmap:
		return BlockBitmap, false
	case ntfsBoot:
		return Superblock, false
	}
	return Other, false
}

// names collects the names in a record.
func (fs *ntfsFS) names(_ int64, _, base uint64, p []byte) {
	for a := range attributes(p) {
		if a.kind == ntfsName && a.runs == nil {
			fs.fileName(base, a.value)
		}
	}
}

// fileName adds a name of an inode, unless it is a DOS name.
func (fs *ntfsFS) fileName(inode uint64, p []byte) {
	const dos = 2
	if len(p) < 66 || len(p) < 66+2*int(p[64]) || p[65] == dos || inode == ntfsRoot {
		return
	}
	units := make([]uint16, p[64])
	for i := range units {
		units[i] = le.Uint16(p[66+2*i:])
	}
	at, n := fs.place(inode)
	fs.name(le.Uint64(p)&(1<<48-1), []byte(string(utf16.Decode(units))), inode, at, n)
}

// readIndexes reads the directories, to find the names of inodes whose records are lost.
func (fs *ntfsFS) readIndexes() {
	fs.left += int64(fs.records) * fs.record
	fs.eachRecord(func(_ int64, _, _ uint64, p []byte) {
		for a := range attributes(p) {
			if a.kind == ntfsIndexRoot && a.runs == nil && len(a.value) > 32 {
				fs.indexEntries(a.value[16:])
			}
		}
	}, false)
	p := make([]byte, fs.index)
	for _, r := range fs.blocks {
		for at := r.at * fs.cluster; at+fs.index <= (r.at+r.n)*fs.cluster; at += fs.index {
			if fs.ended() != nil || fs.ran {
				return
			}
			switch err := fs.read(p, at); {
			case err != nil:
				fs.problem(Problem{Range: Range{at, fs.index}, Text: fmt.Sprintf("names in directory %d are lost", r.inode)})
			case fs.fixUp(p, "INDX"):
				fs.indexEntries(p[24:])
			}
		}
	}
}

// indexEntries parses the entries after an index header.
func (fs *ntfsFS) indexEntries(p []byte) {
	begin, end := int(le.Uint32(p)), int(le.Uint32(p[4:]))
	if begin < 16 || begin > end || end > len(p) {
		return
	}
	for p = p[begin:end]; len(p) >= 16; {
		n, key := int(le.Uint16(p[8:])), int(le.Uint16(p[10:]))
		if n < 16 || n > len(p) || 16+key > n || p[12]&2 != 0 {
			return
		}
		if inode := le.Uint64(p) & (1<<48 - 1); key >= 66 && inode < fs.records && !fs.named.has(inode) {
			fs.fileName(inode, p[16:16+key])
		}
		p = p[n:]
	}
}
