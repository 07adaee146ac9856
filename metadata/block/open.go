package block

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"
)

// Options say how [Open] opens a device.
type Options struct {
	// Write opens the device for reading and writing instead of read-only. A regular file is then
	// locked as a whole until it is closed, like the disk of a virtual machine. Some systems and file
	// systems do not have such locks.
	Write bool
	// Shared opens a block device without claiming it exclusively. This is needed to read the metadata
	// snapshot of a pool in use. It has no effect on regular files.
	Shared bool
}

// ErrBusy says that a block device is in use by a pool or a mounted file system, or that another
// process has locked a file. In the latter case, it is also [ErrLocked].
var ErrBusy error = openError{"device is in use", syscall.EBUSY}

// ErrLocked says that another process has locked a regular file.
var ErrLocked error = lockedError{openError{"file is in use", syscall.EAGAIN}}

type lockedError struct{ openError }

func (lockedError) Is(target error) bool { return target == ErrBusy }

// ErrNotBlocks says that a path is neither a block device nor a regular file.
var ErrNotBlocks error = openError{"not a block device or regular file", syscall.ENOTBLK}

// An openError is an error with its own text that wraps errno.
type openError struct {
	text  string
	errno syscall.Errno
}

func (e openError) Error() string { return e.text }
func (e openError) Unwrap() error { return e.errno }

// Open opens a regular file or a block device. It opens a block device exclusively and, if
// possible, bypasses the page cache: dm-thin itself bypasses the cache, which may be out of date.
func Open(path string, opt Options) (Device, error) {
	f, isDevice, err := openBlocks(path, opt)
	if err != nil {
		return nil, err
	}
	if opt.Write && !isDevice {
		if err := Lock(f); err != nil {
			f.Close()
			return nil, err
		}
	}
	return newFile(f, opt.Write)
}

// openBlocks opens a regular file or a block device.
func openBlocks(path string, opt Options) (f *os.File, isDevice bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, err
	}
	isDevice = info.Mode()&os.ModeType == os.ModeDevice
	if !isDevice && !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%s: %w", path, ErrNotBlocks)
	}
	f, err = openFile(path, opt, isDevice)
	return f, isDevice, err
}

// Lock locks a whole regular file, which must be open for writing, until it is closed. The error
// is [ErrLocked] if another process has locked a part of it.
func Lock(f *os.File) error {
	if err := lock(f, true); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// LockShared keeps writers away from a regular file, which must be open for reading, until it is
// closed. The error is [ErrLocked] if another process has any lock on a part of it.
func LockShared(f *os.File) error {
	if err := lock(f, false); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// A file is a Device over an *os.File.
type file struct {
	f    *os.File
	w    *os.File // for writing: f, or the same file opened again; nil: read-only
	size int64
}

// newFile returns a device for f. It closes f on error.
func newFile(f *os.File, write bool) (Device, error) {
	size, err := sizeOf(f)
	switch {
	case err != nil:
		return nil, err
	case write:
		return &file{f: f, w: f, size: size}, nil
	}
	return &file{f: f, size: size}, nil
}

// sizeOf returns the size of f. It closes f on error.
func sizeOf(f *os.File) (int64, error) {
	// Seeking to the end also works for block devices, where stat reports 0.
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return 0, fmt.Errorf("size of %s: %w", f.Name(), err)
	}
	return size, nil
}

// NewFile returns a device for a regular file that is open for reading and writing.
func NewFile(f *os.File) (Device, error) { return newFile(f, true) }

func (d *file) ReadAt(p []byte, off int64) (int, error) { return d.f.ReadAt(p, off) }
func (d *file) Size() int64                             { return d.size }
func (d *file) Close() error                            { return d.f.Close() }

func (d *file) WriteAt(p []byte, off int64) (int, error) {
	if d.w == nil {
		return 0, ErrReadOnly
	}
	if off+int64(len(p)) > d.size { // a regular file would grow
		return 0, io.ErrShortWrite
	}
	return d.w.WriteAt(p, off)
}

func (d *file) Flush() error {
	if d.w == nil {
		return nil
	}
	return d.w.Sync()
}

// Buffer returns n zeroed blocks, aligned in memory for direct I/O.
func Buffer(n int) []Data {
	p := make([]byte, (n+1)*Size)
	skip := int(-uintptr(unsafe.Pointer(&p[0])) % Size)
	return unsafe.Slice((*Data)(p[skip:]), n)
}

// Bytes returns the memory of buf as one slice.
func Bytes(buf []Data) []byte {
	if len(buf) == 0 {
		return nil
	}
	return unsafe.Slice(&buf[0][0], len(buf)*Size)
}
