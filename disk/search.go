package disk

import (
	"context"
	"fmt"

	"thinpool/disk/internal/partition"
	"thinpool/internal/md"
)

// A Medium is something that may have a partition table: an image, or what a layer makes of one.
type Medium struct {
	*Disk
	// Plain are the medium and its partitions, as far as no layer recognises what they are: a
	// physical volume of LVM may begin there.
	Plain      []*Disk
	Partitions int
	Opened     int      // how many of its parts are media that a layer has opened
	Closed     int      // how many a layer recognises and could not open: that is a problem of its own
	Looks      []string // what was recognised and leads no further, for messages

	depth int
}

// Found is what a search has found.
type Found struct {
	Media    []*Medium // each after what it lies in
	Problems []Problem
}

// How says how [Search] opens what layers have made.
type How struct {
	// Key returns a key to try on an encrypted disk; after one that was wrong it is called again. The
	// error is why there is none. Without it encrypted disks stay closed.
	Key func(ctx context.Context, lock Lock) ([]byte, error)
	// KeyMemory is how much memory trying a key may take, in bytes.
	KeyMemory int64
	// Leg is the leg of mirrors of md to read, counted from 1, however old it is; 0 chooses among
	// the newest.
	Leg int
}

// Search tries all layers on disks, and on what they make of them, until none recognises the bytes.
// What cannot be read is among the problems; the error is that of ctx.
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

// A search is one call of [Search].
type search struct {
	*Found
	opt    How
	arrays map[md.UUID]*mdArray // that are not opened yet
	order  []md.UUID            // in which they were found
}

// look notes what was recognised in m and leads no further.
func (m *Medium) look(format string, args ...any) {
	m.Looks = append(m.Looks, fmt.Sprintf(format, args...))
}

func (s *search) problem(note bool, format string, args ...any) {
	s.Problems = append(s.Problems, Problem{note, fmt.Sprintf(format, args...)})
}

// mostLayers bounds how many media lie in one another.
const mostLayers = 8

// medium searches a medium, all of which a layer may take.
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

// add adds a part that no layer leads into.
func (m *Medium) add(s *search, d *Disk) {
	m.Plain = append(m.Plain, d)
	m.named(d)
	s.drbd(d)
}

// taken reports whether a layer recognises a part of a medium.
func (s *search) taken(ctx context.Context, m *Medium, d *Disk) bool {
	return s.md(m, d) || s.luks(ctx, m, d)
}

// inside searches what a layer has made of a part of m.
func (s *search) inside(ctx context.Context, m *Medium, d *Disk) {
	m.Opened++
	s.deeper(ctx, d, m.depth)
}

// deeper searches what a layer has made of what lies depth layers deep.
func (s *search) deeper(ctx context.Context, d *Disk, depth int) {
	if depth == mostLayers {
		s.problem(false, "%v: more than %d nested layers", d, mostLayers)
		return
	}
	s.medium(ctx, d, depth+1)
}

// Refuse says why bytes must not be written although they look as if they could be: which layer they
// are a part of. It is nil if none recognises them.
func Refuse(d *Disk) error {
	sb, err := d.member()
	switch {
	case err != nil:
		return fmt.Errorf("%v may be a member of a software RAID: refusing to write: %w", d, err)
	case sb != nil:
		return d.mdRefusal(sb)
	case isDRBD(d):
		return d.drbdRefusal()
	}
	return nil
}

// refuseAt is [Refuse] for a place in d, which may lie in a partition.
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

// IsMember reports whether d is a member of an array, of which its superblock leaves no doubt.
func IsMember(d *Disk) bool {
	sb, err := d.member()
	return err == nil && sb != nil
}
