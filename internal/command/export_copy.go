package command

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"thinpool/internal/cli"
	"thinpool/internal/newfile"
	"thinpool/internal/source"
	"thinpool/metadata/block"
	"thinpool/metadata/volume"
	"thinpool/tool/export"
)

// export plans, lists and copies.
func (x *Export) export(env *cli.Env, v *exportVolume) error {
	job, err := x.job(v)
	if err != nil {
		return err
	}
	plan, err := x.plan(env, v, job.Position)
	if err != nil {
		return err
	}
	// List only now, after the plan succeeded: a reader might use a truncated table or list.
	if err := x.list(env, v); err != nil || x.Output == "" {
		return errors.Join(err, v.checkHeld())
	}
	return x.copy(env, v, job, plan)
}

// copy writes the output and reads it back if requested.
func (x *Export) copy(env *cli.Env, v *exportVolume, job *exportJob, plan exportPlan) error {
	if path := x.statePath(); path != "" {
		if err := newfile.Remove(path); err != nil { // before the copy changes
			return err
		}
	}
	to, done, err := x.target(env, v, job)
	if err != nil {
		return err
	}
	defer done()
	opt := export.Options{From: job.Position, Phase: "exporting MiB", Total: plan.bytes, Progress: env.Progress}
	if x.outputKind() != toFile {
		opt.Zeros, opt.Total = true, plan.bytes+plan.zeros
	}
	if x.Repair {
		opt.Unreadable = func(e volume.Extent) {
			job.unreadable = append(job.unreadable, e)
			job.Lost += e.Len
			sayLost(env, e)
		}
	}
	if job.path != "" {
		opt.Checkpoint = job.reached
		if err := job.reached(job.Position); err != nil {
			return err
		}
	}
	if err := export.Run(env, v, v.extents(env), to, opt); err != nil {
		return x.unfinished(env, job, fmt.Errorf("%s: %w", x.Output, err))
	}
	v.lossy = v.lossy || job.Lost > 0
	if x.Verify {
		if err := x.verify(env, v, job, to, opt); err != nil {
			return x.unfinished(env, job, fmt.Errorf("%s: verify: %w", x.Output, err))
		}
	}
	state := x.copyState(env, v)
	if err := v.checkHeld(); err != nil {
		return err
	}
	if err := x.mapfile(env, v, job.unreadable); err != nil {
		return err
	}
	if state != nil {
		if err := state.Save(x.Output); err != nil {
			return err
		}
	}
	if job.path != "" {
		return os.Remove(job.path)
	}
	return nil
}

// unfinished tells the user how to continue after an error.
func (x *Export) unfinished(env *cli.Env, job *exportJob, err error) error {
	if job.path != "" && !errors.Is(err, export.ErrDiffers) {
		fmt.Fprintf(env.Stderr, "%s: %d of %d bytes are copied; run the same command with --resume to continue\n", x.Output, job.Position, job.Size)
	}
	if wrong, ok := errors.AsType[*volume.ReadError](err); ok && !x.Repair && x.live == nil {
		return fmt.Errorf("%w; with --repair the export continues and leaves a hole of at most %d bytes", err, wrong.Extent.Len)
	}
	return err
}

// An exportJob says what is exported and how much of it is done.
type exportJob struct {
	export.Journal
	path    string // "": keep no journal
	resumed bool
	// unreadable extents, in ascending order. Extents copied before a resume are not included.
	unreadable []volume.Extent
}

// reached records that everything before position is on stable storage.
func (j *exportJob) reached(position int64) error {
	next := j.Journal
	next.Position = position
	if err := next.Save(j.path); err != nil {
		return err
	}
	j.Position = position
	return nil
}

// An outputKind is the kind of output an export writes to.
type outputKind int

const (
	toNothing outputKind = iota
	toFile
	toDisk
	toStream // standard output or a pipe
)

func (x *Export) outputKind() outputKind {
	info, err := os.Stat(x.Output)
	switch {
	case x.Output == "":
		return toNothing
	case x.Output == "-":
		return toStream
	case err != nil || info.Mode().IsRegular() || info.IsDir():
		return toFile
	case info.Mode().Type() == os.ModeDevice:
		return toDisk
	}
	return toStream
}

func (x *Export) journalPath() string {
	if x.Journal == "" && x.Onto == "" && x.outputKind() == toFile {
		return x.Output + ".resume"
	}
	return x.Journal
}

// job describes the export and finds out how far an earlier run got.
func (x *Export) job(v *exportVolume) (*exportJob, error) {
	job := &exportJob{path: x.journalPath()}
	job.Size = v.Size()
	fact := func(name string, value any) {
		job.Of = append(job.Of, export.Fact{Name: name, Value: fmt.Sprint(value)})
	}
	if v.plain != nil {
		v.plain.facts(fact)
	} else {
		x.facts(v, fact)
	}
	switch old, err := x.before(job.path); {
	case err != nil:
		return nil, err
	case old != nil:
		if err := old.Same(&job.Journal); err != nil {
			return nil, fmt.Errorf("%s: cannot resume: %w; %s to start over", job.path, err, x.anyway())
		}
		if x.Mapfile != "" && old.Lost > 0 {
			return nil, fmt.Errorf("%s: %d bytes could not be read before, and it is not known which, so there can be no mapfile; use --force to start over, or resume without --mapfile", job.path, old.Lost)
		}
		job.Position, job.Lost, job.resumed = old.Position, old.Lost, true
	}
	return job, nil
}

// facts lists what must not have changed when an export of a thin volume resumes.
func (x *Export) facts(v *exportVolume, fact func(name string, value any)) {
	sb := &v.pool.Superblock
	fact("pool uuid", hex.EncodeToString(sb.UUID[:]))
	fact("transaction", sb.TransactionID)
	fact("time", sb.Time)
	fact("data block size", sb.DataBlockSize)
	fact("device", orNone(v.device))
	fact("mapping tree in block", v.tree.Root)
	fact("data offset", uint64(x.DataOffset))
	fact("data size", v.src.DataSize)
	fact("origin size", v.src.OriginSize)
	fact("changed since", orNone(v.since))
	older := block.Nr(0)
	if v.older != nil {
		older = v.older.Root
	}
	fact("older mapping tree in block", older)
}

func orNone(n *uint64) string {
	if n == nil {
		return "none"
	}
	return strconv.FormatUint(*n, 10)
}

// before loads the journal of the export to resume; nil if there is none.
func (x *Export) before(path string) (*export.Journal, error) {
	if path == "" {
		return nil, nil
	}
	if !x.Resume {
		return nil, x.free(path)
	}
	old, err := export.LoadJournal(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return old, err
	}
	if info, err := os.Stat(x.Output); err == nil && info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s exists but %s does not: the export is complete, or this file is not from thin_export; %s to replace it", x.Output, path, x.anyway())
	}
	return nil, nil // nothing has been done yet
}

// anyway returns the advice for replacing an existing output.
func (x *Export) anyway() string {
	if x.live != nil {
		return "leave out --resume"
	}
	return "use --force"
}

// free makes sure that no existing output or journal is in the way.
func (x *Export) free(journal string) error {
	if _, err := os.Lstat(export.StatePath(x.Output)); err == nil && x.ChangedSince != nil {
		return fmt.Errorf("%s is a full copy, as %s says, and is not replaced by what changed; --onto brings it up to date", x.Output, export.StatePath(x.Output))
	}
	if x.Force {
		return nil
	}
	if _, err := os.Lstat(journal); err == nil {
		return fmt.Errorf("%s exists: an export was interrupted. Use --resume to continue it, or --force to start over", journal)
	}
	if _, err := os.Lstat(x.Output); err == nil && x.outputKind() == toFile {
		return fmt.Errorf("%s already exists; use --force to replace it", x.Output)
	}
	return nil
}

// target opens the output. done closes it, after success or failure.
func (x *Export) target(env *cli.Env, v *exportVolume, job *exportJob) (to export.Target, done func(), err error) {
	switch kind := x.outputKind(); {
	case kind == toFile:
		f, err := x.file(v.Size(), job)
		if errors.Is(err, block.ErrBusy) {
			err = source.Busy(x.Output, err)
		}
		if v.plain != nil && err == nil {
			return export.SparseFile{File: f}, func() { f.Close() }, nil
		}
		return f, func() { f.Close() }, err
	case kind == toDisk:
		disk, err := export.OpenDisk(x.Output, v.Size(), x.holes())
		if errors.Is(err, block.ErrBusy) {
			err = fmt.Errorf("%w: it may be mounted, or part of another device", err)
		}
		return disk, func() { disk.Close() }, err
	case x.Output == "-":
		return export.NewStream(env.Product), func() {}, nil
	}
	pipe, err := env.OpenPipe(x.Output)
	if err != nil {
		return nil, nil, err
	}
	return export.NewStream(pipe), func() { pipe.Close() }, nil
}

// holes says what to write to a block device where the volume has zeros.
func (x *Export) holes() export.Holes {
	switch {
	case x.AssumeZeroed:
		return export.SkipZeros
	case x.discard:
		return export.Discard
	}
	return export.WriteZeros
}

func (x *Export) file(size int64, job *exportJob) (*export.File, error) {
	if job.resumed {
		return export.ReopenFile(x.Output, size)
	}
	return export.CreateFile(x.Output, size, x.Force, source.ModeLike(x.inputs()...))
}

// verify reads everything back and compares.
func (x *Export) verify(env *cli.Env, v *exportVolume, job *exportJob, to export.Target, opt export.Options) error {
	if opt.Checkpoint != nil {
		if err := job.reached(v.Size()); err != nil {
			return err
		}
	}
	if f, ok := to.(interface{ Forget() }); ok {
		f.Forget()
	}
	opt.Phase = "verifying MiB"
	if x.Repair {
		opt.Unreadable = func(volume.Extent) {} // already reported
	}
	return export.Verify(env, v, v.extents(env), to.(io.ReaderAt), opt)
}
