package fsmap

import (
	"cmp"
	"fmt"
	"slices"
)

// readDirs reads all directories in block order.
func (fs *extFS) readDirs() {
	for _, d := range fs.inline {
		fs.entries(d.inode, d.entries)
	}
	slices.SortFunc(fs.dirExtents, func(a, b extDir) int { return cmp.Compare(a.at, b.at) })
	for _, d := range fs.dirExtents {
		for at := d.at; at < d.at+d.n; at++ {
			err := fs.read(fs.buf, at*fs.bs)
			if fs.ended() != nil || fs.ran {
				return
			}
			if err == nil && !fs.entries(d.inode, fs.buf) {
				err = ErrDamaged
			}
			if err != nil {
				fs.lostDir(d.inode, at)
			}
		}
	}
}

// lostDir records that a block of a directory is missing.
func (fs *extFS) lostDir(inode uint64, at int64) {
	fs.problem(Problem{Range: Range{at * fs.bs, fs.bs}, Text: fmt.Sprintf("names in directory %d are lost", inode)})
}

// entries parses the directory entries in a block. It reports whether the block is well-formed.
func (fs *extFS) entries(dir uint64, p []byte) bool {
	for len(p) >= 8 {
		n, name := int(le.Uint16(p[4:])), int(p[6])
		if fs.bs > 32768 && (n == 65535 || n == 0) {
			n = len(p)
		}
		if n < 8 || n > len(p) || n%4 != 0 || name > n-8 {
			return false
		}
		switch inode := uint64(le.Uint32(p)); {
		case inode == 0 || inode > fs.inodes || string(p[8:8+name]) == ".":
		case string(p[8:8+name]) == "..":
			fs.above[dir] = inode
		case name > 0:
			at, size := fs.place(inode)
			fs.name(dir, p[8:8+name], inode, at, size)
		}
		p = p[n:]
	}
	return true
}

// inlineDir saves the entries stored in the inode: after the parent's number, and in an attribute.
func (fs *extFS) inlineDir(nr uint64, p []byte) {
	fs.above[nr] = uint64(le.Uint32(p[40:]))
	fs.inline = append(fs.inline, extInline{nr, slices.Clone(p[44:100])})
	if len(p) < 132 {
		return
	}
	at := 128 + int(le.Uint16(p[128:]))
	if at+4 > len(p) || le.Uint32(p[at:]) != 0xea020000 {
		return
	}
	values := p[at+4:]
	for e := values; len(e) >= 16 && le.Uint32(e) != 0; {
		n := int(e[0])
		size := (16 + n + 3) &^ 3
		if size > len(e) {
			return
		}
		offset, length := int(le.Uint16(e[2:])), int(le.Uint32(e[8:]))
		if e[1] == 7 && string(e[16:16+n]) == "data" && offset <= len(values) && length <= len(values)-offset {
			fs.inline = append(fs.inline, extInline{nr, slices.Clone(values[offset : offset+length])})
		}
		e = e[size:]
	}
}
