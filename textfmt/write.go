// Package textfmt, whose API may change, writes dumps for people: the format human_readable. It cannot
// be read back.
package textfmt

import (
	"fmt"
	"io"

	"thinpool/internal/textenc"
	"thinpool/metadata"
)

// A Writer writes a dump. tool/dump has it format runs on all processors.
type Writer struct{ out *textenc.Writer }

// Dumps make the text of runs on all processors.
var _ textenc.Formatter = (*Writer)(nil)

// NewWriter returns a Writer to w. Only End makes the dump complete.
func NewWriter(w io.Writer) *Writer { return &Writer{textenc.New(w, appendRuns)} }

func (w *Writer) printf(format string, args ...any) error {
	return w.out.Text(fmt.Appendf(nil, format, args...))
}

// Begin implements metadata.Visitor. The line is written at once.
func (w *Writer) Begin(h metadata.Header) error {
	if err := w.printf("begin superblock: \"\", %d, %d, %d, %d, %d, %d\n",
		h.Time, h.TransactionID, h.Flags, h.Version, h.DataBlockSize, h.NrDataBlocks); err != nil {
		return err
	}
	return w.out.Flush()
}

// BeginDef implements metadata.Visitor.
func (w *Writer) BeginDef(name string) error { return w.printf("def: %s\n", name) }

// EndDef implements metadata.Visitor.
func (w *Writer) EndDef() error { return w.printf("\n") }

// BeginDevice implements metadata.Visitor.
func (w *Writer) BeginDevice(id metadata.DevID, d metadata.Details) error {
	return w.printf("device: %d\nmapped_blocks: %d\ntransaction: %d\ncreation time: %d\nsnap time: %d\n",
		id, d.MappedBlocks, d.TransactionID, d.CreationTime, d.SnapshottedTime)
}

// Ref implements metadata.Visitor.
func (w *Writer) Ref(name string) error { return w.printf("    ref: %s\n", name) }

// Runs implements metadata.Visitor. Runs that continue each other become one.
func (w *Writer) Runs(runs []metadata.Run) error { return w.out.Runs(runs) }

// Format appends the text of runs to dst. It may be called from several goroutines at once.
func (w *Writer) Format(dst []byte, runs []metadata.Run) []byte { return appendRuns(dst, runs) }

// Formatted takes runs of which Format has made the text of all but the first and the last; it is
// for tool/dump.
func (w *Writer) Formatted(first metadata.Run, between []byte, last metadata.Run, _ uint64) error {
	return w.out.Formatted(first, between, last)
}

// EndDevice implements metadata.Visitor.
func (w *Writer) EndDevice() error { return w.printf("\n") }

// End implements metadata.Visitor.
func (w *Writer) End() error {
	if err := w.printf("end superblock\n"); err != nil {
		return err
	}
	return w.out.Flush()
}

func appendRuns(dst []byte, runs []metadata.Run) []byte {
	for _, r := range runs {
		dst = appendRun(dst, r)
	}
	return dst
}

func appendRun(dst []byte, r metadata.Run) []byte {
	dst = append(dst, "    ("...)
	dst = textenc.AppendUint(dst, uint64(r.Thin))
	dst = append(dst, ".."...)
	dst = textenc.AppendUint(dst, uint64(r.Thin)+r.Len-1)
	dst = append(dst, ") -> ("...)
	dst = textenc.AppendUint(dst, uint64(r.Data))
	dst = append(dst, ".."...)
	dst = textenc.AppendUint(dst, uint64(r.Data)+r.Len-1)
	dst = append(dst, "), "...)
	dst = textenc.AppendUint(dst, uint64(r.Time))
	return append(dst, '\n')
}
