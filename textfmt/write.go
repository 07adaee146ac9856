// Package textfmt writes dumps for people: the format human_readable. It cannot
// be read back.
package textfmt

import (
	"fmt"
	"io"
	"strconv"

	"thinpool/internal/textpipe"
	"thinpool/metadata"
)

// A Writer writes a dump. It is a metadata.Visitor.
type Writer struct{ out *textpipe.Writer }

// NewWriter returns a Writer to w. It must be closed, also after an error.
func NewWriter(w io.Writer) *Writer { return &Writer{textpipe.New(w, appendRun)} }

// Close frees what the Writer holds. Only End makes the dump complete.
func (w *Writer) Close() { w.out.Close() }

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

// EndDevice implements metadata.Visitor.
func (w *Writer) EndDevice() error { return w.printf("\n") }

// End implements metadata.Visitor.
func (w *Writer) End() error {
	if err := w.printf("end superblock\n"); err != nil {
		return err
	}
	return w.out.Flush()
}

func appendRun(dst []byte, r metadata.Run) []byte {
	dst = append(dst, "    ("...)
	dst = strconv.AppendUint(dst, uint64(r.Thin), 10)
	dst = append(dst, ".."...)
	dst = strconv.AppendUint(dst, uint64(r.Thin)+r.Len-1, 10)
	dst = append(dst, ") -> ("...)
	dst = strconv.AppendUint(dst, uint64(r.Data), 10)
	dst = append(dst, ".."...)
	dst = strconv.AppendUint(dst, uint64(r.Data)+r.Len-1, 10)
	dst = append(dst, "), "...)
	dst = strconv.AppendUint(dst, uint64(r.Time), 10)
	return append(dst, '\n')
}
