package newfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// createUnnamed creates a file without a name; errors mention path. Not all file systems support
// this, and naming the file later needs /proc.
func createUnnamed(path string, mode os.FileMode) (*os.File, bool) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_RDWR|unix.O_TMPFILE|unix.O_CLOEXEC, uint32(mode.Perm()))
	if err != nil {
		return nil, false
	}
	f := os.NewFile(uintptr(fd), path)
	if _, err := os.Stat(descriptor(f)); err != nil {
		f.Close()
		return nil, false
	}
	return f, true
}

func descriptor(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// link gives an unnamed file a name that must not exist.
func link(f *os.File, path string) error {
	err := unix.Linkat(unix.AT_FDCWD, descriptor(f), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return &os.PathError{Op: "create", Path: path, Err: err}
	}
	return nil
}

// renameNew renames a file to a name that must not exist.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not supported by every file system
		return linkAndRemove(from, to)
	}
	if err != nil {
		return &os.PathError{Op: "create", Path: to, Err: err}
	}
	return nil
}
