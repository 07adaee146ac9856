package command

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/jsonfmt"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/textfmt"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
	"thinpool/xmlfmt"
)

// overrides are pool properties that options can replace.
type overrides struct {
	TransactionID *uint64 `help:"Override the transaction id." placeholder:"N"`
	DataBlockSize *uint64 `help:"Override the data block size." placeholder:"SECTORS"`
	NrDataBlocks  *uint64 `help:"Override the number of data blocks." placeholder:"N"`
}

func (o overrides) metadata() metadata.Overrides {
	return metadata.Overrides{TransactionID: o.TransactionID, DataBlockSize: o.DataBlockSize, NrDataBlocks: o.NrDataBlocks}
}

// Dump is thin_dump.
type Dump struct {
	cli.Common
	Format       string       `help:"Output format." short:"f" default:"xml" placeholder:"xml|human_readable|json"`
	Style        string       `help:"XML style: that of 1.x with a final newline, exactly that of 1.x, or that of 0.9." default:"1" enum:"1,1.x,0.9" placeholder:"1|1.x|0.9" env:"THIN_DUMP_STYLE"`
	Output       string       `help:"Write to FILE instead of standard output; it appears only on success." short:"o" placeholder:"FILE"`
	Compress     string       `help:"Compress the output. Implied if FILE ends in .gz or .zst." enum:",gzip,zstd" default:"" placeholder:"gzip|zstd"`
	MetadataSnap cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	Repair       bool         `help:"Dump what can be recovered from damaged metadata." short:"r"`
	DevID        []deviceID   `help:"Dump only this device: an id, or VG/LV in a disk image; repeatable." placeholder:"ID" name:"dev-id" sep:"none"`
	SkipMappings bool         `help:"Dump the devices without their mappings."`
	AcceptLoss   bool         `help:"Succeed even if something is lost or uncertain."`
	overrides
	salvage
	Input string `arg:"" help:"Metadata device or file."`
	volumes
}

// Details implements cli.Detailer.
func (d *Dump) Details() string {
	return `Style 1 writes shared mappings once (def) and refers to them (ref); a single device is
always written without def and ref. json writes one object per line: superblock, def, range,
device, ref, summary. The environment variable THIN_DUMP_STYLE sets --style for programs that
need style 0.9 and cannot ask for it.`
}

// Examples implements cli.Exampler.
func (d *Dump) Examples() string {
	return `# Back up the metadata of an inactive pool
thin_dump -o pool.xml.gz /dev/mapper/vg-pool_tmeta
# Show one device of a pool in use
thin_dump -m --dev-id 7 --format human_readable /dev/mapper/vg-pool_tmeta
# Dump what can be recovered from damaged metadata
thin_dump --repair --accept-loss -o pool.xml pool.meta`
}

// Rules implements cli.Ruler.
func (d *Dump) Rules() []cli.Rule {
	return slices.Concat(
		[]cli.Rule{cli.Exclusive("repair", "metadata-snap")},
		salvageRules(),
		cli.EachRequires(append([]string{"accept-loss"}, salvageOptions...), "repair"),
	)
}

// Run implements cli.Command.
func (d *Dump) Run(env *cli.Env) (err error) {
	if d.disk().Reads(d.Input, d.Output) {
		return cli.Usagef("input and output are the same file: %s", d.Output)
	}
	if _, err := d.visitor(io.Discard); err != nil {
		return err
	}
	spec := source.Spec{Path: d.Input, Snapshot: d.MetadataSnap, Packs: true, Disk: d.disk()}
	if d.Repair { // a metadata snapshot cannot be repaired
		spec.Access, spec.Partial = source.ReadIdle, true
	}
	dev, err := source.Open(env, spec)
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	opt := dump.Options{
		SkipMappings: d.SkipMappings, Overrides: d.overrides.metadata(), Progress: env.Progress,
		Flat: d.Format == "xml" && d.Style == "0.9", LiveSize: d.Format == "json",
	}
	for _, device := range d.DevID {
		id, err := device.in(dev.Place)
		if err != nil {
			return err
		}
		opt.Devices = append(opt.Devices, metadata.DevID(*id))
	}
	lossless := true
	var from block.Device = dev
	if d.Repair {
		found, err := d.repair(env, dev)
		if err != nil {
			return err
		}
		from, lossless = found.Device, found.Report.Lossless() || d.AcceptLoss
		opt.Overrides = metadata.Overrides{} // the repair has applied them
	}
	pool, err := dev.PoolIn(env, from)
	if err != nil {
		return err
	}
	if err := d.dump(env, pool, opt); err != nil {
		if errors.Is(err, block.ErrCorrupt) && !d.MetadataSnap.Set {
			return fmt.Errorf("%w; perhaps you wanted to run with --repair", err)
		}
		return err
	}
	if !lossless {
		return cli.ErrReported
	}
	return nil
}

// repair recovers what it can and reports losses on standard error.
func (d *Dump) repair(env *cli.Env, from *source.Source) (*repair.Result, error) {
	opt, err := d.salvage.options(d.overrides.metadata())
	if err != nil {
		return nil, err
	}
	if opt.DropDevices, err = d.dropped(from.Place); err != nil {
		return nil, err
	}
	opt.Progress, opt.LVM, opt.Name = env.Progress, from.Place.Facts(), from.Name
	found, err := repair.Find(env, from, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Input, hopeless(err))
	}
	if found.Report.Damaged {
		if err := view.TextReport(env.Stderr, &found.Report, from.Name); err != nil {
			return nil, err
		}
	}
	if found.Report.Empty() {
		return nil, fmt.Errorf("%s: %w", d.Input, errEmpty)
	}
	return found, nil
}

// dump writes the content of pool.
func (d *Dump) dump(env *cli.Env, pool *metadata.Pool, opt dump.Options) error {
	out, err := source.CreateOutput(env, d.Output, d.Compress, d.disk().Files(d.Input)...)
	if err != nil {
		return err
	}
	defer out.Discard()
	visitor, err := d.visitor(out)
	if err != nil {
		return err
	}
	if err := dump.Run(env, pool, opt, visitor); err != nil {
		return source.Damaged(err)
	}
	if err := pool.CheckSnapshotHeld(); err != nil {
		return err
	}
	return out.Commit(env)
}

// visitor returns the writer of the chosen format.
func (d *Dump) visitor(w io.Writer) (metadata.Visitor, error) {
	switch d.Format {
	case "xml":
		style := map[string]xmlfmt.Style{"1": xmlfmt.Style1, "1.x": xmlfmt.Style1Exact, "0.9": xmlfmt.Style09}[d.Style]
		return xmlfmt.NewWriter(w, style), nil
	case "human_readable":
		return textfmt.NewWriter(w), nil
	case "json":
		return jsonfmt.NewWriter(w), nil
	}
	if strings.HasPrefix(d.Format, "custom=") {
		return nil, cli.Usagef("format %q: shared libraries are not loaded; want xml, human_readable or json", d.Format)
	}
	return nil, cli.Usagef("unknown format %q: want xml, human_readable or json%s", d.Format, cli.DidYouMean(d.Format, []string{"xml", "human_readable", "json"}))
}
