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
	Op           string       `help:"What to measure: data_blocks and metadata_blocks: how often blocks are referred to; data_run_len: how long runs are; devices: fragmentation and fill of each device." default:"data_blocks" enum:"data_blocks,metadata_blocks,data_run_len,devices" placeholder:"data_blocks|metadata_blocks|data_run_len|devices"`
	Format       string       `help:"text or json." default:"text" enum:"text,json" placeholder:"text|json"`
	MetadataSnap cli.Optional `help:"Measure the metadata snapshot; the pool may be in use. It has no counts of blocks." short:"m" placeholder:"BLOCK" number:""`
	Input        string       `arg:"" help:"Metadata device or file."`
	volumes
}

// Details implements cli.Detailer.
func (s *Stat) Details() string {
	return `The histograms have a line for each value: the value, how often it occurs, and the
percentage, with tabs between them; then the total and the average.`
}

// histograms are what can be measured of the whole pool.
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
			err = view.Stat(out, devices, s.Format == "json")
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
