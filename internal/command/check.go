package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"thinpool/internal/cli"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
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

// mends reports whether the command line asks for a repair.
func (c *Check) mends() bool { return c.AutoRepair || c.ClearNeedsCheckFlag }

// validate refuses what does not go together.
func (c *Check) validate() error {
	override := c.MappingRoot != nil || c.DetailsRoot != nil
	smaller := c.MetadataSnap || override || c.SuperblockOnly || c.SkipMappings
	switch {
	case c.AutoRepair && (c.IgnoreNonFatal || smaller):
		return cli.Usagef("--auto-repair wants a full check: it cannot go with --ignore-non-fatal-errors, -m, --super-block-only, --skip-mappings or other roots")
	case c.ClearNeedsCheckFlag && (c.MetadataSnap || override):
		return cli.Usagef("--clear-needs-check-flag cannot go with -m or other roots")
	case c.ApplyUndo != "" && (c.mends() || c.Undo != "" || c.IgnoreNonFatal || c.Strict || smaller || c.Format != "text"):
		return cli.Usagef("--apply-undo checks nothing and goes with no other option")
	case c.Undo != "" && !c.mends():
		return cli.Usagef("--undo goes with --auto-repair or --clear-needs-check-flag")
	case c.InPlace && !c.writes():
		return cli.Usagef("--in-place goes with --auto-repair, --clear-needs-check-flag or --apply-undo")
	case c.InPlace && c.Leg != 0:
		return cli.Usagef("--leg reads one copy, and what is mended is mended in all: thin_repair --in-place --leg makes all of them anew")
	case c.ApplyUndo != "":
		return c.onlyInPlace(c.InPlace)
	case c.mends():
		return errors.Join(c.inPlace.validate(), c.onlyInPlace(c.InPlace))
	}
	return nil
}

// writes reports whether the command line asks for something to be written.
func (c *Check) writes() bool { return c.mends() || c.ApplyUndo != "" }

// Run implements cli.Command.
func (c *Check) Run(env *cli.Env) error {
	if err := c.validate(); err != nil {
		return err
	}
	if c.ApplyUndo != "" {
		return c.applyUndo(env)
	}
	dev, err := c.source(env)
	if err != nil {
		return err
	}
	defer dev.Close()
	out := faultPrinter{out: env.Stdout, err: env.Stderr, json: c.Format == "json", quiet: c.Quiet, mends: c.mends()}
	opt := check.Options{
		Snapshot: c.MetadataSnap, SuperblockOnly: c.SuperblockOnly, SkipMappings: c.SkipMappings,
		FlagAlone: !c.AutoRepair, Superblock: out.superblock, Progress: env.Progress,
	}
	if c.MappingRoot != nil {
		opt.MappingRoot = block.Nr(*c.MappingRoot)
	}
	if c.DetailsRoot != nil {
		opt.DetailsRoot = block.Nr(*c.DetailsRoot)
	}
	if c.mends() {
		return c.mend(env, dev, opt, &out)
	}
	if c.MetadataSnap && dev.place == nil {
		out.reserve = cli.SnapshotAdvice(c.Input)
	}
	sum, err := check.Run(env, dev, opt, out.fault)
	if err != nil {
		return err
	}
	if err := c.lookForNewer(env, dev, &out, &sum); err != nil {
		return err
	}
	differ := out.compareWithLVM(env, dev)
	out.summary(sum)
	if out.live != nil && c.MetadataSnap {
		env.Log.Info("metadata snapshot", "block", uint64(out.live.HeldRoot))
	}
	return errors.Join(c.verdict(sum), differ)
}

// lookForNewer reports if the superblock leads to an older state of the pool than there
// is: where the trees of devices have faults, or LVM's text is at hand to compare with.
func (c *Check) lookForNewer(env *cli.Env, dev *source, out *faultPrinter, sum *check.Summary) error {
	facts := dev.place.lvmFacts()
	part := c.MetadataSnap || c.SuperblockOnly || c.MappingRoot != nil || c.DetailsRoot != nil
	if part || facts == nil && !out.inDevices {
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
	out.fault(check.Fault{
		Code: check.SuperblockSetBack, Severity: check.Fatal, Tree: "superblock",
		Err: fmt.Errorf("a newer state of the pool is on the device, with roots %d and %d; the superblock may have been set back: was the pool active on two hosts?", newer.Mapping, newer.Details),
	})
	return nil
}

// source opens the input. What cannot be mended is refused before it is checked.
func (c *Check) source(env *cli.Env) (*source, error) {
	switch {
	case !c.mends():
		return c.open(env, c.Input, c.MetadataSnap)
	case c.InPlace:
		return c.mustBeMetadata(env, c.Input)
	}
	dev, doubt, err := cli.Claim(c.Input)
	if err == nil && doubt != nil {
		err = errors.Join(fmt.Errorf("%s: %w", c.Input, doubt), dev.Close())
	}
	return &source{Device: dev}, diskHint(err, bothOptions)
}

// verdict is the error for what was found, or was left.
func (c *Check) verdict(sum check.Summary) error {
	if sum.Fatal > 0 || sum.NonFatal > 0 && !c.IgnoreNonFatal || sum.Notes > 0 && c.Strict {
		return cli.ErrReported
	}
	return nil
}

// faultPrinter prints what a check finds.
type faultPrinter struct {
	out, err    io.Writer
	json, quiet bool
	mends       bool   // a repair follows
	reserve     string // how to make a metadata snapshot, if that is wanted and known
	advice      []advice
	live        *metadata.Superblock
	mended      uint64 // faults
	inDevices   bool   // there are faults in the trees of devices
	noRoom      *spacemap.SpaceError
	listed      int // ids of devices in JSON
}

// mostListed is how many ids of devices faults in JSON list together: ten thousand snapshots
// may share thousands of damaged nodes.
const mostListed = metadata.MostOwners

// superblock prints the lines that scripts read.
func (p *faultPrinter) superblock(sb metadata.Superblock) {
	p.live = &sb
	if !p.json && !p.quiet {
		fmt.Fprintf(p.out, "TRANSACTION_ID=%d\nMETADATA_FREE_BLOCKS=%d\n", sb.TransactionID, sb.FreeMetadataBlocks())
	}
}

func (p *faultPrinter) fault(f check.Fault) {
	p.inDevices = p.inDevices || f.InDevices()
	text := f.Advice()
	if f.Code == check.SnapshotMissing && p.reserve != "" {
		text = p.reserve
	}
	if !p.mends || !f.Fixable() {
		p.advise(advice{f.Code, f.Severity, f.Urgency(), text, 1})
	}
	switch {
	case p.quiet:
	case p.json:
		r := jsonFault(f)
		r.Advice = text
		if p.listed += len(r.Devices); p.listed > mostListed {
			few := r.Devices[:min(len(r.Devices), 8)]
			r.Devices, r.More = few, r.More || len(few) < len(r.Devices)
		}
		p.line(r)
	default:
		if _, wiped := errors.AsType[*check.WipedError](f.Err); f.Code == check.SuperblockDamaged && !wiped {
			f.Err = cli.Hint(f.Err)
		}
		fmt.Fprintln(p.err, f.String())
	}
}

// advice is what to do about the faults of one code and severity.
type advice struct {
	code     check.Code
	severity check.Severity
	urgency  int
	text     string
	faults   uint64
}

// advise collects advice, each once.
func (p *faultPrinter) advise(a advice) {
	for i, b := range p.advice {
		if b.code == a.code && b.severity == a.severity && b.text == a.text {
			p.advice[i].faults++
			return
		}
	}
	p.advice = append(p.advice, a)
}

// settled takes back advice about faults that a repair removed along with others.
func (p *faultPrinter) settled(m check.Fixed) {
	for i, a := range p.advice {
		if a.code == m.Code && a.severity == m.Severity {
			p.advice[i].faults -= min(a.faults, m.Faults)
		}
	}
}

// worst is the advice to print: the most urgent about the worst faults. What helps against others
// may be wrong while those are there.
func (p *faultPrinter) worst() []string {
	left := slices.DeleteFunc(slices.Clone(p.advice), func(a advice) bool { return a.faults == 0 })
	if len(left) == 0 {
		return nil
	}
	order := func(a, b advice) int {
		return cmp.Or(cmp.Compare(a.severity, b.severity), cmp.Compare(a.urgency, b.urgency))
	}
	worst := slices.MaxFunc(left, order)
	var texts []string
	for _, a := range left {
		if order(a, worst) == 0 && !slices.Contains(texts, a.text) {
			texts = append(texts, a.text)
		}
	}
	return texts
}

func (p *faultPrinter) line(v any) {
	_ = newEncoder(p.out).Encode(v) // standard output remembers errors
}

func (p *faultPrinter) summary(sum check.Summary) {
	switch {
	case p.quiet:
	case p.json:
		p.line(p.jsonSummary(sum))
	case sum.Fatal+sum.NonFatal+sum.Notes > 0:
		fmt.Fprintf(p.err, "%d fatal, %d non-fatal, %d notes", sum.Fatal, sum.NonFatal, sum.Notes)
		if p.mended > 0 {
			fmt.Fprintf(p.err, "; %d of them mended", p.mended)
		}
		fmt.Fprintln(p.err)
		for _, text := range p.worst() {
			fmt.Fprintf(p.err, "what to do: %s\n", text)
		}
	}
}

// faultRecord is a fault in JSON. Fields that do not apply are left out.
type faultRecord struct {
	Type     string           `json:"type"` // "fault"
	Code     check.Code       `json:"code"`
	Severity string           `json:"severity"`
	Tree     string           `json:"tree,omitempty"`
	Devices  []metadata.DevID `json:"devices,omitempty"`
	More     bool             `json:"more_devices,omitempty"`
	Block    *block.Nr        `json:"block,omitempty"`
	Lost     *lostRecord      `json:"lost,omitempty"`
	Counts   *countRecord     `json:"counts,omitempty"`
	Message  string           `json:"message"`
	Advice   string           `json:"advice"`
}

// lostRecord is keys that cannot be reached: begin and, unless there is no bound, end (excluded).
type lostRecord struct {
	Begin uint64  `json:"begin"`
	End   *uint64 `json:"end,omitempty"`
}

// countRecord is blocks from First on, Blocks of them, with a wrong count.
type countRecord struct {
	First   uint64 `json:"first"`
	Blocks  uint64 `json:"blocks"`
	Stored  uint32 `json:"stored"`
	Counted uint32 `json:"counted"`
}

func jsonFault(f check.Fault) faultRecord {
	r := faultRecord{
		Type: "fault", Code: f.Code, Severity: f.Severity.String(), Tree: f.Tree, Devices: f.Devices, More: f.MoreDevices,
		Message: f.Err.Error(), Advice: f.Advice(),
	}
	if f.HasBlock {
		r.Block = &f.Block
	}
	if f.Lost {
		r.Lost = &lostRecord{Begin: f.Keys.Begin}
		if f.Keys.End != 0 {
			r.Lost.End = &f.Keys.End
		}
	}
	if f.Count > 0 {
		r.Counts = &countRecord{f.First, f.Count, f.Stored, f.Counted}
	}
	return r
}

// summaryRecord is the last line of the JSON output.
type summaryRecord struct {
	Type               string      `json:"type"` // "summary"
	Fatal              uint64      `json:"fatal"`
	NonFatal           uint64      `json:"non_fatal"`
	Notes              uint64      `json:"notes"`
	Devices            uint64      `json:"devices"`
	Mappings           uint64      `json:"mappings"`
	DataLeaks          uint64      `json:"data_leaks"`
	MetadataLeaks      uint64      `json:"metadata_leaks"`
	Mended             *uint64     `json:"mended,omitempty"`
	NoRoom             *roomRecord `json:"no_room,omitempty"`
	Advice             []string    `json:"advice,omitempty"`
	TransactionID      *uint64     `json:"transaction_id,omitempty"`
	MetadataBlocks     *uint64     `json:"metadata_blocks,omitempty"`
	MetadataFreeBlocks *uint64     `json:"metadata_free_blocks,omitempty"`
	DataBlocks         *uint64     `json:"data_blocks,omitempty"`
	NeedsCheck         *bool       `json:"needs_check,omitempty"`
	HeldRoot           *uint64     `json:"held_root,omitempty"`
}

func (p *faultPrinter) jsonSummary(sum check.Summary) summaryRecord {
	r := summaryRecord{
		Type: "summary", Fatal: sum.Fatal, NonFatal: sum.NonFatal, Notes: sum.Notes,
		Devices: sum.Devices, Mappings: sum.Mappings, DataLeaks: sum.DataLeaks, MetadataLeaks: sum.MetadataLeaks,
		Advice: p.worst(),
	}
	if p.mends {
		r.Mended = &p.mended
	}
	if p.noRoom != nil {
		r.NoRoom = &roomRecord{p.noRoom.Needed, p.noRoom.Have}
	}
	if sb := p.live; sb != nil {
		free, held, flag := sb.FreeMetadataBlocks(), uint64(sb.HeldRoot), sb.Flags&metadata.NeedsCheck != 0
		r.TransactionID, r.MetadataFreeBlocks, r.HeldRoot, r.NeedsCheck = &sb.TransactionID, &free, &held, &flag
		r.MetadataBlocks, r.DataBlocks = &sb.MetadataSpaceMap.NrBlocks, &sb.DataSpaceMap.NrBlocks
	}
	return r
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
