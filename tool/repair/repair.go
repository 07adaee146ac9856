// Package repair finds everything that can still be read in damaged metadata, and presents it as
// if it were whole.
//
// [Find] never writes. It returns a view of the device with some blocks replaced in memory:
// damaged nodes by what is left of them, and lost roots by the ones it found. Any code that reads
// metadata can read this view; tool/dump passes it to internal/write, which writes new metadata.
//
// A repair runs in phases, and each passes facts to the next:
//
//	evidence     what the device shows: its nodes, its space maps, block 0
//	states       which commits of the pool are left, and how complete each is
//	choice       which of them is the right one
//	salvage      holes in its trees, and candidates for what they lost
//	decision     which candidates are taken, and which are confirmed
//	view, report
//
// Choice and decision depend on facts alone. In the report, a mapping is *read* if it was found
// through the chosen state. It is *confirmed* if it was found elsewhere and all reference counts
// balance with it, and *guessed* if it was found elsewhere without such proof. It is *lost* if the
// device details count it but it was not found.
//
// # States
//
// Every commit of the pool leaves a state: a root of the mapping tree, a root of the device
// details and, if they can be found, the space maps. A commit writes a new index block of the
// metadata space map, nearly always as the last block it allocates. So the device has one index
// block for each commit that has not been overwritten. The blocks that such a generation counts as
// used tell which roots belong to it.
//
// The allocator puts the generations in order. The kernel takes the next block that is free both
// in the last commit and now. Its cursor moves on from commit to commit, wraps at the end, and
// starts at block 0 when the pool is loaded. So the blocks that only the later of two commits uses
// are the ones the earlier commit would allocate next. Usually this fits in one direction only.
//
// # Choice
//
// The choice is not a score. A state counts only if its roots are of the right kind. The state
// that the superblock names wins, unless another one is whole and shown to be newer, or is the one
// LVM knows. If nothing decides between states, the report names them and how they differ.
//
// # Witnesses
//
// If the metadata space map counts a block as used but fewer pointers to it were found than
// counted, a lost node pointed to it. If a data block is counted more often than it is mapped, a
// lost leaf mapped it, but not necessarily this leaf. So a surplus makes a candidate, but proof
// needs all sums to balance.
//
// Candidates are confirmed only all together. With them, the references to every data block and
// every metadata block must match the counts, and every device must have the mappings its details
// count. Everything these sums need must have been readable, and no other candidate or hole may
// fit instead. Even then, two lines of commits can map the same data blocks to different thin
// blocks. So every commit since the old copy must be there and count the data block: a block freed
// in a transaction is not allocated in the same one.
//
// # Orphans
//
// A tree that the space map counts as used, but that belongs to no known device, is somebody's
// data. The repair looks for its device in earlier commits and by the number of mappings. If it
// finds none, it lists the tree, and keeps it if asked to.
//
// A block with the right checksum and the self reference of another block is in the wrong place.
// If there is nothing valid where it belongs, and no other block claims that place, the repair
// reads it there.
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
	State                    int      // which of the states listed by [States] to use, from 1; 0: choose one
	MappingRoot, DetailsRoot block.Nr // used instead of the state's roots, if not 0
	// Overrides replace values of the superblock, or supply them if it is lost.
	Overrides   metadata.Overrides
	LVM         *LVM                        // what LVM knows about the pool; nil: nothing
	DropDevices []metadata.DevID            // devices to leave out
	DropPartial bool                        // leave out incomplete devices
	Adopt       map[block.Nr]metadata.DevID // ids for orphan trees
	KeepOrphans bool                        // give new ids to all other orphan trees
	Name        func(metadata.DevID) string // name of a device in messages, "" for none; nil: "device 7"
	Parallel    int                         // reads in flight; 0: one per processor
	Progress    func(phase string, done, total uint64)
}

// A Result is repaired metadata.
type Result struct {
	Device block.Device // a view; valid while the damaged device is open
	Report Report
}

// Errors of [Find].
var (
	ErrNoRoots     = errors.New("no compatible roots found")
	ErrNoBlockSize = errors.New("the superblock is lost, and with it the data block size: give it with --data-block-size (from LVM: lvs -o chunk_size --units s)")
)

// label returns the name of a device in messages.
func (o *Options) label(id metadata.DevID) string {
	if o.Name == nil {
		return metadata.Label(id, "")
	}
	return metadata.Label(id, o.Name(id))
}

// labels lists the first few devices, and says how many more there are.
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

// requestsState reports whether the caller asked for a specific state.
func (o *Options) requestsState() bool {
	return o.State != 0 || o.MappingRoot != 0 || o.DetailsRoot != 0
}

// Find repairs the metadata on dev. An error that wraps [block.ErrCorrupt] means that nothing is
// left to repair, or that more information is needed.
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

// readSound reads the pool the superblock describes. It returns nil if the pool is not sound, if
// the options ask for something else, or if a newer commit may be on the device.
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

// chooseState chooses the requested state, or the likeliest one.
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

// requestedState returns the state with the given roots. If only one root is given, the other is
// that of the state that would be chosen.
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

// Newer returns the state that [Find] would use if the superblock does not name it. It returns nil
// if the superblock names it or is lost. A non-nil state means that the superblock may have been
// set back, for example by a second host that activated the pool. If the superblock's pool is
// sound and no newer commit shows, Newer does not survey the whole device.
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

// States lists the states that are left on dev: first the one [Find] would use, then those that
// may also be right, then the others, newest first. Older states still have devices that were
// deleted later; Reused tells how many of their data blocks others have taken since. rivals is the
// number of states after the first that are as likely.
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
