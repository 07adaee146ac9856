// Package repair finds in damaged metadata all that can still be read, and shows
// it as if it were whole.
//
// [Find] never writes. Its result is a view of the device on which blocks are
// replaced in memory: damaged nodes by what is left of them, lost roots by those
// that were found. Whatever reads metadata can read that view; tool/dump hands it
// to internal/write, which writes new metadata.
//
// A repair is a line of phases, each of which hands facts to the next:
//
//	evidence     what the device shows: its nodes, its space maps, block 0
//	states       what commits of the pool are left, and how whole each is
//	choice       which of them is the right one
//	salvage      holes in its trees, and candidates for what they have lost
//	decision     which candidates are taken, and which are confirmed
//	view, report
//
// Choice and decision are functions of facts alone. In the report a mapping is *read* if
// the chosen state leads to it, *confirmed* if it was found elsewhere and all reference
// counts balance with it, *guessed* if it was found elsewhere without that, and *lost* if
// the device details count it and it was not found.
//
// # States
//
// Every commit of the pool leaves a state: a root of the mapping tree, a root of the device details
// and, if they can be found, the space maps. It writes a new index block of the metadata space map,
// nearly always as the last block that it allocates, so the device has one for each commit that
// has not been overwritten. What such a generation counts as used tells which roots belong to it.
//
// The allocator orders the generations. The kernel takes the next block that is free both in the last
// commit and now, from a cursor that moves on through commits, wraps at the end, and starts at block 0
// when the pool is loaded. So the blocks that only the later of two commits uses are those that
// the earlier one offers next. Usually that fits in one direction only.
//
// # Choice
//
// A choice is not a score. A state counts only if its roots are of the right kind. The state that the
// superblock names is taken, unless another one is whole and shown to be newer, or is the one that
// LVM knows. If nothing decides between states, the report names them and how they differ.
//
// # Witnesses
//
// A block that the metadata space map counts as used, with fewer pointers to it than counted, is what a
// lost node led to. A data block that is counted more often than it is mapped was mapped by a lost leaf,
// not necessarily by this one. So a surplus makes a candidate, and proof needs closed arithmetic.
// Candidates are confirmed only all together: with them the references to every data block and every
// metadata block are those counted, every device has the mappings that its details count, all that
// these sums need could be read, and no other candidate or hole could have taken the place of one.
// Two lines of commits can still map the same data blocks at other thin blocks. So each commit since
// the old copy must be there and count the data block: a block that is freed in a transaction is not
// allocated in it.
//
// # Orphans
//
// A tree that the space map counts as used, and that belongs to no known device, is somebody's data. The
// repair looks for its device in earlier commits and by the number of mappings. If it finds
// none, it lists the tree, and keeps it if asked to.
//
// A block with the right checksum and the self reference of another block lies in the wrong place. If
// nothing valid is where it belongs, and no other block claims that place, the repair reads it there.
package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Options for [Find].
type Options struct {
	State                    int      // take this one of the states that [States] lists, from 1; 0: choose
	MappingRoot, DetailsRoot block.Nr // instead of those of the state, if not 0
	// Overrides replace what the superblock says, and stand in for it where it is lost.
	Overrides   metadata.Overrides
	LVM         *LVM                        // what LVM knows of the pool; nil: nothing
	DropDevices []metadata.DevID            // leave these out
	DropPartial bool                        // leave out devices that are not complete
	Adopt       map[block.Nr]metadata.DevID // give orphan trees these ids
	KeepOrphans bool                        // give all other orphan trees new ids
	Name        func(metadata.DevID) string // what messages call devices, "" for nothing; nil: "device 7"
	Parallel    int                         // reads in flight; 0: one a processor
	Progress    func(phase string, done, total uint64)
}

// A Result is repaired metadata.
type Result struct {
	Device block.Device // a view; valid as long as the damaged device is open
	Report Report
}

// Errors of [Find].
var (
	ErrNoRoots     = errors.New("no compatible roots found")
	ErrNoBlockSize = errors.New("the superblock is lost, and with it the data block size: give it with --data-block-size (from LVM: lvs -o chunk_size --units s)")
)

// label is what messages call a device.
func (o *Options) label(id metadata.DevID) string {
	if o.Name == nil {
		return metadata.Label(id, "")
	}
	return metadata.Label(id, o.Name(id))
}

// labels names the first of the devices, and says how many more there are.
func (o *Options) labels(ids []metadata.DevID) string {
	const most = 8
	var text strings.Builder
	for i, id := range ids {
		switch {
		case i == most:
			fmt.Fprintf(&text, " and %d more", len(ids)-most)
			return text.String()
		case i > 0:
			text.WriteString(", ")
		}
		text.WriteString(o.label(id))
	}
	return text.String()
}

func (o *Options) progress(phase string) {
	if o.Progress != nil {
		o.Progress(phase, 0, 0)
	}
}

// requestsState reports whether a certain state is asked for.
func (o *Options) requestsState() bool {
	return o.State != 0 || o.MappingRoot != 0 || o.DetailsRoot != 0
}

// Find repairs the metadata on dev. An error that wraps [block.ErrCorrupt] says that
// nothing is left to repair, or that more must be known for it.
func Find(ctx context.Context, dev block.Device, opt Options) (*Result, error) {
	m := newMedium(dev, opt.Parallel)
	p, sb, err := readSound(ctx, m, &opt)
	if err != nil {
		return nil, err
	}
	if p != nil {
		r := Report{MappingRoot: sb.MappingRoot, DetailsRoot: sb.DetailsRoot}
		for i := range p.devices {
			d := &p.devices[i]
			r.Devices = append(r.Devices, DeviceReport{ID: d.ID, Expected: d.expected, Known: true, Read: p.mapped(d)})
		}
		return finish(p, sb.Superblock, true, &opt, r)
	}
	opt.progress("surveying the device")
	e, err := gather(ctx, m, &opt.Overrides)
	if err != nil {
		return nil, err
	}
	state, err := e.chooseState(ctx, &opt)
	if err != nil {
		return nil, err
	}
	completed, sizeKnown, err := completeSuper(e, state, &opt)
	if err != nil {
		return nil, err
	}
	s, err := newSalvage(ctx, e, &opt, state, completed)
	if err != nil {
		return nil, err
	}
	damaged := !s.pool.sound() || len(state.top.lost)+len(state.details.lost) > 0 || len(opt.Adopt) > 0 || opt.KeepOrphans
	if damaged {
		opt.progress("looking for what is lost")
		if err := s.run(ctx); err != nil {
			return nil, err
		}
	}
	r := s.newReport(damaged)
	if err := s.countReused(ctx, &r); err != nil {
		return nil, err
	}
	return finish(s.pool, s.sb, sizeKnown, &opt, r)
}

// readSound reads what the superblock leads to. It returns nil if that is not sound, if
// something else is asked for, or if a newer commit may be on the device.
func readSound(ctx context.Context, m *medium, opt *Options) (*pool, *super, error) {
	sb := readSuper(m, &opt.Overrides)
	if sb.err != nil || opt.requestsState() || opt.LVM != nil || opt.KeepOrphans || len(opt.Adopt) > 0 {
		return nil, nil, nil
	}
	opt.progress("reading what the superblock points to")
	limit := sb.limit(m.blocks)
	top, err := readTable(ctx, m, limit, sb.MappingRoot, topKind)
	if err != nil {
		return nil, nil, err
	}
	details, err := readTable(ctx, m, limit, sb.DetailsRoot, detailsKind)
	if err != nil || len(top.lost)+len(details.lost) > 0 || newerAtCursor(m, &sb, limit) {
		return nil, nil, err
	}
	p, err := readPool(ctx, m, limit, nrDataBlocks(&sb.Superblock, limit, opt), top, details)
	if err != nil || !p.sound() {
		return nil, nil, err
	}
	return p, &sb, nil
}

// chooseState chooses the state that is asked for, or the likeliest one.
func (e *evidence) chooseState(ctx context.Context, opt *Options) (*chosen, error) {
	if err := e.checkUsable(); err != nil {
		return nil, err
	}
	all, err := findStates(ctx, e)
	if err != nil {
		return nil, err
	}
	state, ok := chooseState(e, all, opt.LVM)
	switch {
	case opt.MappingRoot != 0 || opt.DetailsRoot != 0:
		return e.requestedState(ctx, state, opt)
	case !ok:
		return nil, ErrNoRoots
	case opt.State == 0:
		return state, nil
	case opt.State < 0 || opt.State > len(state.states):
		return nil, fmt.Errorf("no state %d: want 1 to %d", opt.State, len(state.states))
	}
	asked := state.states[opt.State-1]
	rest := slices.DeleteFunc(slices.Clone(state.states), func(s *State) bool { return s == asked })
	return &chosen{State: asked, sure: asked.Current, why: "as requested", states: append([]*State{asked}, rest...), reference: state.State}, nil
}

// requestedState returns the state of roots that were given. Where only one is, the other is
// that of the state which would be chosen.
func (e *evidence) requestedState(ctx context.Context, state *chosen, opt *Options) (*chosen, error) {
	s := &State{From: FromRequest, Mapping: opt.MappingRoot, Details: opt.DetailsRoot}
	var states []*State
	var reference *State
	if state != nil {
		states, reference = state.states, state.State
		s.Mapping, s.Details = cmp.Or(s.Mapping, state.Mapping), cmp.Or(s.Details, state.Details)
		s.super, s.generation = state.super, state.generation
	}
	for _, known := range states {
		if known.Mapping == s.Mapping && known.Details == s.Details {
			s.super, s.generation, s.Current = known.super, known.generation, known.Current
			if known == reference {
				reference = nil
			}
		}
	}
	if err := e.complete(ctx, s); err != nil {
		return nil, err
	}
	return &chosen{State: s, sure: s.Current, why: "its roots were given", states: append([]*State{s}, states...), reference: reference}, nil
}

// Newer returns the state that [Find] would take where that is not the one of the
// superblock, and nil where it is, or where the superblock is lost. The superblock may
// have been set back then, as by a second host on which the pool was active. A pool
// that may be the last is only looked at, not surveyed.
func Newer(ctx context.Context, dev block.Device, opt Options) (*State, error) {
	m := newMedium(dev, opt.Parallel)
	if p, _, err := readSound(ctx, m, &opt); p != nil || err != nil {
		return nil, err
	}
	e, err := gather(ctx, m, &opt.Overrides)
	if err != nil || e.super.err != nil {
		return nil, err
	}
	all, err := findStates(ctx, e)
	if err != nil {
		return nil, err
	}
	state, ok := chooseState(e, all, opt.LVM)
	if !ok || state.Mapping == e.super.MappingRoot && state.Details == e.super.DetailsRoot {
		return nil, nil
	}
	return state.State, nil
}

// States lists the states that are left on dev: first the one that [Find] takes, then
// those that may be right as well, then the others, the newest first. Devices that were
// deleted are still in older ones; Reused says how many of their data blocks others have
// taken since. The first rivals of them, after the first, are as likely.
func States(ctx context.Context, dev block.Device, opt Options) (all []*State, rivals int, err error) {
	e, err := gather(ctx, newMedium(dev, opt.Parallel), &opt.Overrides)
	if err != nil {
		return nil, 0, err
	}
	if err := e.checkUsable(); err != nil {
		return nil, 0, err
	}
	found, err := findStates(ctx, e)
	if err != nil {
		return nil, 0, err
	}
	state, ok := chooseState(e, found, opt.LVM)
	if !ok {
		return nil, 0, ErrNoRoots
	}
	return state.states, state.rivals, e.countReusedIn(ctx, state, &opt)
}
