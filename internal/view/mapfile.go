package view

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"thinpool/metadata/volume"
)

// A Mapfile prints the mapfile of an export in the format of GNU ddrescue.
//
// Guessed data has been copied, so its status must not be "?": ddrescue would read those areas
// first and overwrite them. Status "*" marks them unfinished, and --no-trim leaves them alone.
type Mapfile struct {
	w    *bufio.Writer
	last mapfileBlock
}

// A mapfileBlock is a byte range with one status.
type mapfileBlock struct {
	begin, length int64
	status        byte
}

// NewMapfile returns a Mapfile that writes to w. Extents must follow each other without gaps.
func NewMapfile(w io.Writer) *Mapfile {
	m := &Mapfile{w: bufio.NewWriter(w)}
	// ddrescue has not tried its input yet, so it starts with the first pass.
	fmt.Fprint(m.w, "# Mapfile. Created by thin_export\n# current_pos  current_status  current_pass\n0x00000000     ?               1\n#      pos        size  status\n")
	return m
}

// Add adds the next extent.
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

// Close prints the last block.
func (m *Mapfile) Close() error { return errors.Join(m.print(m.last), m.w.Flush()) }
