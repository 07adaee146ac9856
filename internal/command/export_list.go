package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"thinpool/internal/cli"
	"thinpool/metadata/volume"
)

// An exportPlan is what an export comes to.
type exportPlan struct {
	bytes int64 // to be copied
	zeros int64 // to be left out, or made
	lost  int64
	cut   bool // some of that lies beyond the data device
}

// plan goes through all that is to be exported from a byte on, and says what is lost.
// Without --repair it is an error if anything is.
func (x *Export) plan(env *cli.Env, v *exportVolume, from int64) (exportPlan, error) {
	var p exportPlan
	env.Progress("reading mappings", 0, 0)
	for e, err := range v.extents(env) {
		if err != nil {
			return p, err
		}
		left := max(e.End()-max(e.Begin, from), 0)
		switch e.Kind {
		case volume.Mapped, volume.Origin:
			p.bytes += left
		case volume.Hole:
			p.zeros += left
		case volume.Lost:
			p.zeros += left
			_, cut := errors.AsType[*volume.BeyondError](e.Err)
			p.lost, p.cut = p.lost+e.Len, p.cut || cut
			sayLost(env, e)
		}
	}
	if p.lost == 0 {
		return p, nil
	}
	v.lossy = true
	if x.Repair {
		return p, nil
	}
	advice := "--repair exports the rest and leaves holes there"
	if x.ChangedSince != nil {
		advice = "of damaged metadata only whole devices are exported, with --repair"
	}
	if p.cut {
		advice += "; is this the data device, all of it, and does it begin at --data-offset?"
	}
	return p, fmt.Errorf("%d bytes are lost; nothing was written: %s", p.lost, advice)
}

func sayLost(env *cli.Env, e volume.Extent) {
	fmt.Fprintf(env.Stderr, "lost: bytes %d..%d: %v\n", e.Begin, e.End()-1, e.Err)
}

// list prints what is asked for.
func (x *Export) list(env *cli.Env, v *exportVolume) error {
	switch {
	case x.Map != "":
		table := x.newTablePrinter(env.Stdout)
		return errors.Join(v.each(env, table.add), table.w.Flush())
	case x.Format == "" && x.Ranges == "":
		return nil
	}
	out, err := env.CreateOutput(x.Ranges, "", x.inputs()...)
	if err != nil {
		return err
	}
	defer out.Discard()
	ranges := newRangeLister(out, v.Size())
	if err := v.each(env, ranges.add); err != nil {
		return err
	}
	return errors.Join(ranges.close(), out.Commit())
}

func (v *exportVolume) each(env *cli.Env, fn func(volume.Extent) error) error {
	for e, err := range v.extents(env) {
		if err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// A rangeLister prints ranges as JSON, neighbours of one type as one.
type rangeLister struct {
	w    *bufio.Writer
	last rangeRecord
	end  endRecord
}

type rangeRecord struct {
	Type   string `json:"type"`
	Begin  int64  `json:"begin"`
	Length int64  `json:"length"`
}

// endRecord has the sums of the lengths.
type endRecord struct {
	Type string `json:"type"` // "summary"
	Size int64  `json:"size"` // of the device
	Data int64  `json:"data"`
	Zero int64  `json:"zero"`
	Lost int64  `json:"lost"`
}

func newRangeLister(w io.Writer, size int64) *rangeLister {
	return &rangeLister{w: bufio.NewWriter(w), end: endRecord{Type: "summary", Size: size}}
}

func (l *rangeLister) add(e volume.Extent) error {
	r, sum := rangeRecord{"data", e.Begin, e.Len}, &l.end.Data
	switch e.Kind {
	case volume.Hole:
		r.Type, sum = "zero", &l.end.Zero
	case volume.Lost:
		r.Type, sum = "lost", &l.end.Lost
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

func (l *rangeLister) print(r rangeRecord) error {
	if r.Length == 0 {
		return nil
	}
	return newEncoder(l.w).Encode(r)
}

func (l *rangeLister) close() error {
	return errors.Join(l.print(l.last), newEncoder(l.w).Encode(l.end), l.w.Flush())
}

// A tablePrinter prints a device-mapper table.
type tablePrinter struct {
	w            *bufio.Writer
	data, origin string
	offset       int64
}

func (x *Export) newTablePrinter(w io.Writer) *tablePrinter {
	t := &tablePrinter{w: bufio.NewWriter(w), data: x.Data, origin: x.Origin, offset: int64(x.DataOffset)}
	if t.data == "" {
		t.data = "DATA"
	}
	// A backslash takes the next byte as it is.
	escape := strings.NewReplacer(`\`, `\\`, " ", `\ `, "\t", "\\\t", "\n", "\\\n")
	t.data, t.origin = escape.Replace(t.data), escape.Replace(t.origin)
	return t
}

func (t *tablePrinter) add(e volume.Extent) error {
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
