package view

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"thinpool/metadata/volume"
)

// A Mapfile prints the mapfile of an export, as GNU ddrescue reads it.
//
// What is guessed has been copied, so it must not be "?": ddrescue would read that first, and
// put other bytes in its place. As "*" it shows as not finished, and --no-trim leaves it alone.
type Mapfile struct {
	w    *bufio.Writer
	last mapfileBlock
}

// A mapfileBlock is adjacent bytes of one status.
type mapfileBlock struct {
	begin, length int64
	status        byte
}

// NewMapfile returns what prints a mapfile. Extents must follow each other without a gap.
func NewMapfile(w io.Writer) *Mapfile {
	m := &Mapfile{w: bufio.NewWriter(w)}
	// Nothing was tried with another input yet: ddrescue begins with its first pass.
	fmt.Fprint(m.w, "# Mapfile. Created by thin_export\n# current_pos  current_status  current_pass\n0x00000000     ?               1\n#      pos        size  status\n")
	return m
}

// Add adds what comes next.
func (m *Mapfile) Add(e volume.Extent) error {
	b := mapfileBlock{e.Begin, e.Len, '+'}
	switch {
	case e.Kind == volume.Lost:
		b.status = '-'
	case e.Guessed:
		b.status = '*'
	}
	if b.status == m.last.status {
		m.last.length += b.length
		return nil
	}
	last := m.last
	m.last = b
	return m.print(last)
}

func (m *Mapfile) print(b mapfileBlock) error {
	if b.length == 0 {
		return nil
	}
	_, err := fmt.Fprintf(m.w, "0x%08X  0x%08X  %c\n", b.begin, b.length, b.status)
	return err
}

// Close prints what is left.
func (m *Mapfile) Close() error { return errors.Join(m.print(m.last), m.w.Flush()) }
