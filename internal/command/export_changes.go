package command

import (
	"context"
	"errors"
	"iter"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/metadata"
	"thinpool/metadata/volume"
	"thinpool/tool/delta"
)

// extents yields the extents to export.
func (v *exportVolume) extents(ctx context.Context) iter.Seq2[volume.Extent, error] {
	if v.older == nil {
		return v.Extents(ctx)
	}
	return func(yield func(volume.Extent, error) bool) {
		c := v.changes(ctx, yield)
		defer c.close()
		size := int64(v.pool.Superblock.DataBlockSize) * cli.SectorSize
		opt := delta.Options{Blocks: uint64((v.Size()-1)/size) + 1, OmitSame: true, Data: true}
		err := delta.Run(ctx, v.pool, *v.older, v.tree, opt, func(ranges []delta.Range) error {
			for _, r := range ranges {
				if err := c.add(r); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			err = c.finish()
		}
		switch {
		case err == errStopped:
		case err != nil:
			yield(volume.Extent{}, source.Damaged(err))
		case v.base < v.Size():
			v.tail(ctx, yield)
		}
	}
}

// tail yields everything from the base on.
func (v *exportVolume) tail(ctx context.Context, yield func(volume.Extent, error) bool) {
	for e, err := range v.Extents(ctx) {
		if err == nil && e.End() <= v.base {
			continue
		}
		if err == nil && e.Begin < v.base {
			e = e.From(v.base)
		}
		if !yield(e, err) {
			return
		}
	}
}

// errStopped means that the consumer wants no more extents.
var errStopped = errors.New("stopped")

// changes merges two streams below the base: ranges that differ from the older device, and ranges
// both devices share that may have been written in place since a copy was made.
type changes struct {
	v     *exportVolume
	yield func(volume.Extent, error) bool
	next  func() (metadata.Run, error, bool) // runs that may have been written in place
	close func()
	run   metadata.Run // rest of the current run; Len 0: none
}

func (v *exportVolume) changes(ctx context.Context, yield func(volume.Extent, error) bool) *changes {
	c := &changes{v: v, yield: yield}
	c.next, c.close = iter.Pull2(v.rewritten(ctx))
	return c
}

// rewritten yields the runs of the device that the pool may have written in place.
func (v *exportVolume) rewritten(ctx context.Context) iter.Seq2[metadata.Run, error] {
	if v.rewritable == nil {
		return func(func(metadata.Run, error) bool) {}
	}
	return func(yield func(metadata.Run, error) bool) {
		for r, err := range v.pool.Runs(ctx, metadata.Device{ID: v.tree.ID, Root: v.tree.Root}) {
			if (err != nil || r.Time >= *v.rewritable) && !yield(r, err) {
				return
			}
		}
	}
}

// add yields a range that differs from the older device, and everything before it.
func (c *changes) add(r delta.Range) error {
	if err := c.upTo(r.Begin); err != nil {
		return err
	}
	extents := c.v.thin.Mapped(metadata.Run{Thin: r.Begin, Data: r.Right, Len: r.Len})
	if r.Kind == delta.LeftOnly {
		extents = c.v.thin.Unmapped(r.Begin, r.Len)
	}
	if err := c.emit(extents); err != nil {
		return err
	}
	return c.skip(r.Begin + metadata.ThinBlock(r.Len))
}

// finish yields the rest.
func (c *changes) finish() error { return c.upTo(1<<64 - 1) }

// upTo yields runs before end that may have been written in place.
func (c *changes) upTo(end metadata.ThinBlock) error {
	for {
		if err := c.load(); err != nil || c.run.Len == 0 || c.run.Thin >= end {
			return err
		}
		part := c.run
		part.Len = min(part.Len, uint64(end-part.Thin))
		if err := c.emit(c.v.thin.Mapped(part)); err != nil {
			return err
		}
		c.cut(part.Len)
	}
}

// skip drops runs before end.
func (c *changes) skip(end metadata.ThinBlock) error {
	for {
		if err := c.load(); err != nil || c.run.Len == 0 || c.run.Thin >= end {
			return err
		}
		c.cut(min(c.run.Len, uint64(end-c.run.Thin)))
	}
}

// load fetches the next run if the current one is used up.
func (c *changes) load() error {
	if c.run.Len > 0 {
		return nil
	}
	var err error
	c.run, err, _ = c.next()
	return err
}

// cut removes n blocks from the start of the current run.
func (c *changes) cut(n uint64) {
	c.run.Thin += metadata.ThinBlock(n)
	c.run.Data += metadata.DataBlock(n)
	c.run.Len -= n
}

func (c *changes) emit(extents []volume.Extent) error {
	for _, e := range extents {
		e.Len = min(e.Len, c.v.base-e.Begin)
		if e.Len > 0 && !c.yield(e, nil) {
			return errStopped
		}
	}
	return nil
}
