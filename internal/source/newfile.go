package source

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"thinpool/internal/newfile"
	"thinpool/metadata/block"
)

// A newFile is a file that will replace another one or be created.
type newFile struct {
	*newfile.File
	old *os.File // the file it replaces, locked; nil: none, or unreadable
}

// replaceFile creates a file that will appear at path. It gets the owner and mode of an existing
// file, or else mode. A file that another process is writing to is not replaced.
func replaceFile(path string, mode os.FileMode) (*newFile, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // replace the file, not the link
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

// like gives f the owner and mode of the file described by info. If f cannot have the same group,
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

// Discard removes the file. After commit it does nothing.
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

// ModeLike returns the mode for a new file with content from other files. It gives access only to
// users who can read all of them.
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
