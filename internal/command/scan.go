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
	Begin             uint64       `help:"Begin at this block." placeholder:"BLOCK"`
	End               *uint64      `help:"End before this block." placeholder:"BLOCK"`
	MetadataSnap      cli.Optional `help:"Only list what the metadata snapshot is made of; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	ExamineCorruption bool         `help:"Only list blocks that are damaged, misplaced or wrongly counted." name:"examine-corruption"`
	Format            string       `help:"A table (text), or an object a line (json)." default:"text" enum:"text,json" placeholder:"text|json"`
	Output            string       `help:"Write to a file; it appears only if all went well." short:"o" placeholder:"FILE"`
	Input             string       `arg:"" help:"Metadata device or file."`
	volumes
}

// Details implements cli.Detailer.
func (s *Scan) Details() string {
	return `Adjacent blocks that are alike in every respect are one line: what they hold, whether
their checksums are right, their reference count in the metadata space map (STORED) and by
the pointers that were found (COUNTED), and which trees lead to them. What is wrong with
them follows after "!". Without a superblock nobody knows the owners; the rest is listed
all the same, and the exit code stays 0.`
}

// Run implements cli.Command.
func (s *Scan) Run(env *cli.Env) (err error) {
	switch {
	case s.End != nil && *s.End <= s.Begin:
		return cli.Usagef("--end %d is not above --begin %d", *s.End, s.Begin)
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
		fmt.Fprintf(env.Stderr, "thin_scan: %s: the owners of blocks are not known: %s\n", s.Input, reason)
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
	var failed error // of the output
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
