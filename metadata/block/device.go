package block

import (
	"errors"
	"io"
)

// A Device holds metadata blocks. Its methods may be called concurrently.
//
// Reads and writes are of whole blocks at multiples of [Size]; implementations
// may rely on it and on p being aligned as [Buffer] aligns it.
type Device interface {
	io.ReaderAt
	// WriteAt returns [ErrReadOnly] if the device was opened for reading.
	io.WriterAt
	// Flush returns when all that was written is on stable storage.
	Flush() error
	// Size is the size in bytes; it may be no multiple of the block size.
	Size() int64
	Close() error
}

// ErrReadOnly is returned by writes to a device that was opened for reading.
var ErrReadOnly = errors.New("device is open read-only")

// Blocks is the number of whole blocks on dev.
func Blocks(dev Device) Nr { return Nr(dev.Size() / Size) }

// Read reads block nr into b. A read beyond the end is [io.ErrUnexpectedEOF].
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
