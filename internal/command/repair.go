package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/printable"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
)

// Repair is thin_repair.
type Repair struct {
	cli.Common
	Input  string `help:"Damaged metadata device or file. Not written unless --in-place is given." short:"i" required:"" placeholder:"FILE"`
	Output string `help:"Metadata device or file to write; it must exist." short:"o" placeholder:"FILE"`
	inPlace
	force
	overrides
	salvage
	DryRun     bool   `help:"Report what would be done; write nothing."`
	ListStates bool   `help:"List the pool states found on the device, including older ones; write nothing." aliases:"list-roots"`
	AcceptLoss bool   `help:"Succeed even if something is lost or uncertain."`
	Report     string `help:"Also write the report to this file." placeholder:"FILE"`
	ReportHTML string `help:"Also write a page about the repaired pool, with what is lost, as thin_report does." placeholder:"FILE" name:"report-html"`
	Format     string `help:"Output format." default:"text" enum:"text,json" placeholder:"text|json"`
	Ignored    string `arg:"" optional:"" hidden:"" help:"Ignored: LVM passes one."`
	volumes
}

// salvage says what a repair keeps and drops.
type salvage struct {
	State       *int       `help:"Use state N of thin_repair --list-states." placeholder:"N"`
	MappingRoot *uint64    `help:"Use the top-level mapping tree whose root is this block." placeholder:"BLOCK"`
	DetailsRoot *uint64    `help:"Use the device details tree whose root is this block." placeholder:"BLOCK"`
	DropDevice  []deviceID `help:"Leave out this device: an id, or VG/LV in a disk image; repeatable." placeholder:"ID" sep:"none"`
	KeepPartial bool       `help:"Keep devices that have lost something (the default)."`
	DropPartial bool       `help:"Leave out devices that have lost something."`
	Adopt       []string   `help:"Use the tree at block ROOT, whose device is unknown, for device ID; repeatable." placeholder:"ROOT=ID" sep:"none"`
	KeepOrphans bool       `help:"Give new device ids to trees whose device is unknown."`
}

// salvageOptions lists the options of salvage.
var salvageOptions = []string{"state", "mapping-root", "details-root", "drop-device", "keep-partial", "drop-partial", "adopt", "keep-orphans"}

func salvageRules() []cli.Rule {
	return []cli.Rule{cli.Exclusive("keep-partial", "drop-partial"), cli.Exclusive("state", "mapping-root", "details-root")}
}

func (s *salvage) options(o metadata.Overrides) (repair.Options, error) {
	opt := repair.Options{Overrides: o, DropPartial: s.DropPartial, KeepOrphans: s.KeepOrphans}
	switch {
	case s.State != nil && *s.State < 1:
		return opt, cli.Usagef("--state %d: states are numbered from 1, as in --list-states", *s.State)
	case s.State != nil:
		opt.State = *s.State
	}
	for _, text := range s.Adopt {
		root, id, err := parseAdopt(text)
		if err != nil {
			return opt, err
		}
		if opt.Adopt == nil {
			opt.Adopt = map[block.Nr]metadata.DevID{}
		}
		if _, twice := opt.Adopt[root]; twice || slices.Contains(slices.Collect(maps.Values(opt.Adopt)), id) {
			return opt, cli.Usagef("--adopt %s: a tree or a device id can be given only once", text)
		}
		opt.Adopt[root] = id
	}
	if s.MappingRoot != nil {
		opt.MappingRoot = block.Nr(*s.MappingRoot)
	}
	if s.DetailsRoot != nil {
		opt.DetailsRoot = block.Nr(*s.DetailsRoot)
	}
	return opt, nil
}

// dropped returns the devices to leave out, for the pool at p.
func (s *salvage) dropped(p *source.Place) ([]metadata.DevID, error) {
	var all []metadata.DevID
	for _, device := range s.DropDevice {
		id, err := device.in(p)
		if err != nil {
			return nil, err
		}
		all = append(all, metadata.DevID(*id))
	}
	return all, nil
}

// parseAdopt parses ROOT=ID.
func parseAdopt(text string) (block.Nr, metadata.DevID, error) {
	left, right, _ := strings.Cut(text, "=")
	root, err := strconv.ParseUint(left, 10, 63)
	id, err2 := strconv.ParseUint(right, 10, 64)
	if err != nil || err2 != nil || id > metadata.MaxDevID {
		return 0, 0, cli.Usagef("--adopt %s: want ROOT=ID, a block number and a device id of at most %d", text, metadata.MaxDevID)
	}
	return block.Nr(root), metadata.DevID(id), nil
}

// Details implements cli.Detailer.
func (r *Repair) Details() string {
	return `Recovers everything that can be read and writes it to the output as new metadata. The
report shows for each device how many mappings were expected, read, confirmed, guessed and
lost, and which thin blocks are affected. The exit code is 0 only if nothing is lost or
uncertain, or with --accept-loss; the output is written in any case. Keep the damaged
metadata until you have checked all data.

With --in-place, the result replaces the damaged metadata or, with -o, the metadata in that
disk or raw image. If anything is lost or uncertain, this needs --accept-loss.`
}

// Examples implements cli.Exampler.
func (r *Repair) Examples() string {
	return `# See what a repair would recover and lose
thin_repair --dry-run -i pool.meta
# Repair into a new file (first: truncate -s 128M new.meta)
thin_repair -i pool.meta -o new.meta
# Repair the pool inside the image of a disk
thin_repair -i disk.img --in-place --undo pool.undo`
}

// Rules implements cli.Ruler.
func (r *Repair) Rules() []cli.Rule {
	output := cli.Rule{Needs: []string{"output"}, Unless: []string{"dry-run", "list-states", "in-place"}}
	return slices.Concat([]cli.Rule{output, cli.Exclusive("list-states", "report", "report-html")}, salvageRules(), inPlaceRules())
}

// Run implements cli.Command.
func (r *Repair) Run(env *cli.Env) (err error) {
	opt, err := r.salvage.options(r.overrides.metadata())
	if err == nil {
		err = r.validate()
	}
	if err != nil {
		return err
	}
	dev, err := source.Open(env, r.input())
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	opt.Progress, opt.LVM = env.Progress, dev.Place.Facts()
	if r.Format != "json" {
		opt.Name = dev.Name
	}
	if opt.DropDevices, err = r.dropped(dev.Place); err != nil {
		return err
	}
	if r.ListStates {
		return r.listStates(env, dev, opt)
	}
	out := dev
	if r.Output != "" && !r.DryRun {
		if out, err = source.Open(env, r.output(r.Output, r.disk(), r.force)); err != nil {
			return err
		}
		defer out.Close()
	}
	found, err := repair.Find(env, dev, opt)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Input, source.DifferHint(hopeless(err)))
	}
	if err := r.report(env, dev, &found.Report); err != nil {
		return err
	}
	page, err := r.openPage(env)
	if err != nil {
		return err
	}
	if page != nil {
		defer page.Discard()
	}
	if found.Report.Empty() {
		return fmt.Errorf("%s: %w", r.Input, errEmpty)
	}
	lost := !found.Report.Lossless() && !r.AcceptLoss
	sound, err := r.isSound(env, dev, &found.Report)
	if err != nil {
		return err
	}
	var written block.Device
	switch {
	case r.DryRun:
	case sound:
		fmt.Fprintln(env.Stderr, "nothing is damaged, so nothing was written")
	case lost && r.InPlace:
		fmt.Fprintln(env.Stderr, "nothing was written, because something is lost or uncertain. Use --accept-loss to write it all the same; the undo file keeps the damaged metadata")
	default:
		if err := r.write(env, found, out); err != nil {
			return err
		}
		written = out
	}
	if page != nil {
		if err := r.page(env, page, dev, found, written); err != nil {
			return err
		}
	}
	if lost {
		return cli.ErrReported
	}
	return nil
}

// isSound reports whether a repair in place has nothing to do: nothing is damaged, and no option
// asks for a change.
func (r *Repair) isSound(env *cli.Env, dev *source.Source, found *repair.Report) (bool, error) {
	if !r.InPlace || r.Output != "" || r.Leg != 0 || r.changes() || found.Damaged || !found.Lossless() {
		return false, nil
	}
	sum, err := check.Run(env, dev, check.Options{Progress: env.Progress}, func(check.Fault) {})
	return err == nil && sum.Fatal+sum.NonFatal == 0, err
}

// changes reports whether an option selects something other than what the superblock names.
func (r *Repair) changes() bool {
	return r.State != nil || r.MappingRoot != nil || r.DetailsRoot != nil || len(r.DropDevice) > 0 || len(r.Adopt) > 0 ||
		r.KeepOrphans || r.overrides != (overrides{})
}

// validate makes sure that no output is also an input.
func (r *Repair) validate() error {
	switch {
	case r.Output != "" && source.SameFile(r.Input, r.Output):
		return cli.Usagef("input and output are the same file: %s; to repair it in place, leave out --output", r.Output)
	case r.ReportHTML != "" && r.ReportHTML != "-" && (samePath(r.Report, r.ReportHTML) || samePath(r.Undo, r.ReportHTML)):
		return cli.Usagef("--report-html would overwrite another output: %s", r.ReportHTML)
	}
	for _, path := range []string{r.Report, r.ReportHTML} {
		if r.disk().Reads(r.Input, path) || source.SameFile(r.Output, path) {
			return cli.Usagef("the report would overwrite metadata: %s", path)
		}
	}
	return r.newUndo()
}

// samePath reports whether a and b name the same file. The file need not exist.
func samePath(a, b string) bool {
	return a != "" && (filepath.Clean(a) == filepath.Clean(b) || source.SameFile(a, b))
}

// input returns how to open the damaged metadata. If the output is a disk, the options that locate
// metadata on a disk apply to the output instead.
func (r *Repair) input() source.Spec {
	switch {
	case !r.InPlace:
		return source.Spec{Path: r.Input, Access: source.ReadIdle, Packs: true, Disk: r.disk(), Partial: true}
	case r.Output == "":
		return source.Spec{Path: r.Input, Access: source.Claim, Disk: r.disk()}
	}
	return source.Spec{
		Path: r.Input, Access: source.ReadIdle, Packs: true,
		DiskHint: "--in-place cannot be used with -o here: repair into a file first, or leave out -o",
	}
}

// hopeless adds other possible kinds of input to an error about missing roots.
func hopeless(err error) error {
	if errors.Is(err, repair.ErrNoRoots) {
		return source.Hint(err)
	}
	return err
}

var errEmpty = errors.New("no mappings could be recovered; refusing to write an empty pool. list what is left of earlier transactions with thin_repair --list-states")

// report prints the report and, if asked, writes it to a file.
func (r *Repair) report(env *cli.Env, from *source.Source, found *repair.Report) error {
	show := func(w io.Writer) error {
		if r.Format == "json" {
			return view.JSONReport(w, found)
		}
		return view.TextReport(w, found, from.Name)
	}
	if !r.Quiet {
		if err := show(env.Stdout); err != nil {
			return err
		}
	}
	if r.Report == "" {
		return nil
	}
	file, err := source.CreateOutput(env, r.Report, "", r.disk().Files(r.Input)...)
	if err != nil {
		return err
	}
	defer file.Discard()
	if err := show(printable.NewWriter(file)); err != nil { // people view the file on a terminal, too
		return err
	}
	return file.Commit(env)
}

// write writes the recovered pool as new metadata. The builder reads everything first, so the
// output may overwrite the damaged metadata.
func (r *Repair) write(env *cli.Env, found *repair.Result, out *source.Source) error {
	b := write.New(write.Options{Note: func(text string) { env.Log.Info(text) }, Progress: env.Progress})
	if err := hand(env, found, dump.Options{Progress: env.Progress}, b); err != nil {
		return err
	}
	return out.Replace(env, b, r.Undo)
}

// hand passes the recovered pool to a visitor.
func hand(ctx context.Context, found *repair.Result, opt dump.Options, v metadata.Visitor) error {
	pool, err := metadata.Open(found.Device, metadata.Options{})
	if err == nil {
		err = dump.Run(ctx, pool, opt, v)
	}
	if errors.Is(err, block.ErrCorrupt) {
		return fmt.Errorf("internal error: the repaired metadata is still damaged: %w", err)
	}
	return err
}

func (r *Repair) listStates(env *cli.Env, dev *source.Source, opt repair.Options) error {
	all, rivals, err := repair.States(env, dev, opt)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", r.Input, err)
	case r.Quiet:
		return nil
	}
	if r.Format == "json" {
		return view.JSONStates(env.Stdout, all, rivals)
	}
	return view.TextStates(env.Stdout, all, rivals)
}
