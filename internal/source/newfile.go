package source

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"thinpool/internal/newfile"
	"thinpool/metadata/block"
)

// A newFile is a file that will replace another, or be the first of its name.
type newFile struct {
	*newfile.File
	old *os.File // the one that it replaces, locked; nil: none, or it cannot be read
}

// replaceFile makes a file that will be at path. Owner and mode are those of a file that is
// there, else it has mode. A file that another process writes to is not replaced.
func replaceFile(path string, mode os.FileMode) (*newFile, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // replace the file, not the link to it
	}
	old, err := os.Open(path)
	switch {
	case err == nil:
		if err := block.LockShared(old); err != nil {
			old.Close()
			return nil, busyFile(path, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		old = nil
	}
	f, err := newfile.Create(path, mode)
	n := &newFile{f, old}
	if err == nil {
		if info, e := os.Stat(path); e == nil {
			err = like(f.File, info)
		}
	}
	if err != nil {
		n.Discard()
		return nil, err
	}
	return n, nil
}

// like gives f owner and mode of the file that info is of. If it cannot have the same group,
// its own group gets no access.
func like(f *os.File, info fs.FileInfo) error {
	mode := info.Mode().Perm()
	if !chownLike(f, info) {
		mode &^= 0o070
	}
	return f.Chmod(mode)
}

func (n *newFile) commit() error {
	defer n.unlock()
	return n.File.Commit(true)
}

// Discard gives the file up. After commit it does nothing.
func (n *newFile) Discard() {
	if n.File != nil {
		n.File.Discard()
	}
	n.unlock()
}

func (n *newFile) unlock() {
	if n.old != nil {
		n.old.Close()
	}
}

// ModeLike is the mode of a new file with content of those at from, as it can be without
// showing it to anyone who cannot read all of them.
func ModeLike(from ...string) os.FileMode {
	mode := os.FileMode(0o666)
	for _, path := range from {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o004 != 0 {
			continue
		}
		mode &^= 0o006
		if info.Mode().Perm()&0o040 == 0 || !ownGroup(info) {
			mode &^= 0o060
		}
	}
	return mode
}
