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

// plan goes through all that is to be exported, says what is lost, and hands every
// extent to list. Without --repair it is an error if anything is lost.
func (x *Export) plan(env *cli.Env, v *exportVolume, from int64, list func(volume.Extent) error) (exportPlan, error) {
	var p exportPlan
	env.Progress("reading mappings", 0, 0)
	for e, err := range v.extents(env) {
		if err != nil {
			return p, err
		}
		if err := list(e); err != nil {
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

// A rangeLister prints ranges as JSON, neighbours of one kind as one.
type rangeLister struct {
	w    *bufio.Writer
	kind string
	last volume.Extent
}

func newRangeLister(w io.Writer) *rangeLister { return &rangeLister{w: bufio.NewWriter(w)} }

var rangeKinds = [...]string{volume.Hole: "zero", volume.Mapped: "data", volume.Origin: "data", volume.Lost: "lost"}

func (l *rangeLister) add(e volume.Extent) error {
	kind := rangeKinds[e.Kind]
	if l.last.Len > 0 && kind == l.kind && e.Begin == l.last.End() {
		l.last.Len += e.Len
		return nil
	}
	err := l.print()
	l.kind, l.last = kind, e
	return err
}

func (l *rangeLister) print() error {
	if l.last.Len == 0 {
		return nil
	}
	_, err := fmt.Fprintf(l.w, `{"kind":"%s","offset":%d,"length":%d}`+"\n", l.kind, l.last.Begin, l.last.Len)
	return err
}

func (l *rangeLister) close() error { return errors.Join(l.print(), l.w.Flush()) }

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
