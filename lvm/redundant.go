package lvm

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"thinpool/internal/raid"
)

// mirror builds the source of a dm-mirror. Leg 0 is the primary and always valid; the others are
// read where it is unreadable. While LVM moves extents between physical volumes, they are a mirror
// as well, whose other legs are incomplete.
func (b *builder) mirror(v *Volume, s *Segment, depth int) (source, built, error) {
	legs, below, err := b.parts(v, s, s.Extents, depth)
	if err != nil {
		return nil, built{}, err
	}
	below.multiple++
	moving := slices.Contains(v.Status, "PVMOVE") || s.Section.Get("extents_moved") != nil
	switch {
	case b.opt.Leg > len(legs):
		return nil, built{}, fmt.Errorf("%s: no leg %d: it has %d", v.Name, b.opt.Leg, len(legs))
	case b.opt.Leg > 0:
		return legs[b.opt.Leg-1], below, nil
	case len(legs) > raid.MaxDevices:
		return nil, built{}, fmt.Errorf("%s: a mirror with %d legs", v.Name, len(legs))
	case moving && b.write:
		return nil, built{}, fmt.Errorf("%s: its extents are being moved, so it cannot be written", v.Name)
	case moving:
		return legs[0], below, nil
	}
	return mirror{legs}, below, nil
}

// raid builds the source of a raid1, 4, 5, 6 or 10 set.
func (b *builder) raid(v *Volume, s *Segment, depth int) (source, built, error) {
	n := len(s.Stripes)
	layout, extents, err := setLayout(s)
	if err != nil {
		return nil, built{}, fmt.Errorf("%s: %w", v.Name, err)
	}
	images, below, err := b.parts(v, s, extents, depth)
	if err != nil {
		return nil, built{}, err
	}
	below.multiple++
	if legs := layout.Copies; b.opt.Leg > 0 && legs > 1 {
		switch {
		case b.opt.Leg > legs:
			return nil, built{}, fmt.Errorf("%s: no leg %d: it has %d", v.Name, b.opt.Leg, legs)
		case s.Type == "raid1":
			return images[b.opt.Leg-1], below, nil
		}
		return &set{layout: layout, devs: images, nth: b.opt.Leg - 1, only: true}, below, nil
	}
	state, err := b.state(v, s, depth)
	if err != nil {
		return nil, built{}, err
	}
	good := 0
	for i, reason := range state.out {
		if reason == nil {
			good++
			continue
		}
		b.note("%s: %s is not used: %v", v.Name, s.Stripes[i].Name, reason)
		images[i] = lost{fmt.Errorf("%s: %w", s.Stripes[i].Name, reason)}
	}
	if b.write && good < n {
		return nil, built{}, fmt.Errorf("%s: not all of its images are in sync, so it cannot be written", v.Name)
	}
	switch {
	case s.Type == "raid1":
		return mirror{state.readableFirst(images)}, below, nil
	case raid.Parity(s.Type):
		return &paritySet{layout, images, state.doubt}, below, nil
	}
	return &set{layout: layout, devs: images}, below, nil
}

// setLayout returns the layout of a segment and the number of extents per image.
func setLayout(s *Segment) (raid.Layout, uint64, error) {
	n := len(s.Stripes)
	chunk, copies := int64(s.StripeSize)*sector, int(min(s.Copies, raid.MaxDevices+1))
	switch {
	case s.Type == "raid1":
		chunk, copies = sector, n // one row is a chunk and all its copies
	case copies == 0:
		copies = 2
	}
	l, err := raid.New(s.Type, n, chunk, copies)
	if err != nil {
		return l, 0, err
	}
	return l, (s.Extents*uint64(l.Copies) + uint64(l.Data) - 1) / uint64(l.Data), nil
}

// A state is what is known about the images of a set.
type state struct {
	out   []error // why an image must not be used; nil: usable
	last  []bool  // use only if no other can be read
	doubt error   // why parity cannot be trusted
}

// readableFirst moves the legs to be used last behind the others.
func (st *state) readableFirst(images []source) []source {
	var first, last []source
	for i, img := range images {
		if st.last[i] {
			last = append(last, img)
		} else {
			first = append(first, img)
		}
	}
	return append(first, last...)
}

// Reasons not to use an image.
var (
	errNotInSync   = errors.New("it is not in sync")
	errWrittenOff  = errors.New("LVM has marked its physical volume as missing")
	errOldEvents   = errors.New("its superblock is older than that of others")
	errFailed      = errors.New("the others have seen it fail")
	errNoState     = errors.New("its superblock cannot be read")
	errNeverActive = errors.New("the set was never active")
	errResync      = errors.New("the set was not in sync when it was last active")
)

// state judges the images by LVM's text and by the superblocks. The superblock with the highest
// event count is the freshest; its list of failed devices counts.
func (b *builder) state(v *Volume, s *Segment, depth int) (*state, error) {
	n := len(s.Stripes)
	st := &state{out: make([]error, n), last: make([]bool, n)}
	for i, p := range s.Stripes {
		image := b.g.Volume(p.Name)
		if image == nil {
			continue // a physical volume
		}
		switch {
		case slices.Contains(image.Status, "REBUILD"), slices.Contains(image.Status, "NOTSYNCED"):
			st.out[i] = errNotInSync
		case b.isWrittenOff(image):
			st.out[i] = errWrittenOff
		}
		st.last[i] = slices.Contains(image.Status, "WRITEMOSTLY")
	}
	supers, unread, err := b.superblocks(v, s, depth)
	if err != nil {
		return nil, err
	}
	var fresh *raid.Superblock
	for _, sb := range supers {
		if sb != nil && (fresh == nil || sb.Events > fresh.Events) {
			fresh = sb
		}
	}
	switch {
	case fresh == nil && !slices.Contains(unread, nil):
		st.doubt = errNoState
		return st, nil
	case fresh == nil:
		st.doubt = errNeverActive
		return st, nil
	case fresh.Resync != raid.Done:
		st.doubt = errResync
		b.note("%s: %v", v.Name, errResync)
	}
	for i, sb := range supers {
		if reason := unusableReason(i, sb, unread[i], fresh); reason != nil && st.out[i] == nil {
			st.out[i] = reason
		}
	}
	return st, nil
}

// unusableReason says why image i must not be used, based on its superblock and the freshest one.
func unusableReason(i int, sb *raid.Superblock, unread error, fresh *raid.Superblock) error {
	switch {
	case fresh.Failed&bits.RotateLeft64(1, i) != 0:
		return errFailed
	case unread != nil:
		return fmt.Errorf("%w: %w", errNoState, unread)
	case sb == nil:
		return errNotInSync // new in the set
	case sb.Position != uint32(i):
		return fmt.Errorf("its superblock is that of image %d", sb.Position)
	case sb.Events < fresh.Events:
		return errOldEvents
	case sb.Recovery != raid.Done:
		return errNotInSync
	}
	return nil
}

// superblocks reads the superblocks of all images. An entry is nil if there is none, or if it could
// not be read; unread then has the reason.
func (b *builder) superblocks(v *Volume, s *Segment, depth int) (supers []*raid.Superblock, unread []error, err error) {
	supers, unread = make([]*raid.Superblock, len(s.Stripes)), make([]error, len(s.Stripes))
	for i, name := range s.Metas {
		meta := b.g.Volume(name)
		if meta == nil {
			return nil, nil, fmt.Errorf("%s: there is no %s", v.Name, name)
		}
		src, _, err := b.supers.volume(meta, depth+1)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", v.Name, err)
		}
		var p [raid.SuperblockSize]byte
		if unread[i] = src.readAt(p[:], 0); unread[i] != nil {
			continue
		}
		if sb, ok := raid.Decode(&p); ok {
			supers[i] = &sb
		}
	}
	return supers, unread, nil
}

// isWrittenOff reports whether a volume uses a physical volume that LVM has marked as missing.
func (b *builder) isWrittenOff(v *Volume) bool {
	for _, s := range v.Segments {
		for _, p := range s.Stripes {
			if pv := b.g.PV(p.Name); pv != nil && pv.Missing() {
				return true
			}
		}
	}
	return false
}
