package trim

import (
	"fmt"
	"io"
	"os"

	"thinpool/metadata/block"
)

// Data is a data device.
type Data interface {
	Size() int64 // in bytes
	// Discard gives back n bytes from off on. Afterwards they may read as anything.
	Discard(off, n int64) error
	Close() error
}

// OpenData opens a block device exclusively, or locks a regular file. The data starts at byte at. The
// error wraps [block.ErrBusy] or [block.ErrNotBlocks], as for [block.Open].
func OpenData(path string, at int64) (Data, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	isDevice := info.Mode()&os.ModeType == os.ModeDevice
	if !isDevice && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, block.ErrNotBlocks)
	}
	f, err := openData(path, isDevice)
	if err != nil {
		return nil, err
	}
	if !isDevice {
		if err := block.Lock(f); err != nil {
			f.Close()
			return nil, err
		}
	}
	size, err := f.Seek(0, io.SeekEnd) // stat reports 0 for a block device
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("size of %s: %w", path, err)
	}
	if at > size {
		f.Close()
		return nil, fmt.Errorf("%s: @%d is beyond the end: it has %d bytes", path, at, size)
	}
	return &dataFile{f, at, size - at, isDevice}, nil
}

type dataFile struct {
	f        *os.File
	at       int64 // start of the data in f
	size     int64
	isDevice bool
}

func (d *dataFile) Size() int64  { return d.size }
func (d *dataFile) Close() error { return d.f.Close() }
