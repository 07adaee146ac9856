package block

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"
)

// Options say how [Open] opens a device.
type Options struct {
	Write bool // for reading and writing; otherwise for reading only
	// Shared leaves out the exclusive open of block devices: needed to read the
	// metadata snapshot of a pool that is in use. Regular files know no such thing.
	Shared bool
	// Lock locks a regular file, as virtual machines do with their disks: [ErrBusy] if
	// somebody else has. Systems and file systems that know no such locks give none.
	Lock bool
}

// ErrBusy says that a block device is in use, by a pool or a mounted file system, or that
// somebody has locked a file.
var ErrBusy = errors.New("device is in use")

// ErrNotBlocks says that a path names neither a block device nor a regular file.
var ErrNotBlocks = errors.New("not a block device or regular file")

// Open opens a regular file or a block device. A block device is opened
// exclusively, and past the page cache where that works: dm-thin itself bypasses
// the cache, which may therefore be out of date.
func Open(path string, opt Options) (Device, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	isDevice := info.Mode()&os.ModeType == os.ModeDevice
	if !isDevice && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, ErrNotBlocks)
	}
	f, err := openFile(path, opt, isDevice)
	if err != nil {
		return nil, err
	}
	if opt.Lock && !isDevice {
		if err := lock(f); err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	// Seeking to the end gives the size of block devices too, where stat has 0.
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("size of %s: %w", path, err)
	}
	return &file{f: f, size: size, write: opt.Write}, nil
}

// A file is a Device over an *os.File.
type file struct {
	f     *os.File
	size  int64
	write bool
}

func (d *file) ReadAt(p []byte, off int64) (int, error) { return d.f.ReadAt(p, off) }
func (d *file) Size() int64                             { return d.size }
func (d *file) Close() error                            { return d.f.Close() }

func (d *file) WriteAt(p []byte, off int64) (int, error) {
	if !d.write {
		return 0, ErrReadOnly
	}
	if off+int64(len(p)) > d.size { // a regular file would grow
		return 0, io.ErrShortWrite
	}
	return d.f.WriteAt(p, off)
}

func (d *file) Flush() error { return d.f.Sync() }

// Buffer returns n zeroed blocks, aligned in memory as direct I/O demands.
func Buffer(n int) []Data {
	p := make([]byte, (n+1)*Size)
	skip := int(-uintptr(unsafe.Pointer(&p[0])) % Size)
	return unsafe.Slice((*Data)(p[skip:]), n)
}

// Bytes is the memory of buf as one slice.
func Bytes(buf []Data) []byte {
	if len(buf) == 0 {
		return nil
	}
	return unsafe.Slice(&buf[0][0], len(buf)*Size)
}
