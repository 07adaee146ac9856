package command

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"thinpool/internal/cli"
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

// Run implements cli.Command.
func (s *Stat) Run(env *cli.Env) error {
	if s.MetadataSnap.Set && (s.Op == "data_blocks" || s.Op == "metadata_blocks") {
		return cli.Usagef("a metadata snapshot has no reference counts; want --op data_run_len or devices with it")
	}
	pool, dev, err := s.openPool(env, s.Input, s.MetadataSnap)
	if err != nil {
		return err
	}
	defer dev.Close()
	out := bufio.NewWriter(env.Stdout)
	env.Progress("measuring "+s.Op, 0, 0)
	if s.Op == "devices" {
		err = s.devices(env, out, pool)
	} else {
		err = s.histogram(env, out, pool)
	}
	if err != nil {
		return damaged(err)
	}
	if err := pool.CheckSnapshotHeld(); err != nil {
		return err
	}
	return out.Flush()
}

const percent = 100

// binRecord is a line of a histogram in JSON.
type binRecord struct {
	Value uint64 `json:"value"`
	Times uint64 `json:"times"`
}

func (s *Stat) histogram(ctx context.Context, w io.Writer, pool *metadata.Pool) error {
	h, err := histograms[s.Op](ctx, pool)
	if err != nil {
		return err
	}
	times, sum := h.Total()
	enc := newEncoder(w)
	for _, b := range h {
		if s.Format == "json" {
			err = enc.Encode(binRecord(b))
		} else {
			_, err = fmt.Fprintf(w, "%d\t%d\t%.4f\n", b.Value, b.Times, percent*float64(b.Times)/float64(times))
		}
		if err != nil {
			return err
		}
	}
	if s.Format == "json" {
		return nil
	}
	_, err = fmt.Fprintf(w, "total\t%d\naverage\t%.4f\n", times, float64(sum)/float64(max(1, times)))
	return err
}

// statRecord is a device in JSON.
type statRecord struct {
	DevID         metadata.DevID `json:"dev_id"`
	Mappings      uint64         `json:"mappings"`
	Runs          uint64         `json:"runs"`
	Leaves        uint64         `json:"leaves"`
	SharedLeaves  uint64         `json:"shared_leaves"`
	InternalNodes uint64         `json:"internal_nodes"`
	Depth         int            `json:"depth"`
	Fill          float64        `json:"fill"` // of the leaves, 0 to 1
}

func (s *Stat) devices(ctx context.Context, w io.Writer, pool *metadata.Pool) error {
	devices, err := stat.Devices(ctx, pool)
	if err != nil {
		return err
	}
	if s.Format == "json" {
		enc := newEncoder(w)
		for _, d := range devices {
			if err := enc.Encode(statRecord{d.ID, d.Mappings, d.Runs, d.Leaves, d.Shared, d.Nodes, d.Depth, d.Fill()}); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "DEV\tMAPPINGS\tRUNS\tMEAN RUN\tLEAVES\tSHARED\tNODES\tDEPTH\tFILL\t")
	for _, d := range devices {
		fmt.Fprintf(table, "%d\t%d\t%d\t%.1f\t%d\t%d\t%d\t%d\t%.1f%%\t\n",
			d.ID, d.Mappings, d.Runs, float64(d.Mappings)/float64(max(1, d.Runs)), d.Leaves, d.Shared, d.Nodes, d.Depth, percent*d.Fill())
	}
	return table.Flush()
}
