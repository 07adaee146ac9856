package disk

import (
	"context"
	"fmt"

	"thinpool/disk/internal/partition"
	"thinpool/internal/md"
)

// A Medium is something that may have a partition table: an image, or the content of a layer.
type Medium struct {
	*Disk
	// Plain lists the medium and its partitions that no layer recognises. They may contain a
	// physical volume of LVM.
	Plain      []*Disk
	Partitions int
	Opened     int      // number of parts opened by a layer
	Closed     int      // number of parts recognised but not opened; each has a problem of its own
	Looks      []string // for messages: what was recognised and cannot be opened

	depth int
}

// Found is the result of a search.
type Found struct {
	Media    []*Medium // each after its container
	Problems []Problem
}

// How says how [Search] opens layers.
type How struct {
	// Key returns a key to try on an encrypted disk. It is called again after a wrong key. An error
	// means that there is none, and says why. If Key is nil, encrypted disks stay closed.
	Key func(ctx context.Context, lock Lock) ([]byte, error)
	// KeyMemory is how much memory trying a key may take, in bytes.
	KeyMemory int64
	// Leg selects the leg of md mirrors to read, counted from 1, however old it is. 0 chooses among
	// the newest.
	Leg int
}

// Search tries all layers on disks, and on their content, until none recognises the bytes.
// Unreadable things become problems. The only error is that of ctx.
func Search(ctx context.Context, opt How, disks ...*Disk) (*Found, error) {
	s := &search{Found: &Found{}, opt: opt, arrays: map[md.UUID]*mdArray{}}
	for _, d := range disks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.medium(ctx, d, 0)
	}
	s.assemble(ctx)
	return s.Found, ctx.Err()
}

// A search is a call of [Search].
type search struct {
	*Found
	opt    How
	arrays map[md.UUID]*mdArray // not opened yet
	order  []md.UUID            // order in which they were found
}

// look records something that was recognised in m but cannot be opened.
func (m *Medium) look(format string, args ...any) {
	m.Looks = append(m.Looks, fmt.Sprintf(format, args...))
}

func (s *search) problem(note bool, format string, args ...any) {
	s.Problems = append(s.Problems, Problem{note, fmt.Sprintf(format, args...)})
}

// mostLayers limits the nesting of media.
const mostLayers = 8

// medium searches a medium. A layer may use the whole of it.
func (s *search) medium(ctx context.Context, d *Disk, depth int) {
	m := &Medium{Disk: d, depth: depth}
	s.Media = append(s.Media, m)
	if s.taken(ctx, m, d) {
		return
	}
	m.add(s, d)
	table, err := partition.Read(d, d.size)
	if err != nil {
		s.problem(false, "%v: %v", d, err)
	}
	for _, p := range table.Problems {
		s.problem(true, "%v: %s", d, p)
	}
	m.Partitions = len(table.Partitions)
	for _, p := range table.Partitions {
		if p := d.partition(p); !s.taken(ctx, m, p) {
			m.add(s, p)
		}
	}
}

// add adds a part that no layer opens.
func (m *Medium) add(s *search, d *Disk) {
	m.Plain = append(m.Plain, d)
	m.named(d)
	s.drbd(d)
}

// taken reports whether a layer recognises a part of a medium.
func (s *search) taken(ctx context.Context, m *Medium, d *Disk) bool {
	return s.md(m, d) || s.luks(ctx, m, d)
}

// inside searches the content of a layer on a part of m.
func (s *search) inside(ctx context.Context, m *Medium, d *Disk) {
	m.Opened++
	s.deeper(ctx, d, m.depth)
}

// deeper searches the content of a layer at the given depth.
func (s *search) deeper(ctx context.Context, d *Disk, depth int) {
	if depth == mostLayers {
		s.problem(false, "%v: more than %d nested layers", d, mostLayers)
		return
	}
	s.medium(ctx, d, depth+1)
}

// Refuse says why d must not be written, although it looks writable: because it belongs to a layer.
// It returns nil if no layer recognises it.
func Refuse(d *Disk) error {
	sb, err := d.member()
	switch {
	case err != nil:
		return d.doubtfulMember(err)
	case sb != nil:
		return d.mdRefusal(sb)
	case isDRBD(d):
		return d.drbdRefusal()
	}
	return nil
}

// refuseAt is [Refuse] for an offset in d, which may be in a partition.
func (d *Disk) refuseAt(at int64) error {
	if err := Refuse(d); err != nil {
		return err
	}
	table, err := partition.Read(d, d.size)
	if err != nil {
		return err
	}
	for _, p := range table.Partitions {
		if at < p.Start || at-p.Start >= p.Size {
			continue
		}
		if err := Refuse(d.partition(p)); err != nil {
			return err
		}
	}
	return nil
}

// IsMember reports whether the superblock of d proves that it is a member of an array.
func IsMember(d *Disk) bool {
	sb, err := d.member()
	return err == nil && sb != nil
}
