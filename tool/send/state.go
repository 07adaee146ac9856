package send

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"slices"
	"sort"

	"thinpool/internal/blockset"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/streamfmt"
)

// mostBlocks is the maximum number of data blocks in a pool. A header may claim more.
const mostBlocks = spacemap.MaxMetadata * spacemap.PerBitmap

// checkHeader returns an error if a pool cannot match the header.
func checkHeader(h metadata.Header) error {
	if err := metadata.CheckDataBlockSize(uint64(h.DataBlockSize)); err != nil {
		return err
	}
	if most := min(mostBlocks, math.MaxInt64/(uint64(h.DataBlockSize)*block.SectorSize)); h.NrDataBlocks > most {
		return fmt.Errorf("%d data blocks of %d sectors are more than a pool can have", h.NrDataBlocks, h.DataBlockSize)
	}
	return nil
}

// discard is a Visitor that ignores everything.
type discard struct{}

func (discard) Begin(metadata.Header) error                        { return nil }
func (discard) BeginDef(string) error                              { return nil }
func (discard) EndDef() error                                      { return nil }
func (discard) BeginDevice(metadata.DevID, metadata.Details) error { return nil }
func (discard) Ref(string) error                                   { return nil }
func (discard) Runs([]metadata.Run) error                          { return nil }
func (discard) EndDevice() error                                   { return nil }
func (discard) End() error                                         { return nil }

// A State describes a pool independently of the location of its data blocks. It is a
// [metadata.Visitor] for a flat visit; the zero State is ready to use.
//
// Data blocks get ordinals 0, 1, and so on in the order in which the visit first reaches them. So a
// copy of the pool with its blocks elsewhere has the same ordinals and the same [State.Sum].
type State struct {
	discard
	Devices []streamfmt.Device

	header  metadata.Header
	hash    hash.Hash
	numbers ordinals
	first   []streamfmt.FrozenRun // first run with each block, by ordinal
	exposed blockset.Set          // blocks that a device may overwrite in place
	details metadata.Details      // of the current device
	pending metadata.Run          // not yet hashed; its Data is an ordinal
	sum     string
}

// Begin implements [metadata.Visitor].
func (s *State) Begin(h metadata.Header) error {
	if err := checkHeader(h); err != nil {
		return err
	}
	s.header, s.hash = h, sha256.New()
	s.hash.Write(h.UUID[:])
	s.put(h.TransactionID, uint64(h.DataBlockSize))
	return nil
}

// put adds numbers to the hash.
func (s *State) put(numbers ...uint64) {
	var p [8]byte
	for _, n := range numbers {
		binary.LittleEndian.PutUint64(p[:], n)
		s.hash.Write(p[:])
	}
}

const (
	sumDevice = iota + 1
	sumRun
)

// BeginDevice implements [metadata.Visitor].
func (s *State) BeginDevice(id metadata.DevID, d metadata.Details) error {
	s.details = d
	s.Devices = append(s.Devices, streamfmt.Device{ID: uint64(id), TransactionID: d.TransactionID, CreationTime: d.CreationTime})
	s.put(sumDevice, uint64(id), d.TransactionID, uint64(d.CreationTime))
	return nil
}

// BeginDef implements [metadata.Visitor].
func (s *State) BeginDef(string) error { return errors.New("the visit is not flat") }

// Runs implements [metadata.Visitor].
func (s *State) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		if uint64(r.Data) >= mostBlocks || r.Len > mostBlocks-uint64(r.Data) {
			return fmt.Errorf("data block %d is beyond the data device: %w", uint64(r.Data)+r.Len-1, block.ErrCorrupt)
		}
		if r.Time >= s.details.SnapshottedTime {
			s.exposed.Add(uint64(r.Data), r.Len)
		}
		for r.Len > 0 {
			s.part(&r)
		}
	}
	return nil
}

// part processes the first part of r with consecutive ordinals.
func (s *State) part(r *metadata.Run) {
	ordinal, n, known := s.numbers.give(uint64(r.Data), r.Len)
	p := metadata.Run{Thin: r.Thin, Data: metadata.DataBlock(ordinal), Len: n, Time: r.Time}
	if !known {
		f := streamfmt.FrozenRun{Run: *r, Ordinal: ordinal}
		f.Len = n
		if last := len(s.first) - 1; last >= 0 && f.Continues(s.first[last].Run) {
			s.first[last].Len += n
		} else {
			s.first = append(s.first, f)
		}
	}
	if s.pending.Len > 0 && p.Continues(s.pending) {
		s.pending.Len += n
	} else {
		s.flush()
		s.pending = p
	}
	r.Thin, r.Data, r.Len = r.Thin+metadata.ThinBlock(n), r.Data+metadata.DataBlock(n), r.Len-n
}

func (s *State) flush() {
	if p := s.pending; p.Len > 0 {
		s.put(sumRun, uint64(p.Thin), uint64(p.Data), p.Len, uint64(p.Time))
	}
	s.pending = metadata.Run{}
}

// EndDevice implements [metadata.Visitor].
func (s *State) EndDevice() error {
	s.flush()
	return nil
}

// End implements [metadata.Visitor].
func (s *State) End() error {
	s.sum = hex.EncodeToString(s.hash.Sum(nil))
	return nil
}

// Sum returns the checksum that identifies the state, in hexadecimal.
func (s *State) Sum() string { return s.sum }

// place returns the location of the block with an ordinal, and how many of n blocks are consecutive
// there.
func (s *State) place(ordinal, n uint64) (metadata.DataBlock, uint64, bool) {
	i := sort.Search(len(s.first), func(i int) bool { return s.first[i].Ordinal > ordinal }) - 1
	if i < 0 || ordinal >= s.first[i].Ordinal+s.first[i].Len {
		return 0, 0, false
	}
	in := ordinal - s.first[i].Ordinal
	return s.first[i].Data + metadata.DataBlock(in), min(n, s.first[i].Len-in), true
}

// frozen yields the runs whose blocks cannot be overwritten in place, by ordinal.
func (s *State) frozen() func(yield func(streamfmt.FrozenRun) bool) {
	return func(yield func(streamfmt.FrozenRun) bool) {
		for _, f := range s.first {
			begin := uint64(f.Data)
			for from, to := range s.exposed.Ranges(begin, begin+f.Len, false) {
				part, in := f, from-begin
				part.Thin, part.Data = f.Thin+metadata.ThinBlock(in), metadata.DataBlock(from)
				part.Ordinal, part.Len = f.Ordinal+in, to-from
				if !yield(part) {
					return
				}
			}
		}
	}
}

// ordinals stores the ordinals of data blocks, in pages that exist only where there are blocks.
type ordinals struct {
	pages []*[ordinalPage]uint64 // ordinal plus one; 0: none
	next  uint64
}

const ordinalPage = 4096

// give returns the ordinal of a block, assigning one if necessary, and how many of n blocks have
// consecutive ordinals.
func (o *ordinals) give(b, n uint64) (ordinal, length uint64, known bool) {
	first := o.at(b)
	if known = *first != 0; known {
		ordinal = *first - 1
		for length = 1; length < n && *o.at(b + length) == *first+length; length++ {
		}
		return ordinal, length, true
	}
	ordinal = o.next
	for at := first; length < n && *at == 0; {
		o.next++
		*at = o.next
		if length++; length < n {
			at = o.at(b + length)
		}
	}
	return ordinal, length, false
}

func (o *ordinals) at(b uint64) *uint64 {
	i := b / ordinalPage
	for uint64(len(o.pages)) <= i {
		o.pages = append(o.pages, nil)
	}
	if o.pages[i] == nil {
		o.pages[i] = new([ordinalPage]uint64)
	}
	return &o.pages[i][b%ordinalPage]
}

// byData sorts runs by the location of their data.
func byData(runs []streamfmt.FrozenRun) {
	slices.SortFunc(runs, func(a, b streamfmt.FrozenRun) int { return cmp.Compare(a.Data, b.Data) })
}
