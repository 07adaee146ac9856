package send

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sort"

	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/streamfmt"
)

// A place maps data blocks of the sender to those of the receiver.
type place struct {
	from, to, n uint64
}

// In is a stream being received. Call its methods in the order Open, Place or PlaceOnto, Build,
// Receive.
type In struct {
	Header  streamfmt.Header
	Volumes []streamfmt.Volume // nil: LVM did not know the pool
	Text    []byte             // LVM's text

	r       *streamfmt.Reader
	id      hash.Hash
	ranges  []streamfmt.Range
	blocks  uint64 // data blocks of the new pool
	places  []place
	base    *State // nil: the stream is complete in itself
	builder *write.Builder
}

// Open reads the start of a stream. For other input, the error wraps [streamfmt.ErrNotStream].
func Open(r io.Reader) (*In, error) {
	in := &In{id: sha256.New()}
	var err error
	if in.r, err = streamfmt.NewReader(r); err != nil {
		return nil, err
	}
	ok, err := in.r.JSON(streamfmt.Head, mostHeader, &in.Header)
	switch {
	case err != nil:
		return nil, err
	case !ok || in.Header.Kind != "pool":
		return nil, errors.New("this is the index of a stream, which thin_send --since reads, not the stream")
	}
	h, err := in.Header.Metadata()
	if err == nil {
		err = checkHeader(h)
	}
	if err != nil {
		return nil, err
	}
	if err := in.layout(); err != nil {
		return nil, err
	}
	identity, err := in.Header.Identity()
	in.id.Write(identity)
	return in, err
}

// layout reads the layout.
func (in *In) layout() error {
	section, err := in.r.Section(streamfmt.Layout)
	if err != nil {
		return err
	}
	if section == nil {
		return fmt.Errorf("%w: no layout", streamfmt.ErrDamaged)
	}
	var used, sent uint64
	err = streamfmt.ReadRanges(io.TeeReader(section, in.id), in.Header.DataBlocks, func(r streamfmt.Range) error {
		if r.InBase && in.Header.Base == nil {
			return fmt.Errorf("%w: layout: blocks of a base, and there is none", streamfmt.ErrDamaged)
		}
		used += r.Len
		if !r.InBase {
			sent += r.Len
		}
		in.ranges = append(in.ranges, r)
		return nil
	})
	if err == nil && (used != in.Header.Used || sent != in.Header.Sent) {
		err = fmt.Errorf("%w: layout: %d data blocks, %d of them sent; the header says %d and %d", streamfmt.ErrDamaged, used, sent, in.Header.Used, in.Header.Sent)
	}
	return err
}

// Bytes returns the size of n data blocks.
func (in *In) Bytes(n uint64) uint64 { return n * uint64(in.Header.DataBlockSize) * block.SectorSize }

// Least returns the minimum number of data blocks of the new pool. With keep, blocks keep their
// places.
func (in *In) Least(keep bool) uint64 {
	if !keep {
		return in.Header.Used
	}
	if len(in.ranges) == 0 {
		return 0
	}
	last := in.ranges[len(in.ranges)-1]
	return uint64(last.Begin) + last.Len
}

// ErrTooSmall means that the data device is too small.
var ErrTooSmall = errors.New("the data device is too small")

// errIncrement means that a base is required.
var errIncrement = errors.New("the stream is an increment: --onto names the metadata of the pool that it builds on")

// Place sets the number of data blocks of the new pool and assigns a place to each used block: the
// old one with keep, otherwise consecutive ones.
func (in *In) Place(blocks uint64, keep bool) error {
	if in.Header.Base != nil {
		return errIncrement
	}
	if least := in.Least(keep); blocks < least {
		return fmt.Errorf("%w: it has room for %d data blocks of %d bytes, and %d are needed", ErrTooSmall, blocks, in.Bytes(1), least)
	}
	var next uint64
	for _, r := range in.ranges {
		p := place{uint64(r.Begin), next, r.Len}
		if keep {
			p.to = p.from
		}
		next += r.Len
		in.add(p)
	}
	in.blocks = blocks
	return nil
}

func (in *In) add(p place) {
	if last := len(in.places) - 1; last >= 0 {
		if l := &in.places[last]; l.from+l.n == p.from && l.to+l.n == p.to {
			l.n += p.n
			return
		}
	}
	in.places = append(in.places, p)
}

// A Free is a range of free data blocks, up to but not including End.
type Free struct{ Begin, End metadata.DataBlock }

// PlaceOnto is Place for an increment. base is the state of the pool it applies to. New data blocks
// only use the free ranges, which must ascend. The error wraps [ErrBase] if the increment is not
// based on that pool.
func (in *In) PlaceOnto(base *State, data io.ReaderAt, free []Free, blocks uint64) error {
	switch {
	case in.Header.Base == nil:
		return errors.New("the stream has a whole pool: receive it without --onto")
	case in.Header.Base.State != base.Sum():
		return fmt.Errorf("%w: the pool is not in the state that the increment builds on", ErrBase)
	}
	for _, w := range in.Header.Base.Witnesses {
		b, _, ok := base.place(w.Ordinal, 1)
		if !ok {
			return fmt.Errorf("%w: it has no block %d", ErrBase, w.Ordinal)
		}
		sum, err := witness(data, in.Bytes(uint64(b)))
		if err != nil {
			return err
		}
		if sum != w.SHA256 {
			return fmt.Errorf("%w: data block %d does not have the content that was sent: is this the data of the pool?", ErrBase, b)
		}
	}
	in.base, in.blocks = base, blocks
	for _, r := range in.ranges {
		for at := uint64(0); at < r.Len; {
			p := place{from: uint64(r.Begin) + at}
			if r.InBase {
				to, n, ok := base.place(r.Ordinal+at, r.Len-at)
				if !ok {
					return fmt.Errorf("%w: it has no block %d", ErrBase, r.Ordinal+at)
				}
				p.to, p.n = uint64(to), n
			} else {
				for len(free) > 0 && free[0].Begin == free[0].End {
					free = free[1:]
				}
				if len(free) == 0 {
					return fmt.Errorf("%w: it has not enough free data blocks for %d new ones", ErrTooSmall, in.Header.Sent)
				}
				p.to, p.n = uint64(free[0].Begin), min(r.Len-at, uint64(free[0].End-free[0].Begin))
				free = append([]Free{{free[0].Begin + metadata.DataBlock(p.n), free[0].End}}, free[1:]...)
			}
			if p.to+p.n > blocks {
				return fmt.Errorf("%w: data block %d of %d", ErrTooSmall, p.to+p.n-1, blocks)
			}
			in.add(p)
			at += p.n
		}
	}
	return nil
}

// at returns the place of a data block, and how many of n blocks have consecutive places.
func (in *In) at(b, n uint64) (to, length uint64, ok bool) {
	i := sort.Search(len(in.places), func(i int) bool { return in.places[i].from > b }) - 1
	if i < 0 || b >= in.places[i].from+in.places[i].n {
		return 0, 0, false
	}
	p := in.places[i]
	return p.to + b - p.from, min(n, p.n-(b-p.from)), true
}

// Build reads the description and plans the new metadata.
func (in *In) Build(note func(string), progress func(phase string, done, total uint64)) error {
	section, err := in.r.Section(streamfmt.Description)
	switch {
	case err != nil:
		return err
	case section == nil:
		return fmt.Errorf("%w: no description", streamfmt.ErrDamaged)
	}
	h, err := in.Header.Metadata()
	if err != nil {
		return err
	}
	in.builder = write.New(write.Options{Note: note, Progress: progress})
	if err := streamfmt.ReadDescription(io.TeeReader(section, in.id), h, &mover{Visitor: in.builder, in: in}); err != nil {
		return err
	}
	if _, err := in.r.JSON(streamfmt.Volumes, mostText, &in.Volumes); err != nil {
		return err
	}
	in.Text, err = in.r.Bytes(streamfmt.LVMText, mostText)
	return err
}

// mostText is more than LVM writes about a group.
const mostText = 256 << 20

// ID identifies the content of the stream. It is available after Build.
func (in *In) ID() string { return hex.EncodeToString(in.id.Sum(nil)) }

// MetadataBlocks returns the size of the smallest device that the new metadata fits on. It is
// available after Build.
func (in *In) MetadataBlocks() block.Nr { return in.builder.Least() }

// Fits returns an error if the new metadata does not fit on a device of that size.
func (in *In) Fits(blocks block.Nr) error { return in.builder.Fits(blocks) }

// A mover is a Visitor that changes mappings to the new places.
type mover struct {
	metadata.Visitor
	in   *In
	runs []metadata.Run
}

// Begin implements [metadata.Visitor].
func (m *mover) Begin(h metadata.Header) error {
	h.NrDataBlocks = m.in.blocks
	return m.Visitor.Begin(h)
}

// Runs implements [metadata.Visitor].
func (m *mover) Runs(runs []metadata.Run) error {
	const most = 4096
	for _, r := range runs {
		for r.Len > 0 {
			to, n, ok := m.in.at(uint64(r.Data), r.Len)
			if !ok {
				return fmt.Errorf("%w: description: data block %d is not in the layout", streamfmt.ErrDamaged, r.Data)
			}
			if len(m.runs) == most {
				if err := m.flush(); err != nil {
					return err
				}
			}
			m.runs = append(m.runs, metadata.Run{Thin: r.Thin, Data: metadata.DataBlock(to), Len: n, Time: r.Time})
			r.Thin, r.Data, r.Len = r.Thin+metadata.ThinBlock(n), r.Data+metadata.DataBlock(n), r.Len-n
		}
	}
	return m.flush()
}

func (m *mover) flush() error {
	runs := m.runs
	m.runs = m.runs[:0]
	if len(runs) == 0 {
		return nil
	}
	return m.Visitor.Runs(runs)
}

// Target says how to write the data.
type Target struct {
	Zero       bool                        // the data device is all zero
	From       uint64                      // start of the data not received yet, in the sender's data device
	Checkpoint func(position uint64) error // called with the next value for From; may be nil
	Interval   uint64                      // bytes between checkpoints; 0: 256 MiB
	Progress   func(phase string, done, total uint64)
}

// Receive writes the data. It writes the metadata once the data is on stable storage and the stream
// is complete. An interruption leaves no valid superblock on meta. For an increment, meta is a
// different device than the base's metadata, and the base stays unchanged.
func (in *In) Receive(ctx context.Context, meta, data block.Device, opt Target) error {
	if err := in.Fits(block.Blocks(meta)); err != nil {
		return err
	}
	if uint64(data.Size()) < in.Bytes(in.blocks) {
		return fmt.Errorf("%w: it has %d bytes, and %d are needed", ErrTooSmall, data.Size(), in.Bytes(in.blocks))
	}
	if err := write.Invalidate(meta); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	if err := in.copy(ctx, data, opt); err != nil {
		return err
	}
	if err := in.builder.Write(ctx, meta); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	return nil
}

// pieces splits the bytes from begin up to end of the sender's data device by their new places. It
// yields the length and destination of each piece.
func (in *In) pieces(begin, end uint64) func(yield func(n, to uint64) bool) {
	size := in.Bytes(1)
	return func(yield func(n, to uint64) bool) {
		for begin < end {
			b, within := begin/size, begin%size
			to, n, ok := in.at(b, (end-1)/size-b+1)
			if !ok {
				return // unreachable: every block in the layout has a place
			}
			length := min(end-begin, n*size-within)
			if !yield(length, to*size+within) {
				return
			}
			begin += length
		}
	}
}
