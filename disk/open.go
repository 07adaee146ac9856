package disk

import (
	"errors"
	"fmt"
	"io"
	"os"

	"thinpool/metadata/block"
)

// Options for [Open].
type Options struct {
	// Offset is the start of the disk in the (decoded) image, in bytes.
	Offset int64
	Raw    bool // treat the image as raw, even if it looks like another format
	// Claim keeps other writers away, like [block.Claim]. It is required for OpenForWriting.
	Claim  bool
	Shared bool // open a block device that is in use
	// Backing lists files and block devices anywhere that may be backing files of a qcow2 image.
	// Without it, Open uses only regular files in the folder of the image, after resolving symbolic
	// links: the name comes from the image, which may be untrusted. A file listed here also replaces
	// a missing one with the same name. The same rule applies to every image in a chain, with its own
	// folder.
	Backing []string
	// Parts lists the files that follow the first if an image is split. If nil, they are found by
	// name: see [Sisters].
	Parts []string
	// Done, if not nil, ends reading from a server when it is closed, even if the server is silent.
	Done <-chan struct{}
}

// A file is the file or device that contains an image.
type file struct {
	claim *block.Claimed // nil: it cannot be written
	w     io.WriterAt    // nil: it is not open for writing
	close func() error
}

func (f *file) openForWriting() error {
	if f.w != nil {
		return nil
	}
	if err := f.claim.AllowWriting(); err != nil {
		return err
	}
	f.w = block.Unaligned(f.claim)
	return nil
}

// Open opens an image, raw or qcow2, in a regular file, on a block device, or on a server (see
// [IsURI]). It also opens backing files if they are in the image's folder or allowed. Otherwise it
// returns a [BackingError].
func Open(path string, opt Options) (*Disk, error) {
	parts := opt.Parts
	if parts == nil {
		parts = Sisters(path)
	}
	open := openFile
	switch {
	case IsURI(path):
		open = openURI
	case parts != nil:
		open = func(path string, opt Options) (*Disk, error) { return openParts(append([]string{path}, parts...), opt) }
	}
	d, err := open(path, opt)
	if err != nil {
		return nil, err
	}
	if !opt.Raw {
		if err := d.decode(path, opt); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), d.Close())
		}
	}
	switch {
	case opt.Offset < 0 || opt.Offset > d.size:
		err := fmt.Errorf("%s: @%d is beyond the end: it has %d bytes", path, opt.Offset, d.size)
		return nil, errors.Join(err, d.Close())
	case opt.Offset > 0:
		p := d.from(opt.Offset)
		p.fixed = d.refuseAt(opt.Offset)
		return p, nil
	}
	return d, nil
}

// openFile opens the file or device at path as raw.
func openFile(path string, opt Options) (*Disk, error) {
	f := &file{}
	var dev block.Device
	var err error
	if opt.Claim {
		f.claim, err = block.Claim(path)
		dev = f.claim
	} else {
		dev, err = block.Open(path, block.Options{Shared: opt.Shared})
	}
	if err != nil {
		return nil, err
	}
	f.close = dev.Close
	return &Disk{Name: path, Format: rawFormat, r: anyBytes(path, dev), size: dev.Size(), file: f}, nil
}

// anyBytes allows reads of a device that are not aligned to blocks.
func anyBytes(path string, dev block.Device) io.ReaderAt {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return block.Unaligned(dev)
	}
	return dev
}

// decode adds a decoder to an image that is not raw.
func (d *Disk) decode(path string, opt Options) error {
	format, err := sniff(d.r, path)
	if err != nil || format == rawFormat {
		return err
	}
	switch {
	case IsURI(path):
		return nil // the server decodes it, and a guest may have written anything into the content
	case d.Parts != nil:
		return fmt.Errorf("the image is in %s format, and split: join its parts first (cat)", format)
	}
	q, below, err := openQcow2(path, opt.Backing)
	if err != nil {
		return err
	}
	old := d.file
	d.Format, d.Backing, d.r, d.size, d.file = format, below, q, q.size, &file{close: q.Close}
	d.fixed = fmt.Errorf("%s: an image in %s format is read-only: to write, %s", d.Name, format, convert)
	return old.close()
}
