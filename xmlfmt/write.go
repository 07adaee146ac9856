// Package xmlfmt reads and writes the XML that thin_dump and thin_restore exchange.
//
//	<superblock uuid="" time="1" transaction="2" version="2" data_block_size="128" nr_data_blocks="16384">
//	  <def name="19">
//	    <range_mapping origin_begin="0" data_begin="0" length="1600" time="0"/>
//	  </def>
//	  <device dev_id="1" mapped_blocks="1601" transaction="0" creation_time="0" snap_time="1">
//	    <ref name="19"/>
//	    <single_mapping origin_block="1600" data_block="99" time="1"/>
//	  </device>
//	</superblock>
//
// A [Writer] writes exactly this: two spaces per level, one element per line, attributes in this
// order. [Read] accepts any equivalent XML, with other orders, quotes and spacing, and with
// declarations, comments and entities. Unknown elements and attributes, text, and a missing end
// are errors. Dumps can be gigabytes, so a custom scanner reads text in the form above and leaves
// the rest to encoding/xml. A single grammar checks the results of both.
package xmlfmt

import (
	"errors"
	"fmt"
	"io"

	"thinpool/internal/textenc"
	"thinpool/metadata"
)

// A Style is a variant of the format.
type Style int

// The styles. Other programs depend on them byte for byte.
const (
	Style1      Style = iota // thin-provisioning-tools 1.x, plus a newline at the end
	Style1Exact              // the same without the newline
	Style09                  // 0.9: always with flags, shared mappings repeated
)

// A Writer writes a dump as XML. tool/dump uses it to format runs on all processors. The first
// line is written immediately, because some programs read no more.
type Writer struct {
	style Style
	out   *textenc.Writer
}

// errNoDefs says that a writer of [Style09] got a def.
var errNoDefs = errors.New("style 0.9 has neither def nor ref")

// tool/dump formats runs on all processors.
var _ textenc.Formatter = (*Writer)(nil)

// NewWriter returns a Writer to w. The dump is only complete after End.
func NewWriter(w io.Writer, style Style) *Writer {
	return &Writer{style, textenc.New(w, appendRuns)}
}

// Begin implements metadata.Visitor.
func (w *Writer) Begin(h metadata.Header) error {
	flags := ""
	switch {
	case w.style == Style09:
		flags = fmt.Sprintf(` flags="%d"`, h.Flags)
	case h.Flags&metadata.NeedsCheck != 0:
		flags = ` flags="1"`
	}
	w.out.Text(fmt.Appendf(nil, "<superblock uuid=\"\" time=\"%d\" transaction=\"%d\"%s version=\"%d\" data_block_size=\"%d\" nr_data_blocks=\"%d\">\n",
		h.Time, h.TransactionID, flags, h.Version, h.DataBlockSize, h.NrDataBlocks))
	return w.out.Flush()
}

// BeginDef implements metadata.Visitor.
func (w *Writer) BeginDef(name string) error {
	if w.style == Style09 {
		return errNoDefs
	}
	return w.out.Text(fmt.Appendf(nil, "  <def name=%s>\n", quote(name)))
}

// EndDef implements metadata.Visitor.
func (w *Writer) EndDef() error { return w.out.Text([]byte("  </def>\n")) }

// BeginDevice implements metadata.Visitor.
func (w *Writer) BeginDevice(id metadata.DevID, d metadata.Details) error {
	return w.out.Text(fmt.Appendf(nil, "  <device dev_id=\"%d\" mapped_blocks=\"%d\" transaction=\"%d\" creation_time=\"%d\" snap_time=\"%d\">\n",
		id, d.MappedBlocks, d.TransactionID, d.CreationTime, d.SnapshottedTime))
}

// Ref implements metadata.Visitor.
func (w *Writer) Ref(name string) error {
	if w.style == Style09 {
		return errNoDefs
	}
	return w.out.Text(fmt.Appendf(nil, "    <ref name=%s/>\n", quote(name)))
}

// Runs implements metadata.Visitor. It joins runs that continue each other.
func (w *Writer) Runs(runs []metadata.Run) error { return w.out.Runs(runs) }

// Format appends the text of runs to dst. It may be called from several goroutines concurrently.
func (w *Writer) Format(dst []byte, runs []metadata.Run) []byte { return appendRuns(dst, runs) }

// Formatted writes runs whose text Format has made, except the first and the last. It is for
// tool/dump.
func (w *Writer) Formatted(first metadata.Run, between []byte, last metadata.Run, _ uint64) error {
	return w.out.Formatted(first, between, last)
}

// EndDevice implements metadata.Visitor.
func (w *Writer) EndDevice() error { return w.out.Text([]byte("  </device>\n")) }

// End implements metadata.Visitor.
func (w *Writer) End() error {
	end := "</superblock>\n"
	if w.style == Style1Exact {
		end = "</superblock>"
	}
	w.out.Text([]byte(end))
	return w.out.Flush()
}

func appendRuns(dst []byte, runs []metadata.Run) []byte {
	for _, r := range runs {
		dst = appendRun(dst, r)
	}
	return dst
}

func appendRun(dst []byte, r metadata.Run) []byte {
	if r.Len == 1 {
		dst = append(dst, `    <single_mapping origin_block="`...)
		dst = textenc.AppendUint(dst, uint64(r.Thin))
		dst = append(dst, `" data_block="`...)
		dst = textenc.AppendUint(dst, uint64(r.Data))
	} else {
		dst = append(dst, `    <range_mapping origin_begin="`...)
		dst = textenc.AppendUint(dst, uint64(r.Thin))
		dst = append(dst, `" data_begin="`...)
		dst = textenc.AppendUint(dst, uint64(r.Data))
		dst = append(dst, `" length="`...)
		dst = textenc.AppendUint(dst, r.Len)
	}
	dst = append(dst, `" time="`...)
	dst = textenc.AppendUint(dst, uint64(r.Time))
	return append(dst, "\"/>\n"...)
}

// quote returns s as an attribute value.
func quote(s string) string {
	q := []byte{'"'}
	for _, c := range []byte(s) {
		switch c {
		case '&', '<', '>', '"', '\t', '\n', '\r':
			q = fmt.Appendf(q, "&#%d;", c)
		default:
			q = append(q, c)
		}
	}
	return string(append(q, '"'))
}
