package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"thinpool/metadata/block"
	"thinpool/metadata/volume"
)

// A Copy is a full copy of a volume that can be updated in place.
type Copy interface {
	Target
	io.ReaderAt
	// Truncate sets the size. Added space reads as zeros.
	Truncate(size int64) error
}

// An Update describes the new content of a copy.
type Update struct {
	From State    // current state of the copy
	To   Identity // identity of the new content
	Size int64    // size of the new content
	// Base is the end of the old content: everything beyond is written.
	Base int64
	// Save stores a state beside the copy, on stable storage.
	Save func(State) error
	// Check, if not nil, is called when everything is written. An error leaves the update in
	// progress.
	Check func() error
}

// ErrOtherCopy means that an update does not match a copy.
var ErrOtherCopy = errors.New("this is not the base of the update")

// NewUpdate returns the update of a copy with state s, from one content of a device to another. It
// returns nil if the copy already has the new content. The error says why the copy is not a base.
func NewUpdate(s *State, from, to *Identity) (*Update, error) {
	switch {
	case s.Status == Unfit:
		return nil, fmt.Errorf("%w: %s", ErrOtherCopy, s.Why)
	case s.Status == Complete && to.Settled && s.Of.Is(to):
		return nil, nil
	case s.Status == Updating && !(s.Of.Is(from) && s.To.Is(to)):
		return nil, fmt.Errorf("%w: an update of it was interrupted, from %v, to %v. Run that update again first. This one is from %v, to %v", ErrOtherCopy, &s.Of, s.To, from, to)
	case !s.Of.Is(from):
		return nil, fmt.Errorf("%w: the copy holds %v, the update is from %v", ErrOtherCopy, &s.Of, from)
	}
	return &Update{From: *s, To: *to}, nil
}

// Run writes extents, which must ascend and cover all differences, to the copy. If anything fails
// after the first write, the state says that the update is in progress, and the same update can be
// run again.
func (u *Update) Run(ctx context.Context, r Reader, extents iter.Seq2[volume.Extent, error], to Copy, opt Options) error {
	s := u.From
	s.Status, s.To = Updating, &u.To
	if err := u.Save(s); err != nil {
		return err
	}
	opt.From, opt.Checkpoint = 0, nil
	err := to.Truncate(u.Size)
	if err == nil {
		err = Run(ctx, r, extents, to, opt)
	}
	if err == nil && u.Check != nil {
		err = u.Check()
	}
	if err == nil {
		err = u.Save(State{Status: Complete, Size: u.Size, Of: u.To})
	}
	if err != nil {
		return fmt.Errorf("%w; the copy is neither old nor new now: run the same command again", err)
	}
	return nil
}

// samples is the number of positions in a copy to compare, and sampleBytes how much at each.
const (
	samples     = 256
	sampleBytes = block.Size
)

// Sample compares a copy with some positions in extents, which have n bytes in total. A copy from
// another pool does not pass, even if its volume is mapped in the same way.
func Sample(r Reader, extents iter.Seq2[volume.Extent, error], n int64, written io.ReaderAt) error {
	step := max(n/samples, sampleBytes)
	var got, want [sampleBytes]byte
	next, passed := int64(0), int64(0) // positions among the bytes of extents
	for e, err := range extents {
		if err != nil {
			return err
		}
		if e.Kind != volume.Mapped {
			continue
		}
		for ; next < passed+e.Len; next += step {
			part := e.From(e.Begin + next - passed)
			part.Len = min(part.Len, sampleBytes)
			if err := r.Read(want[:part.Len], part); err != nil {
				return err
			}
			if n, err := written.ReadAt(got[:part.Len], part.Begin); n < int(part.Len) {
				if err == nil || err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
			if got != want {
				return differenceError(got[:part.Len], want[:part.Len], part.Begin)
			}
		}
		passed += e.Len
	}
	return nil
}
