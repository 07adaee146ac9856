// Package newfile makes files that appear in their place complete or not at all.
//
// A file is made without a name, where the file system supports that, and gets its name when it is
// complete and on stable storage. So no other user can put a link in its place in the meantime, and
// what is interrupted, even by SIGKILL, leaves nothing. There is one exception. A file that replaces
// another has a temporary name between two system calls, because only a name can take the place of
// a name. SIGKILL at that moment leaves the complete new file under that name, beside the old one.
package newfile

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// A File is a new file, open for reading and writing, that is not yet in its place.
type File struct {
	*os.File
	path string
	temp string // its name until Commit; "": it has none
}

// Create creates a file that Commit puts at path. mode is reduced by the umask.
func Create(path string, mode os.FileMode) (*File, error) {
	if f, ok := createUnnamed(path, mode); ok {
		return &File{f, path, ""}, nil
	}
	return createNamed(path, mode)
}

// createNamed creates a file with a name of its own, beside path.
func createNamed(path string, mode os.FileMode) (*File, error) {
	temp := tempName(path)
	// With O_EXCL no link that is already there is followed.
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	return &File{f, path, temp}, nil
}

// tempName is a name beside path that cannot be guessed.
func tempName(path string) string {
	dir, base := filepath.Split(path)
	return filepath.Join(dir, "."+base+"."+rand.Text()+".tmp")
}

// Commit flushes the file to stable storage, closes it and puts it in its place. If something
// is there already it is replaced, or without replace the error is [fs.ErrExist]. After an
// error nothing is left of the file.
func (f *File) Commit(replace bool) error {
	err := f.Sync()
	if err == nil {
		err = f.place(replace)
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		f.remove()
		return err
	}
	return syncFolder(filepath.Dir(f.path))
}

// place gives the file its name.
func (f *File) place(replace bool) error {
	if f.temp == "" {
		err := link(f.File, f.path)
		if !replace || !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Only a name can take the place of another.
		temp := tempName(f.path)
		if err := link(f.File, temp); err != nil {
			return err
		}
		f.temp = temp
	}
	if !replace {
		return renameNew(f.temp, f.path)
	}
	return os.Rename(f.temp, f.path)
}

// Discard gives the file up. After Commit it does nothing.
func (f *File) Discard() {
	if f.Close() == nil {
		f.remove()
	}
}

func (f *File) remove() {
	if f.temp != "" {
		os.Remove(f.temp)
	}
}

// Remove removes the file at path, if there is one, on stable storage.
func Remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes the names in a folder durable, where the system can do that.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = dir.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) || runtime.GOOS == "windows" {
		return nil
	}
	return err
}

// linkAndRemove renames a file to a name that is not there yet, by way of both names.
func linkAndRemove(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}
