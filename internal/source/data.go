package source

import (
	"io"

	"thinpool/metadata/block"
)

// Data is a data device, or an image of one, open for reading at any offset.
type Data struct {
	io.ReaderAt
	io.Closer
	Size int64 // in bytes
	// Advise makes the system read ahead n bytes from off on; nil if unsupported.
	Advise func(off, n int64)
}

// OpenData opens a data device or file for reading. Like [Open], it opens devices exclusively and
// bypasses the page cache. shared turns off the exclusive open.
func OpenData(path string, shared bool) (*Data, error) {
	dev, err := openDevice(path, block.Options{Shared: shared}, sys.busyReading)
	if err != nil {
		return nil, err
	}
	d := &Data{ReaderAt: block.Unaligned(dev), Closer: dev, Size: dev.Size()}
	if regular(path) {
		d.ReaderAt = dev // needs no alignment
		if ahead, ok := dev.(interface{ Advise(off, n int64) }); ok {
			d.Advise = ahead.Advise
		}
	}
	return d, nil
}

// OpenDataForWriting opens an existing data device, or an image of one, for reading and writing.
func OpenDataForWriting(path string) (block.Device, error) {
	return openDevice(path, block.Options{Write: true}, sys.busyOtherwise)
}
