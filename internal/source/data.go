package source

import (
	"errors"
	"io"

	"thinpool/disk"
	"thinpool/internal/cli"
	"thinpool/metadata/block"
)

// Data is a data device, or an image of one, open for reading at any place.
type Data struct {
	io.ReaderAt
	io.Closer
	Size int64 // in bytes
	// Advise makes the system read n bytes from off on ahead; nil where it does not.
	Advise func(off, n int64)
}

// OpenData opens a data device or file, or a place in an image, for reading, a device exclusively and past
// the page cache, as [Open] does. shared leaves out the exclusive open.
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
		d.ReaderAt = dev // knows no alignment
		if ahead, ok := dev.(interface{ Advise(off, n int64) }); ok {
			d.Advise = ahead.Advise
		}
	}
	return d, nil
}

// openPlace opens what begins at a place in an image.
func openPlace(env *cli.Env, path string, opt disk.Options) (*disk.Disk, error) {
	image, at := splitOffset(path)
	opt.Offset, opt.Done = at, env.Done()
	return openImage(image, opt)
}

// A place is a place in an image that is a device.
type place struct {
	block.Device
	img *disk.Disk
}

// Close implements [block.Device].
func (p place) Close() error { return p.img.Close() }

// OpenDataForWriting opens a data device or an image of one, or a place in an image, for reading and
// writing. It must exist.
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

// WritablePlace cuts a place in an image into the name of the image and where in it, once it is certain
// that it may be written there. Anything else begins at byte 0.
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
