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
	Output string `help:"File to write; it appears only if all went well. - is standard output." short:"o" required:"" placeholder:"FILE"`
	Force  bool   `help:"Do not ask before metadata in the output is overwritten." short:"f"`
	All    bool   `help:"Pack blocks that are neither valid nor zero as well; other implementations leave them out when they unpack."`

	MetadataSnap cli.Optional `help:"Pack what the metadata snapshot is made of, and no other block; the pool may be in use. Read such a pack with -m, too." short:"m" placeholder:"BLOCK" number:""`
	volumes
}

// Details implements cli.Detailer.
func (p *Pack) Details() string {
	return `The pack has every valid block, compressed, and is a small part of the device; what a
block is shows its checksum. Other implementations of thin_metadata_unpack read it. All
tools that only read metadata read packs as well: thin_check FILE.`
}

// Run implements cli.Command.
func (p *Pack) Run(env *cli.Env) (err error) {
	if p.disk().Reads(p.Input, p.Output) {
		return cli.Usagef("%s is an input, so it cannot be the output", p.Output)
	}
	if err := mayOverwrite(env, p.Input, p.Output, p.Force); err != nil {
		return err
	}
	// A pack is not packed once more.
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

// pack packs dev; only what snapshot is made of, unless that is nil.
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
	if err := out.Commit(); err != nil {
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
	Output string `help:"Metadata device or file to write; a file appears only if all went well." short:"o" required:"" placeholder:"FILE"`
	Force  bool   `help:"Do not ask before metadata in the output is overwritten." short:"f"`
}

// Details implements cli.Detailer.
func (u *Unpack) Details() string {
	return `Blocks that the pack does not have become zero, on a block device too. Block 0 is
written last: what is not complete is no metadata.`
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
	out, err := source.CreateTarget(env, u.Output, int64(pack.Blocks)*block.Size, u.Input)
	if err != nil {
		return err
	}
	defer out.Discard()
	if err := pack.Unpack(env, out, out.Zero, packfmt.Options{Progress: env.Progress}); err != nil {
		return fmt.Errorf("%s: %w", u.Input, err)
	}
	return out.Commit()
}

// errKept has the words of other implementations.
//
//lint:ignore ST1005 scripts know these words
var errKept = errors.New("Output file not overwritten")

// mayOverwrite asks before metadata is overwritten.
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
