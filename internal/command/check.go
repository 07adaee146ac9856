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
	MetadataSnap        bool    `help:"Read the metadata snapshot; the pool may be in use." short:"m" name:"metadata-snap"`
	SuperblockOnly      bool    `help:"Check the superblock only." name:"super-block-only"`
	SkipMappings        bool    `help:"Check the list of devices, but not mappings or space maps."`
	IgnoreNonFatal      bool    `help:"Exit with 0 if there are only non-fatal faults." name:"ignore-non-fatal-errors"`
	Strict              bool    `help:"Exit with 1 if there are notes."`
	AutoRepair          bool    `help:"Fix what can be fixed safely and clear needs_check, unless there are fatal faults."`
	ClearNeedsCheckFlag bool    `help:"Clear needs_check unless there are fatal faults. After a full check, act as --auto-repair."`
	ApplyUndo           string  `help:"Undo the repair that wrote FILE; check nothing." placeholder:"FILE"`
	MappingRoot         *uint64 `help:"Use the top-level mapping tree whose root is this block." placeholder:"BLOCK" name:"override-mapping-root"`
	DetailsRoot         *uint64 `help:"Use the device details tree whose root is this block." placeholder:"BLOCK" name:"override-details-root"`
	Format              string  `help:"Output format." default:"text" enum:"text,json" placeholder:"text|json"`
	Input               string  `arg:"" help:"Metadata device or file."`
	inPlace
	volumes
}

// Details implements cli.Detailer.
func (c *Check) Details() string {
	return `Prints TRANSACTION_ID and METADATA_FREE_BLOCKS on standard output, and faults on standard
error. Fatal and non-fatal faults give exit code 1; notes do not. With --format=json,
standard output has one object per fault and a summary at the end.

Nothing is written without --auto-repair, --clear-needs-check-flag or --apply-undo. A repair
writes to free blocks first and to the superblock last, so an interrupted repair leaves
either the old metadata or the new. Disks and raw images are written only with --in-place.`
}

// Examples implements cli.Exampler.
func (c *Check) Examples() string {
	return `# Check the metadata of an inactive pool
thin_check /dev/mapper/vg-pool_tmeta
# Fix leaked blocks and clear needs_check; keep an undo file
thin_check --auto-repair --undo pool.undo pool.meta
# Check the pool in the image of a virtual machine's disk
thin_check --lv vg/pool disk.img`
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
	if dev.Place.Facts() != nil {
		out.Wiped = adviseWithLVM
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

// hinted passes faults on to report. If block 0 is damaged, it adds a guess at what the device may be.
func hinted(report func(check.Fault)) func(check.Fault) {
	return func(f check.Fault) {
		if _, wiped := errors.AsType[*check.WipedError](f.Err); f.Code == check.SuperblockDamaged && !wiped {
			f.Err = source.Hint(f.Err)
		}
		report(f)
	}
}

// lookForNewer reports a fault if the superblock names an older state than the newest on the
// device. It looks only if device trees have faults, or if LVM's text is there to compare with.
func (c *Check) lookForNewer(env *cli.Env, dev *source.Source, out *view.FaultPrinter, sum *check.Summary) error {
	facts := dev.Place.Facts()
	part := c.MetadataSnap || c.SuperblockOnly || c.MappingRoot != nil || c.DetailsRoot != nil
	if part || facts == nil && !out.InDevices {
		return nil
	}
	fault, err := newerState(env, dev, facts)
	if fault != nil {
		sum.Fatal++
		out.Fault(*fault)
	}
	return err
}

// newerState returns a fault if the superblock names an older state than the newest on the device.
// Otherwise it returns nil.
func newerState(env *cli.Env, dev block.Device, facts *repair.LVM) (*check.Fault, error) {
	newer, err := repair.Newer(env, dev, repair.Options{LVM: facts})
	if newer == nil || errors.Is(err, block.ErrCorrupt) || errors.Is(err, repair.ErrNoRoots) {
		return nil, nil // the other faults say what is wrong
	}
	if err != nil {
		return nil, err
	}
	return &check.Fault{
		Code: check.SuperblockSetBack, Severity: check.Fatal, Tree: "superblock",
		Err: fmt.Errorf("the device also holds a newer state of the pool (mapping root %d, details root %d): the superblock may have been set back; was the pool active on two hosts?", newer.Mapping, newer.Details),
	}, nil
}

// input says how to open the input. It refuses input that cannot be fixed before any check.
func (c *Check) input() source.Spec {
	switch {
	case !c.fixes():
		return source.Spec{Path: c.Input, Snapshot: cli.Optional{Set: c.MetadataSnap}, Packs: true, Disk: c.disk()}
	case c.InPlace:
		return source.Spec{Path: c.Input, Access: source.Claim, Disk: c.disk()}
	}
	return source.Spec{Path: c.Input, Access: source.Claim, DiskHint: inPlaceHint}
}

// verdict returns the error for the faults found, or left after a repair.
func (c *Check) verdict(sum check.Summary) error {
	if sum.Fatal > 0 || sum.NonFatal > 0 && !c.IgnoreNonFatal || sum.Notes > 0 && c.Strict {
		return cli.ErrReported
	}
	return nil
}

// refuseFaults returns an error if metadata has fatal faults, such as reference counts that are too
// low. consequence says what is then not done.
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

// adviseWithLVM is the advice for a wiped superblock if LVM's text is available.
const adviseWithLVM = "do not activate the pool; rebuild this metadata with thin_repair, which takes what the superblock knew from LVM's metadata"
