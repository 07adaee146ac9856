package view

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"thinpool/internal/cli"
	"thinpool/metadata/volume"
)

// Ranges prints ranges as JSON. It merges adjacent ranges of one type.
type Ranges struct {
	w    *bufio.Writer
	last rangeRecord
	end  endRecord
}

type rangeRecord struct {
	Type   string `json:"type"`
	Begin  int64  `json:"begin"`
	Length int64  `json:"length"`
}

// endRecord has the total lengths by type.
type endRecord struct {
	Type    string `json:"type"` // "summary"
	Size    int64  `json:"size"` // of the device
	Data    int64  `json:"data"`
	Zero    int64  `json:"zero"`
	Lost    int64  `json:"lost"`
	Guessed int64  `json:"guessed"`
}

func NewRanges(w io.Writer, size int64) *Ranges {
	return &Ranges{w: bufio.NewWriter(w), end: endRecord{Type: "summary", Size: size}}
}

// Add adds the next extent.
func (l *Ranges) Add(e volume.Extent) error {
	r, sum := rangeRecord{"data", e.Begin, e.Len}, &l.end.Data
	switch {
	case e.Kind == volume.Hole:
		r.Type, sum = "zero", &l.end.Zero
	case e.Kind == volume.Lost:
		r.Type, sum = "lost", &l.end.Lost
	case e.Guessed:
		r.Type, sum = "guessed", &l.end.Guessed
	}
	*sum += e.Len
	if r.Type == l.last.Type && r.Begin == l.last.Begin+l.last.Length {
		l.last.Length += r.Length
		return nil
	}
	last := l.last
	l.last = r
	return l.print(last)
}

func (l *Ranges) print(r rangeRecord) error {
	if r.Length == 0 {
		return nil
	}
	return NewEncoder(l.w).Encode(r)
}

// Close prints the last range and the totals.
func (l *Ranges) Close() error {
	return errors.Join(l.print(l.last), NewEncoder(l.w).Encode(l.end), l.w.Flush())
}

// A DMTable prints a device-mapper table.
type DMTable struct {
	w            *bufio.Writer
	data, origin string
	offset       int64
}

// NewDMTable returns a DMTable over the devices data and origin. The pool's data starts at byte
// offset.
func NewDMTable(w io.Writer, data, origin string, offset int64) *DMTable {
	t := &DMTable{w: bufio.NewWriter(w), data: data, origin: origin, offset: offset}
	if t.data == "" {
		t.data = "DATA"
	}
	// device-mapper takes the byte after a backslash literally.
	escape := strings.NewReplacer(`\`, `\\`, " ", `\ `, "\t", "\\\t", "\n", "\\\n")
	t.data, t.origin = escape.Replace(t.data), escape.Replace(t.origin)
	return t
}

// Add adds the next extent.
func (t *DMTable) Add(e volume.Extent) error {
	const sector = cli.SectorSize
	fmt.Fprintf(t.w, "%d %d ", e.Begin/sector, e.Len/sector)
	var err error
	switch e.Kind {
	case volume.Mapped:
		_, err = fmt.Fprintf(t.w, "linear %s %d\n", t.data, (t.offset+e.Data)/sector)
	case volume.Origin:
		_, err = fmt.Fprintf(t.w, "linear %s %d\n", t.origin, e.Begin/sector)
	case volume.Lost:
		_, err = fmt.Fprintln(t.w, "error")
	default:
		_, err = fmt.Fprintln(t.w, "zero")
	}
	return err
}

// Close flushes the table.
func (t *DMTable) Close() error { return t.w.Flush() }
