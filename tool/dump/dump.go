// Package dump passes the content of a pool's metadata to a Visitor.
package dump

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/textenc"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Options say what to dump.
type Options struct {
	Devices      []metadata.DevID // only these devices; nil: all
	SkipMappings bool             // devices without their content
	Flat         bool             // no defs: repeat shared mappings
	// LiveSize gives a dump of a metadata snapshot the pool's current number of data blocks. The
	// snapshot's superblock has 0.
	LiveSize  bool
	Overrides metadata.Overrides
	Progress  func(phase string, done, total uint64)
}

// Run dumps p to v. It reads no more than the chosen devices need. An error that wraps
// [block.ErrCorrupt] says that the metadata is damaged; by then, v has received everything before
// the damage.
func Run(ctx context.Context, p *metadata.Pool, opt Options, v metadata.Visitor) error {
	devices, err := choose(ctx, p, opt.Devices)
	if err != nil {
		return err
	}
	header := p.Superblock.Header()
	if opt.LiveSize {
		header.NrDataBlocks = p.Live.DataSpaceMap.NrBlocks
	}
	if err := opt.Overrides.Apply(&header); err != nil {
		return err
	}
	d := dumper{devices: devices, opt: opt, v: v}
	if !opt.SkipMappings {
		if d.mappings, err = p.Mappings(ctx, devices...); err != nil {
			return err
		}
		if opt.Overrides.NrDataBlocks != nil {
			if err := d.checkFits(ctx, header.NrDataBlocks); err != nil {
				return err
			}
		}
	}
	if err := v.Begin(header); err != nil {
		return err
	}
	if opt.SkipMappings {
		err = d.details()
	} else {
		err = d.content(ctx)
	}
	if err != nil {
		return err
	}
	return v.End()
}

// choose returns the devices with the given ids, ascending; all if ids is nil.
func choose(ctx context.Context, p *metadata.Pool, ids []metadata.DevID) ([]metadata.Device, error) {
	var devices []metadata.Device
	if ids == nil {
		for d, err := range p.Devices(ctx) {
			if err != nil {
				return nil, err
			}
			devices = append(devices, d)
		}
		return devices, nil
	}
	ids = slices.Clone(ids)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		d, err := p.Device(id)
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, nil
}

type dumper struct {
	devices  []metadata.Device
	mappings *metadata.Mappings
	opt      Options
	v        metadata.Visitor
	begun    int // devices
}

// checkFits checks that no mapping is beyond a data device of n blocks.
func (d *dumper) checkFits(ctx context.Context, n uint64) error {
	return d.mappings.Forest.EachLeaf(ctx, func(_, _ int, node btree.Node, err error) error {
		if err != nil {
			return nil // the dump itself will find it, and say where
		}
		for _, r := range metadata.AppendRuns(nil, node) {
			if end := uint64(r.Data) + r.Len; end > n {
				return fmt.Errorf("a data device of %d blocks is too small: data block %d is in use", n, end-1)
			}
		}
		return nil
	})
}

// details dumps the devices without their content.
func (d *dumper) details() error {
	for _, dev := range d.devices {
		if err := d.v.BeginDevice(dev.ID, dev.Details); err != nil {
			return err
		}
		if err := d.v.EndDevice(); err != nil {
			return err
		}
	}
	return nil
}

// content dumps defs and devices with their mappings.
func (d *dumper) content(ctx context.Context) error {
	sharing := newSharing(d.mappings.Forest)
	if !d.opt.Flat {
		for _, dev := range d.devices {
			sharing.add(dev)
		}
	}
	steps := d.steps(sharing)
	if v, ok := d.v.(textenc.Formatter); ok {
		return textenc.StreamLines(ctx, d.mappings, steps, v, d.mark)
	}
	return d.mappings.Stream(ctx, steps, func(s *metadata.Step, runs []metadata.Run) error {
		if s.Mark != 0 {
			return d.mark(s)
		}
		return d.v.Runs(runs)
	})
}

// Marks tell what a dump does between the mappings of leaves. A def, and a ref to it, is
// identified by its first leaf.
const (
	_ = iota
	beginDef
	endDef
	beginDevice
	endDevice
	ref
)

// mark executes a mark.
func (d *dumper) mark(s *metadata.Step) error {
	switch s.Mark {
	case beginDef:
		return d.v.BeginDef(name(s.Leaf.Block))
	case endDef:
		return d.v.EndDef()
	case beginDevice:
		dev := d.devices[d.begun]
		d.progress(d.begun)
		d.begun++
		return d.v.BeginDevice(dev.ID, dev.Details)
	case endDevice:
		return d.v.EndDevice()
	}
	return d.v.Ref(name(s.Leaf.Block))
}

// steps yields the steps of the dump in order: first the defs, by the block of their first leaf,
// then the devices.
func (d *dumper) steps(sharing *sharing) func(yield func(metadata.Step) bool) {
	return func(yield func(metadata.Step) bool) {
		for _, def := range sharing.defs() {
			if !yield(metadata.Step{Mark: beginDef, Leaf: def.leaves[0]}) {
				return
			}
			for _, leaf := range def.leaves {
				if !yield(metadata.Step{ID: def.id, Leaf: leaf}) {
					return
				}
			}
			if !yield(metadata.Step{Mark: endDef}) {
				return
			}
		}
		for _, dev := range d.devices {
			if !yield(metadata.Step{Mark: beginDevice}) || !d.deviceSteps(dev, sharing, yield) || !yield(metadata.Step{Mark: endDevice}) {
				return
			}
		}
	}
}

func (d *dumper) deviceSteps(dev metadata.Device, sharing *sharing, yield func(metadata.Step) bool) bool {
	for part := range d.mappings.Forest.LeafRanges(dev.Root) {
		step := metadata.Step{ID: dev.ID, Leaf: part}
		if part.Err == nil && sharing.shared(part.Leaf) {
			if !sharing.first(part.Leaf) {
				continue // the ref before includes it
			}
			step.Mark = ref
		}
		if !yield(step) {
			return false
		}
	}
	return true
}

func (d *dumper) progress(done int) {
	if d.opt.Progress != nil {
		d.opt.Progress("dumping devices", uint64(done), uint64(len(d.devices)))
	}
}

// name returns the name of the def whose first leaf is in block nr.
func name(nr block.Nr) string { return strconv.FormatUint(uint64(nr), 10) }
