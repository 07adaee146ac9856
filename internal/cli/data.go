package cli

import (
	"io"
	"os"

	"thinpool/metadata/block"
)

// Data is a data device, or an image of one, open for reading at any place.
type Data struct {
	io.ReaderAt
	io.Closer
	Size int64 // in bytes
}

// OpenData opens a data device or file for reading, a device exclusively and past the
// page cache, as [OpenMetadata] does. shared leaves out the exclusive open.
func OpenData(path string, shared bool) (*Data, error) {
	dev, err := openDevice(path, block.Options{Shared: shared})
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return &Data{dev, dev, dev.Size()}, nil // knows no alignment
	}
	return &Data{block.Anywhere(dev), dev, dev.Size()}, nil
}
