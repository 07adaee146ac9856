package streamfmt

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"thinpool/metadata"
)

// Records of a description: a byte followed by numbers.
const (
	recBeginDef    = iota + 1 // length of the name, the name
	recEndDef                 //
	recBeginDevice            // id, mapped blocks, transaction, creation time, snapshot time
	recRef                    // length of the name, the name
	recEndDevice              //
	recRun                    // thin block and data block, each relative to a continuation of the last run; length; time relative to the last run
	recEnd                    //
)

const longestName = 255

// SetHeader sets the fields of h that Begin provides.
func (h *Header) SetHeader(m metadata.Header) {
	h.UUID, h.Time, h.TransactionID, h.Flags = hex.EncodeToString(m.UUID[:]), m.Time, m.TransactionID, m.Flags
	h.Version, h.DataBlockSize, h.DataBlocks = m.Version, m.DataBlockSize, m.NrDataBlocks
}

// Metadata returns the header for Begin.
func (h *Header) Metadata() (metadata.Header, error) {
	m := metadata.Header{
		Time: h.Time, TransactionID: h.TransactionID, Flags: h.Flags,
		Version: h.Version, DataBlockSize: h.DataBlockSize, NrDataBlocks: h.DataBlocks,
	}
	uuid, err := hex.DecodeString(h.UUID)
	if err != nil || len(uuid) != len(m.UUID) {
		return m, fmt.Errorf("%w: header: uuid %.40q", ErrDamaged, h.UUID)
	}
	copy(m.UUID[:], uuid)
	return m, nil
}

// A DescriptionWriter is a [metadata.Visitor] that writes a [Description]. Begin writes nothing:
// its data is in the [Header].
type DescriptionWriter struct {
	w    io.Writer
	next metadata.Run // a continuation of the last run
	buf  []byte
}

// NewDescriptionWriter returns a DescriptionWriter that writes to a section.
func NewDescriptionWriter(w io.Writer) *DescriptionWriter { return &DescriptionWriter{w: w} }

func (w *DescriptionWriter) record(kind byte, numbers ...uint64) error {
	w.buf = append(w.buf[:0], kind)
	for _, n := range numbers {
		w.buf = binary.AppendUvarint(w.buf, n)
	}
	_, err := w.w.Write(w.buf)
	return err
}

func (w *DescriptionWriter) name(kind byte, name string) error {
	if len(name) > longestName {
		return fmt.Errorf("a name of %d bytes", len(name))
	}
	w.buf = binary.AppendUvarint(append(w.buf[:0], kind), uint64(len(name)))
	_, err := w.w.Write(append(w.buf, name...))
	return err
}

// Begin implements [metadata.Visitor].
func (w *DescriptionWriter) Begin(metadata.Header) error { return nil }

// BeginDef implements [metadata.Visitor].
func (w *DescriptionWriter) BeginDef(name string) error { return w.name(recBeginDef, name) }

// EndDef implements [metadata.Visitor].
func (w *DescriptionWriter) EndDef() error { return w.record(recEndDef) }

// BeginDevice implements [metadata.Visitor].
func (w *DescriptionWriter) BeginDevice(id metadata.DevID, d metadata.Details) error {
	return w.record(recBeginDevice, uint64(id), d.MappedBlocks, d.TransactionID, uint64(d.CreationTime), uint64(d.SnapshottedTime))
}

// Ref implements [metadata.Visitor].
func (w *DescriptionWriter) Ref(name string) error { return w.name(recRef, name) }

// EndDevice implements [metadata.Visitor].
func (w *DescriptionWriter) EndDevice() error { return w.record(recEndDevice) }

// End implements [metadata.Visitor].
func (w *DescriptionWriter) End() error { return w.record(recEnd) }

// Runs implements [metadata.Visitor].
func (w *DescriptionWriter) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		w.buf = append(w.buf[:0], recRun)
		w.buf = binary.AppendVarint(w.buf, int64(r.Thin-w.next.Thin))
		w.buf = binary.AppendVarint(w.buf, int64(r.Data-w.next.Data))
		w.buf = binary.AppendUvarint(w.buf, r.Len)
		w.buf = binary.AppendVarint(w.buf, int64(r.Time)-int64(w.next.Time))
		if _, err := w.w.Write(w.buf); err != nil {
			return err
		}
		w.next = metadata.Run{Thin: r.Thin + metadata.ThinBlock(r.Len), Data: r.Data + metadata.DataBlock(r.Len), Time: r.Time}
	}
	return nil
}

// ReadDescription passes a description to v, starting with h. It checks everything that a
// [metadata.Validator] checks, and that calls come in order.
func ReadDescription(r io.Reader, h metadata.Header, v metadata.Visitor) error {
	d := describer{in: numbers{r: bufio.NewReaderSize(r, 1<<16)}, v: v}
	if err := d.valid.Begin(h); err != nil {
		return fmt.Errorf("%w: header: %w", ErrDamaged, err)
	}
	if err := v.Begin(h); err != nil {
		return err
	}
	for !d.ended {
		if d.in.atEnd() {
			d.in.fail(io.ErrUnexpectedEOF)
		}
		if d.in.err == nil {
			d.record()
		}
		if d.in.err != nil {
			return d.in.err
		}
	}
	if !d.in.atEnd() {
		return fmt.Errorf("%w: description: something follows its end", ErrDamaged)
	}
	if d.in.err != nil {
		return d.in.err
	}
	return v.End()
}

// A describer reads a description.
type describer struct {
	in                           numbers
	v                            metadata.Visitor
	valid                        metadata.Validator
	next                         metadata.Run
	inDef, inDevice, devs, ended bool
	batch                        []metadata.Run
}

const batchRuns = 4096

// record reads a record. Errors are in d.in.
func (d *describer) record() {
	kind, err := d.in.r.ReadByte()
	if err != nil {
		d.in.fail(err)
		return
	}
	if kind == recRun {
		d.run()
		return
	}
	if err := d.flush(); err != nil {
		d.in.err = err
		return
	}
	outside := !d.inDef && !d.inDevice
	switch {
	case kind == recBeginDef && outside && !d.devs:
		d.inDef = true
		d.named(d.valid.BeginDef, d.v.BeginDef)
	case kind == recEndDef && d.inDef:
		d.inDef = false
		d.both(d.valid.EndDef, d.v.EndDef)
	case kind == recBeginDevice && outside:
		d.inDevice, d.devs = true, true
		d.device()
	case kind == recRef && d.inDevice:
		d.named(d.valid.Ref, d.v.Ref)
	case kind == recEndDevice && d.inDevice:
		d.inDevice = false
		d.valid.EndDevice()
		d.both(nil, d.v.EndDevice)
	case kind == recEnd && outside:
		d.ended = true
	default:
		d.in.err = fmt.Errorf("%w: description: record %d is misplaced", ErrDamaged, kind)
	}
}

// both calls the validator, then the visitor.
func (d *describer) both(valid, visit func() error) {
	if valid != nil {
		if err := valid(); err != nil {
			d.in.err = fmt.Errorf("%w: description: %w", ErrDamaged, err)
			return
		}
	}
	d.in.err = visit()
}

func (d *describer) named(valid, visit func(string) error) {
	n := d.in.uvarint()
	if n > longestName {
		d.in.fail(errors.New("a long name"))
		return
	}
	name := make([]byte, n)
	if d.in.err == nil {
		_, err := io.ReadFull(d.in.r, name)
		d.in.fail(err)
	}
	if d.in.err == nil {
		d.both(func() error { return valid(string(name)) }, func() error { return visit(string(name)) })
	}
}

func (d *describer) device() {
	id := metadata.DevID(d.in.uvarint())
	details := metadata.Details{MappedBlocks: d.in.uvarint(), TransactionID: d.in.uvarint()}
	created, snapped := d.in.uvarint(), d.in.uvarint()
	if d.in.err != nil {
		return
	}
	if max(created, snapped) > metadata.MaxTime {
		d.in.fail(errors.New("a time beyond the limit"))
		return
	}
	details.CreationTime, details.SnapshottedTime = uint32(created), uint32(snapped)
	d.both(func() error { return d.valid.BeginDevice(id, details) }, func() error { return d.v.BeginDevice(id, details) })
}

func (d *describer) run() {
	r := metadata.Run{
		Thin: d.next.Thin + metadata.ThinBlock(d.in.varint()),
		Data: d.next.Data + metadata.DataBlock(d.in.varint()),
		Len:  d.in.uvarint(),
	}
	time := int64(d.next.Time) + d.in.varint()
	switch {
	case d.in.err != nil:
		return
	case !d.inDef && !d.inDevice || r.Len == 0 || time < 0 || time > metadata.MaxTime:
		d.in.err = fmt.Errorf("%w: description: a run is misplaced or empty, or has the time %d", ErrDamaged, time)
		return
	}
	r.Time = uint32(time)
	if err := d.valid.Run(r); err != nil {
		d.in.err = fmt.Errorf("%w: description: %w", ErrDamaged, err)
		return
	}
	d.next = metadata.Run{Thin: r.Thin + metadata.ThinBlock(r.Len), Data: r.Data + metadata.DataBlock(r.Len), Time: r.Time}
	if d.batch = append(d.batch, r); len(d.batch) == batchRuns {
		d.in.err = d.flush()
	}
}

func (d *describer) flush() error {
	batch := d.batch
	d.batch = d.batch[:0]
	if len(batch) == 0 {
		return nil
	}
	return d.v.Runs(batch)
}
