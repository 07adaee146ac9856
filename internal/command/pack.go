package command

import (
	"errors"
	"fmt"
	"slices"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/packfmt"
)

// Pack is thin_metadata_pack.
type Pack struct {
	cli.Common
	Input  string `help:"Metadata device or file." short:"i" required:"" placeholder:"FILE"`
	Output string `help:"File to write, or - for standard output; a file appears only on success." short:"o" required:"" placeholder:"FILE"`
	Force  bool   `help:"Overwrite existing metadata without asking." short:"f"`
	All    bool   `help:"Also pack blocks that are neither valid nor zero; other implementations do not unpack them."`

	MetadataSnap cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	volumes
}

// Details implements cli.Detailer.
func (p *Pack) Details() string {
	return `The pack holds every valid block, compressed; a block is valid if its checksum is. Other
implementations of thin_metadata_unpack can read it, and so can all tools here that only
read metadata: thin_check FILE.`
}

// Examples implements cli.Exampler.
func (p *Pack) Examples() string {
	return `# Pack the metadata of an inactive pool, to keep it or send it to somebody
thin_metadata_pack -i /dev/mapper/vg-pool_tmeta -o pool.pack
# Pack the metadata snapshot of a pool in use
thin_metadata_pack -m -i /dev/mapper/vg-pool_tmeta -o pool.pack`
}

// Run implements cli.Command.
func (p *Pack) Run(env *cli.Env) (err error) {
	if p.disk().Reads(p.Input, p.Output) {
		return cli.Usagef("%s is an input, so it cannot be the output", p.Output)
	}
	if err := mayOverwrite(env, p.Input, p.Output, p.Force); err != nil {
		return err
	}
	// A pack as input is refused: it is already packed.
	dev, err := source.Open(env, source.Spec{Path: p.Input, Snapshot: p.MetadataSnap, Disk: p.disk()})
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	if !p.MetadataSnap.Set {
		return p.pack(env, dev, nil)
	}
	pool, err := dev.Pool(env)
	if err != nil {
		return err
	}
	return p.pack(env, dev, pool)
}

// pack packs dev, or only the blocks of snapshot unless that is nil.
func (p *Pack) pack(env *cli.Env, dev block.Device, snapshot *metadata.Pool) error {
	opt := packfmt.Options{All: p.All, Progress: env.Progress}
	if snapshot != nil {
		blocks, err := snapshot.Blocks(env)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Input, source.Damaged(err))
		}
		opt.Only = func(nr block.Nr) bool {
			_, found := slices.BinarySearch(blocks, nr)
			return found
		}
	}
	out, err := source.CreateOutput(env, p.Output, "none", p.disk().Files(p.Input)...)
	if err != nil {
		return err
	}
	defer out.Discard()
	sum, err := packfmt.Pack(env, dev, out, opt)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Input, err)
	}
	if sum.Packed == 0 && sum.Invalid > 0 && !p.All {
		return source.Hint(fmt.Errorf("%s: all %d non-zero blocks have bad checksums; is this thin metadata? Use --all to pack them as they are", p.Input, sum.Invalid))
	}
	if snapshot != nil {
		if err := snapshot.CheckSnapshotHeld(); err != nil {
			return err
		}
	}
	if err := out.Commit(env); err != nil {
		return err
	}
	env.Log.Info("packed", "blocks", sum.Packed, "of", uint64(sum.Blocks), "invalid", sum.Invalid)
	if sum.Invalid > 0 && !p.All {
		fmt.Fprintf(env.Stderr, "thin_metadata_pack: %s: left out %d blocks with bad checksums (the first is block %d); use --all to pack them too\n",
			p.Input, sum.Invalid, sum.First)
	}
	return nil
}

// Unpack is thin_metadata_unpack.
type Unpack struct {
	cli.Common
	Input  string `help:"Packed metadata." short:"i" required:"" placeholder:"FILE"`
	Output string `help:"Device or file to write; a file appears only on success." short:"o" required:"" placeholder:"FILE"`
	Force  bool   `help:"Overwrite whatever the output holds, without asking." short:"f"`
}

// Details implements cli.Detailer.
func (u *Unpack) Details() string {
	return `Blocks that are not in the pack become zero, also on a block device. Block 0 is written
last, so unfinished output is never valid metadata.`
}

// Examples implements cli.Exampler.
func (u *Unpack) Examples() string {
	return `# Unpack into a file
thin_metadata_unpack -i pool.pack -o pool.meta
# Unpack onto a block device that may hold other metadata
thin_metadata_unpack --force -i pool.pack -o /dev/vg/newmeta`
}

// Run implements cli.Command.
func (u *Unpack) Run(env *cli.Env) error {
	if u.Output == "-" {
		return cli.Usagef("cannot write metadata to standard output; give a device or a file")
	}
	if err := mayOverwrite(env, u.Input, u.Output, u.Force); err != nil {
		return err
	}
	in, pack, err := source.OpenPack(u.Input)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := source.CreateTarget(env, u.Output, int64(pack.Blocks)*block.Size, u.Force, u.Input)
	if err != nil {
		return err
	}
	defer out.Discard()
	if err := pack.Unpack(env, out, out.Zero, packfmt.Options{Progress: env.Progress}); err != nil {
		return fmt.Errorf("%s: %w", u.Input, err)
	}
	return out.Commit(env)
}

// errKept has the same text as other implementations.
//
//lint:ignore ST1005 scripts know these words
var errKept = errors.New("Output file not overwritten")

// mayOverwrite asks before it allows metadata to be overwritten.
func mayOverwrite(env *cli.Env, input, output string, force bool) error {
	if source.SameFile(input, output) {
		return cli.Usagef("input and output are the same file: %s", output)
	}
	if force || output == "-" {
		return nil
	}
	holds, err := source.HoldsMetadata(output)
	if err != nil || !holds {
		return err
	}
	yes, err := env.Confirm("The destination appears to already contain metadata, are you sure? [y/n]: ")
	if err == nil && !yes {
		err = errKept
	}
	return err
}
