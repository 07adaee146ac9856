// Package newfile creates files that appear complete or not at all.
//
// Where the file system supports it, a file is created without a name and gets its name when it is
// complete and on stable storage. So no other user can put a link in its place meanwhile, and an
// interruption, even by SIGKILL, leaves nothing behind. There is one exception: a file that
// replaces another has a temporary name between two system calls, because only a rename can replace
// a name. SIGKILL at that moment leaves the complete new file under the temporary name, beside the
// old one.
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

// A File is a new file, open for reading and writing, that is not in place yet.
type File struct {
	*os.File
	path string
	temp string // name before Commit; "": unnamed
}

// Create creates a file that Commit puts at path. mode is reduced by the umask.
func Create(path string, mode os.FileMode) (*File, error) {
	if f, ok := createUnnamed(path, mode); ok {
		return &File{f, path, ""}, nil
	}
	return createNamed(path, mode)
}

// createNamed creates a file with a temporary name beside path.
func createNamed(path string, mode os.FileMode) (*File, error) {
	temp := tempName(path)
	// With O_EXCL an existing link is not followed.
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		e.Path = path // the one that the caller knows
	}
	if err != nil {
		return nil, err
	}
	return &File{f, path, temp}, nil
}

// tempName returns a name beside path that cannot be guessed.
func tempName(path string) string {
	dir, base := filepath.Split(path)
	return filepath.Join(dir, "."+base+"."+rand.Text()+".tmp")
}

// Commit flushes the file to stable storage, puts it in place and closes it. An existing file is
// replaced; without replace, the error is [fs.ErrExist]. After an error, nothing is left of the new
// file.
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
		// Only a rename can replace a name.
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

// Discard removes the file. After Commit it does nothing.
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

// Remove removes the file at path, if it exists, and makes that durable.
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

// syncFolder makes changes to a folder durable, if the system supports that.
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

// linkAndRemove renames a file to a new name. In between, both names exist.
func linkAndRemove(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}
