package fsmap

import "fmt"

// xfsDirIndex is the offset of the index in a directory.
const xfsDirIndex = 1 << 35

func (fs *xfsFS) readDir(d *xfsDir) {
	if d.short != nil {
		fs.shortDir(d)
		return
	}
	unit := int64(1) << fs.dirLog // blocks per directory block
	p := make([]byte, fs.bs*unit)
	done, have := int64(0), int64(0)
	inode, parts := d.inode, d.parts // d moves when more directories are found
	for _, x := range parts {
		for i := int64(0); i < x.n; i++ {
			if fs.ended() != nil || fs.ran {
				return
			}
			logical := x.logical + i
			if logical%unit == 0 {
				done, have = logical, 0
			}
			if logical != done+have {
				continue
			}
			at := (x.at + i) * fs.bs
			if err := fs.read(p[have*fs.bs:][:fs.bs], at); err != nil {
				fs.problem(Problem{Range: Range{at, fs.bs}, Text: fmt.Sprintf("names in directory %d are lost", inode)})
				continue
			}
			if have++; have == unit && !fs.dirBlock(inode, p) {
				fs.problem(Problem{Range: Range{at, fs.bs}, Text: fmt.Sprintf("names in directory %d are damaged", inode)})
			}
		}
	}
}

// entry handles a directory entry.
func (fs *xfsFS) entry(dir uint64, name []byte, inode uint64) {
	if string(name) == "." {
		return
	}
	fs.byName(inode)
	if string(name) == ".." {
		fs.above[dir] = inode
		return
	}
	at, n := fs.place(inode)
	if n == 0 {
		return
	}
	fs.name(dir, name, inode, at, n)
}

// typed returns 1 if entries have a file type byte.
func (fs *xfsFS) typed() int {
	if fs.ftype {
		return 1
	}
	return 0
}

// shortDir parses the entries in the inode.
func (fs *xfsFS) shortDir(d *xfsDir) {
	p, inode := d.short, d.inode
	if len(p) < 10 {
		return
	}
	wide := 4
	if p[1] > 0 {
		wide = 8
	}
	n := max(int(p[0]), int(p[1]))
	above := uint64(be.Uint32(p[2:]))
	if wide == 8 {
		above = be.Uint64(p[2:])
	}
	fs.entry(inode, []byte(".."), above)
	p = p[2+wide:]
	for range n {
		if len(p) < 3 {
			return
		}
		length := int(p[0])
		end := 3 + length + fs.typed() + wide
		if end > len(p) {
			return
		}
		nr := uint64(be.Uint32(p[end-wide:]))
		if wide == 8 {
			nr = be.Uint64(p[end-wide:])
		}
		fs.entry(inode, p[3:3+length], nr)
		p = p[end:]
	}
}

// dirBlock parses a directory block. It reports whether the block is well-formed.
func (fs *xfsFS) dirBlock(dir uint64, p []byte) bool {
	head, end := 16, len(p)
	switch magic := string(p[:4]); magic {
	case "XD2D":
	case "XDD3":
		head = 64
	case "XD2B", "XDB3":
		if magic == "XDB3" {
			head = 64
		}
		tail := len(p) - 8 - 8*int(min(be.Uint32(p[len(p)-8:]), uint32(len(p))))
		if tail < head {
			return false
		}
		end = tail
	default:
		return false
	}
	for p = p[head:end]; len(p) >= 16; {
		if be.Uint16(p) == 0xffff { // free
			n := int(be.Uint16(p[2:]))
			if n < 8 || n%8 != 0 || n > len(p) {
				return false
			}
			p = p[n:]
			continue
		}
		length := int(p[8])
		n := (9 + length + fs.typed() + 2 + 7) &^ 7
		if n > len(p) || length == 0 {
			return false
		}
		fs.entry(dir, p[9:9+length], be.Uint64(p))
		p = p[n:]
	}
	return true
}
