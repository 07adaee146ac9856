package send

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"thinpool/internal/blockset"
	"thinpool/metadata"
	"thinpool/streamfmt"
)

// ErrBase means that an index or a pool cannot be used as a base.
var ErrBase = errors.New("not a usable base")

// An Index holds what a sender needs of a stream for a later increment: the data blocks that cannot
// be overwritten in place while their mapping is unchanged.
type Index struct {
	Header streamfmt.Header
	runs   []streamfmt.FrozenRun // by data block
}

// mostHeader is far larger than any header.
const mostHeader = 1 << 20

// LoadIndex reads what [Plan.WriteIndex] wrote.
func LoadIndex(r io.Reader) (*Index, error) {
	in, err := streamfmt.NewReader(r)
	if err != nil {
		return nil, err
	}
	x := new(Index)
	ok, err := in.JSON(streamfmt.Head, mostHeader, &x.Header)
	switch {
	case err != nil:
		return nil, err
	case !ok || x.Header.Kind != "index" || x.Header.Base == nil:
		return nil, errors.New("this is a stream, not the index of one")
	}
	frozen, err := in.Section(streamfmt.Frozen)
	if err != nil {
		return nil, err
	}
	if frozen != nil {
		err := streamfmt.ReadFrozen(frozen, func(f streamfmt.FrozenRun) error {
			x.runs = append(x.runs, f)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if f, err := in.Next(); err != nil {
		return nil, err
	} else if f.Type != streamfmt.End {
		return nil, fmt.Errorf("%w: %v in an index", streamfmt.ErrDamaged, f.Type)
	}
	byData(x.runs)
	for i := 1; i < len(x.runs); i++ {
		if last := x.runs[i-1]; uint64(last.Data)+last.Len > uint64(x.runs[i].Data) {
			return nil, fmt.Errorf("%w: data block %d is there twice", streamfmt.ErrDamaged, x.runs[i].Data)
		}
	}
	return x, nil
}

// mostWitnesses is the number of data blocks used to tell pools apart.
const mostWitnesses = 64

// WriteIndex writes the index of the planned stream. It requires Options.State.
func (p *Plan) WriteIndex(ctx context.Context, w io.Writer, data io.ReaderAt) error {
	h := p.Header
	h.Kind, h.Start, h.Base = "index", 0, &streamfmt.Base{State: p.state.Sum(), Devices: p.state.Devices}
	var frozen uint64
	for f := range p.state.frozen() {
		frozen += f.Len
	}
	step, next, seen := max(frozen/mostWitnesses, 1), uint64(0), uint64(0)
	for f := range p.state.frozen() {
		for ; next < seen+f.Len && len(h.Base.Witnesses) < mostWitnesses; next += step {
			if err := ctx.Err(); err != nil {
				return err
			}
			in := next - seen
			sum, err := p.witness(data, f.Data+metadata.DataBlock(in))
			if err != nil {
				return err
			}
			h.Base.Witnesses = append(h.Base.Witnesses, streamfmt.Witness{Ordinal: f.Ordinal + in, SHA256: sum})
		}
		seen += f.Len
	}
	out, err := streamfmt.NewWriter(w, 0)
	if err != nil {
		return err
	}
	if err := out.JSON(streamfmt.Head, h); err != nil {
		return err
	}
	section := out.Section(streamfmt.Frozen)
	for f := range p.state.frozen() {
		if err := streamfmt.WriteFrozen(section, f); err != nil {
			return err
		}
	}
	if err := section.Close(); err != nil {
		return err
	}
	_, err = out.End()
	return err
}

// witness returns the checksum of the start of a data block.
func (p *Plan) witness(data io.ReaderAt, b metadata.DataBlock) (string, error) {
	return witness(data, p.Bytes(uint64(b)))
}

func witness(data io.ReaderAt, off uint64) (string, error) {
	buf := make([]byte, streamfmt.WitnessBytes)
	if err := readFull(data, buf, int64(off)); err != nil {
		return "", err
	}
	sum := sha256.Sum256(buf)
	return hex.EncodeToString(sum[:]), nil
}

// find returns the index of the last run that starts at or before b; -1 if there is none.
func (x *Index) find(b metadata.DataBlock) int {
	return sort.Search(len(x.runs), func(i int) bool { return x.runs[i].Data > b }) - 1
}

// ordinal returns the ordinal of a data block in the index, and how many of n blocks have
// consecutive ordinals.
func (x *Index) ordinal(b metadata.DataBlock, n uint64) (ordinal, length uint64) {
	f := x.runs[x.find(b)]
	in := uint64(b - f.Data)
	return f.Ordinal + in, min(n, f.Len-in)
}

// A match compares the mappings of a pool with an index.
type match struct {
	index *Index
	same  blockset.Set // blocks with the same mapping
	other blockset.Set // blocks in the index with another mapping
	still bool         // a device of the base still exists
}

func (m *match) device(id metadata.DevID, d metadata.Details) {
	now := streamfmt.Device{ID: uint64(id), TransactionID: d.TransactionID, CreationTime: d.CreationTime}
	m.still = m.still || slices.Contains(m.index.Header.Base.Devices, now)
}

func (m *match) run(r metadata.Run) {
	begin, end := uint64(r.Data), uint64(r.Data)+r.Len
	for i := max(m.index.find(r.Data), 0); i < len(m.index.runs) && uint64(m.index.runs[i].Data) < end; i++ {
		f := m.index.runs[i]
		from, to := max(begin, uint64(f.Data)), min(end, uint64(f.Data)+f.Len)
		if from >= to {
			continue
		}
		now, then := uint64(r.Thin)+from-begin, uint64(f.Thin)+from-uint64(f.Data)
		if now == then && r.Time == f.Time {
			m.same.Add(from, to-from)
		} else {
			m.other.Add(from, to-from)
		}
	}
}

// build turns the plan into one for an increment.
func (p *Plan) build(m *match) error {
	was, now := &m.index.Header, &p.Header
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s; send the pool in full, without --since", ErrBase, fmt.Sprintf(format, args...))
	}
	switch {
	case was.UUID != now.UUID || was.DataBlockSize != now.DataBlockSize || was.PoolID != "" && now.PoolID != "" && was.PoolID != now.PoolID:
		return refuse("the index is of another pool")
	case now.Time < was.Time || now.TransactionID < was.TransactionID:
		return refuse("the pool is older than the index (time %d and transaction %d, then %d and %d): it was set back", now.Time, now.TransactionID, was.Time, was.TransactionID)
	case !m.still:
		return refuse("none of the devices of the base is still there")
	}
	for begin, end := range m.same.Ranges(0, mostBlocks, true) {
		for from, to := range m.other.Ranges(begin, end, false) {
			p.kept.Add(from, to-from)
		}
	}
	kept := p.kept.Below(mostBlocks)
	if kept == 0 {
		return refuse("no data block of the base is certain to be unchanged: there was no snapshot that shared one")
	}
	now.Sent = now.Used - kept
	now.Base = &streamfmt.Base{State: was.Base.State}
	return nil
}

// CheckBase checks that data has the content of the base: another pool may have mappings that look
// the same. The error wraps [ErrBase].
func (p *Plan) CheckBase(data io.ReaderAt) error {
	byOrdinal := slices.Clone(p.since.runs)
	slices.SortFunc(byOrdinal, func(a, b streamfmt.FrozenRun) int { return cmp.Compare(a.Ordinal, b.Ordinal) })
	base := &State{first: byOrdinal}
	p.Header.Base.Witnesses = nil
	for _, w := range p.since.Header.Base.Witnesses {
		b, _, ok := base.place(w.Ordinal, 1)
		if !ok || p.kept.Next(uint64(b), uint64(b)+1, true) != uint64(b) {
			continue // it may have changed
		}
		sum, err := p.witness(data, b)
		if err != nil {
			return err
		}
		if sum != w.SHA256 {
			return fmt.Errorf("%w: data block %d has another content, although nothing can have overwritten it: the index is of another pool, or the data was changed without its pool; send the pool in full, without --since", ErrBase, b)
		}
		p.Header.Base.Witnesses = append(p.Header.Base.Witnesses, w)
	}
	if p.Header.Base.Witnesses == nil {
		return fmt.Errorf("%w: none of the data blocks that identify the pool is left; send the pool in full, without --since", ErrBase)
	}
	return nil
}
