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
	Looks      []string // what was recognised and leads no further, for messages
}

// Found is what a search has found.
type Found struct {
	Media    []*Medium // each after what it lies in
	Problems []Problem
}

// Search tries all layers on disks, and on what they make of them, until none recognises the bytes.
// What cannot be read is among the problems; the error is that of ctx.
func Search(ctx context.Context, disks ...*Disk) (*Found, error) {
	s := &search{Found: &Found{}}
	for _, d := range disks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.medium(d)
	}
	return s.Found, nil
}

type search struct{ *Found }

func (s *search) problem(note bool, format string, args ...any) {
	s.Problems = append(s.Problems, Problem{note, fmt.Sprintf(format, args...)})
}

// medium searches a medium.
func (s *search) medium(d *Disk) {
	m := &Medium{Disk: d}
	s.Media = append(s.Media, m)
	s.look(m, d)
	table, err := partition.Read(d, d.size)
	if err != nil {
		s.problem(false, "%v: %v", d, err)
	}
	for _, p := range table.Problems {
		s.problem(true, "%v: %s", d, p)
	}
	m.Partitions = len(table.Partitions)
	for _, p := range table.Partitions {
		s.look(m, d.partition(p))
	}
}

// look looks at what the bytes of a part of a medium are.
func (s *search) look(m *Medium, d *Disk) {
	m.Plain = append(m.Plain, d)
	if what := wrapped(d); what != "" {
		m.Looks = append(m.Looks, fmt.Sprintf("%v %s", d, what))
	}
}
