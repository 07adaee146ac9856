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
	// Discard gives back n bytes from off on. They may read as anything after that.
	Discard(off, n int64) error
	Close() error
}

// OpenData opens a block device exclusively, or a regular file, which it locks. The error wraps
// [block.ErrBusy] or [block.ErrNotBlocks], like that of [block.Open].
func OpenData(path string) (Data, error) {
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
	return &dataFile{f, size, isDevice}, nil
}

type dataFile struct {
	f        *os.File
	size     int64
	isDevice bool
}

func (d *dataFile) Size() int64  { return d.size }
func (d *dataFile) Close() error { return d.f.Close() }
