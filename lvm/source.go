package lvm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"thinpool/disk"
	"thinpool/internal/raid"
)

// A source provides data of a logical volume. A [Reader] reads a tree of sources. Callers must stay
// within the size of a source.
type source interface {
	// readAt fills p.
	readAt(p []byte, off int64) error
	// writeAt writes all of p to every copy. It is only called on trees built for writing.
	writeAt(p []byte, off int64) error
}

// errNotWritable is for sources that are never in a tree built for writing.
var errNotWritable = errors.New("cannot be written")

// A MissingError means that data is on a missing physical volume.
type MissingError struct {
	PV     *PhysicalVolume
	Reason string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s (%s) %s", e.PV.Name, e.PV.ID, e.Reason)
}

// lost is a source whose reads fail.
type lost struct{ err error }

func (l lost) readAt([]byte, int64) error  { return l.err }
func (l lost) writeAt([]byte, int64) error { return l.err }

// zeros is a segment of type zero.
type zeros struct{}

func (zeros) readAt(p []byte, _ int64) error { clear(p); return nil }
func (zeros) writeAt([]byte, int64) error    { return errNotWritable }

// onDisk is a part of a physical volume.
type onDisk struct {
	d    *disk.Disk
	base int64
}

func (d onDisk) readAt(p []byte, off int64) error  { return d.d.ReadFull(p, d.base+off) }
func (d onDisk) writeAt(p []byte, off int64) error { return d.d.WriteFull(p, d.base+off) }

// shifted is a source that starts at an offset of another one.
type shifted struct {
	source
	base int64
}

func (s shifted) readAt(p []byte, off int64) error  { return s.source.readAt(p, s.base+off) }
func (s shifted) writeAt(p []byte, off int64) error { return s.source.writeAt(p, s.base+off) }

// A joint is a volume: concatenated segments.
type joint struct {
	name     string
	ends     []int64 // of the segments
	segments []source
}

// each calls fn for each segment that overlaps n bytes from off on.
func (j *joint) each(n int, off int64, fn func(s source, from, to int, off int64) error) error {
	i, _ := slices.BinarySearch(j.ends, off+1)
	for done := 0; done < n; i++ {
		if i == len(j.ends) {
			return fmt.Errorf("%s ends at byte %d: no byte %d", j.name, j.size(), off+int64(done))
		}
		begin := int64(0)
		if i > 0 {
			begin = j.ends[i-1]
		}
		at := off + int64(done)
		to := done + int(min(int64(n-done), j.ends[i]-at))
		if err := fn(j.segments[i], done, to, at-begin); err != nil {
			return err
		}
		done = to
	}
	return nil
}

func (j *joint) size() int64 {
	if len(j.ends) == 0 {
		return 0
	}
	return j.ends[len(j.ends)-1]
}

func (j *joint) readAt(p []byte, off int64) error {
	return j.each(len(p), off, func(s source, from, to int, off int64) error { return s.readAt(p[from:to], off) })
}

func (j *joint) writeAt(p []byte, off int64) error {
	return j.each(len(p), off, func(s source, from, to int, off int64) error { return s.writeAt(p[from:to], off) })
}

// A mirror has several copies of the same data. Any leg will do; the first is preferred.
type mirror struct{ legs []source }

func (m mirror) readAt(p []byte, off int64) error {
	var first error
	for _, leg := range m.legs {
		err := leg.readAt(p, off)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (m mirror) writeAt(p []byte, off int64) error {
	for _, leg := range m.legs {
		if err := leg.writeAt(p, off); err != nil {
			return err
		}
	}
	return nil
}

// A set spreads chunks over devices without parity: striped, raid0, raid10.
type set struct {
	layout raid.Layout
	devs   []source
	nth    int // copy to read first
	only   bool
}

func (s *set) readAt(p []byte, off int64) error {
	return chunks(s.layout, p, off, func(p []byte, off int64) error {
		var first error
		for i := range s.layout.Copies {
			place, _ := s.layout.Locate(off, (s.nth+i)%s.layout.Copies)
			err := s.devs[place.Device].readAt(p, place.Offset)
			if err == nil || s.only {
				return err
			}
			if first == nil {
				first = err
			}
		}
		return first
	})
}

func (s *set) writeAt(p []byte, off int64) error {
	return chunks(s.layout, p, off, func(p []byte, off int64) error {
		for i := range s.layout.Copies {
			place, _ := s.layout.Locate(off, i)
			if err := s.devs[place.Device].writeAt(p, place.Offset); err != nil {
				return err
			}
		}
		return nil
	})
}

// chunks splits p at chunk boundaries.
func chunks(l raid.Layout, p []byte, off int64, fn func(p []byte, off int64) error) error {
	for len(p) > 0 {
		_, rest := l.Locate(off, 0)
		n := int(min(int64(len(p)), rest))
		if err := fn(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// A paritySet is a raid4, 5 or 6 set.
type paritySet struct {
	layout raid.Layout
	devs   []source
	// doubt says why parity cannot be trusted; nil if it can.
	doubt error
}

func (s *paritySet) writeAt([]byte, int64) error { return errNotWritable }

func (s *paritySet) readAt(p []byte, off int64) error {
	return chunks(s.layout, p, off, func(p []byte, off int64) error {
		place, _ := s.layout.Locate(off, 0)
		err := s.devs[place.Device].readAt(p, place.Offset)
		if err == nil {
			return nil
		}
		if s.doubt != nil {
			return fmt.Errorf("%w, and cannot be computed from the other devices: %w", err, s.doubt)
		}
		if rebuilt := s.rebuild(p, place); rebuilt != nil {
			return fmt.Errorf("%w, and cannot be computed from the other devices: %w", err, rebuilt)
		}
		return nil
	})
}

// rebuild computes the content of a device from the others in its row.
func (s *paritySet) rebuild(p []byte, place raid.Place) error {
	row := place.Offset / s.layout.Chunk
	others := func(dev int, p []byte) error { return s.devs[dev].readAt(p, place.Offset) }
	return s.layout.Rebuild(row, place.Device, p, others)
}

// ErrDiffer means that copies of the same data differ.
var ErrDiffer = errors.New("its copies differ")

// readSame reads all copies in s and returns an error if they differ.
func readSame(s source, p []byte, off int64) error {
	switch s := s.(type) {
	case shifted:
		return readSame(s.source, p, s.base+off)
	case *joint:
		return s.each(len(p), off, func(s source, from, to int, off int64) error { return readSame(s, p[from:to], off) })
	case mirror:
		return compare(len(s.legs), p, func(i int, p []byte) error { return readSame(s.legs[i], p, off) })
	case *set:
		return chunks(s.layout, p, off, func(p []byte, off int64) error {
			return compare(s.layout.Copies, p, func(i int, p []byte) error {
				place, _ := s.layout.Locate(off, i)
				return readSame(s.devs[place.Device], p, place.Offset)
			})
		})
	}
	return s.readAt(p, off)
}

// compare fills p with the first of n copies and compares it with the others.
func compare(n int, p []byte, read func(i int, p []byte) error) error {
	if err := read(0, p); err != nil || n == 1 {
		return err
	}
	other := make([]byte, len(p))
	for i := 1; i < n; i++ {
		if err := read(i, other); err != nil {
			return err
		}
		if !bytes.Equal(p, other) {
			return ErrDiffer
		}
	}
	return nil
}
