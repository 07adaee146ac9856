package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/write"
	"thinpool/jsonfmt"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/xmlfmt"
)

// Restore is thin_restore.
type Restore struct {
	cli.Common
	Input  string `help:"XML or JSON from thin_dump, also compressed with gzip or zstd; - is standard input." short:"i" required:"" placeholder:"FILE"`
	Output string `help:"Metadata device or file to write; it must exist." short:"o" required:"" placeholder:"FILE"`
	inPlace
	overrides
	volumes
}

// Details implements cli.Detailer.
func (r *Restore) Details() string {
	return `The whole input is read, and the space it needs compared, before the first block is
written. Until the last write the output has no valid superblock, so that nothing takes
half of it for metadata. What the output held before is lost, unless --undo keeps it.

With --in-place and --undo the output may be a disk with LVM on it, or a raw image of one:
the metadata volume of its pool is written.`
}

// leastOutput is how many blocks the smallest output has.
const leastOutput = 10

// Run implements cli.Command.
func (r *Restore) Run(env *cli.Env) error {
	if source.SameFile(r.Input, r.Output) {
		return cli.Usagef("input and output are the same file: %s", r.Output)
	}
	if err := errors.Join(r.inPlace.validate(), r.onlyInPlace(r.InPlace)); err != nil {
		return err
	}
	out, err := r.openOutput(env, &r.volumes, r.Output)
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
	return out.write(env, b)
}

// openOutput opens the device that new metadata is to be written to.
func openOutput(path string) (block.Device, error) {
	dev, err := source.OpenOutput(path)
	if err != nil {
		return nil, err
	}
	if err := largeEnough(dev, path); err != nil {
		dev.Close()
		return nil, err
	}
	return dev, nil
}

func largeEnough(dev block.Device, path string) error {
	if block.Blocks(dev) < leastOutput {
		return fmt.Errorf("%s: Output file too small. It has %d bytes; metadata needs %d blocks of %d at least", path, dev.Size(), leastOutput, block.Size)
	}
	return nil
}

// read reads the description into v.
func (r *Restore) read(env *cli.Env, v metadata.Visitor, note func(string)) error {
	in, err := source.OpenText(env, r.Input)
	if err != nil {
		return err
	}
	defer in.Close()
	env.Progress("reading "+r.Input, 0, 0)
	if err := readText(env, in, v, r.overrides.metadata(), note); err != nil {
		return fmt.Errorf("%s: %w", r.Input, err)
	}
	return nil
}

// readText reads a dump of either format.
func readText(ctx context.Context, in io.Reader, v metadata.Visitor, o metadata.Overrides, note func(string)) error {
	text := bufio.NewReader(in)
	if isJSON(text) {
		return jsonfmt.Read(ctx, text, v, jsonfmt.Options{Overrides: o, Note: note})
	}
	return xmlfmt.Read(ctx, text, v, xmlfmt.Options{Overrides: o, Note: note})
}

// isJSON reports whether a dump is JSON rather than XML.
func isJSON(text *bufio.Reader) bool {
	start, _ := text.Peek(1)
	return len(start) == 1 && start[0] == '{'
}
