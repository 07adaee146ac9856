package command

import (
	"fmt"
	"io"
	"strconv"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/tool/delta"
)

// deltaFormat is how a difference is written.
type deltaFormat struct {
	Name     string // xml, json, csv
	Verbose  bool   // with data blocks
	OmitSame bool
	Unit     string // block, sector, byte
}

// A deltaWriter writes a difference as text. What goes wrong with its output is
// returned by the next call that can.
type deltaWriter struct {
	w    io.Writer
	buf  []byte
	f    deltaFormat
	size uint64 // of a block, in units
	last uint64 // if not 0, the size of the device, in units

	append  func(*deltaWriter, place) // appends a range to buf
	stretch delta.Kind                // in verbose XML: of the element that is open
	open    bool
	totals  [4]uint64 // lengths, in units, by kind
}

// A place is a range in units.
type place struct {
	kind                       delta.Kind
	begin, length, left, right uint64
}

// deltaBuffer is how much text is collected before it is written.
const deltaBuffer = 1 << 17

func newDeltaWriter(w io.Writer, f deltaFormat, blockSize uint32) *deltaWriter {
	d := &deltaWriter{w: w, f: f, buf: make([]byte, 0, deltaBuffer+1024)}
	d.size = map[string]uint64{"block": 1, "sector": uint64(blockSize), "byte": uint64(blockSize) * cli.SectorSize}[f.Unit]
	switch {
	case f.Name == "json":
		d.append = (*deltaWriter).json
	case f.Name == "csv":
		d.append = (*deltaWriter).csv
	case f.Verbose:
		d.append = (*deltaWriter).xmlRange
	default:
		d.append = (*deltaWriter).xml
	}
	return d
}

// limit notes the size of the device, and returns it in whole blocks.
func (d *deltaWriter) limit(bytes, blockSize uint64) uint64 {
	up := func(unit uint64) uint64 { return bytes/unit + min(bytes%unit, 1) }
	switch d.f.Unit {
	case "sector":
		d.last = up(cli.SectorSize)
	case "byte":
		d.last = bytes
	}
	return up(blockSize * cli.SectorSize)
}

// begin writes what comes before the ranges.
func (d *deltaWriter) begin(h metadata.Header, left, right metadata.Tree) error {
	switch d.f.Name {
	case "json":
		d.printf(`{"type":"delta","format":1,%s,%s,"time":%d,"transaction":%d,"data_block_size":%d,"nr_data_blocks":%d,"unit":%q}`+"\n",
			jsonSide("left", left), jsonSide("right", right), h.Time, h.TransactionID, h.DataBlockSize, h.NrDataBlocks, d.f.Unit)
	case "csv":
		d.printf("type,begin,length")
		if d.f.Verbose {
			d.printf(",left_data_begin,right_data_begin")
		}
		d.printf("\n")
	default:
		unit := ""
		if d.f.Unit != "block" {
			unit = fmt.Sprintf(" unit=%q", d.f.Unit)
		}
		d.printf("<superblock uuid=\"\" time=\"%d\" transaction=\"%d\" data_block_size=\"%d\" nr_data_blocks=\"%d\">\n  <diff %s %s%s>\n",
			h.Time, h.TransactionID, h.DataBlockSize, h.NrDataBlocks, xmlSide("left", left), xmlSide("right", right), unit)
	}
	return d.flush()
}

func xmlSide(side string, t metadata.Tree) string {
	if t.Loose {
		return fmt.Sprintf(`%s_root="%d"`, side, t.Root)
	}
	return fmt.Sprintf(`%s="%d"`, side, t.ID)
}

func jsonSide(side string, t metadata.Tree) string {
	if t.Loose {
		return fmt.Sprintf(`"%s_root":%d`, side, t.Root)
	}
	return fmt.Sprintf(`"%s":%d`, side, t.ID)
}

// ranges writes ranges.
func (d *deltaWriter) ranges(ranges []delta.Range) error {
	for i := range ranges {
		p, err := d.place(&ranges[i])
		if err != nil {
			return err
		}
		d.totals[p.kind] += p.length
		d.append(d, p)
		if len(d.buf) >= deltaBuffer {
			if err := d.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// place turns blocks into units.
func (d *deltaWriter) place(r *delta.Range) (place, error) {
	p := place{r.Kind, uint64(r.Begin), r.Len, uint64(r.Left), uint64(r.Right)}
	if d.size == 1 {
		return p, nil
	}
	fits := true
	for _, n := range []*uint64{&p.begin, &p.length, &p.left, &p.right} {
		scaled, ok := scaled(*n, d.size)
		*n, fits = scaled, fits && ok
	}
	if !fits {
		return p, errTooFar{r.Begin, d.f.Unit}
	}
	if d.last != 0 && p.length > d.last-p.begin { // the device may end within a block
		p.length = d.last - p.begin
	}
	return p, nil
}

// end writes what comes after the ranges.
func (d *deltaWriter) end() error {
	switch d.f.Name {
	case "json":
		d.printf(`{"type":"end","left_only":%d,"right_only":%d,"different":%d`, d.totals[delta.LeftOnly], d.totals[delta.RightOnly], d.totals[delta.Different])
		if !d.f.OmitSame {
			d.printf(`,"same":%d`, d.totals[delta.Same])
		}
		d.printf("}\n")
	case "xml":
		d.closeStretch()
		d.printf("  </diff>\n</superblock>\n")
	}
	return d.flush()
}

func (d *deltaWriter) printf(format string, args ...any) { d.buf = fmt.Appendf(d.buf, format, args...) }

func (d *deltaWriter) flush() error {
	_, err := d.w.Write(d.buf)
	d.buf = d.buf[:0]
	return err
}

// number appends text and a number after it.
func (d *deltaWriter) number(text string, n uint64) {
	d.buf = strconv.AppendUint(append(d.buf, text...), n, 10)
}

// xmlBegins are the starts of elements, by kind.
var xmlBegins = [...]string{
	delta.LeftOnly: `    <left_only begin="`, delta.RightOnly: `    <right_only begin="`,
	delta.Different: `    <different begin="`, delta.Same: `    <same begin="`,
}

func (d *deltaWriter) xml(p place) {
	d.number(xmlBegins[p.kind], p.begin)
	d.number(`" length="`, p.length)
	d.buf = append(d.buf, "\"/>\n"...)
}

// xmlRange opens an element for each stretch of one kind.
func (d *deltaWriter) xmlRange(p place) {
	if !d.open || d.stretch != p.kind {
		d.closeStretch()
		d.stretch, d.open = p.kind, true
		d.printf("    <%v>\n", p.kind)
	}
	d.number(`      <range begin="`, p.begin)
	if p.kind == delta.Different {
		d.number(`" left_data_begin="`, p.left)
		d.number(`" right_data_begin="`, p.right)
	} else {
		d.number(`" data_begin="`, max(p.left, p.right)) // where it is not mapped, 0
	}
	d.number(`" length="`, p.length)
	d.buf = append(d.buf, "\"/>\n"...)
}

func (d *deltaWriter) closeStretch() {
	if d.open {
		d.printf("    </%v>\n", d.stretch)
	}
	d.open = false
}

func (d *deltaWriter) json(p place) {
	d.buf = append(append(d.buf, `{"type":"`...), p.kind.String()...)
	d.number(`","begin":`, p.begin)
	d.number(`,"length":`, p.length)
	if d.f.Verbose {
		if p.kind != delta.RightOnly {
			d.number(`,"left_data_begin":`, p.left)
		}
		if p.kind != delta.LeftOnly {
			d.number(`,"right_data_begin":`, p.right)
		}
	}
	d.buf = append(d.buf, "}\n"...)
}

func (d *deltaWriter) csv(p place) {
	d.buf = append(d.buf, p.kind.String()...)
	d.number(",", p.begin)
	d.number(",", p.length)
	if d.f.Verbose {
		d.buf = append(d.buf, ',')
		if p.kind != delta.RightOnly {
			d.number("", p.left)
		}
		d.buf = append(d.buf, ',')
		if p.kind != delta.LeftOnly {
			d.number("", p.right)
		}
	}
	d.buf = append(d.buf, '\n')
}
