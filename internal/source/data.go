package source

import (
	"errors"
	"io"

	"thinpool/disk"
	"thinpool/internal/cli"
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

// OpenData opens a data device, a file or a place in an image for reading. Like [Open], it opens
// devices exclusively and bypasses the page cache. shared turns off the exclusive open.
func OpenData(env *cli.Env, path string, shared bool) (*Data, error) {
	if IsPlace(path) {
		img, err := openPlace(env, path, disk.Options{Shared: shared})
		if err != nil {
			return nil, err
		}
		return &Data{ReaderAt: img, Closer: img, Size: img.Size()}, nil
	}
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

// openPlace opens an image, starting at an offset.
func openPlace(env *cli.Env, path string, opt disk.Options) (*disk.Disk, error) {
	image, at := splitOffset(path)
	opt.Offset, opt.Done = at, env.Done()
	return openImage(image, opt)
}

// A place is part of an image, as a device.
type place struct {
	block.Device
	img *disk.Disk
}

// Close implements [block.Device].
func (p place) Close() error { return p.img.Close() }

// OpenDataForWriting opens an existing data device, an image of one, or a place in an image, for
// reading and writing.
func OpenDataForWriting(env *cli.Env, path string) (block.Device, error) {
	if IsPlace(path) {
		img, err := openPlace(env, path, disk.Options{Claim: true})
		if err != nil {
			return nil, err
		}
		if err := img.OpenForWriting(); err != nil {
			return nil, errors.Join(err, img.Close())
		}
		return place{img.Device(), img}, nil
	}
	return openDevice(path, block.Options{Write: true}, sys.busyOtherwise)
}

// WritablePlace splits a place in an image into the name of the image and an offset, and makes sure
// that it may be written. The offset of any other path is 0.
func WritablePlace(env *cli.Env, path string) (image string, at int64, err error) {
	if !IsPlace(path) {
		return path, 0, nil
	}
	img, err := openPlace(env, path, disk.Options{Claim: true})
	if err != nil {
		return "", 0, err
	}
	image, at = splitOffset(path)
	return image, at, errors.Join(img.Writable(), img.Close())
}
