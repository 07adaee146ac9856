// Package jsonfmt reads and writes dumps as JSON, one object per line:
//
//	{"type":"superblock","format":1,"uuid":"","time":1,"transaction_id":2,"flags":0,"version":2,"data_block_size":128,"data_blocks":16384}
//	{"type":"def","name":"19"}
//	{"type":"range","thin_begin":0,"data_begin":0,"length":1600,"time":0}
//	{"type":"device","dev_id":1,"mapped_blocks":1601,"transaction_id":0,"creation_time":0,"snap_time":1}
//	{"type":"ref","name":"19"}
//	{"type":"range","thin_begin":1600,"data_begin":99,"length":1,"time":1}
//	{"type":"summary","devices":1,"mappings":1601}
//
// Lines belong to the def or device before them. A range maps length thin blocks from thin_begin
// on to as many data blocks from data_begin on. A ref stands for the ranges of a def.
// data_block_size is in sectors of 512 bytes. The uuid is in hexadecimal, or empty if it is zero.
// The last line counts the devices and the lengths of all ranges, so that a truncated dump is
// detected. As long as format is 1, fields are never removed and keep their meaning.
package jsonfmt

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"thinpool/internal/printable"
	"thinpool/internal/textenc"
	"thinpool/metadata"
)

const formatNumber = 1

// A Writer writes a dump. tool/dump uses it to format runs on all processors.
type Writer struct {
	out               *textenc.Writer
	devices, mappings uint64
}

// tool/dump formats runs on all processors.
var _ textenc.Formatter = (*Writer)(nil)

// NewWriter returns a Writer to w. The dump is only complete after End.
func NewWriter(w io.Writer) *Writer { return &Writer{out: textenc.New(w, appendRuns)} }

func (w *Writer) printf(format string, args ...any) error {
	return w.out.Text(fmt.Appendf(nil, format, args...))
}

// Begin implements metadata.Visitor. It writes the line immediately.
func (w *Writer) Begin(h metadata.Header) error {
	uuid := ""
	if h.UUID != [16]byte{} {
		uuid = hex.EncodeToString(h.UUID[:])
	}
	if err := w.printf(`{"type":"superblock","format":%d,"uuid":"%s","time":%d,"transaction_id":%d,"flags":%d,"version":%d,"data_block_size":%d,"data_blocks":%d}`+"\n",
		formatNumber, uuid, h.Time, h.TransactionID, h.Flags, h.Version, h.DataBlockSize, h.NrDataBlocks); err != nil {
		return err
	}
	return w.out.Flush()
}

// BeginDef implements metadata.Visitor.
func (w *Writer) BeginDef(name string) error { return w.named("def", name) }

// Ref implements metadata.Visitor.
func (w *Writer) Ref(name string) error { return w.named("ref", name) }

func (w *Writer) named(kind, name string) error {
	quoted, err := json.Marshal(name)
	if err != nil {
		return err
	}
	return w.printf(`{"type":"%s","name":%s}`+"\n", kind, printable.Lines(string(quoted)))
}

// EndDef implements metadata.Visitor.
func (w *Writer) EndDef() error { return w.out.Text(nil) }

// BeginDevice implements metadata.Visitor.
func (w *Writer) BeginDevice(id metadata.DevID, d metadata.Details) error {
	w.devices++
	return w.printf(`{"type":"device","dev_id":%d,"mapped_blocks":%d,"transaction_id":%d,"creation_time":%d,"snap_time":%d}`+"\n",
		id, d.MappedBlocks, d.TransactionID, d.CreationTime, d.SnapshottedTime)
}

// Runs implements metadata.Visitor. It joins runs that continue each other.
func (w *Writer) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		w.mappings += r.Len
	}
	return w.out.Runs(runs)
}

// Format appends the text of runs to dst. It may be called from several goroutines concurrently.
func (w *Writer) Format(dst []byte, runs []metadata.Run) []byte { return appendRuns(dst, runs) }

// Formatted writes runs whose text Format has made, except the first and the last. mapped is the
// number of blocks they map. It is for tool/dump.
func (w *Writer) Formatted(first metadata.Run, between []byte, last metadata.Run, mapped uint64) error {
	w.mappings += mapped
	return w.out.Formatted(first, between, last)
}

// EndDevice implements metadata.Visitor.
func (w *Writer) EndDevice() error { return w.out.Text(nil) }

// End implements metadata.Visitor.
func (w *Writer) End() error {
	if err := w.printf(`{"type":"summary","devices":%d,"mappings":%d}`+"\n", w.devices, w.mappings); err != nil {
		return err
	}
	return w.out.Flush()
}

const (
	range1 = `{"type":"range","thin_begin":`
	range2 = `,"data_begin":`
	range3 = `,"length":`
	range4 = `,"time":`
	range5 = "}\n"
)

func appendRuns(dst []byte, runs []metadata.Run) []byte {
	for _, r := range runs {
		dst = appendRun(dst, r)
	}
	return dst
}

func appendRun(dst []byte, r metadata.Run) []byte {
	dst = append(dst, range1...)
	dst = textenc.AppendUint(dst, uint64(r.Thin))
	dst = append(dst, range2...)
	dst = textenc.AppendUint(dst, uint64(r.Data))
	dst = append(dst, range3...)
	dst = textenc.AppendUint(dst, r.Len)
	dst = append(dst, range4...)
	dst = textenc.AppendUint(dst, uint64(r.Time))
	return append(dst, range5...)
}
