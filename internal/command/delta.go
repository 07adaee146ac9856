package command

import (
	"encoding"
	"strconv"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/delta"
)

// Delta is thin_delta.
type Delta struct {
	Thin1        *deviceID    `help:"First device: an id, or VG/LV in a disk image." aliases:"snap1" placeholder:"ID" name:"thin1"`
	Thin2        *deviceID    `help:"Second device, likewise." aliases:"snap2" placeholder:"ID" name:"thin2"`
	Root1        *uint64      `help:"First mapping tree by its root block, instead of --thin1." placeholder:"BLOCK" name:"root1"`
	Root2        *uint64      `help:"Second mapping tree by its root block, instead of --thin2." placeholder:"BLOCK" name:"root2"`
	MetadataSnap cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	Verbose      bool         `help:"Also print data blocks, as ranges within each stretch."`
	Format       string       `help:"Output format." short:"f" default:"xml" enum:"xml,json,csv" placeholder:"xml|json|csv"`
	Unit         string       `help:"Unit of offsets and lengths." default:"block" enum:"block,sector,byte" placeholder:"block|sector|byte"`
	OmitSame     bool         `help:"Omit what is the same; metadata that both devices share is not read."`
	Size         *byteSize    `help:"Ignore everything beyond this device size: bytes, or a number with a unit." placeholder:"BYTES"`
	Output       string       `help:"Write to FILE instead of standard output; it appears only on success." short:"o" placeholder:"FILE"`
	Log          int          `group:"common" help:"Log what is done, with timestamps; repeat for more detail." short:"v" type:"counter"`
	cli.Basic
	Input string `arg:"" help:"Metadata device or file."`
	volumes
}

// CommonOptions implements cli.Command.
func (d *Delta) CommonOptions() *cli.Common { return &cli.Common{Verbose: d.Log, Basic: d.Basic} }

// Details implements cli.Detailer.
func (d *Delta) Details() string {
	return `Name one device or root for each side; --snap1 and --snap2 are aliases of --thin1 and
--thin2. Each range is left_only or right_only (mapped in one device only), different
(mapped to different data blocks) or same. To bring a copy of the first device up to date
with the second: copy different and right_only, discard left_only.`
}

// Examples implements cli.Exampler.
func (d *Delta) Examples() string {
	return `# What changed between snapshots 1 and 2 of an inactive pool
thin_delta --thin1 1 --thin2 2 pool.meta
# The same for a pool in use, in bytes
thin_delta -m --thin1 1 --thin2 2 --unit byte /dev/mapper/vg-pool_tmeta`
}

// A byteSize is a size in bytes, or in another unit if it has one.
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

// Rules implements cli.Ruler.
func (d *Delta) Rules() []cli.Rule {
	return []cli.Rule{
		cli.Exclusive("thin1", "root1"), cli.Exclusive("thin2", "root2"),
		cli.OneOf("thin1", "root1"), cli.OneOf("thin2", "root2"),
	}
}

// Run implements cli.Command.
func (d *Delta) Run(env *cli.Env) (err error) {
	if err := d.check(); err != nil {
		return err
	}
	pool, dev, err := source.OpenPool(env, source.Spec{Path: d.Input, Snapshot: d.MetadataSnap, Packs: true, Disk: d.disk()})
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	left, err := side(pool, dev, d.Thin1, d.Root1)
	if err != nil {
		return err
	}
	right, err := side(pool, dev, d.Thin2, d.Root2)
	if err != nil {
		return err
	}
	return d.compare(env, pool, left, right)
}

// check validates the options.
func (d *Delta) check() error {
	switch {
	case d.Size != nil && *d.Size == 0:
		return cli.Usagef("--size: nothing lies within 0 bytes")
	case d.disk().Reads(d.Input, d.Output):
		return cli.Usagef("input and output are the same file: %s", d.Output)
	}
	return nil
}

// side opens one of the two trees.
func side(pool *metadata.Pool, dev *source.Source, thin *deviceID, root *uint64) (metadata.MappingTree, error) {
	id, err := thin.in(dev.Place)
	if err != nil {
		return metadata.MappingTree{}, err
	}
	return tree(pool, id, root)
}

// tree returns the mapping tree of a device, or the one at a root block.
func tree(pool *metadata.Pool, thin, root *uint64) (metadata.MappingTree, error) {
	if root != nil {
		return pool.MappingTreeAt(block.Nr(*root))
	}
	t, err := pool.MappingTree(metadata.DevID(*thin))
	return t, source.Damaged(err)
}

// compare writes the difference.
func (d *Delta) compare(env *cli.Env, pool *metadata.Pool, left, right metadata.MappingTree) error {
	out, err := source.CreateOutput(env, d.Output, "", d.disk().Files(d.Input)...)
	if err != nil {
		return err
	}
	defer out.Discard()
	w := view.NewDeltaWriter(out, view.DeltaFormat{Name: d.Format, Verbose: d.Verbose, OmitSame: d.OmitSame, Unit: d.Unit}, pool.Superblock.DataBlockSize)
	opt := delta.Options{OmitSame: d.OmitSame, Data: d.Verbose, Progress: env.Progress}
	if d.Size != nil {
		opt.Blocks = w.Limit(uint64(*d.Size), uint64(pool.Superblock.DataBlockSize))
	}
	header := pool.Superblock.Header()
	if d.Format == "json" { // in a metadata snapshot it is 0
		header.NrDataBlocks = pool.Live.DataSpaceMap.NrBlocks
	}
	if err := w.Begin(header, left, right); err != nil {
		return err
	}
	if err := delta.Run(env, pool, left, right, opt, w.Ranges); err != nil {
		w.Flush() // what came before the damage
		return source.Damaged(err)
	}
	if err := pool.CheckSnapshotHeld(); err != nil {
		return err
	}
	if err := w.End(); err != nil {
		return err
	}
	return out.Commit(env)
}
