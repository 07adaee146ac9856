// Package disk, whose API may change except for Disk, Open, New and Options, finds out what is on
// disks and disk images, layer by layer.
//
//	parts of a file, device, server > image format > partition > array of md > LUKS > ...
//
// [Open] opens an image or a device, and [Search] tries the layers on it until none recognises the
// content. The results are [Disk]s, which may contain physical volumes of LVM. A [Disk] knows the
// path to its bytes, which messages use as its name: "disk.qcow2 > partition 3". Each layer is a
// file in this package: it recognises its data, opens the content, says what it is, and refuses
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

// sector is the unit of most layers, whatever the disk's sector size.
const sector = block.SectorSize

// A Disk is an image or a device, or the content of a layer. It is safe for concurrent use.
type Disk struct {
	Name string // name of the image
	// Partition is the last layer if it is a partition: "partition 3".
	Partition string
	Members   []*Disk  // members found of an array; otherwise nil
	Format    string   // of an image: "raw" or "qcow2"
	Backing   []string // backing files, each of the file before it, which are read too
	Parts     []string // parts that follow the first if the image is split

	layer string // layer that leads from below to these bytes; empty: none with a name
	below *Disk  // source of these bytes; nil: an image
	start int64  // offset in below, if these bytes are a part of it
	size  int64
	r     io.ReaderAt // nil: these bytes are a part of below
	fixed error       // why this layer cannot be written; nil: no objection
	file  *file       // nil: no file of its own
}

// New returns a disk that reads size bytes from r. It cannot be written.
func New(name string, r io.ReaderAt, size int64) *Disk {
	return &Disk{Name: name, Format: rawFormat, r: r, size: size}
}

// from returns the part of d that starts at an offset.
func (d *Disk) from(start int64) *Disk {
	return &Disk{Name: fmt.Sprintf("%s@%d", d.Name, start), below: d, start: start, size: d.size - start}
}

// Over returns a read-only disk with other bytes that come from d, such as those of a volume on a
// physical volume there.
func (d *Disk) Over(layer string, r io.ReaderAt, size int64) *Disk { return d.made(layer, r, size) }

// Part returns the partition with the given number.
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

// made returns the content of a layer on d, which only that layer can read.
func (d *Disk) made(layer string, r io.ReaderAt, size int64) *Disk {
	m := &Disk{Name: d.Name, layer: layer, below: d, size: size, r: r}
	m.fixed = fmt.Errorf("%v is read-only: nothing is written through this layer", m)
	return m
}

// partition returns a partition of d.
func (d *Disk) partition(p partition.Partition) *Disk {
	return &Disk{Name: d.Name, layer: p.String(), Partition: p.String(), below: d, start: p.Start, size: p.Size}
}

// Image returns the image or device that d comes from.
func (d *Disk) Image() *Disk {
	for d.below != nil {
		d = d.below
	}
	return d
}

// Start returns the offset of d in bytes: in its image, or in the content of the last layer that is
// more than a part of the bytes below it.
func (d *Disk) Start() int64 {
	start := int64(0)
	for ; d.r == nil && d.below != nil; d = d.below {
		start += d.start
	}
	return start
}

// Size returns the size in bytes.
func (d *Disk) Size() int64 { return d.size }

// Layers returns the path from the image to the bytes, outermost layer first. For an array, it
// starts at the first member.
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

// Array returns the innermost array that the bytes come from; nil if there is none.
func (d *Disk) Array() *Disk {
	for d != nil && d.Members == nil {
		d = d.below
	}
	return d
}

// String returns the path to the bytes, for messages.
func (d *Disk) String() string {
	const most = 3 // number of members to name
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

// A shortError is a read or write beyond the end of a disk.
type shortError struct {
	d        *Disk
	off, end int64
}

func (e *shortError) Error() string {
	return fmt.Sprintf("%v: bytes %d..%d are beyond the end: it is %d bytes too short", e.d, e.off, e.end, e.end-e.d.size)
}

// Check returns the error for reading or writing n bytes from off on if they are not all within d.
func (d *Disk) Check(n int, off int64) error {
	if off < 0 || int64(n) > d.size-off {
		return &shortError{d, off, off + int64(n)}
	}
	return nil
}

// ReadFull fills p. The error names the disk and the offset.
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

// WriteFull writes all of p. It requires OpenForWriting.
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

// Writable returns an error if OpenForWriting cannot work: all layers must be writable, and the
// image must have been opened with Claim.
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

// OpenForWriting also opens for writing what was opened with Claim. It does nothing if that is
// already done.
func (d *Disk) OpenForWriting() error {
	if err := d.Writable(); err != nil {
		return err
	}
	return d.Image().file.openForWriting()
}

// Device returns d as a device, writable after OpenForWriting. Closing it does nothing.
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

// IsOpenForWriting reports whether d can be written now.
func (d *Disk) IsOpenForWriting() bool {
	return d.Writable() == nil && d.Image().file.w != nil
}

// Flush makes sure that writes to images are on stable storage.
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

// A Problem is something users should know.
type Problem struct {
	Note bool // nothing is wrong or doubtful, only unusual
	Text string
}

func (p Problem) String() string { return p.Text }
