package volume

import (
	"errors"
	"fmt"
	"io"
)

// A Kind tells where the bytes of an [Extent] come from.
type Kind uint8

// The kinds of extent.
const (
	Hole   Kind = iota // nowhere: they are zero
	Mapped             // the pool's data device
	Origin             // the external origin, at the same offset
	Lost               // unknown or unreadable
)

var kindNames = [...]string{"hole", "mapped", "origin", "lost"}

func (k Kind) String() string { return kindNames[k] }

// An Extent is a range of adjacent bytes of a volume that are adjacent at their source, too.
type Extent struct {
	Kind  Kind
	Begin int64 // in the volume, in bytes
	Len   int64 // at least 1
	Data  int64 // Mapped: offset of Begin on the data device, in bytes
	// Guessed is set if a repair guessed the mapping, so the content may be wrong.
	Guessed bool
	Err     error // Lost: why
}

// End returns the offset of the first byte after e.
func (e Extent) End() int64 { return e.Begin + e.Len }

// From returns the part of e from offset at on.
func (e Extent) From(at int64) Extent {
	skip := at - e.Begin
	e.Begin, e.Len = at, e.Len-skip
	if e.Kind == Mapped {
		e.Data += skip
	}
	return e
}

func (e Extent) String() string {
	s := fmt.Sprintf("bytes %d..%d", e.Begin, e.End()-1)
	if e.Kind == Mapped {
		s += fmt.Sprintf(" (%d..%d on the data device)", e.Data, e.Data+e.Len-1)
	}
	return s
}

// continues reports whether e and prev can be joined.
func (e Extent) continues(prev Extent) bool {
	if e.Kind != prev.Kind || e.Guessed != prev.Guessed || e.Begin != prev.End() {
		return false
	}
	switch e.Kind {
	case Mapped:
		return e.Data == prev.Data+prev.Len
	case Lost:
		return beyond(e.Err) && beyond(prev.Err)
	}
	return true
}

// A BeyondError says that a mapping points beyond the end of the data device.
type BeyondError struct {
	Block uint64 // the data block
	Size  int64  // of the data device, in bytes
}

func (e *BeyondError) Error() string {
	return fmt.Sprintf("data block %d lies beyond the end of the data device, which has %d bytes", e.Block, e.Size)
}

func beyond(err error) bool {
	_, ok := errors.AsType[*BeyondError](err)
	return ok
}

// A ReadError says which part of a volume cannot be read.
type ReadError struct {
	Extent    Extent // an extent that is at least partly unreadable
	BlockSize int64  // of the pool, in bytes
	Err       error
}

func (e *ReadError) Error() string {
	switch e.Extent.Kind {
	case Mapped:
		return fmt.Sprintf("%v, from data block %d on: %v", e.Extent, e.Extent.Data/e.BlockSize, e.Err)
	case Origin:
		return fmt.Sprintf("%v, of the external origin: %v", e.Extent, e.Err)
	}
	return fmt.Sprintf("%v: lost: %v", e.Extent, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// A Source is where the bytes of volumes come from.
type Source struct {
	Data     io.ReaderAt // the pool's data device, starting at its first block
	DataSize int64       // in bytes
	// Advise, if not nil, is told which n bytes of Data, from off on, will be read soon.
	Advise func(off, n int64)
	// Origin is the external origin, which supplies unmapped blocks; nil if there is none. Beyond its
	// end, at OriginSize bytes, there are zeros.
	Origin     io.ReaderAt
	OriginSize int64
}

// read fills p with the first bytes of e, which must have as many.
func (s *Source) read(p []byte, e Extent) error {
	from, at := s.Data, e.Data
	switch e.Kind {
	case Hole:
		clear(p)
		return nil
	case Lost:
		return e.Err
	case Origin:
		from, at = s.Origin, e.Begin
	}
	n, err := from.ReadAt(p, at)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}
