package view

import (
	"fmt"
	"io"
	"math/bits"
	"strconv"

	"thinpool/internal/cli"
	"thinpool/internal/textenc"
	"thinpool/metadata"
	"thinpool/tool/delta"
)

// DeltaFormat says how to write a difference.
type DeltaFormat struct {
	Name     string // xml, json, csv
	Verbose  bool   // show data blocks
	OmitSame bool
	Unit     string // block, sector, byte
}

// A DeltaWriter writes a difference as text. A write error is returned by the next call that
// returns errors.
type DeltaWriter struct {
	w    io.Writer
	buf  []byte
	f    DeltaFormat
	size uint64 // block size in units
	last uint64 // device size in units; 0: unknown

	append  func(*DeltaWriter, *delta.Range) // appends a range, in units, to buf
	stretch delta.Kind                       // kind of the open element in verbose XML
	open    bool
	totals  [4]uint64 // lengths, in units, by kind
}

// deltaBuffer is how many bytes of text to buffer before writing.
const deltaBuffer = 1 << 17

func NewDeltaWriter(w io.Writer, f DeltaFormat, blockSize uint32) *DeltaWriter {
	d := &DeltaWriter{w: w, f: f, buf: make([]byte, 0, 2*deltaBuffer)}
	d.size = map[string]uint64{"block": 1, "sector": uint64(blockSize), "byte": uint64(blockSize) * cli.SectorSize}[f.Unit]
	switch {
	case f.Name == "json":
		d.append = (*DeltaWriter).json
	case f.Name == "csv":
		d.append = (*DeltaWriter).csv
	case f.Verbose:
		d.append = (*DeltaWriter).xmlRange
	default:
		d.append = (*DeltaWriter).xml
	}
	return d
}

// Limit records the device size and returns it in blocks, rounded up.
func (d *DeltaWriter) Limit(bytes, blockSize uint64) uint64 {
	up := func(unit uint64) uint64 { return bytes/unit + min(bytes%unit, 1) }
	switch d.f.Unit {
	case "sector":
		d.last = up(cli.SectorSize)
	case "byte":
		d.last = bytes
	}
	return up(blockSize * cli.SectorSize)
}

// Begin writes the header.
func (d *DeltaWriter) Begin(h metadata.Header, left, right metadata.MappingTree) error {
	switch d.f.Name {
	case "json":
		d.printf(`{"type":"delta","format":1,%s,%s,"time":%d,"transaction_id":%d,"data_block_size":%d,"data_blocks":%d,"unit":%q}`+"\n",
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
	return d.Flush()
}

func xmlSide(side string, t metadata.MappingTree) string {
	if t.ByRoot {
		return fmt.Sprintf(`%s_root="%d"`, side, t.Root)
	}
	return fmt.Sprintf(`%s="%d"`, side, t.ID)
}

func jsonSide(side string, t metadata.MappingTree) string {
	if t.ByRoot {
		return fmt.Sprintf(`"%s_root":%d`, side, t.Root)
	}
	return fmt.Sprintf(`"%s_dev_id":%d`, side, t.ID)
}

func (d *DeltaWriter) Ranges(ranges []delta.Range) error {
	for i := range ranges {
		r := &ranges[i]
		if d.size != 1 {
			if err := d.scale(r); err != nil {
				return err
			}
		}
		d.totals[r.Kind] += r.Len
		d.append(d, r)
	}
	if len(d.buf) < deltaBuffer {
		return nil
	}
	return d.Flush()
}

// scale converts a range from blocks to units.
func (d *DeltaWriter) scale(r *delta.Range) error {
	block, fits := r.Begin, true
	times := func(n uint64) uint64 {
		high, low := bits.Mul64(n, d.size)
		fits = fits && high == 0
		return low
	}
	r.Begin, r.Len = metadata.ThinBlock(times(uint64(r.Begin))), times(r.Len)
	r.Left, r.Right = metadata.DataBlock(times(uint64(r.Left))), metadata.DataBlock(times(uint64(r.Right)))
	if !fits {
		return fmt.Errorf("thin block %d: its place in %ss takes more than 64 bits", block, d.f.Unit)
	}
	if d.last != 0 { // the device may end within a block
		r.Len = min(r.Len, d.last-uint64(r.Begin))
	}
	return nil
}

// End writes the footer.
func (d *DeltaWriter) End() error {
	switch d.f.Name {
	case "json":
		d.printf(`{"type":"summary","left_only":%d,"right_only":%d,"different":%d`, d.totals[delta.LeftOnly], d.totals[delta.RightOnly], d.totals[delta.Different])
		if !d.f.OmitSame {
			d.printf(`,"same":%d`, d.totals[delta.Same])
		}
		d.printf("}\n")
	case "xml":
		d.closeStretch()
		d.printf("  </diff>\n</superblock>\n")
	}
	return d.Flush()
}

func (d *DeltaWriter) printf(format string, args ...any) { d.buf = fmt.Appendf(d.buf, format, args...) }

// Flush writes the buffered text.
func (d *DeltaWriter) Flush() error {
	_, err := d.w.Write(d.buf)
	d.buf = d.buf[:0]
	return err
}

// number appends text, then n.
func number(dst []byte, text string, n uint64) []byte {
	return textenc.AppendUint(append(dst, text...), n)
}

// xmlBegins has the start of each kind's element.
var xmlBegins = [...]string{
	delta.LeftOnly: `    <left_only begin="`, delta.RightOnly: `    <right_only begin="`,
	delta.Different: `    <different begin="`, delta.Same: `    <same begin="`,
}

func (d *DeltaWriter) xml(r *delta.Range) {
	d.buf = xmlLength(number(d.buf, xmlBegins[r.Kind], uint64(r.Begin)), r.Len)
}

// xmlLength ends an element. Length 1 has a fast path: most ranges of a fragmented device are one
// block.
func xmlLength(dst []byte, n uint64) []byte {
	if n == 1 {
		return append(dst, "\" length=\"1\"/>\n"...)
	}
	return append(number(dst, `" length="`, n), "\"/>\n"...)
}

// xmlRange opens an element for each run of ranges of one kind.
func (d *DeltaWriter) xmlRange(r *delta.Range) {
	if !d.open || d.stretch != r.Kind {
		d.closeStretch()
		d.stretch, d.open = r.Kind, true
		d.buf = append(append(append(d.buf, "    <"...), r.Kind.String()...), ">\n"...)
	}
	b := number(d.buf, `      <range begin="`, uint64(r.Begin))
	switch r.Kind {
	case delta.Different:
		b = number(b, `" left_data_begin="`, uint64(r.Left))
		b = number(b, `" right_data_begin="`, uint64(r.Right))
	case delta.RightOnly:
		b = number(b, `" data_begin="`, uint64(r.Right))
	default:
		b = number(b, `" data_begin="`, uint64(r.Left))
	}
	d.buf = xmlLength(b, r.Len)
}

func (d *DeltaWriter) closeStretch() {
	if d.open {
		d.buf = append(append(append(d.buf, "    </"...), d.stretch.String()...), ">\n"...)
	}
	d.open = false
}

func (d *DeltaWriter) json(r *delta.Range) {
	b := append(append(d.buf, `{"type":"`...), r.Kind.String()...)
	b = number(b, `","begin":`, uint64(r.Begin))
	b = number(b, `,"length":`, r.Len)
	if d.f.Verbose && r.Kind != delta.RightOnly {
		b = number(b, `,"left_data_begin":`, uint64(r.Left))
	}
	if d.f.Verbose && r.Kind != delta.LeftOnly {
		b = number(b, `,"right_data_begin":`, uint64(r.Right))
	}
	d.buf = append(b, "}\n"...)
}

func (d *DeltaWriter) csv(r *delta.Range) {
	b := number(append(d.buf, r.Kind.String()...), ",", uint64(r.Begin))
	b = number(b, ",", r.Len)
	if d.f.Verbose {
		b = append(b, ',')
		if r.Kind != delta.RightOnly {
			b = strconv.AppendUint(b, uint64(r.Left), 10)
		}
		b = append(b, ',')
		if r.Kind != delta.LeftOnly {
			b = strconv.AppendUint(b, uint64(r.Right), 10)
		}
	}
	d.buf = append(b, '\n')
}
