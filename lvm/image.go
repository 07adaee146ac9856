package lvm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"thinpool/metadata/block"
)

// sector is the unit of all sizes in LVM's text that are not bytes or extents, whatever the
// disk says its sectors are.
const sector = block.SectorSize

// ImageOptions say how [OpenImage] opens an image.
type ImageOptions struct {
	// Offset is where in the (decoded) image a physical volume begins, in bytes. Without it
	// the image and its partitions are searched.
	Offset int64
	Raw    bool // take the image as raw, whatever it begins with
	// Claim keeps other writers away, as [block.Claim] does: for what may be written after
	// OpenForWriting.
	Claim  bool
	Shared bool // open a block device that is in use
	// Backing names files and block devices that a qcow2 image may be based on, wherever they
	// are. Without it only regular files in the folder of the image are opened, symbolic links
	// resolved: the name is in the image, which somebody else may have made. A file named here
	// also stands for one of the same name that is not there any more. Every image of a chain is
	// held to the same, by its own folder.
	Backing []string
}

// An Image is a disk: a file or a device that is opened, or anything else that can be read.
// It may be used concurrently.
type Image struct {
	Name    string
	Format  string   // "raw" or "qcow2"
	Backing []string // files that the image is based on, each the one before it, which are read too

	r      io.ReaderAt
	w      io.WriterAt  // nil if it was opened for reading only
	sync   func() error // with w
	close  func() error
	claim  *block.Claimed // nil: it cannot be written
	size   int64
	offset int64 // given by the caller; 0 for the whole image
}

const (
	rawFormat   = "raw"
	qcow2Format = "qcow2"
)

// NewImage makes an image of r, which holds size bytes: a disk inside of something else. It
// cannot be written.
func NewImage(name string, r io.ReaderAt, size int64) *Image {
	return &Image{Name: name, Format: rawFormat, r: r, size: size, close: func() error { return nil }}
}

// OpenImage opens a disk image: raw or qcow2, a regular file or a block device. The files that a
// qcow2 image is based on are opened too, if they lie beside it or are allowed; the error is a
// [BackingError] if not.
func OpenImage(path string, opt ImageOptions) (*Image, error) {
	img := &Image{Name: path, Format: rawFormat, offset: opt.Offset}
	if err := img.open(path, opt); err != nil {
		return nil, err
	}
	if !opt.Raw {
		if err := img.decode(path, opt); err != nil {
			img.close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if opt.Offset < 0 || opt.Offset > img.size {
		img.close()
		return nil, fmt.Errorf("%s: @%d is beyond the end: it has %d bytes", path, opt.Offset, img.size)
	}
	return img, nil
}

// open opens what is at path, and takes it as raw.
func (img *Image) open(path string, opt ImageOptions) (err error) {
	var dev block.Device
	if opt.Claim {
		img.claim, err = block.Claim(path)
		dev = img.claim
	} else {
		dev, err = block.Open(path, block.Options{Shared: opt.Shared})
	}
	if err != nil {
		return err
	}
	img.r, img.size, img.close = anyBytes(path, dev), dev.Size(), dev.Close
	return nil
}

// readerWriterAt is bytes that can be read and written.
type readerWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// anyBytes makes any bytes of a device accessible, not only blocks.
func anyBytes(path string, dev block.Device) readerWriterAt {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return &aligned{dev: dev}
	}
	return dev
}

// OpenForWriting opens for writing too what was opened with Claim. What is open for writing
// already stays as it is.
func (img *Image) OpenForWriting() error {
	if img.w != nil {
		return nil
	}
	if err := img.rawOnly(); err != nil {
		return err
	}
	if err := img.claim.AllowWriting(); err != nil {
		return err
	}
	img.w, img.sync = img.r.(io.WriterAt), img.claim.Flush
	return nil
}

// rawOnly refuses an image that OpenForWriting could never open.
func (img *Image) rawOnly() error {
	switch {
	case img.Format != rawFormat:
		return fmt.Errorf("%s: an image in %s format is read-only: to write, %s", img.Name, img.Format, convert)
	case img.claim == nil:
		return fmt.Errorf("%s: %w", img.Name, block.ErrReadOnly)
	}
	return nil
}

// decode puts a decoder before an image that is not raw.
func (img *Image) decode(path string, opt ImageOptions) error {
	format, err := sniff(img.r)
	if err != nil || format == rawFormat {
		return err
	}
	q, below, err := openQcow2(path, opt.Backing)
	if err != nil {
		return err
	}
	if err := img.close(); err != nil {
		return errors.Join(err, q.Close())
	}
	img.Format, img.Backing, img.r, img.size, img.close, img.claim = format, below, q, q.size, q.Close, nil
	return nil
}

// Size is the size of the disk in bytes.
func (img *Image) Size() int64 { return img.size }

// ReadAt implements [io.ReaderAt].
func (img *Image) ReadAt(p []byte, off int64) (int, error) { return img.r.ReadAt(p, off) }

// Close closes what OpenImage opened.
func (img *Image) Close() error { return img.close() }

// A region is a part of an image in which a physical volume may be.
type region struct {
	img         *Image
	start, size int64
	partition   string // empty for the image itself
}

func (r region) String() string {
	switch {
	case r.partition != "":
		return r.img.Name + " " + r.partition
	case r.start != 0:
		return fmt.Sprintf("%s@%d", r.img.Name, r.start)
	}
	return r.img.Name
}

// errShort says that a read or write goes beyond the end of a region.
type errShort struct {
	r        region
	off, end int64
}

func (e *errShort) Error() string {
	return fmt.Sprintf("%v: bytes %d..%d are beyond the end: it is %d bytes too short", e.r, e.off, e.end, e.end-e.r.size)
}

func (r region) check(n int, off int64) error {
	if off < 0 || int64(n) > r.size-off {
		return &errShort{r, off, off + int64(n)}
	}
	return nil
}

// readAt fills p.
func (r region) readAt(p []byte, off int64) error {
	if err := r.check(len(p), off); err != nil {
		return err
	}
	n, err := r.img.r.ReadAt(p, r.start+off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%v: byte %d: %w", r, off+int64(n), err)
}

func (r region) writeAt(p []byte, off int64) error {
	if err := r.check(len(p), off); err != nil {
		return err
	}
	if r.img.w == nil {
		return fmt.Errorf("%v: %w", r, block.ErrReadOnly)
	}
	if _, err := r.img.w.WriteAt(p, r.start+off); err != nil {
		return fmt.Errorf("%v: %w", r, err)
	}
	return nil
}

// An aligned device takes reads and writes of any bytes to a block device that wants whole
// blocks in aligned memory.
type aligned struct {
	dev block.Device
	mu  sync.Mutex // one write at a time: the blocks at its ends are read first
}

// bounceBlocks is how many blocks are copied at a time.
const bounceBlocks = 256

// pieces calls fn for stretches of blocks that cover n bytes from off on, with the part of
// the blocks and of the n bytes that belong to each other.
func (a *aligned) pieces(n int, off int64, fn func(blocks []byte, at int64, inBlocks, inBytes, n int) error) error {
	buf := block.Bytes(block.Buffer(min(bounceBlocks, n/block.Size+2)))
	for done := 0; done < n; {
		from := (off + int64(done)) &^ (block.Size - 1)
		skip := int(off + int64(done) - from)
		take := min(n-done, len(buf)-skip)
		whole := min((skip+take+block.Size-1)&^(block.Size-1), int(min(int64(len(buf)), a.dev.Size()-from)))
		if whole < skip+take {
			return io.EOF
		}
		if err := fn(buf[:whole], from, skip, done, take); err != nil {
			return err
		}
		done += take
	}
	return nil
}

func (a *aligned) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	err := a.pieces(len(p), off, func(blocks []byte, at int64, inBlocks, inBytes, n int) error {
		if m, err := a.dev.ReadAt(blocks, at); m < inBlocks+n {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		done += copy(p[inBytes:], blocks[inBlocks:][:n])
		return nil
	})
	return done, err
}

func (a *aligned) WriteAt(p []byte, off int64) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	done := 0
	err := a.pieces(len(p), off, func(blocks []byte, at int64, inBlocks, inBytes, n int) error {
		if n < len(blocks) {
			if m, err := a.dev.ReadAt(blocks, at); m < len(blocks) {
				return errors.Join(io.ErrUnexpectedEOF, err)
			}
		}
		copy(blocks[inBlocks:], p[inBytes:][:n])
		if _, err := a.dev.WriteAt(blocks, at); err != nil {
			return err
		}
		done += n
		return nil
	})
	return done, err
}

// syncAll flushes images, each once.
func syncAll(imgs []*Image) error {
	var errs []error
	for i, img := range imgs {
		if img.sync != nil && !slices.Contains(imgs[:i], img) {
			errs = append(errs, img.sync())
		}
	}
	return errors.Join(errs...)
}
