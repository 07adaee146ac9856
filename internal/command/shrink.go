package command

import (
	"bufio"
	"fmt"
	"io"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/internal/write"
	"thinpool/jsonfmt"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/dump"
	"thinpool/tool/shrink"
	"thinpool/tool/trim"
	"thinpool/xmlfmt"
)

// Shrink is thin_shrink.
type Shrink struct {
	cli.Common
	Input    string `help:"Metadata device or file, or a dump of it. Never written." short:"i" required:"" placeholder:"FILE"`
	Output   string `help:"New metadata, in the format of the input. A device or metadata file must exist." short:"o" placeholder:"FILE"`
	Data     string `help:"Data device, or an image of it. Blocks are copied within it." placeholder:"FILE"`
	NrBlocks uint64 `help:"New size of the data device, in data blocks." required:"" placeholder:"N"`
	NoCopy   bool   `help:"Write the new metadata, but copy no data."`
	Binary   bool   `help:"The input is metadata, not a dump. Detected automatically."`
	force
	DryRun bool   `help:"Report what would be done; write nothing."`
	Format string `help:"Output format of --dry-run." default:"text" enum:"text,json" placeholder:"text|json"`
}

// Details implements cli.Detailer.
func (s *Shrink) Details() string {
	return `Data blocks in use beyond the new end are copied to free blocks below it, each once, even
if several devices share it. The metadata is checked first; fatal faults stop thin_shrink.

The old metadata is not changed. It stays valid, with all its data, until the pool is used
with the new metadata: a failure loses nothing.`
}

// Examples implements cli.Exampler.
func (s *Shrink) Examples() string {
	return `# See what shrinking to 640 blocks would move
thin_shrink --dry-run --nr-blocks 640 -i pool.meta
# Shrink; new.meta must exist
thin_shrink -i pool.meta -o new.meta --data pool.data --nr-blocks 640`
}

// Rules implements cli.Ruler.
func (s *Shrink) Rules() []cli.Rule {
	return []cli.Rule{
		{Needs: []string{"output"}, Unless: []string{"dry-run"}},
		{Needs: []string{"data"}, Unless: []string{"dry-run", "no-copy"}},
	}
}

// Run implements cli.Command.
func (s *Shrink) Run(env *cli.Env) error {
	switch {
	case s.Input == "-":
		return cli.Usagef("the input must be a file or a device, because it is read twice")
	case s.NrBlocks == 0:
		return cli.Usagef("--nr-blocks=0: a pool cannot have 0 data blocks")
	case s.Output != "" && source.SameFile(s.Input, s.Output):
		return cli.Usagef("input and output are the same file: %s; keep the old metadata, so that you can go back if anything fails", s.Output)
	case s.Data != "" && (source.SameFile(s.Input, s.Data) || s.Output != "" && source.SameFile(s.Output, s.Data)):
		return cli.Usagef("metadata and data are the same file: %s", s.Data)
	}
	// Keep everything open, and thus claimed, until the end, so that no pool can be activated
	// meanwhile.
	var data block.Device
	if s.Data != "" && !s.NoCopy {
		var err error
		if data, err = source.OpenDataForWriting(env, s.Data); err != nil {
			return err
		}
		defer data.Close()
	}
	if !s.Binary && source.IsDump(s.Input) {
		return s.dump(env, data)
	}
	return s.metadata(env, data)
}

// metadata shrinks metadata to metadata.
func (s *Shrink) metadata(env *cli.Env, data block.Device) error {
	dev, err := source.Open(env, source.Spec{Path: s.Input, Access: source.ReadIdle})
	if err != nil {
		return err
	}
	defer dev.Close()
	var out block.Device
	if !s.DryRun {
		if out, err = source.Open(env, source.Spec{Path: s.Output, Access: source.Overwrite, Least: leastOutput, Force: s.Force}); err != nil {
			return err
		}
		defer out.Close()
	}
	if err := refuseFaults(env, dev, "nothing is written"); err != nil {
		return fmt.Errorf("%s: %w", s.Input, err)
	}
	pool, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		return source.Damaged(err)
	}
	visit := func(v metadata.Visitor) error {
		return source.Damaged(dump.Run(env, pool, dump.Options{Progress: env.Progress}, v))
	}
	var used shrink.Usage
	if err := visit(&used); err != nil {
		return fmt.Errorf("%s: %w", s.Input, err)
	}
	if err := keepCounted(env, dev, pool, &used); err != nil {
		return fmt.Errorf("%s: %w", s.Input, err)
	}
	plan, err := s.plan(&used, data)
	switch {
	case err != nil:
		return err
	case s.DryRun:
		return view.Shrink(env.Stdout, plan, s.Format == "json")
	}
	b := write.New(write.Options{Note: func(text string) { env.Log.Info(text) }, Progress: env.Progress})
	if err := visit(plan.Rewrite(b)); err != nil {
		return fmt.Errorf("%s: %w", s.Input, err)
	}
	if err := b.Fits(block.Blocks(out)); err != nil {
		return fmt.Errorf("%s: %w", s.Output, err)
	}
	if err := s.carryOut(env, plan, data, b, out); err != nil {
		return err
	}
	if pool.Live.HeldRoot != 0 {
		fmt.Fprintln(env.Stderr, "the pool had a metadata snapshot; the new metadata has none")
	}
	return s.advise(env, plan)
}

// carryOut copies the data. It writes the metadata once the data is on stable storage.
func (s *Shrink) carryOut(env *cli.Env, plan *shrink.Plan, data block.Device, b *write.Builder, out block.Device) error {
	if err := s.copy(env, plan, data); err != nil {
		return err
	}
	if err := b.Write(env, out); err != nil {
		return s.inVain(env, fmt.Errorf("%s: %w", s.Output, err))
	}
	return nil
}

// keepCounted protects every block that the space map counts as used from being overwritten, even
// if only the metadata snapshot or nothing at all refers to it.
func keepCounted(env *cli.Env, dev block.Device, pool *metadata.Pool, used *shrink.Usage) error {
	free, err := trim.Free(env, dev, trim.Options{Progress: env.Progress})
	if err != nil {
		return source.Damaged(err)
	}
	next := metadata.DataBlock(0)
	for _, r := range free {
		if err := used.Keep(next, r.Begin); err != nil {
			return err
		}
		next = r.End
	}
	return used.Keep(next, metadata.DataBlock(pool.Live.DataSpaceMap.NrBlocks))
}

// dump shrinks a dump to a dump.
func (s *Shrink) dump(env *cli.Env, data block.Device) error {
	var used shrink.Usage
	if err := s.visit(env, func(bool) metadata.Visitor { return &used }); err != nil {
		return err
	}
	plan, err := s.plan(&used, data)
	switch {
	case err != nil:
		return err
	case s.DryRun:
		return view.Shrink(env.Stdout, plan, s.Format == "json")
	}
	out, err := source.CreateOutput(env, s.Output, "", s.Input)
	if err != nil {
		return err
	}
	defer out.Discard()
	if err := s.copy(env, plan, data); err != nil {
		return err
	}
	if err := s.rewrite(env, plan, out); err != nil {
		return s.inVain(env, err)
	}
	if err := out.Commit(env); err != nil {
		return s.inVain(env, err)
	}
	return s.advise(env, plan)
}

// visit parses the dump and passes it to the visitor for its format.
func (s *Shrink) visit(env *cli.Env, visitor func(json bool) metadata.Visitor) error {
	in, err := source.OpenText(env, s.Input)
	if err != nil {
		return err
	}
	defer in.Close()
	env.Progress("reading "+s.Input, 0, 0)
	text := bufio.NewReader(in)
	if err := source.ReadDump(env, text, visitor(source.IsJSON(text)), metadata.Overrides{}, nil); err != nil {
		return fmt.Errorf("%s: %w", s.Input, err)
	}
	return nil
}

// rewrite writes the dump in its own format.
func (s *Shrink) rewrite(env *cli.Env, plan *shrink.Plan, out io.Writer) error {
	return s.visit(env, func(json bool) metadata.Visitor {
		if json {
			return plan.Rewrite(jsonfmt.NewWriter(out))
		}
		return plan.Rewrite(xmlfmt.NewWriter(out, xmlfmt.Style1))
	})
}

// plan plans the moves and checks that data, unless nil, can be the pool's data device.
func (s *Shrink) plan(used *shrink.Usage, data block.Device) (*shrink.Plan, error) {
	plan, err := used.Plan(s.NrBlocks)
	if err != nil {
		return nil, fmt.Errorf("%w; nothing is written", err)
	}
	if data != nil {
		if err := plan.CheckData(data); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Data, err)
		}
	}
	return plan, nil
}

// copy copies the data, if there is any.
func (s *Shrink) copy(env *cli.Env, plan *shrink.Plan, data block.Device) error {
	if data == nil {
		return nil
	}
	if err := plan.Copy(env, data, shrink.Options{Progress: env.Progress}); err != nil {
		return s.inVain(env, fmt.Errorf("%s: %w", s.Data, err))
	}
	return nil
}

// inVain adds the state of the pool to an error.
func (s *Shrink) inVain(env *cli.Env, err error) error {
	state := fmt.Sprintf("the pool is unchanged: nothing in use was overwritten, and %s is still its metadata", s.Input)
	if env.Err() != nil { // the error itself is not printed on interruption
		fmt.Fprintln(env.Stderr, state)
		return err
	}
	return fmt.Errorf("%w\n%s", err, state)
}

// advise tells the user what to do next.
func (s *Shrink) advise(env *cli.Env, p *shrink.Plan) error {
	done := fmt.Sprintf("%d of %d data blocks in use were copied", p.Moved, p.Used)
	switch {
	case p.Moved == 0:
		done = "no data needed copying"
	case s.NoCopy:
		done = fmt.Sprintf("no data was copied: copy %d data blocks, listed by --dry-run, before you use the new metadata", p.Moved)
	}
	change := "shrink the data device to that size or more"
	if p.NewBlocks > p.OldBlocks {
		change = "grow the data device to that size"
	}
	size := p.Bytes(p.NewBlocks)
	_, err := fmt.Fprintf(env.Stderr, `%s
the pool now needs %d data blocks: %d bytes, %d sectors
next: give the pool the new metadata (%s), %s,
and load the pool with a table of that length; for LVM see thin_shrink(8)
keep the old metadata (%s): it stays valid until you take one of these steps
`, done, p.NewBlocks, size, size/cli.SectorSize, s.Output, change, s.Input)
	return err
}
