package command

import (
	"encoding"
	"strconv"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/delta"
)

// Delta is thin_delta.
type Delta struct {
	Thin1        *uint64      `help:"The first device." aliases:"snap1" placeholder:"ID" name:"thin1"`
	Thin2        *uint64      `help:"The second device." aliases:"snap2" placeholder:"ID" name:"thin2"`
	Root1        *uint64      `help:"Instead of the first device, the mapping tree with its root in this block." placeholder:"BLOCK" name:"root1"`
	Root2        *uint64      `help:"The same for the second device." placeholder:"BLOCK" name:"root2"`
	MetadataSnap cli.Optional `help:"Compare in the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	Verbose      bool         `help:"Data blocks, too: an element for each stretch of one kind, with the ranges that it consists of."`
	Format       string       `help:"xml, json (an object a line) or csv." short:"f" default:"xml" enum:"xml,json,csv" placeholder:"xml|json|csv"`
	Unit         string       `help:"Unit of all offsets and lengths." default:"block" enum:"block,sector,byte" placeholder:"block|sector|byte"`
	OmitSame     bool         `help:"Leave out what is the same, and do not even read what the devices share."`
	Size         *byteSize    `help:"Leave out what lies beyond this size of the device: bytes, or a number with a unit." placeholder:"BYTES"`
	Output       string       `help:"Write to a file; it appears only if all went well." short:"o" placeholder:"FILE"`
	Log          int          `group:"common" help:"Log what is done, with times; twice: in detail." short:"v" type:"counter"`
	cli.Basic
	Input string `arg:"" help:"Metadata device or file."`
	volumes
}

// CommonOptions implements cli.Command.
func (d *Delta) CommonOptions() *cli.Common { return &cli.Common{Verbose: d.Log, Basic: d.Basic} }

// Details implements cli.Detailer.
func (d *Delta) Details() string {
	return `Name one device or root for each side; --snap1 and --snap2 are other names of --thin1 and
--thin2. Kinds of range: left_only and right_only (mapped in one device only), different (mapped
to different data blocks), same. For a backup from the first to the second device: copy different
and right_only, discard left_only.`
}

// A byteSize is a size in bytes, or with a unit.
type byteSize uint64

var _ encoding.TextUnmarshaler = new(byteSize)

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	if n, err := strconv.ParseUint(string(text), 10, 64); err == nil {
		*b = byteSize(n)
		return nil
	}
	var size cli.Size
	err := size.UnmarshalText(text)
	*b = byteSize(size.Bytes)
	return err
}

// Run implements cli.Command.
func (d *Delta) Run(env *cli.Env) error {
	if err := d.check(); err != nil {
		return err
	}
	pool, dev, err := d.openPool(env, d.Input, d.MetadataSnap)
	if err != nil {
		return err
	}
	defer dev.Close()
	left, err := tree(pool, d.Thin1, d.Root1)
	if err != nil {
		return err
	}
	right, err := tree(pool, d.Thin2, d.Root2)
	if err != nil {
		return err
	}
	return d.compare(env, pool, left, right)
}

// check makes sure that the options say what to compare.
func (d *Delta) check() error {
	for i, side := range [][2]*uint64{{d.Thin1, d.Root1}, {d.Thin2, d.Root2}} {
		thin, root := side[0], side[1]
		switch {
		case thin == nil && root == nil:
			return cli.Usagef("--thin%d or --root%d is not given", i+1, i+1)
		case thin != nil && root != nil:
			return cli.Usagef("--thin%d and --root%d cannot go together", i+1, i+1)
		}
	}
	switch {
	case d.Size != nil && *d.Size == 0:
		return cli.Usagef("--size: nothing lies within 0 bytes")
	case d.reads(d.Input, d.Output):
		return cli.Usagef("input and output are the same file: %s", d.Output)
	}
	return nil
}

// tree finds one of the two trees.
func tree(pool *metadata.Pool, thin, root *uint64) (metadata.MappingTree, error) {
	if root != nil {
		return pool.MappingTreeAt(block.Nr(*root))
	}
	t, err := pool.MappingTree(metadata.DevID(*thin))
	return t, damaged(err)
}

// compare writes the difference.
func (d *Delta) compare(env *cli.Env, pool *metadata.Pool, left, right metadata.MappingTree) error {
	out, err := env.CreateOutput(d.Output, "", d.files(d.Input)...)
	if err != nil {
		return err
	}
	defer out.Discard()
	w := newDeltaWriter(out, deltaFormat{Name: d.Format, Verbose: d.Verbose, OmitSame: d.OmitSame, Unit: d.Unit}, pool.Superblock.DataBlockSize)
	opt := delta.Options{OmitSame: d.OmitSame, Data: d.Verbose, Progress: env.Progress}
	if d.Size != nil {
		opt.Blocks = w.limit(uint64(*d.Size), uint64(pool.Superblock.DataBlockSize))
	}
	header := pool.Superblock.Header()
	if d.Format == "json" { // a metadata snapshot itself says 0
		header.NrDataBlocks = pool.Live.DataSpaceMap.NrBlocks
	}
	if err := w.begin(header, left, right); err != nil {
		return err
	}
	if err := delta.Run(env, pool, left, right, opt, w.ranges); err != nil {
		w.flush() // what came before the damage
		return damaged(err)
	}
	if err := pool.CheckSnapshotHeld(); err != nil {
		return err
	}
	if err := w.end(); err != nil {
		return err
	}
	return out.Commit()
}
