package command

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/jsonfmt"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/textfmt"
	"thinpool/tool/dump"
	"thinpool/xmlfmt"
)

// overrides are the facts of a pool that options replace.
type overrides struct {
	TransactionID *uint64 `help:"Use this transaction id." placeholder:"N"`
	DataBlockSize *uint64 `help:"Use this data block size." placeholder:"SECTORS"`
	NrDataBlocks  *uint64 `help:"Use this number of data blocks." placeholder:"N"`
}

func (o overrides) metadata() metadata.Overrides {
	return metadata.Overrides{TransactionID: o.TransactionID, DataBlockSize: o.DataBlockSize, NrDataBlocks: o.NrDataBlocks}
}

// Dump is thin_dump.
type Dump struct {
	cli.Common
	Format       string       `help:"xml, human_readable or json." short:"f" default:"xml" placeholder:"TYPE"`
	Style        string       `help:"XML as which version writes it: 1 (with a newline at the end), 1.x (to the byte), 0.9 (shared mappings repeated)." default:"1" enum:"1,1.x,0.9" placeholder:"1|1.x|0.9"`
	Output       string       `help:"Write to a file; it appears only if all went well." short:"o" placeholder:"FILE"`
	Compress     string       `help:"Compress with gzip or zstd; a FILE that ends in .gz or .zst is compressed anyway." enum:",gzip,zstd" default:"" placeholder:"gzip|zstd"`
	MetadataSnap cli.Optional `help:"Dump the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	Repair       bool         `help:"Not in this version: dump what is readable of damaged metadata." short:"r"`
	DevID        []uint64     `help:"Only this device; may be repeated." placeholder:"N" name:"dev-id" sep:"none"`
	SkipMappings bool         `help:"Devices only, without their mappings."`
	overrides
	Input string `arg:"" help:"Metadata device or file."`
}

// Details implements cli.Detailer.
func (d *Dump) Details() string {
	return `The output of style 1 names shared mappings once (def) and refers to them (ref); a single
device is always written flat. json is one object a line: superblock, def, range, device,
ref, end.`
}

// Run implements cli.Command.
func (d *Dump) Run(env *cli.Env) error {
	snapshot, err := blockOf(d.MetadataSnap)
	switch {
	case err != nil:
		return err
	case d.Repair:
		return errors.New("--repair is not in this version: nothing was dumped. thin_check says what is damaged; single devices that are whole can be dumped with --dev-id")
	}
	if _, err := d.visitor(io.Discard); err != nil {
		return err
	}
	dev, err := cli.OpenMetadata(d.Input, d.MetadataSnap.Set)
	if err != nil {
		return err
	}
	defer dev.Close()
	pool, err := metadata.Open(dev, metadata.Options{Snapshot: d.MetadataSnap.Set, SnapshotBlock: snapshot})
	if err != nil {
		return damaged(cli.Hint(err))
	}
	out, err := env.CreateOutput(d.Output, d.Compress)
	if err != nil {
		return err
	}
	defer out.Discard()
	visitor, err := d.visitor(out)
	if err != nil {
		return err
	}
	defer visitor.Close()
	opt := dump.Options{
		SkipMappings: d.SkipMappings, Overrides: d.overrides.metadata(), Progress: env.Progress,
		Flat: d.Format == "xml" && d.Style == "0.9",
	}
	for _, id := range d.DevID {
		opt.Devices = append(opt.Devices, metadata.DevID(id))
	}
	if err := dump.Run(env, pool, opt, visitor); err != nil {
		return damaged(err)
	}
	if err := pool.StillHeld(); err != nil {
		return err
	}
	return out.Commit()
}

// visitor returns the writer of the chosen format.
func (d *Dump) visitor(w io.Writer) (interface {
	metadata.Visitor
	Close()
}, error,
) {
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
	return nil, cli.Usagef("unknown format %q: want xml, human_readable or json", d.Format)
}

// blockOf returns the block that -m names; 0 if it names none.
func blockOf(o cli.Optional) (block.Nr, error) {
	if o.Value == "" {
		return 0, nil
	}
	nr, err := strconv.ParseUint(o.Value, 10, 64)
	if err != nil {
		return 0, cli.Usagef("metadata snapshot %q: want a block number", o.Value)
	}
	return block.Nr(nr), nil
}

// damaged adds to an error about the metadata what to do next.
func damaged(err error) error {
	if errors.Is(err, block.ErrCorrupt) {
		return fmt.Errorf("metadata contains errors (run thin_check for details): %w", err)
	}
	return err
}
