package streamfmt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"thinpool/metadata"
)

// A Range is a range of used data blocks. Their content is in the stream or, for an increment, in
// the base.
type Range struct {
	Begin   metadata.DataBlock // on the sender
	Len     uint64
	InBase  bool
	Ordinal uint64 // of the first block in the base
}

// A RangeWriter writes a [Layout].
type RangeWriter struct {
	w       io.Writer
	end     uint64 // of the last range
	ordinal uint64 // next after the last range
	buf     []byte
}

// NewRangeWriter returns a RangeWriter that writes to a section.
func NewRangeWriter(w io.Writer) *RangeWriter { return &RangeWriter{w: w} }

// Write writes a range, which must follow the last one.
func (w *RangeWriter) Write(r Range) error {
	w.buf = binary.AppendUvarint(w.buf[:0], uint64(r.Begin)-w.end)
	if r.InBase {
		w.buf = binary.AppendUvarint(w.buf, r.Len<<1|1)
		w.buf = binary.AppendVarint(w.buf, int64(r.Ordinal-w.ordinal))
		w.ordinal = r.Ordinal + r.Len
	} else {
		w.buf = binary.AppendUvarint(w.buf, r.Len<<1)
	}
	w.end = uint64(r.Begin) + r.Len
	_, err := w.w.Write(w.buf)
	return err
}

// ReadRanges calls fn with all ranges of a layout. They must ascend and be below limit.
func ReadRanges(r io.Reader, limit uint64, fn func(Range) error) error {
	in := numbers{r: bufio.NewReader(r)}
	var end, ordinal uint64
	for !in.atEnd() {
		gap, length := in.uvarint(), in.uvarint()
		based := length&1 == 1
		length >>= 1
		if based {
			ordinal += uint64(in.varint())
		}
		switch {
		case in.err != nil:
			return in.err
		case length == 0 || end > limit || gap > limit-end || length > limit-end-gap:
			return fmt.Errorf("%w: layout: %d data blocks after %d and %d more, of %d", ErrDamaged, length, end, gap, limit)
		case based && (ordinal > metadata.MaxDataBlocks || length > metadata.MaxDataBlocks-ordinal):
			return fmt.Errorf("%w: layout: block %d of the base", ErrDamaged, ordinal)
		}
		rg := Range{Begin: metadata.DataBlock(end + gap), Len: length, InBase: based}
		if based {
			rg.Ordinal = ordinal
			ordinal += length
		}
		if err := fn(rg); err != nil {
			return err
		}
		end += gap + length
	}
	return in.err
}

// A FrozenRun is a run of mappings to data blocks that cannot change while the mappings exist.
type FrozenRun struct {
	metadata.Run
	Ordinal uint64 // of the first data block
}

// WriteFrozen writes a run of an index.
func WriteFrozen(w io.Writer, r FrozenRun) error {
	var buf []byte
	for _, n := range [...]uint64{uint64(r.Data), r.Len, uint64(r.Thin), uint64(r.Time), r.Ordinal} {
		buf = binary.AppendUvarint(buf, n)
	}
	_, err := w.Write(buf)
	return err
}

// ReadFrozen calls fn with all runs of an index.
func ReadFrozen(r io.Reader, fn func(FrozenRun) error) error {
	in := numbers{r: bufio.NewReader(r)}
	for !in.atEnd() {
		var f FrozenRun
		f.Data, f.Len = metadata.DataBlock(in.uvarint()), in.uvarint()
		f.Thin, f.Time, f.Ordinal = metadata.ThinBlock(in.uvarint()), uint32(in.uvarint()), in.uvarint()
		const most = metadata.MaxDataBlocks
		switch {
		case in.err != nil:
			return in.err
		case f.Len == 0 || f.Len > most || f.Data > most || f.Ordinal > most || f.Time > metadata.MaxTime:
			return fmt.Errorf("%w: frozen blocks: %v", ErrDamaged, f.Run)
		}
		if err := fn(f); err != nil {
			return err
		}
	}
	return in.err
}

// numbers reads variable-length numbers and remembers the first error.
type numbers struct {
	r   *bufio.Reader
	err error
}

// atEnd reports whether nothing follows.
func (n *numbers) atEnd() bool {
	if n.err != nil {
		return true
	}
	_, err := n.r.Peek(1)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return err != nil
}

func (n *numbers) fail(err error) {
	if n.err != nil || err == nil {
		return
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, ErrCut) && !errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%w: a record is cut: %w", ErrDamaged, err)
	}
	n.err = err
}

func (n *numbers) uvarint() uint64 {
	if n.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(n.r)
	n.fail(err)
	return v
}

func (n *numbers) varint() int64 {
	if n.err != nil {
		return 0
	}
	v, err := binary.ReadVarint(n.r)
	n.fail(err)
	return v
}
