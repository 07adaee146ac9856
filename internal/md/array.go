package md

import (
	"errors"
	"fmt"
	"io"

	"thinpool/internal/raid"
)

// A leg is a member in its role.
type leg struct {
	name    string
	r       io.ReaderAt
	offset  int64 // start of its data
	size    int64 // size of its data
	bad     []Bad
	missing error // why it is missing; nil: present
}

func newLeg(m Member, role int) leg {
	s := m.Super
	return leg{name: fmt.Sprintf("%s (role %d)", m.Name, role), r: m.R, offset: s.DataOffset, size: s.DataSize, bad: s.Bad}
}

// read fills p from an offset in the leg's data.
func (l *leg) read(p []byte, off int64) error {
	if l.missing != nil {
		return l.missing
	}
	at := l.offset + off
	if off < 0 || int64(len(p)) > l.size-off {
		return fmt.Errorf("%s: byte %d is past the end of its data", l.name, at)
	}
	for _, b := range l.bad {
		if at < b.Offset+b.Size && b.Offset < at+int64(len(p)) {
			return fmt.Errorf("%s: byte %d is in its bad block log", l.name, max(at, b.Offset))
		}
	}
	if err := readFull(l.r, p, at); err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	return nil
}

// A piece reads p from an offset as far as the data is contiguous, and returns how far that is,
// even with an error.
type piece interface {
	read(p []byte, off int64) (int, error)
}

// Size returns the size of the array in bytes.
func (a *Array) Size() int64 { return a.size }

// retry is the size of the pieces in which a failed read is retried.
const retry = 4096

// ReadAt reads from any offset of the array.
func (a *Array) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("md: negative offset")
	}
	var end error
	if off >= a.size {
		return 0, io.EOF
	}
	if int64(len(p)) > a.size-off {
		p, end = p[:a.size-off], io.EOF
	}
	careful := 0 // read in small pieces up to here
	for done := 0; done < len(p); {
		at, to := off+int64(done), len(p)
		if done < careful {
			to = min(to, done+int(retry-at%retry))
		}
		n, err := a.piece.read(p[done:to], at)
		switch {
		case err == nil:
			done += n
		case done < careful || n <= retry:
			return done, err
		default: // legs may fail at different offsets
			careful = done + n
		}
	}
	return len(p), end
}

// copies reads arrays without parity: each byte is stored once or several times.
type copies struct {
	legs   []leg
	locate func(off int64, nth int) (place raid.Place, rest int64, ok bool)
}

func (c copies) read(p []byte, off int64) (int, error) {
	var failed error
	for nth := 0; ; nth++ {
		place, rest, ok := c.locate(off, nth)
		if !ok {
			return len(p), failed
		}
		p = p[:min(int64(len(p)), rest)]
		err := c.legs[place.Device].read(p, place.Offset)
		if err == nil {
			return len(p), nil
		}
		if failed == nil || c.legs[place.Device].missing == nil { // a missing member is the less useful error
			failed = err
		}
	}
}

// parity reads raid4, 5 and 6.
type parity struct {
	legs   []leg
	layout raid.Layout
}

func (y parity) read(p []byte, off int64) (int, error) {
	place, rest := y.layout.Locate(off, 0)
	p = p[:min(int64(len(p)), rest)]
	err := y.legs[place.Device].read(p, place.Offset)
	if err == nil {
		return len(p), nil
	}
	other := y.layout.Rebuild(place.Offset/y.layout.Chunk, place.Device, p, func(device int, p []byte) error {
		return y.legs[device].read(p, place.Offset)
	})
	if other != nil {
		return len(p), fmt.Errorf("%w; it cannot be computed: %w", err, other)
	}
	return len(p), nil
}
