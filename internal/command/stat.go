package command

import (
	"bufio"
	"context"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata"
	"thinpool/tool/stat"
)

// Stat is thin_stat.
type Stat struct {
	cli.Common
	Op           string       `help:"What to measure; see below." default:"data_blocks" enum:"data_blocks,metadata_blocks,data_run_len,devices" placeholder:"data_blocks|metadata_blocks|data_run_len|devices"`
	Format       string       `help:"Output format." default:"text" enum:"text,json" placeholder:"text|json"`
	MetadataSnap cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	Input        string       `arg:"" help:"Metadata device or file."`
	volumes
}

// Details implements cli.Detailer.
func (s *Stat) Details() string {
	return `--op is one of:
  data_blocks      histogram of reference counts of data blocks
  metadata_blocks  histogram of reference counts of metadata blocks
  data_run_len     histogram of lengths of runs
  devices          table of fragmentation and node fill, by device

Each line of a histogram has a value, how often it occurs, and a percentage, separated by
tabs; the last two lines are the total and the average. A metadata snapshot has no
reference counts.`
}

// Examples implements cli.Exampler.
func (s *Stat) Examples() string {
	return `# How much of the data is shared
thin_stat /dev/mapper/vg-pool_tmeta
# How fragmented each device is, while the pool is in use
thin_stat -m --op devices /dev/mapper/vg-pool_tmeta`
}

// histograms lists what can be measured for the whole pool.
var histograms = map[string]func(context.Context, *metadata.Pool) (stat.Histogram, error){
	"data_blocks":     stat.DataCounts,
	"metadata_blocks": stat.MetadataCounts,
	"data_run_len":    stat.RunLengths,
}

// Rules implements cli.Ruler.
func (s *Stat) Rules() []cli.Rule {
	return []cli.Rule{{
		If: []string{"metadata-snap"}, Not: []string{"op=data_blocks", "op=metadata_blocks"},
		Why: "a metadata snapshot has no reference counts; use --op=data_run_len or --op=devices",
	}}
}

// Run implements cli.Command.
func (s *Stat) Run(env *cli.Env) (err error) {
	pool, dev, err := source.OpenPool(env, source.Spec{Path: s.Input, Snapshot: s.MetadataSnap, Packs: true, Disk: s.disk()})
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	out := bufio.NewWriter(env.Stdout)
	env.Progress("measuring "+s.Op, 0, 0)
	if s.Op == "devices" {
		var devices []stat.Device
		if devices, err = stat.Devices(env, pool); err == nil {
			err = view.Stat(out, devices, dev.Name, s.Format == "json")
		}
	} else {
		var h stat.Histogram
		if h, err = histograms[s.Op](env, pool); err == nil {
			err = view.Histogram(out, h, s.Format == "json")
		}
	}
	if err != nil {
		return source.Damaged(err)
	}
	if err := pool.CheckSnapshotHeld(); err != nil {
		return err
	}
	return out.Flush()
}
