package command

import (
	"errors"
	"fmt"
	"slices"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata/block"
	"thinpool/tool/check"
	"thinpool/tool/repair"
)

// Check is thin_check.
type Check struct {
	cli.Common
	MetadataSnap        bool    `help:"Check the metadata snapshot only; the pool may be in use." short:"m" name:"metadata-snap"`
	SuperblockOnly      bool    `help:"Only check the superblock." name:"super-block-only"`
	SkipMappings        bool    `help:"Do not check the mappings of the devices, nor the space maps."`
	IgnoreNonFatal      bool    `help:"Succeed if only non-fatal faults are found." name:"ignore-non-fatal-errors"`
	Strict              bool    `help:"Fail if even a note is found."`
	AutoRepair          bool    `help:"Unless there are fatal faults, fix leaks, counts that are too high, counters and devices that would write to shared blocks, and clear the flag needs_check."`
	ClearNeedsCheckFlag bool    `help:"Clear the flag needs_check unless there are fatal faults. If the whole metadata is checked, fix what --auto-repair fixes."`
	ApplyUndo           string  `help:"Undo the repair that made this file, and check nothing." placeholder:"FILE"`
	MappingRoot         *uint64 `help:"Use this block as the root of the mapping tree." placeholder:"BLOCK" name:"override-mapping-root"`
	DetailsRoot         *uint64 `help:"Use this block as the root of the device details." placeholder:"BLOCK" name:"override-details-root"`
	Format              string  `help:"How faults are printed: text or json." default:"text" enum:"text,json" placeholder:"text|json"`
	Input               string  `arg:"" help:"Metadata device or file."`
	inPlace
	volumes
}

// Details implements cli.Detailer.
func (c *Check) Details() string {
	return `Prints TRANSACTION_ID and METADATA_FREE_BLOCKS on standard output, faults on standard
error. Fatal and non-fatal faults lead to exit code 1, notes do not. With --format json
every fault is one line on standard output, and a last line sums up.

Nothing is written without --auto-repair, --clear-needs-check-flag or --apply-undo. A
repair writes into free blocks, then the superblock: whatever interrupts it leaves the old
metadata or the new. Into disks and raw images nothing is written without --in-place.`
}

// fixes reports whether the command line asks for a repair.
func (c *Check) fixes() bool { return c.AutoRepair || c.ClearNeedsCheckFlag }

// Rules implements cli.Ruler.
func (c *Check) Rules() []cli.Rule {
	override := []string{"override-mapping-root", "override-details-root"}
	part := append([]string{"metadata-snap"}, override...)
	less := append([]string{"super-block-only", "skip-mappings"}, part...)
	rules := []cli.Rule{
		{If: []string{"auto-repair"}, Not: append([]string{"ignore-non-fatal-errors"}, less...), Why: "a repair needs a full check"},
		cli.Exclusive("clear-needs-check-flag", part...),
		{If: []string{"apply-undo"}, Not: append([]string{"auto-repair", "clear-needs-check-flag", "undo", "ignore-non-fatal-errors", "strict", "format=json"}, less...), Why: "nothing is checked then"},
		{If: []string{"in-place"}, Not: []string{"leg"}, Why: "it reads one copy, and a repair writes every copy; thin_repair --in-place --leg writes one over all"},
		cli.Requires("undo", "auto-repair", "clear-needs-check-flag"),
		cli.Requires("in-place", "auto-repair", "clear-needs-check-flag", "apply-undo"),
		{If: []string{"in-place"}, Needs: []string{"undo"}, Unless: []string{"apply-undo"}, Why: "a new file, needed to undo the change"},
	}
	return slices.Concat(rules, intoDisks("auto-repair"), intoDisks("clear-needs-check-flag"), intoDisks("apply-undo"))
}

// Run implements cli.Command.
func (c *Check) Run(env *cli.Env) (err error) {
	if c.ApplyUndo != "" {
		return c.applyUndo(env)
	}
	if err := c.newUndo(); err != nil {
		return err
	}
	dev, err := source.Open(env, c.input())
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	out := view.FaultPrinter{Out: env.Stdout, Err: env.Stderr, JSON: c.Format == "json", Quiet: c.Quiet, Fixes: c.fixes(), Name: dev.Name}
	opt := check.Options{
		Snapshot: c.MetadataSnap, SuperblockOnly: c.SuperblockOnly, SkipMappings: c.SkipMappings,
		FlagAlone: !c.AutoRepair, Superblock: out.Superblock, Progress: env.Progress,
	}
	if c.MappingRoot != nil {
		opt.MappingRoot = block.Nr(*c.MappingRoot)
	}
	if c.DetailsRoot != nil {
		opt.DetailsRoot = block.Nr(*c.DetailsRoot)
	}
	if c.fixes() {
		return c.fix(env, dev, opt, &out)
	}
	if c.MetadataSnap && dev.Place == nil {
		out.Reserve = source.SnapshotAdvice(c.Input)
	}
	sum, err := check.Run(env, dev, opt, hinted(out.Fault))
	if err != nil {
		return err
	}
	if err := c.lookForNewer(env, dev, &out, &sum); err != nil {
		return err
	}
	differ := compareWithLVM(env, dev, &out)
	out.Summary(sum)
	if out.Live != nil && c.MetadataSnap {
		env.Log.Info("metadata snapshot", "block", uint64(out.Live.HeldRoot))
	}
	return errors.Join(c.verdict(sum), differ)
}

// hinted passes faults on, with what the device may be if block 0 is damaged.
func hinted(report func(check.Fault)) func(check.Fault) {
	return func(f check.Fault) {
		if _, wiped := errors.AsType[*check.WipedError](f.Err); f.Code == check.SuperblockDamaged && !wiped {
			f.Err = source.Hint(f.Err)
		}
		report(f)
	}
}

// lookForNewer reports if the superblock leads to an older state of the pool than there
// is: where the trees of devices have faults, or LVM's text is at hand to compare with.
func (c *Check) lookForNewer(env *cli.Env, dev *source.Source, out *view.FaultPrinter, sum *check.Summary) error {
	facts := dev.Place.Facts()
	part := c.MetadataSnap || c.SuperblockOnly || c.MappingRoot != nil || c.DetailsRoot != nil
	if part || facts == nil && !out.InDevices {
		return nil
	}
	newer, err := repair.Newer(env, dev, repair.Options{LVM: facts})
	if newer == nil || errors.Is(err, block.ErrCorrupt) || errors.Is(err, repair.ErrNoRoots) {
		return nil // the faults say what is wrong
	}
	if err != nil {
		return err
	}
	sum.Fatal++
	out.Fault(check.Fault{
		Code: check.SuperblockSetBack, Severity: check.Fatal, Tree: "superblock",
		Err: fmt.Errorf("the device also holds a newer state of the pool (mapping root %d, details root %d): the superblock may have been set back; was the pool active on two hosts?", newer.Mapping, newer.Details),
	})
	return nil
}

// input is what is checked. What cannot be fixed is refused before it is checked.
func (c *Check) input() source.Spec {
	switch {
	case !c.fixes():
		return source.Spec{Path: c.Input, Snapshot: cli.Optional{Set: c.MetadataSnap}, Packs: true, Disk: c.disk()}
	case c.InPlace:
		return source.Spec{Path: c.Input, Access: source.Claim, Disk: c.disk()}
	}
	return source.Spec{Path: c.Input, Access: source.Claim, DiskHint: inPlaceHint}
}

// verdict is the error for what was found, or was left.
func (c *Check) verdict(sum check.Summary) error {
	if sum.Fatal > 0 || sum.NonFatal > 0 && !c.IgnoreNonFatal || sum.Notes > 0 && c.Strict {
		return cli.ErrReported
	}
	return nil
}

// refuseFaults returns an error if metadata has fatal faults: counts that are too low are among
// them. consequence says what is not done then.
func refuseFaults(env *cli.Env, dev block.Device, consequence string) error {
	var first *check.Fault
	sum, err := check.Run(env, dev, check.Options{Progress: env.Progress}, func(f check.Fault) {
		if f.Severity == check.Fatal && first == nil {
			first = &f
		}
	})
	switch {
	case err != nil:
		return err
	case first == nil:
		return nil
	}
	return fmt.Errorf("metadata contains errors (run thin_check for details): %d fatal faults, the first: %v\n%s; perhaps you need to run thin_repair",
		sum.Fatal, first, consequence)
}
