package command

import (
	"fmt"
	"io"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/view"
	"thinpool/tool/size"
)

// MetadataSize is thin_metadata_size.
type MetadataSize struct {
	cli.Common
	BlockSize   *cli.Size    `help:"Data block size." short:"b" placeholder:"SIZE"`
	PoolSize    *cli.Size    `help:"Size of the data device." short:"s" placeholder:"SIZE"`
	MaxThins    *uint64      `help:"Number of devices and snapshots." short:"m" placeholder:"N"`
	Unit        string       `help:"Unit of the result: b, s, k, m, g, ... or its name." short:"u" default:"s" placeholder:"UNIT"`
	NumericOnly cli.Optional `help:"Print only the number, or the number with its short or long unit." short:"n" placeholder:"short|long"`
	Rule        string       `help:"How to estimate; see below." default:"tree" enum:"tree,scattered,kernel,lvm,packed" placeholder:"tree|scattered|kernel|lvm|packed"`
	Snapshots   uint64       `help:"Number of snapshots of a fully mapped device." placeholder:"N"`
	Divergence  cli.Percent  `help:"Percentage of its mappings that each snapshot changes." placeholder:"PERCENT"`
	ExtentSize  cli.Size     `help:"With --rule=lvm: extent size of the volume group." default:"4m" placeholder:"SIZE"`
	Explain     bool         `help:"Print and explain the result of every rule, and the size to choose."`
	From        string       `help:"Print exactly how much this metadata, or dump, needs when restored, and with room to grow." placeholder:"FILE"`
	Snapshot    cli.Optional `help:"Read the metadata snapshot; the pool may be in use." name:"metadata-snap" placeholder:"BLOCK" number:""`
	Format      string       `help:"Output format." default:"text" enum:"text,json" placeholder:"text|json"`
	volumes
}

// Details implements cli.Detailer.
func (m *MetadataSize) Details() string {
	return `A SIZE is digits and a unit: b, s (sectors of 512 bytes, the default), k m g t p e for
powers of 1024, K M G T P E for powers of 1000, or the name of a unit.

Rules: tree assumes half-full nodes, plus one block per device; kernel follows the kernel
documentation (48 bytes per data block, 2 MiB to 16 GiB); lvm is what lvcreate allocates;
packed is the minimum, with full nodes. With --snapshots, tree assumes that each snapshot
changes adjacent blocks, and scattered that it changes blocks all over the device.`
}

// Examples implements cli.Exampler.
func (m *MetadataSize) Examples() string {
	return `# In MiB, for a pool of 1 TiB with blocks of 64 KiB and up to 1000 devices
thin_metadata_size -b64k -s1t -m1000 -u m
# Compare all rules, for daily snapshots of a month, each of which changes 1 %
thin_metadata_size -b64k -s1t -m10 --snapshots 30 --divergence 1% --explain
# How much space restoring this metadata needs
thin_metadata_size --from pool.meta`
}

// Rules implements cli.Ruler.
func (m *MetadataSize) Rules() []cli.Rule {
	rules := []cli.Rule{
		{Needs: []string{"block-size"}, Unless: []string{"from"}},
		{Needs: []string{"pool-size"}, Unless: []string{"from"}},
		{Needs: []string{"max-thins"}, Unless: []string{"rule=kernel", "rule=lvm", "from"}},
	}
	return append(rules, cli.EachRequires(append([]string{"metadata-snap"}, imageOptions...), "from")...)
}

// Run implements cli.Command.
func (m *MetadataSize) Run(env *cli.Env) error {
	unit, err := cli.ParseUnit(m.Unit)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	if m.From != "" {
		return m.from(env, unit)
	}
	pool, err := m.pool()
	if err != nil {
		return err
	}
	e := pool.Estimate(size.Rule(m.Rule))
	switch {
	case m.Format == "json":
		return view.SizesJSON(env.Stdout, pool, e, m.Explain)
	case m.Explain:
		return view.Sizes(env.Stdout, pool)
	case m.NumericOnly.Set:
		return m.number(env.Stdout, e.Bytes, unit)
	}
	echo := fmt.Sprintf("--block-size=%v --pool-size=%v", m.BlockSize, m.PoolSize)
	if m.MaxThins != nil {
		echo += fmt.Sprintf(" --max-thins=%d", *m.MaxThins)
	}
	_, err = fmt.Fprintf(env.Stdout, "thin_metadata_size - %s %s estimated metadata area size for \"%s\"\n",
		size.Number(e.Bytes, unit.Bytes), unit.Name, echo)
	return err
}

// pool builds the pool from the options and validates it.
func (m *MetadataSize) pool() (size.Pool, error) {
	p := size.Pool{
		BlockSize: m.BlockSize.Bytes, Size: m.PoolSize.Bytes,
		Snapshots: m.Snapshots, Divergence: float64(m.Divergence), ExtentSize: m.ExtentSize.Bytes,
	}
	if m.MaxThins != nil {
		p.Thins = *m.MaxThins
	}
	if err := p.Check(); err != nil {
		return p, cli.Usagef("%w", err)
	}
	return p, nil
}

// number prints only the number, with the unit that -n asks for.
func (m *MetadataSize) number(w io.Writer, bytes uint64, unit cli.Unit) error {
	suffix := ""
	switch how := m.NumericOnly.Value; {
	case how == "":
	case strings.HasPrefix("short", how):
		suffix = unit.Letter
	case strings.HasPrefix("long", how):
		suffix = unit.Name
	default:
		return cli.Usagef("--numeric-only=%s: want short or long", how)
	}
	_, err := fmt.Fprintf(w, "%s%s\n", size.Number(bytes, unit.Bytes), suffix)
	return err
}
