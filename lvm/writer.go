package lvm

import (
	"fmt"
	"io"
	"slices"

	"thinpool/disk"
	"thinpool/metadata/block"
)

// writable are the types of segment that can be written: those where each byte of the volume
// lies in places of its own.
var writable = []string{"striped", "linear", "raid0", "raid0_meta", "raid1", "raid10", "raid10_near", "mirror"}

// A Writer reads and writes the content of a logical volume: a [block.Device]. It writes
// neither labels nor texts, and all copies of what it writes.
type Writer struct{ *Reader }

var _ block.Device = (*Writer)(nil)

// Writable returns the disks that a volume of g lies on, which have to be opened for writing
// before [Group.OpenWritable] makes a Writer of it. All it lies on must be there and in sync, on
// disks that can be written; no other volume may depend on it but a thin pool; and there must be no doubt about
// what the text says. The error names what is not so.
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

// OpenWritable makes a Writer of a volume of g that is [Group.Writable], and whose disks are
// open for writing.
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

// user returns a volume, other than a thin pool, that lies on the named one or needs it as it
// is: a RAID set its images, a cache or a snapshot its origin.
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

// uses reports whether a string anywhere in the segment's text is the name: the keys of an unknown
// type may mean anything.
func (s *Segment) uses(name string) bool {
	if s.Thin != nil {
		return s.Thin.ExternalOrigin == name // origin and merge are about devices of the pool
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

// WriteAt implements [io.WriterAt]. What was written is on stable storage after Flush.
func (w *Writer) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > w.v.Size || int64(len(p)) > w.v.Size-off {
		return 0, io.ErrShortWrite
	}
	if err := w.root.writeAt(p, off); err != nil {
		return 0, fmt.Errorf("%s/%s, byte %d: %w", w.g.Name, w.v.Name, off, err)
	}
	return len(p), nil
}

// Flush makes all disks flush what was written to them.
func (w *Writer) Flush() error { return disk.Flush(w.disks...) }

// Close implements [block.Device]. The disks stay open.
func (w *Writer) Close() error { return nil }
