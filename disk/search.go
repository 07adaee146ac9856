package disk

import (
	"context"
	"fmt"

	"thinpool/disk/internal/partition"
)

// A Medium is something that may have a partition table: an image, or what a layer makes of one.
type Medium struct {
	*Disk
	// Plain are the medium and its partitions, as far as no layer recognises what they are: a
	// physical volume of LVM may begin there.
	Plain      []*Disk
	Partitions int
	Opened     int      // how many of its parts are media that a layer has opened
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
}

// Search tries all layers on disks, and on what they make of them, until none recognises the bytes.
// What cannot be read is among the problems; the error is that of ctx.
func Search(ctx context.Context, opt How, disks ...*Disk) (*Found, error) {
	s := &search{Found: &Found{}, ctx: ctx, opt: opt}
	for _, d := range disks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.medium(d, 0)
	}
	return s.Found, ctx.Err()
}

// A search is one call of [Search].
type search struct {
	*Found
	ctx context.Context
	opt How
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
func (s *search) medium(d *Disk, depth int) {
	m := &Medium{Disk: d, depth: depth}
	s.Media = append(s.Media, m)
	if s.taken(m, d) {
		return
	}
	m.Plain = append(m.Plain, d)
	table, err := partition.Read(d, d.size)
	if err != nil {
		s.problem(false, "%v: %v", d, err)
	}
	for _, p := range table.Problems {
		s.problem(true, "%v: %s", d, p)
	}
	m.Partitions = len(table.Partitions)
	for _, p := range table.Partitions {
		if p := d.partition(p); !s.taken(m, p) {
			m.Plain = append(m.Plain, p)
		}
	}
}

// taken reports whether a layer recognises a part of a medium, each in its turn: a software RAID
// comes first, as what its members hold can look like anything.
func (s *search) taken(m *Medium, d *Disk) bool { return s.md(m, d) || s.luks(m, d) }

// inside searches what a layer has made of a part of m.
func (s *search) inside(m *Medium, d *Disk) {
	m.Opened++
	if m.depth == mostLayers {
		s.problem(false, "%v: more than %d layers lie in one another", d, mostLayers)
		return
	}
	s.medium(d, m.depth+1)
}

// Refuse says why bytes must not be written although they look as if they could be: which layer they
// are a part of. It is nil if none recognises them.
func Refuse(d *Disk) error {
	if member := recogniseMD(d, d.size); member != nil {
		return d.mdRefusal(member)
	}
	return nil
}
