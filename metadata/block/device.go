package block

import (
	"errors"
	"io"
)

// A Device holds metadata blocks. Its methods may be called concurrently.
//
// Reads and writes are of whole blocks at multiples of [Size], with p aligned like a [Buffer].
// Implementations may rely on this.
type Device interface {
	io.ReaderAt
	// WriteAt returns [ErrReadOnly] if the device was opened read-only.
	io.WriterAt
	// Flush returns when all written data is on stable storage.
	Flush() error
	// Size returns the size in bytes, which may not be a multiple of the block size.
	Size() int64
	Close() error
}

// ErrReadOnly is returned by writes to a device that was opened read-only.
var ErrReadOnly = errors.New("device is open read-only")

// Blocks returns the number of whole blocks on dev.
func Blocks(dev Device) Nr { return Nr(dev.Size() / Size) }

// Read reads block nr into b. A read beyond the end returns [io.ErrUnexpectedEOF].
func Read(dev Device, nr Nr, b *Data) error {
	if nr >= Blocks(dev) {
		return io.ErrUnexpectedEOF
	}
	n, err := dev.ReadAt(b[:], int64(nr)*Size)
	if n == Size {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Write writes b as block nr.
func Write(dev Device, nr Nr, b *Data) error {
	_, err := dev.WriteAt(b[:], int64(nr)*Size)
	return err
}
