package export

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"thinpool/metadata/block"
)

// A File is a file with holes where the volume has zeros.
type File struct {
	f     *os.File
	fresh bool // everything not written is a hole
}

// CreateFile creates a file of size bytes that is one hole. With force it truncates an existing
// file; otherwise the error is [os.ErrExist]. The error is [block.ErrBusy] if another process has
// locked the file.
func CreateFile(path string, size int64, force bool, mode os.FileMode) (*File, error) {
	flags := os.O_RDWR | os.O_CREATE
	if !force {
		flags |= os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, mode)
	if err != nil {
		return nil, err
	}
	if err := block.Lock(f); err != nil {
		f.Close()
		return nil, err
	}
	if err := errors.Join(f.Truncate(0), f.Truncate(size)); err != nil {
		f.Close()
		return nil, err
	}
	return &File{f, true}, nil
}

// ErrNotOurs means that a file was not left by an export.
var ErrNotOurs = errors.New("not the file that the interrupted export wrote")

// ReopenFile opens the file of an interrupted export of a volume of size bytes.
func ReopenFile(path string, size int64) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != size) {
		err = fmt.Errorf("%s: %w: it has %d bytes instead of %d", path, ErrNotOurs, info.Size(), size)
	}
	if err == nil {
		err = block.Lock(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{f: f}, nil
}

// A FullCopy is an existing full copy in a file. Zeros become holes if possible.
type FullCopy struct{ File }

// OpenCopy opens and locks a full copy. The error is [block.ErrBusy] if another process has locked
// it.
func OpenCopy(path string) (*FullCopy, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := block.Lock(f); err != nil {
		f.Close()
		return nil, err
	}
	return &FullCopy{File{f: f}}, nil
}

// Size returns the size of the file in bytes.
func (t *FullCopy) Size() (int64, error) {
	info, err := t.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Truncate implements [Copy].
func (t *FullCopy) Truncate(size int64) error { return t.f.Truncate(size) }

// Zero implements [Target].
func (t *FullCopy) Zero(off, n int64) error {
	if punchHole(t.f, off, n) {
		return nil
	}
	return writeZeros(t.f, off, n)
}

// ReadAt reads back what was written.
func (t *File) ReadAt(p []byte, off int64) (int, error) { return t.f.ReadAt(p, off) }

// WriteAt implements [Target].
func (t *File) WriteAt(p []byte, off int64) (int, error) { return t.f.WriteAt(p, off) }

// Zero implements [Target]. It does nothing, because nothing else writes there.
func (t *File) Zero(int64, int64) error { return nil }

// Sync implements [Target].
func (t *File) Sync() error { return t.f.Sync() }

// Forget makes the next read come from the disk, if the system supports that.
func (t *File) Forget() { forget(t.f) }

// NextData returns the first byte from off on that may not be in a hole.
func (t *File) NextData(off int64) int64 { return nextData(t.f, off) }

// Close closes the file.
func (t *File) Close() error { return t.f.Close() }

// A Stream is a pipe or similar: it receives every byte in order.
type Stream struct {
	w  io.Writer
	at int64
}

// NewStream returns a target that writes to w, starting with byte 0 of the volume.
func NewStream(w io.Writer) *Stream { return &Stream{w: w} }

// WriteAt implements [Target]. off must be the end of the last write.
func (t *Stream) WriteAt(p []byte, off int64) (int, error) {
	if off != t.at {
		return 0, fmt.Errorf("byte %d cannot follow byte %d in a stream", off, t.at-1)
	}
	n, err := t.w.Write(p)
	t.at += int64(n)
	return n, err
}

// Zero implements [Target].
func (t *Stream) Zero(off, n int64) error { return writeZeros(t, off, n) }

// Sync implements [Target]. It does nothing.
func (t *Stream) Sync() error { return nil }

func writeZeros(to io.WriterAt, off, n int64) error {
	for end := off + n; off < end; {
		n, err := to.WriteAt(zeros[:min(end-off, requestBytes)], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// A Disk is a block device.
type Disk struct {
	f     *os.File
	holes Holes
}

// Holes says what to write to a block device where the volume has zeros.
type Holes int

const (
	WriteZeros Holes = iota
	SkipZeros        // write nothing: the device is all zero
	Discard          // discard, then write zeros where the device does not read as zeros
)

// ErrTooSmall means that a block device is too small for the data.
var ErrTooSmall = errors.New("the device is too small")

// OpenDisk opens a block device of at least size bytes exclusively.
func OpenDisk(path string, size int64, holes Holes) (*Disk, error) {
	f, err := openExclusively(path)
	if err != nil {
		return nil, err
	}
	has, err := f.Seek(0, io.SeekEnd)
	if err == nil && has < size {
		err = fmt.Errorf("%s: %w: it has %d bytes, the volume %d", path, ErrTooSmall, has, size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Disk{f, holes}, nil
}

// ReadAt reads back what was written.
func (t *Disk) ReadAt(p []byte, off int64) (int, error) { return t.f.ReadAt(p, off) }

// WriteAt implements [Target].
func (t *Disk) WriteAt(p []byte, off int64) (int, error) { return t.f.WriteAt(p, off) }

// Zero implements [Target].
func (t *Disk) Zero(off, n int64) error {
	switch {
	case t.holes == SkipZeros:
		return nil
	case t.holes == Discard && punchHole(t.f, off, n): // guarantees zeros, unlike a discard
		return nil
	case t.holes == Discard && discard(t.f, off, n):
		return t.zeroRest(off, n)
	case zeroOut(t.f, off, n):
		return nil
	}
	return writeZeros(t.f, off, n)
}

// restBytes is the unit in which zeroRest writes zeros: the smallest data block of a pool.
const restBytes = 1 << 16

// zeroRest writes zeros where n bytes from off on do not read as zeros. A discard is only a hint,
// and the device does not discard parts smaller than its granularity.
func (t *Disk) zeroRest(off, n int64) error {
	buf := make([]byte, min(n, requestBytes))
	for end := off + n; off < end; {
		part := buf[:min(end-off, requestBytes)]
		if _, err := t.f.ReadAt(part, off); err != nil {
			return err
		}
		for piece := range slices.Chunk(part, restBytes) {
			if !bytes.Equal(piece, zeros[:len(piece)]) {
				if err := writeZeros(t.f, off, int64(len(piece))); err != nil {
					return err
				}
			}
			off += int64(len(piece))
		}
	}
	return nil
}

// Sync implements [Target].
func (t *Disk) Sync() error { return t.f.Sync() }

// Forget makes the next read come from the disk, if the system supports that.
func (t *Disk) Forget() { forget(t.f) }

// Close closes the device.
func (t *Disk) Close() error { return t.f.Close() }
