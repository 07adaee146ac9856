package command

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/source"
	"thinpool/internal/write"
	"thinpool/jsonfmt"
	"thinpool/metadata"
	"thinpool/tool/generate"
	"thinpool/xmlfmt"
)

// Generate is thin_generate.
type Generate struct {
	cli.Common
	Output string `help:"Metadata device or file to write; it must exist. XML and JSON go to standard output by default." short:"o" placeholder:"FILE"`
	force
	Format        string   `help:"Output format." default:"metadata" enum:"metadata,xml,json" placeholder:"metadata|xml|json"`
	Devices       uint64   `help:"Number of devices that are not snapshots." default:"1" placeholder:"N"`
	Mappings      uint64   `help:"Mappings per device." default:"100000" placeholder:"N"`
	RunLength     uint64   `help:"Mean length of runs; with 1, no blocks are adjacent." default:"1" placeholder:"N"`
	Gaps          float64  `help:"Percentage of thin blocks that are not mapped." placeholder:"PERCENT"`
	Snapshots     uint64   `help:"Snapshots per device." placeholder:"N"`
	Divergence    float64  `help:"Percentage of mappings that each snapshot, and its origin, has changed." placeholder:"PERCENT"`
	Seed          uint64   `help:"Seed for the layout; the same seed gives the same pool." default:"1" placeholder:"N"`
	DataBlockSize uint64   `help:"Data block size." default:"128" placeholder:"SECTORS"`
	NrDataBlocks  uint64   `help:"Number of data blocks; raised if the mappings need more." placeholder:"N"`
	TransactionID uint64   `help:"Transaction id of the pool." placeholder:"N"`
	NeedsCheck    bool     `help:"Set the needs_check flag." name:"set-needs-check"`
	Damage        []string `help:"Damage N blocks; KIND is zero, flip, scribble or misplace; repeatable." placeholder:"KIND=N" sep:"none"`
}

// Details implements cli.Detailer.
func (g *Generate) Details() string {
	return `Devices share with their snapshots what neither has changed. The blocks that --damage
damages are listed on standard output.`
}

// Examples implements cli.Exampler.
func (g *Generate) Examples() string {
	return `# A pool of 10 devices with 20 snapshots each; pool.meta must exist
thin_generate -o pool.meta --devices 10 --snapshots 20 --divergence 2
# A small pool as XML
thin_generate --format xml --mappings 1000 --run-length 10
# A pool with two damaged blocks
thin_generate -o pool.meta --damage zero=1 --damage flip=1`
}

const percent = 100

// Rules implements cli.Ruler.
func (g *Generate) Rules() []cli.Rule {
	return []cli.Rule{
		cli.Exclusive("damage", "format=xml", "format=json"),
		{Needs: []string{"output"}, Unless: []string{"format=xml", "format=json"}},
	}
}

// Run implements cli.Command.
func (g *Generate) Run(env *cli.Env) error {
	damage, err := g.damage()
	if err != nil {
		return err
	}
	if err := metadata.CheckDataBlockSize(g.DataBlockSize); err != nil {
		return cli.Usagef("%v", err)
	}
	shape := generate.Shape{
		Devices: g.Devices, Mappings: g.Mappings, RunLength: g.RunLength, Gaps: g.Gaps / percent,
		Snapshots: g.Snapshots, Divergence: g.Divergence / percent, DataBlockSize: uint32(g.DataBlockSize),
		NrDataBlocks: g.NrDataBlocks, TransactionID: g.TransactionID, NeedsCheck: g.NeedsCheck, Seed: g.Seed,
	}
	if err := shape.Check(); err != nil {
		return cli.Usagef("%v", err)
	}
	if g.Format != "metadata" {
		return g.text(env, shape)
	}
	dev, err := source.Open(env, source.Spec{Path: g.Output, Access: source.Overwrite, Least: leastOutput, Force: g.Force})
	if err != nil {
		return err
	}
	defer dev.Close()
	b := write.New(write.Options{Progress: env.Progress})
	if err := generate.Run(env, shape, b); err != nil {
		return err
	}
	if err := b.Write(env, dev); err != nil {
		return fmt.Errorf("%s: %w", g.Output, err)
	}
	for _, d := range damage {
		spoilt, err := generate.Spoil(dev, d.kind, d.n, g.Seed)
		if err != nil {
			return fmt.Errorf("%s: %w", g.Output, err)
		}
		slices.Sort(spoilt)
		for _, nr := range spoilt {
			fmt.Fprintf(env.Stdout, "%s %d\n", d.kind, nr)
		}
	}
	return nil
}

// text writes a dump.
func (g *Generate) text(env *cli.Env, shape generate.Shape) error {
	out, err := source.CreateOutput(env, g.Output, "")
	if err != nil {
		return err
	}
	defer out.Discard()
	var v metadata.Visitor
	if g.Format == "xml" {
		v = xmlfmt.NewWriter(out, xmlfmt.Style1)
	} else {
		v = jsonfmt.NewWriter(out)
	}
	if err := generate.Run(env, shape, v); err != nil {
		return err
	}
	return out.Commit(env)
}

// spoiling is a kind of damage and how much of it.
type spoiling struct {
	kind generate.Damage
	n    int
}

func (g *Generate) damage() ([]spoiling, error) {
	var all []spoiling
	for _, text := range g.Damage {
		kind, number, _ := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > spacemap.MaxMetadata || !slices.Contains(generate.Damages, generate.Damage(kind)) {
			return nil, cli.Usagef("damage %q: want zero, flip, scribble or misplace, = and a number", text)
		}
		all = append(all, spoiling{generate.Damage(kind), n})
	}
	return all, nil
}
