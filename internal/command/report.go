package command

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
	"thinpool/tool/report"
)

// Report is thin_report.
type Report struct {
	cli.Common
	MetadataSnap cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	Format       string       `help:"Output format." default:"html" enum:"html,json,prometheus" placeholder:"html|json|prometheus"`
	Output       string       `help:"Write to FILE instead of standard output; it appears only when it is complete." short:"o" placeholder:"FILE"`
	Pool         string       `help:"Call the pool NAME. If not given, it is what LVM calls it, or the name of the file." placeholder:"NAME"`
	Input        string       `arg:"" help:"Metadata device or file."`
	volumes
}

// Details implements cli.Detailer.
func (r *Report) Details() string {
	return `The page shows how full the pool is, what deleting each volume gives back, the family tree of
snapshots, who shares with whom, a map of the data device, and what thin_check says. It is
one file of at most 300 KB, without scripts, and loads nothing from the network.

A damaged pool is reported as well: the page says what is wrong first and shows what can be
read. Then the exit code is 0. It is 1 if the superblock cannot be read.`
}

// Examples implements cli.Exampler.
func (r *Report) Examples() string {
	return `# A page about the pool in a disk image
thin_report disk.img -o pool.html
# Gauges for node_exporter, while the pool is in use
thin_report -m --format prometheus -o pool.prom /dev/mapper/vg-pool_tmeta`
}

// Run implements cli.Command.
func (r *Report) Run(env *cli.Env) (err error) {
	if r.disk().Reads(r.Input, r.Output) {
		return cli.Usagef("input and output are the same file: %s", r.Output)
	}
	dev, err := source.Open(env, source.Spec{Path: r.Input, Snapshot: r.MetadataSnap, Packs: true, Disk: r.disk()})
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	stillHeld := func() error { return nil }
	if r.MetadataSnap.Set {
		pool, err := dev.Pool(env)
		if err != nil {
			return err
		}
		stillHeld = pool.CheckSnapshotHeld
	}
	found, err := r.measure(env, dev)
	if err != nil {
		return err
	}
	if err := stillHeld(); err != nil {
		return err
	}
	if err := r.write(env, found); err != nil {
		return err
	}
	if found.Superblock == nil {
		return r.unreadable(env, found)
	}
	return nil
}

// measure creates the report.
func (r *Report) measure(env *cli.Env, dev *source.Source) (*report.Report, error) {
	facts := dev.Place.Facts()
	found, err := report.Run(env, dev, report.Options{
		Pool: cmp.Or(r.Pool, poolName(dev.Place, r.Input)), Snapshot: r.MetadataSnap.Set, Volume: lvmVolumes(dev.Place), Progress: env.Progress,
		Advice: func(f *check.Fault) string {
			advice := f.Advice()
			_, wiped := errors.AsType[*check.WipedError](f.Err)
			switch {
			case wiped && facts != nil:
				advice = adviseWithLVM
			case f.Code == check.SuperblockDamaged && !wiped:
				f.Err = source.Hint(f.Err)
			}
			return advice
		},
	})
	if err != nil || r.MetadataSnap.Set {
		return found, err
	}
	if facts != nil || found.InDevices() {
		newer, err := newerState(env, dev, facts)
		if err != nil {
			return nil, err
		}
		if newer != nil {
			found.Add(*newer)
		}
	}
	found.Differences, err = differences(env, dev)
	return found, err
}

// differences returns the differences between LVM's text and the metadata on dev.
func differences(env *cli.Env, dev *source.Source) (report.Differences, error) {
	all, err := differencesWithLVM(env, dev)
	var found report.Differences
	for _, d := range all {
		found = append(found, report.Difference{Code: string(d.Code), Text: d.String(), Refused: d.Refused, Fix: d.Fix})
	}
	return found, err
}

// poolName returns the name of the pool at p; input names its metadata.
func poolName(p *source.Place, input string) string {
	if p != nil && p.Pool != nil {
		return p.Group.Name + "/" + p.Pool.Name
	}
	return filepath.Base(input)
}

// lvmVolumes returns what LVM knows about the devices of a pool; nil if nothing.
func lvmVolumes(p *source.Place) func(metadata.DevID) (report.LVM, bool) {
	if p == nil || p.Pool == nil {
		return nil
	}
	all := map[metadata.DevID]report.LVM{}
	for _, v := range p.Group.LVs {
		t := v.Thin()
		if t == nil || t.Pool != p.Pool.Name {
			continue
		}
		known := report.LVM{Name: v.Name, Size: uint64(max(v.Size, 0))}
		if origin := p.Group.Volume(t.Origin); origin != nil && origin.Thin() != nil {
			known.HasOrigin, known.Origin = true, metadata.DevID(origin.Thin().DeviceID)
		}
		all[metadata.DevID(t.DeviceID)] = known
	}
	return func(id metadata.DevID) (report.LVM, bool) {
		known, ok := all[id]
		return known, ok
	}
}

// write writes the report in the chosen format.
func (r *Report) write(env *cli.Env, found *report.Report) error {
	file, err := source.CreateOutput(env, r.Output, "", r.disk().Files(r.Input)...)
	if err != nil {
		return err
	}
	defer file.Discard()
	switch r.Format {
	case "json":
		err = view.PoolReport(file, found)
	case "prometheus":
		err = found.Prometheus(file)
	default:
		err = found.HTML(file)
	}
	if err != nil {
		return err
	}
	return file.Commit(env)
}

// unreadable explains why there is little to report.
func (r *Report) unreadable(env *cli.Env, found *report.Report) error {
	reason := fmt.Errorf("the superblock cannot be read: %w", block.ErrCorrupt)
	if len(found.Faults) > 0 {
		reason = found.Faults[0].Err
	}
	fmt.Fprintf(env.Stderr, "thin_report: %s: %v\n", r.Input, reason)
	return cli.ErrReported
}
