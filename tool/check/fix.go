package check

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Fix repairs what can be fixed in place: space map counts and counters that are too high or
// only waste space, devices that would overwrite shared data blocks in place, and the needs_check
// flag. It writes only to free blocks, and then to the superblock. So at any moment, the device
// holds either the old or the new metadata.
type Fix struct {
	// Fixed lists what Write fixes, in the order of the faults.
	Fixed []Fixed
	// NoRoom, if not nil, means that the space maps are not changed.
	NoRoom *SpaceError
	// Superblock is the live superblock as it will be after Write.
	Superblock metadata.Superblock

	maps          *spacemap.Fix // nil: only the superblock changes
	before, after block.Data    // block 0
}

// A SpaceError says that too few metadata blocks are free to fix the space maps.
type SpaceError = spacemap.SpaceError

// Fixed is the faults of one code in one part of the metadata, and how they are fixed.
type Fixed struct {
	Code     Code
	Severity Severity
	Tree     string
	Faults   uint64
	Blocks   uint64 // number of blocks with wrong counts; 0 if not about counts
	// Devices is the number of devices whose snapshotted_time becomes Time; 0 if not about that.
	Devices uint64
	Time    uint32
}

// ErrVersion says that a fix would have to write metadata of an unknown version.
var ErrVersion = errors.New("refusing to write to metadata of an unknown version")

// ErrChanged says that the superblock is not the one that was checked.
var ErrChanged = errors.New("the metadata has changed since it was checked: is the pool in use?")

// PlanFix checks like [Run] and plans how to fix the faults. If the options leave out the space
// maps, it only fixes the needs_check flag. The Fix is nil if there are fatal faults, as nothing
// may be overwritten then. Nothing is written before [Fix.Write].
func PlanFix(ctx context.Context, dev block.Device, opt Options, report func(Fault)) (Summary, *Fix, error) {
	c := newChecker(dev, opt, report)
	if err := c.run(ctx, dev); err != nil || c.sum.Fatal > 0 {
		return c.sum, nil, err
	}
	if len(c.fixable) > 0 && c.live.Version != metadata.Version && c.live.Version != 1 {
		return c.sum, nil, ErrVersion
	}
	r := &Fix{Fixed: c.fixable, Superblock: c.live, before: c.block0, after: c.block0}
	if err := r.planMaps(c); err != nil {
		return c.sum, nil, fmt.Errorf("planning the repair: %w", err)
	}
	if len(r.Fixed) > 0 {
		r.Superblock.Flags &^= metadata.NeedsCheck
		r.after = r.Superblock.Amend(r.before)
	}
	return c.sum, r, nil
}

// planMaps plans the new space maps and device details, if the space maps were compared and a
// fault needs new blocks.
func (r *Fix) planMaps(c *checker) error {
	if !c.compared {
		r.Fixed = slices.DeleteFunc(r.Fixed, Fixed.inMaps)
	}
	if !slices.ContainsFunc(r.Fixed, Fixed.inMaps) {
		return nil
	}
	var err error
	var raised *raisePlan
	var change spacemap.Change
	if len(c.hazard.devices) > 0 {
		raised = c.planRaise()
		change = raised.change()
	}
	if r.maps, err = spacemap.PlanFix(c.dataDiff, c.metadataDiff, c.limit, change); err != nil {
		noRoom, ok := errors.AsType[*spacemap.SpaceError](err)
		if !ok {
			return err
		}
		r.NoRoom = noRoom
		if !c.opt.FlagAlone || slices.ContainsFunc(r.Fixed, Fixed.serious) {
			r.Fixed = nil
		}
		r.Fixed = slices.DeleteFunc(r.Fixed, Fixed.inMaps)
		return nil
	}
	discard := func(block.Nr, *block.Data) error { return nil }
	r.Superblock.DataSpaceMap, r.Superblock.MetadataSpaceMap, err = r.maps.Write(discard)
	if raised != nil {
		r.Superblock.DetailsRoot = raised.root
		r.applyRaise(c)
	}
	return err
}

// applyRaise raises the superblock's time along with the snapshotted_time of some devices. This
// may cover times that were too high before.
func (r *Fix) applyRaise(c *checker) {
	time := c.hazard.time()
	i := slices.IndexFunc(r.Fixed, func(m Fixed) bool { return m.Code == SharedWritable })
	r.Fixed[i].Devices, r.Fixed[i].Time = uint64(len(c.hazard.devices)), time
	if time <= r.Superblock.Time {
		return
	}
	r.Superblock.Time = time
	c.fixable = r.Fixed
	for _, f := range c.late {
		if f.newest <= time {
			c.noteFixable(f)
		}
	}
	r.Fixed = c.fixable
}

// inMaps reports whether fixing m needs new space maps.
func (m Fixed) inMaps() bool { return m.Code != NeedsCheckSet }

// serious reports whether m is more than leaks and notes, which do not keep a pool from being
// used.
func (m Fixed) serious() bool { return m.Severity != Note && m.Code != MetadataLeak }

func (c *checker) noteFixable(f Fault) {
	i := slices.IndexFunc(c.fixable, func(m Fixed) bool {
		return m.Code == f.Code && m.Severity == f.Severity && m.Tree == f.Tree
	})
	if i < 0 {
		i = len(c.fixable)
		c.fixable = append(c.fixable, Fixed{Code: f.Code, Severity: f.Severity, Tree: f.Tree})
	}
	c.fixable[i].Faults++
	if f.Counts != nil {
		c.fixable[i].Blocks += f.Counts.N
	}
}

func (m Fixed) String() string {
	what := "set right"
	switch {
	case m.Code == NeedsCheckSet:
		what = "needs_check cleared"
	case m.Devices == 1:
		what = fmt.Sprintf("snapshotted_time of 1 device raised to %d", m.Time)
	case m.Devices > 0:
		what = fmt.Sprintf("snapshotted_time of %d devices raised to %d", m.Devices, m.Time)
	case m.Blocks == 1:
		what = "count of 1 block corrected"
	case m.Blocks > 0:
		what = fmt.Sprintf("counts of %d blocks corrected", m.Blocks)
	}
	return fmt.Sprintf("%s: %s [%s]", m.Tree, what, m.Code)
}

// Needed reports whether there is anything to write.
func (r *Fix) Needed() bool { return r.before != r.after }

// Block0 returns the content of block 0 after Write.
func (r *Fix) Block0() *block.Data { return &r.after }

// Blocks returns the blocks that Write writes, except block 0, ascending. The old metadata does
// not use them.
func (r *Fix) Blocks() []block.Nr {
	if r.maps == nil {
		return nil
	}
	return r.maps.Blocks()
}

// Released returns the blocks that only the old metadata uses, ascending. They keep their content
// for now, but the pool may reuse them.
func (r *Fix) Released() []block.Nr {
	if r.maps == nil {
		return nil
	}
	return r.maps.Released()
}

// Write writes the fix to the device that was checked. If it fails, the device holds the old
// metadata, or the new metadata if only the last flush failed.
func (r *Fix) Write(ctx context.Context, dev block.Device) error {
	if !r.Needed() {
		return nil
	}
	buf := block.Buffer(1)
	if err := block.Read(dev, metadata.SuperblockLocation, &buf[0]); err != nil {
		return fmt.Errorf("reading block 0 again: %w", err)
	}
	if buf[0] != r.before {
		return ErrChanged
	}
	if len(r.Blocks()) > 0 {
		// A process that died may have left the superblock only in a cache. Blocks that are free in it may
		// be in use in the superblock on disk, so flush first.
		if err := dev.Flush(); err != nil {
			return fmt.Errorf("flushing: %w", err)
		}
		_, _, err := r.maps.Write(func(nr block.Nr, b *block.Data) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			buf[0] = *b // direct I/O needs it aligned
			if err := block.Write(dev, nr, &buf[0]); err != nil {
				return fmt.Errorf("writing block %d: %w", nr, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := dev.Flush(); err != nil {
			return fmt.Errorf("flushing: %w", err)
		}
	}
	buf[0] = r.after
	if err := block.Write(dev, metadata.SuperblockLocation, &buf[0]); err != nil {
		return fmt.Errorf("writing the superblock: %w", err)
	}
	if err := dev.Flush(); err != nil {
		return fmt.Errorf("flushing the superblock: %w", err)
	}
	return nil
}
