// Package disk, whose API may change but for Disk, Open, New and Options, finds what is on disks and
// in images of them, layer by layer.
//
//	parts of a file, device, server > image format > partition > array of md > LUKS > ...
//
// [Open] opens an image, or a device, and [Search] tries the layers on it until none recognises
// what is there. What is left are [Disk]s, where physical volumes of LVM may begin. A [Disk] knows
// the way to its bytes, by which messages call it: "disk.qcow2 > partition 3". Each layer is a file
// of this package: it recognises its bytes, opens what is in them, says what it is, and refuses
// what it cannot read or must not write.
package disk

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"thinpool/disk/internal/partition"
	"thinpool/metadata/block"
)

// sector is the unit in which most layers count, whatever the disk says its sectors are.
const sector = block.SectorSize

// A Disk is bytes: an image or a device, or what a layer makes of one. It may be used concurrently.
type Disk struct {
	Name string // of the image
	// Partition is the last layer if that is one: "partition 3".
	Partition string
	Members   []*Disk  // of an array, all that were found; nil for anything else
	Format    string   // of an image: "raw" or "qcow2"
	Backing   []string // files that the image is based on, each the one before it, which are read too
	Parts     []string // files that follow the first if the image is split

	layer string // that leads from below to these bytes; empty: none that has a name
	below *Disk  // what these bytes come from; nil: an image
	start int64  // in below, if they are a part of that
	size  int64
	r     io.ReaderAt // nil: these bytes are a part of below
	fixed error       // why it cannot be written, if that is for this layer to say
	file  *file       // nil: no file of its own
}

// New makes a disk of r, which holds size bytes. It cannot be written.
func New(name string, r io.ReaderAt, size int64) *Disk {
	return &Disk{Name: name, Format: rawFormat, r: r, size: size}
}

// from is d from a byte on.
func (d *Disk) from(start int64) *Disk {
	return &Disk{Name: fmt.Sprintf("%s@%d", d.Name, start), below: d, start: start, size: d.size - start}
}

// Over is other bytes that come from d, such as those of a volume that has a physical volume there.
// They can only be read.
func (d *Disk) Over(layer string, r io.ReaderAt, size int64) *Disk { return d.made(layer, r, size) }

// Part is the partition of a number.
func (d *Disk) Part(number int) (*Disk, error) {
	table, err := partition.Read(d, d.size)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", d, err)
	}
	var known []string
	for _, p := range table.Partitions {
		if p.Number == number {
			return d.partition(p), nil
		}
		known = append(known, strconv.Itoa(p.Number))
	}
	if known == nil {
		return nil, fmt.Errorf("%v has no partition %d: it has no partition table", d, number)
	}
	return nil, fmt.Errorf("%v has no partition %d: it has %s", d, number, strings.Join(known, ", "))
}

// made is what a layer makes of d: other bytes, which only it can read.
func (d *Disk) made(layer string, r io.ReaderAt, size int64) *Disk {
	m := &Disk{Name: d.Name, layer: layer, below: d, size: size, r: r}
	m.fixed = fmt.Errorf("%v is read-only: nothing is written through this layer", m)
	return m
}

// partition is a partition of d.
func (d *Disk) partition(p partition.Partition) *Disk {
	return &Disk{Name: d.Name, layer: p.String(), Partition: p.String(), below: d, start: p.Start, size: p.Size}
}

// Image is the image or the device that d comes from.
func (d *Disk) Image() *Disk {
	for d.below != nil {
		d = d.below
	}
	return d
}

// Start is where d begins, in bytes: in its image, or in what the last layer makes that is not only
// a part of the bytes below it.
func (d *Disk) Start() int64 {
	start := int64(0)
	for ; d.r == nil && d.below != nil; d = d.below {
		start += d.start
	}
	return start
}

// Size is the number of bytes.
func (d *Disk) Size() int64 { return d.size }

// Layers is the way from the image to the bytes, the outermost layer first; from the first member
// of an array.
func (d *Disk) Layers() []string {
	var layers []string
	for ; d != nil; d = d.below {
		if d.layer != "" {
			layers = append(layers, d.layer)
		}
	}
	slices.Reverse(layers)
	return layers
}

// Array is the array that the bytes come from, the innermost; nil if there is none.
func (d *Disk) Array() *Disk {
	for d != nil && d.Members == nil {
		d = d.below
	}
	return d
}

// String is the way to the bytes, for messages.
func (d *Disk) String() string {
	const most = 3 // members that are named
	switch {
	case d.layer == "":
		return d.Name
	case d.Members == nil:
		return d.below.String() + " > " + d.layer
	case len(d.Members) > most:
		return fmt.Sprintf("%v + %d more > %s", d.Members[0], len(d.Members)-1, d.layer)
	}
	var members []string
	for _, m := range d.Members {
		members = append(members, m.String())
	}
	return strings.Join(members, " + ") + " > " + d.layer
}

// ReadAt implements [io.ReaderAt].
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if d.r != nil {
		return d.r.ReadAt(p, off)
	}
	if off < 0 || off >= d.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > d.size-off {
		p, end = p[:d.size-off], io.EOF
	}
	n, err := d.below.ReadAt(p, d.start+off)
	if n == len(p) {
		return n, end
	}
	return n, err
}

// A shortError says that a read or write goes beyond the end of a disk.
type shortError struct {
	d        *Disk
	off, end int64
}

func (e *shortError) Error() string {
	return fmt.Sprintf("%v: bytes %d..%d are beyond the end: it is %d bytes too short", e.d, e.off, e.end, e.end-e.d.size)
}

// Check is the error that reading or writing n bytes from off on would end with because they do not
// all lie within d.
func (d *Disk) Check(n int, off int64) error {
	if off < 0 || int64(n) > d.size-off {
		return &shortError{d, off, off + int64(n)}
	}
	return nil
}

// ReadFull fills p. The error names the disk and the byte.
func (d *Disk) ReadFull(p []byte, off int64) error {
	if err := d.Check(len(p), off); err != nil {
		return err
	}
	n, err := d.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%v: byte %d: %w", d, off+int64(n), err)
}

// WriteFull writes all of p, after OpenForWriting.
func (d *Disk) WriteFull(p []byte, off int64) error {
	if err := d.Check(len(p), off); err != nil {
		return err
	}
	if !d.IsOpenForWriting() {
		return fmt.Errorf("%v: %w", d, block.ErrReadOnly)
	}
	if _, err := d.Image().file.w.WriteAt(p, d.Start()+off); err != nil {
		return fmt.Errorf("%v: %w", d, err)
	}
	return nil
}

// Writable refuses what OpenForWriting could never open: each layer on the way must be one that can
// be written, and the image must have been opened with Claim.
func (d *Disk) Writable() error {
	switch {
	case d.fixed != nil:
		return d.fixed
	case d.below != nil:
		return d.below.Writable()
	case d.file == nil || d.file.claim == nil:
		return fmt.Errorf("%s: %w", d.Name, block.ErrReadOnly)
	}
	return nil
}

// OpenForWriting opens for writing too what was opened with Claim. What is open for writing
// already stays as it is.
func (d *Disk) OpenForWriting() error {
	if err := d.Writable(); err != nil {
		return err
	}
	return d.Image().file.openForWriting()
}

// Device is d as a device, which is writable after OpenForWriting. Closing it does nothing.
func (d *Disk) Device() block.Device { return device{d} }

type device struct{ *Disk }

// WriteAt implements [block.Device].
func (d device) WriteAt(p []byte, off int64) (int, error) {
	if err := d.WriteFull(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush implements [block.Device].
func (d device) Flush() error { return Flush(d.Disk) }

// Close implements [block.Device]. The image stays open.
func (d device) Close() error { return nil }

// IsOpenForWriting reports whether bytes can be written now.
func (d *Disk) IsOpenForWriting() bool {
	return d.Writable() == nil && d.Image().file.w != nil
}

// Flush makes sure that what was written to images is on stable storage.
func Flush(disks ...*Disk) error {
	var errs []error
	var done []*Disk
	for _, d := range disks {
		if d = d.Image(); slices.Contains(done, d) || !d.IsOpenForWriting() {
			continue
		}
		done = append(done, d)
		errs = append(errs, d.file.claim.Flush())
	}
	return errors.Join(errs...)
}

// Close closes the image.
func (d *Disk) Close() error {
	if img := d.Image(); img.file != nil {
		return img.file.close()
	}
	return nil
}

// A Problem is something that a user should know.
type Problem struct {
	Note bool // nothing is wrong or in doubt, only unusual
	Text string
}

func (p Problem) String() string { return p.Text }
