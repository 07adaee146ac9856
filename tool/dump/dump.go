// Package dump hands the content of a pool's metadata to a Visitor.
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
	Devices      []metadata.DevID // only these; nil: all
	SkipMappings bool             // devices without their content
	Flat         bool             // no defs: shared mappings are repeated
	// LiveSize says of a metadata snapshot how many data blocks the pool has now; the
	// superblock of the snapshot has 0.
	LiveSize  bool
	Overrides metadata.Overrides
	Progress  func(phase string, done, total uint64)
}

// Run dumps p to v. It reads no more than the chosen devices need. An error that
// wraps [block.ErrCorrupt] says that the metadata is damaged; v has by then
// received what comes before the damage.
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
}

// checkFits makes sure that no mapping lies beyond a data device of n blocks.
func (d *dumper) checkFits(ctx context.Context, n uint64) error {
	return d.mappings.Forest.EachLeaf(ctx, func(_, _ int, node btree.Node, err error) error {
		if err != nil {
			return nil // the dump itself will meet it, and say where
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
		return textenc.StreamLines(ctx, d.mappings, steps, v)
	}
	return d.mappings.Stream(ctx, steps, d.v.Runs)
}

// steps yields what to do, in order. Defs come first, by the block of their
// first leaf, then the devices.
func (d *dumper) steps(sharing *sharing) func(yield func(metadata.Step) bool) {
	return func(yield func(metadata.Step) bool) {
		do := func(f func() error) bool { return yield(metadata.Step{Do: f}) }
		for _, def := range sharing.defs() {
			if !do(func() error { return d.v.BeginDef(name(def.leaves[0].Block)) }) {
				return
			}
			for _, leaf := range def.leaves {
				if !yield(metadata.Step{ID: def.id, Leaf: leaf}) {
					return
				}
			}
			if !do(d.v.EndDef) {
				return
			}
		}
		for i, dev := range d.devices {
			begin := func() error {
				d.progress(i)
				return d.v.BeginDevice(dev.ID, dev.Details)
			}
			if !do(begin) || !d.deviceSteps(dev, sharing, yield) || !do(d.v.EndDevice) {
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
				continue // the ref before stands for it, too
			}
			step = metadata.Step{Do: func() error { return d.v.Ref(name(part.Block)) }}
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

// name is the name of the def whose first leaf is in block nr.
func name(nr block.Nr) string { return strconv.FormatUint(uint64(nr), 10) }
