package lvm

import (
	"fmt"
	"io"
	"slices"

	"thinpool/disk"
	"thinpool/metadata/block"
)

// writable lists the segment types that can be written: those where each byte of the volume has
// places of its own.
var writable = []string{"striped", "linear", "raid0", "raid0_meta", "raid1", "raid10", "raid10_near", "mirror"}

// A Writer reads and writes the content of a logical volume. It implements [block.Device]. It
// writes all copies of the data, and never labels or texts.
type Writer struct{ *Reader }

var _ block.Device = (*Writer)(nil)

// Writable returns the disks used by a volume of g. Open them for writing before calling
// [Group.OpenWritable]. It requires that all parts of the volume are present and in sync, that the
// disks are writable, that no other volume except a thin pool depends on it, and that there is no
// doubt about the text. The error says which condition fails.
func (g *Group) Writable(v *Volume) ([]*disk.Disk, error) {
	r, err := g.writable(v)
	if err != nil {
		return nil, err
	}
	return r.disks, nil
}

func (g *Group) writable(v *Volume) (*Reader, error) {
	refuse := func(format string, args ...any) (*Reader, error) {
		return nil, fmt.Errorf("%s/%s cannot be written: %w", g.Name, v.Name, fmt.Errorf(format, args...))
	}
	switch user := g.user(v.Name); {
	case g.doubt != nil:
		return refuse("%w", g.doubt)
	case !slices.Contains(v.Status, "WRITE"):
		return refuse("it is read-only")
	case user != "":
		return refuse("%s depends on it", user)
	}
	b := newBuilder(g, ReadOptions{})
	b.write = true
	root, _, err := b.volume(v, 0)
	if err != nil {
		return refuse("%w", err)
	}
	if b.missing != nil {
		return refuse("%w", b.missing)
	}
	for _, d := range b.disks {
		if err := d.Writable(); err != nil {
			return refuse("%w", err)
		}
	}
	return &Reader{g: g, v: v, root: root, disks: b.disks, Notes: b.notes}, nil
}

// OpenWritable returns a Writer of a volume of g. The volume must be [Group.Writable], and its
// disks must be open for writing.
func (g *Group) OpenWritable(v *Volume) (*Writer, error) {
	r, err := g.writable(v)
	if err != nil {
		return nil, err
	}
	for _, d := range r.disks {
		if !d.IsOpenForWriting() {
			return nil, fmt.Errorf("%s/%s cannot be written: %v: %w", g.Name, v.Name, d, block.ErrReadOnly)
		}
	}
	return &Writer{r}, nil
}

// user returns a volume, other than a thin pool, that uses the named one or depends on its content:
// a RAID set on its images, a cache or snapshot on its origin.
func (g *Group) user(name string) string {
	for _, v := range g.LVs {
		for i := range v.Segments {
			if s := &v.Segments[i]; v.Name != name && s.ThinPool == nil && s.uses(name) {
				return v.Name
			}
		}
	}
	return ""
}

// uses reports whether any string in the segment's text equals name: the keys of an unknown type
// may mean anything.
func (s *Segment) uses(name string) bool {
	if s.Thin != nil {
		return s.Thin.ExternalOrigin == name // origin and merge refer to devices in the pool
	}
	for _, e := range s.Section.Entries {
		if e.Key == "type" {
			continue
		}
		for _, item := range e.Value.Items {
			if item.Str == name {
				return true
			}
		}
	}
	return false
}

// WriteAt implements [io.WriterAt]. Data is on stable storage after Flush.
func (w *Writer) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > w.v.Size || int64(len(p)) > w.v.Size-off {
		return 0, io.ErrShortWrite
	}
	if err := w.root.writeAt(p, off); err != nil {
		return 0, fmt.Errorf("%s/%s, byte %d: %w", w.g.Name, w.v.Name, off, err)
	}
	return len(p), nil
}

// Flush flushes all disks.
func (w *Writer) Flush() error { return disk.Flush(w.disks...) }

// Close implements [block.Device]. The disks stay open.
func (w *Writer) Close() error { return nil }
