package command

import (
	"fmt"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Restore is thin_restore.
type Restore struct {
	cli.Common
	Input  string `help:"XML or JSON dump, also compressed; - is standard input." short:"i" required:"" placeholder:"FILE"`
	Output string `help:"Metadata device or file to write; it must exist." short:"o" required:"" placeholder:"FILE"`
	inPlace
	force
	overrides
	volumes
}

// Details implements cli.Detailer.
func (r *Restore) Details() string {
	return `The whole input is checked, and the space it needs is compared with the output, before
anything is written. The superblock is written last, so unfinished output is never valid
metadata. The old contents of the output are lost unless --undo saves them; a file system, a
disk or the like is overwritten only with --force.

With --in-place and --undo, the output may be a disk with LVM volumes, or a raw image of
one; the metadata volume of its pool is written.`
}

// Examples implements cli.Exampler.
func (r *Restore) Examples() string {
	return `# Restore a dump to a metadata volume
thin_restore -i pool.xml.gz -o /dev/vg/newmeta
# Copy metadata to another volume and compact it
thin_dump pool.meta | thin_restore -i - -o /dev/vg/newmeta
# Restore into the image of a disk
thin_restore -i pool.xml -o disk.img --in-place --undo pool.undo`
}

// Rules implements cli.Ruler.
func (r *Restore) Rules() []cli.Rule {
	return append(intoDisks(), inPlaceRules()...)
}

// Run implements cli.Command.
func (r *Restore) Run(env *cli.Env) error {
	if source.SameFile(r.Input, r.Output) {
		return cli.Usagef("input and output are the same file: %s", r.Output)
	}
	if err := r.newUndo(); err != nil {
		return err
	}
	out, err := source.Open(env, r.output(r.Output, r.disk(), r.force))
	if err != nil {
		return err
	}
	defer out.Close()
	note := func(text string) { env.Log.Info(text) }
	b := write.New(write.Options{Note: note, Progress: env.Progress})
	if err := r.read(env, b, note); err != nil {
		return err
	}
	have := block.Blocks(out)
	env.Log.Info("planned", "needed", b.Needed(have), "available", have)
	return out.Replace(env, b, r.Undo)
}

// read parses the input into v.
func (r *Restore) read(env *cli.Env, v metadata.Visitor, note func(string)) error {
	in, err := source.OpenText(env, r.Input)
	if err != nil {
		return err
	}
	defer in.Close()
	env.Progress("reading "+r.Input, 0, 0)
	if err := source.ReadDump(env, in, v, r.overrides.metadata(), note); err != nil {
		return fmt.Errorf("%s: %w", r.Input, err)
	}
	return nil
}
