package command

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata/block"
	"thinpool/tool/scan"
)

// Scan is thin_scan.
type Scan struct {
	cli.Common
	Begin             uint64       `help:"First block to list." placeholder:"BLOCK"`
	End               *uint64      `help:"End before this block." placeholder:"BLOCK"`
	MetadataSnap      cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	ExamineCorruption bool         `help:"List only blocks that are damaged, misplaced or wrongly counted." name:"examine-corruption"`
	Format            string       `help:"Output format." default:"text" enum:"text,json" placeholder:"text|json"`
	Output            string       `help:"Write to FILE instead of standard output; it appears only on success." short:"o" placeholder:"FILE"`
	Input             string       `arg:"" help:"Metadata device or file."`
	volumes
}

// Details implements cli.Detailer.
func (s *Scan) Details() string {
	return `Each line is a run of similar blocks: what they hold, whether their checksums are right,
their reference count in the metadata space map (STORED), the number of pointers to them
(COUNTED), and the trees that they belong to. Faults follow after "!". If the superblock is
lost, the owners are unknown; everything else is still listed, and the exit code is 0.`
}

// Examples implements cli.Exampler.
func (s *Scan) Examples() string {
	return `# List all blocks
thin_scan /dev/mapper/vg-pool_tmeta
# List damaged blocks and the devices they affect
thin_scan --examine-corruption pool.meta`
}

// Run implements cli.Command.
func (s *Scan) Run(env *cli.Env) (err error) {
	switch {
	case s.End != nil && *s.End <= s.Begin:
		return cli.Usagef("--end %d must be greater than --begin %d", *s.End, s.Begin)
	case s.disk().Reads(s.Input, s.Output):
		return cli.Usagef("input and output are the same file: %s", s.Output)
	}
	dev, err := source.Open(env, source.Spec{Path: s.Input, Snapshot: s.MetadataSnap, Packs: true, Disk: s.disk(), Doubtful: true, Partial: true})
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	stillHeld := func() error { return nil }
	if s.MetadataSnap.Set {
		pool, err := dev.Pool(env)
		if err != nil {
			return err
		}
		stillHeld = pool.CheckSnapshotHeld
	}
	opt := scan.Options{Begin: block.Nr(s.Begin), FaultsOnly: s.ExamineCorruption, Snapshot: s.MetadataSnap.Set, Progress: env.Progress}
	if opt.Begin >= block.Blocks(dev) {
		return cli.Usagef("--begin %d: the device has only %d blocks", s.Begin, block.Blocks(dev))
	}
	if s.End != nil {
		opt.End = block.Nr(*s.End)
	}
	file, err := source.CreateOutput(env, s.Output, "", s.disk().Files(s.Input)...)
	if err != nil {
		return err
	}
	defer file.Discard()
	sum, err := s.scan(env, dev, opt, file)
	if err != nil {
		return err
	}
	if err := stillHeld(); err != nil {
		return err
	}
	if s.Format == "json" {
		if err := view.NewEncoder(file).Encode(view.ScanSummary(sum)); err != nil {
			return err
		}
	}
	if err := file.Commit(env); err != nil {
		return err
	}
	if sum.Superblock != nil {
		reason := source.Hint(sum.Superblock).Error()
		if dev.Doubt != nil {
			reason = dev.Doubt.Error()
		}
		fmt.Fprintf(env.Stderr, "thin_scan: %s: block owners are unknown: %s\n", s.Input, reason)
	}
	return nil
}

// scan writes the rows to w.
func (s *Scan) scan(env *cli.Env, dev *source.Source, opt scan.Options, w io.Writer) (scan.Summary, error) {
	out := bufio.NewWriter(w)
	table := view.ScanTable{Writer: out, Name: dev.Name, Width: len(strconv.FormatUint(uint64(block.Blocks(dev)), 10))}
	print := table.Row
	if s.Format == "json" {
		enc := view.NewEncoder(out)
		print = func(r scan.Row) error { return enc.Encode(view.ScanRecord(r)) }
	} else if err := table.Header(); err != nil {
		return scan.Summary{}, err
	}
	var failed error // error of the output
	sum, err := scan.Run(env, dev, opt, func(r scan.Row) error {
		failed = print(r)
		return failed
	})
	switch {
	case failed != nil:
		return sum, failed
	case err != nil:
		return sum, fmt.Errorf("%s: %w", s.Input, err)
	}
	return sum, out.Flush()
}
