// Package repair finds in damaged metadata all that can still be read, and shows
// it as if it were whole.
//
// [Find] never writes. Its result is a view of the device on which blocks are
// replaced in memory: damaged nodes by what is left of them, lost roots by those
// that were found. Whatever reads metadata can read that view; tool/dump hands it
// to metadata/build, which makes new metadata of it.
//
// What the superblock leads to counts most: a block that is damaged costs its own
// keys and nothing else. For the holes that remain the whole device is surveyed.
// Blocks that the space maps count as used, though nothing leads to them any more,
// are what the holes have lost.
package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/spacemap"
	"thinpool/metadata/survey"
)

// Options for [Find].
type Options struct {
	MappingRoot, DetailsRoot block.Nr // instead of those the superblock names, if not 0
	// Overrides replace what the superblock says, and stand in for it where it is lost.
	Overrides   metadata.Overrides
	DropDevices []metadata.DevID // leave these out
	DropPartial bool             // leave out devices that are not complete
	Parallel    int              // reads in flight; 0: one a processor
	Progress    func(phase string, done, total uint64)
}

// A Result is mended metadata.
type Result struct {
	Device block.Device // a view; valid as long as the damaged device is open
	Report Report
}

// Errors of [Find].
var (
	ErrNoRoots     = errors.New("no compatible roots found")
	ErrNoBlockSize = errors.New("the superblock is lost, and with it the data block size; give it with --data-block-size (LVM: lvs -o chunk_size --units s)")
)

// Find mends the metadata on dev. An error that wraps [block.ErrCorrupt] says that
// there is nothing left to be mended, or that more must be known for it.
func Find(ctx context.Context, dev block.Device, opt Options) (*Result, error) {
	f := newFinder(ctx, dev, opt)
	if err := f.find(); err != nil {
		return nil, err
	}
	return &Result{f.view, f.report}, nil
}

type finder struct {
	ctx    context.Context
	opt    Options
	view   *block.Patched
	r      *block.Reader // of view, as it was when it was opened
	blocks block.Nr      // on the damaged device, as far as metadata can reach
	limit  block.Nr      // of block numbers in its metadata
	sb     metadata.Superblock
	sbErr  error                               // why sb cannot be used
	survey *survey.Survey                      // nil if it was not needed
	past   []*Generation                       // see generations
	older  map[metadata.DevID]map[block.Nr]int // see olderNodes
	now    map[metadata.DevID]metadata.Details // of devices whose details can be read
	aged   bool                                // the device details are of an earlier transaction
	remade map[block.Nr]*hole                  // nodes put together anew: some of their children may be missing
	report Report
}

func newFinder(ctx context.Context, dev block.Device, opt Options) *finder {
	blocks := min(block.Blocks(dev), spacemap.MaxMetadata)
	f := &finder{
		ctx: ctx, opt: opt, view: block.NewPatched(dev, blocks), blocks: blocks, limit: blocks,
		older: map[metadata.DevID]map[block.Nr]int{}, now: map[metadata.DevID]metadata.Details{}, remade: map[block.Nr]*hole{},
	}
	f.reopen()
	return f
}

// reopen makes new patches readable.
func (f *finder) reopen() { f.r = block.NewReader(f.view, f.opt.Parallel) }

// bound is the limit of block numbers in mapping trees: new nodes lie beyond the end
// of the device.
func (f *finder) bound() block.Nr {
	if grown := block.Blocks(f.view); grown > f.blocks {
		return grown
	}
	return f.limit
}

func (f *finder) note(format string, args ...any) {
	f.report.Notes = append(f.report.Notes, fmt.Sprintf(format, args...))
}

func (f *finder) progress(phase string) {
	if f.opt.Progress != nil {
		f.opt.Progress(phase, 0, 0)
	}
}

func (f *finder) find() error {
	f.readSuperblock()
	if f.sbErr == nil {
		f.progress("reading what the superblock leads to")
		p, err := f.readPool(f.roots())
		if err != nil {
			return err
		}
		if p.sound() {
			return f.finish(p)
		}
	}
	f.report.Damaged = true
	if err := f.lookAround(); err != nil {
		return err
	}
	f.readSuperblock() // a flipped bit may have been all that was wrong
	if err := f.replaceSuperblock(); err != nil {
		return err
	}
	mapping, details, err := f.chooseRoots()
	if err != nil {
		return err
	}
	p, err := f.readPool(mapping, details)
	if err != nil {
		return err
	}
	if !p.sound() {
		if err := f.mend(p); err != nil {
			return err
		}
	}
	return f.finish(p)
}

// lookAround surveys the whole device.
func (f *finder) lookAround() error {
	f.progress("surveying the device")
	var err error
	f.survey, err = survey.Read(f.ctx, f.r)
	if err != nil {
		return err
	}
	f.report.leaves = slices.ContainsFunc(f.survey.Nodes, func(n survey.Node) bool { return n.Sort == survey.MappingLeaf && n.N > 0 })
	for _, m := range f.survey.Mended {
		f.view.Put(m.Block, m.Content)
		f.report.Flips = append(f.report.Flips, m.Flip)
		f.note("block %d: bit %d of byte %#x was flipped; put right, it is a valid %v", m.Block, m.Bit, m.Byte, m.Kind)
	}
	f.reopen()
	return nil
}

// roots returns where to begin.
func (f *finder) roots() (mapping, details block.Nr) {
	mapping, details = f.sb.MappingRoot, f.sb.DetailsRoot
	if f.opt.MappingRoot != 0 {
		mapping = f.opt.MappingRoot
	}
	if f.opt.DetailsRoot != 0 {
		details = f.opt.DetailsRoot
	}
	return mapping, details
}

// finish drops what is to be dropped, and gives the view a superblock and trees of
// devices that lead to the rest.
func (f *finder) finish(p *pool) error {
	f.describe(p)
	if err := f.describeReused(p); err != nil {
		return err
	}
	devices := slices.DeleteFunc(slices.Clone(p.devices), func(d device) bool { return f.dropped(d.ID) })
	f.limitTimes(p, devices)
	header := &f.report.Header
	*header = f.sb.Header()
	header.Flags, header.UUID = 0, [16]byte{}
	header.Version = metadata.Version
	if err := f.opt.Overrides.Apply(header); err != nil {
		return err
	}
	if p.highest > header.NrDataBlocks {
		return fmt.Errorf("a data device of %d blocks is too small: data block %d is in use", header.NrDataBlocks, p.highest-1)
	}
	for _, d := range devices {
		header.Time = max(header.Time, d.CreationTime, d.SnapshottedTime)
	}
	return f.writeTop(devices)
}

// dropped marks in the report whether a device is to be left out.
func (f *finder) dropped(id metadata.DevID) bool {
	i, _ := slices.BinarySearchFunc(f.report.Devices, id, func(d DeviceReport, id metadata.DevID) int { return int(d.ID) - int(id) })
	d := &f.report.Devices[i]
	d.Named = slices.Contains(f.opt.DropDevices, id)
	d.Dropped = d.Named || f.opt.DropPartial && !d.Complete()
	return d.Dropped
}
