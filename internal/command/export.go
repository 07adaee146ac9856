package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/volume"
	"thinpool/tool/export"
	"thinpool/tool/repair"
)

// Export is thin_export.
type Export struct {
	cli.Common
	Metadata      string       `help:"Metadata device or file. Not needed with IMAGE." aliases:"metadata-dev" placeholder:"FILE"`
	Data          string       `help:"Data device, or an image of it." aliases:"data-dev" placeholder:"FILE"`
	DataOffset    byteSize     `help:"Offset of the data device in FILE: bytes, or a number with a unit." placeholder:"BYTES"`
	Origin        string       `help:"External origin of the device, or an image of it." placeholder:"FILE"`
	DevID         *deviceID    `help:"Export this device: an id, or VG/LV in a disk image." aliases:"device" placeholder:"ID" name:"dev-id"`
	Root          *uint64      `help:"Export the mapping tree whose root is this block, instead of a device." placeholder:"BLOCK"`
	Size          *byteSize    `help:"Device size: bytes, or a number with a unit. Without it, the last mapped block is the end." placeholder:"BYTES"`
	Output        string       `help:"File to create, block device to overwrite, or - for standard output." short:"o" placeholder:"FILE"`
	Force         bool         `help:"Replace an existing file." short:"f"`
	Resume        bool         `help:"Continue an interrupted export."`
	Journal       string       `help:"Record progress in this file. For files, the default is the output name with .resume added." placeholder:"FILE"`
	Verify        bool         `help:"When done, read everything back and compare it."`
	AssumeZeroed  bool         `help:"The output device is all zeros; do not write zeros."`
	ChangedSince  *deviceID    `help:"Export only what differs from this device: an id, or VG/LV in a disk image." placeholder:"ID"`
	Format        string       `help:"List the exported ranges on standard output, one object per line." default:"" enum:",json" placeholder:"json"`
	Ranges        string       `help:"Write the same list to a file." placeholder:"FILE"`
	Mapfile       string       `help:"Write a mapfile for GNU ddrescue, which says what is lost." placeholder:"FILE"`
	Onto          string       `help:"With --changed-since: bring this full copy of the older device up to date." placeholder:"FILE"`
	Map           string       `help:"Print a table for dmsetup create --readonly instead of exporting." default:"" enum:",dmsetup" placeholder:"dmsetup"`
	MetadataSnap  cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	MappingRoot   *uint64      `help:"Use the top-level mapping tree whose root is this block." placeholder:"BLOCK"`
	DetailsRoot   *uint64      `help:"Use the device details tree whose root is this block." placeholder:"BLOCK"`
	Repair        bool         `help:"Export what can be recovered from damaged metadata and unreadable data." short:"r"`
	DataBlockSize *uint64      `help:"Override the data block size." placeholder:"SECTORS"`
	AcceptLoss    bool         `help:"Succeed even if something is lost or uncertain."`
	Input         string       `arg:"" optional:"" name:"image" help:"Disk, or image of a disk, that holds LVM volumes."`
	volumes

	live    *source.Thin // the active device that thin_migrate copies; nil: this is thin_export
	discard bool         // discard ranges of block devices where the volume has zeros
}

// Details implements cli.Detailer.
func (x *Export) Details() string {
	return `Blocks that are not mapped become holes in a file, and zeros elsewhere. If an export to a
file is interrupted, the same command with --resume continues it.

Ranges that are lost are listed before anything is written. Then the export fails or, with
--repair, continues, leaves holes there, and exits with 1.

--format=json lists ranges in bytes, such as {"type":"data","begin":0,"length":65536}. The
types are data, zero, lost, guessed (copied with --repair, but maybe wrong) and, at the end,
summary.`
}

// Examples implements cli.Exampler.
func (x *Export) Examples() string {
	return `# Export device 7 of an inactive pool
thin_export --metadata tmeta --data tdata --dev-id 7 --size 40g -o vm7.img
# Export a volume from the image of a disk
thin_export --lv vg/vm7 -o vm7.img disk.img
# Export only what changed since vg/monday
thin_export --lv vg/friday --changed-since vg/monday -o new.img disk.img`
}

// Run implements cli.Command.
func (x *Export) Run(env *cli.Env) (err error) {
	if x.Onto != "" {
		x.Output = x.Onto
	}
	snapshot, err := x.check()
	if err != nil {
		return err
	}
	in, err := x.open(env)
	if err != nil {
		return err
	}
	defer in.Close()
	defer func() { err = view.Named(err, in.place.Name()) }()
	v, err := x.volume(env, in, snapshot)
	if err != nil {
		return err
	}
	run := x.export
	if x.Onto != "" {
		run = x.update
	}
	if err := run(env, v); err != nil {
		return err
	}
	if v.lossy && !x.AcceptLoss {
		return cli.ErrReported
	}
	return nil
}

// Rules implements cli.Ruler.
func (x *Export) Rules() []cli.Rule {
	disk := "IMAGE" // LVM says there where data and origin are
	return slices.Concat(
		[]cli.Rule{
			cli.Exclusive("dev-id", "root"),
			cli.Exclusive("map", "output", "format", "changed-since"),
			cli.Exclusive("mapfile", "changed-since"),
			cli.Exclusive("onto", "output", "root"),
			cli.Requires("onto", "changed-since"),
			cli.Exclusive("repair", "metadata-snap", "changed-since"),
			cli.Exclusive("assume-zeroed", "changed-since"),
			cli.Exclusive("force", "resume"),
			cli.Exclusive("output=-", "format"),
			{If: []string{disk}, Not: []string{"data-offset", "origin"}, Why: "LVM knows it"},
			{If: []string{disk, "data"}, Needs: []string{"map"}, Why: "LVM knows where the data is"},
			{Needs: []string{"metadata", disk}},
			{Needs: []string{"dev-id"}, Unless: []string{"root", disk}},
			{Needs: []string{"output"}, Unless: []string{"format", "ranges", "map", "onto"}, Why: "- is standard output"},
			{If: []string{"output"}, Needs: []string{"data", disk}},
			{If: []string{"onto"}, Needs: []string{"data", disk}},
			cli.Requires("data-offset", "data", "map"),
		},
		cli.EachRequires(imageOptions, disk),
		cli.EachRequires([]string{"resume", "force", "journal", "assume-zeroed", "mapfile"}, "output"),
		cli.EachRequires([]string{"verify"}, "output", "onto"),
		cli.EachRequires([]string{"accept-loss", "data-block-size"}, "repair"),
	)
}

// check validates the options. It returns the block number given with -m.
func (x *Export) check() (block.Nr, error) {
	switch {
	case x.Size != nil && (*x.Size == 0 || *x.Size%cli.SectorSize != 0 || *x.Size > math.MaxInt64):
		return 0, cli.Usagef("--size: %d bytes is not a multiple of %d", *x.Size, cli.SectorSize)
	case x.DataOffset%cli.SectorSize != 0 || x.DataOffset > math.MaxInt64:
		return 0, cli.Usagef("--data-offset: %d bytes is not a multiple of %d", x.DataOffset, cli.SectorSize)
	}
	if err := x.checkOutput(); err != nil {
		return 0, err
	}
	return source.SnapshotBlock(x.MetadataSnap), nil
}

// checkOutput makes sure that the output supports the options.
func (x *Export) checkOutput() error {
	kind := x.outputKind()
	switch {
	case x.Onto != "" && kind != toFile:
		return cli.Usagef("--onto: %s is not a regular file", x.Onto)
	case kind == toStream && (x.Verify || x.Resume || x.Journal != "" || x.ChangedSince != nil):
		return cli.Usagef("%s is a stream: --verify, --resume, --journal and --changed-since need a file or a block device", x.Output)
	case kind == toDisk && x.Resume && x.Journal == "":
		return cli.Usagef("--resume: an export to a block device can only be resumed if it was started with --journal")
	case kind != toDisk && x.AssumeZeroed:
		return cli.Usagef("--assume-zeroed: %s is not a block device", x.Output)
	}
	return x.checkFiles()
}

// checkFiles makes sure that no output is also an input.
func (x *Export) checkFiles() error {
	if x.Data != "" && source.SameFile(x.Metadata, x.Data) {
		return cli.Usagef("metadata and data are the same file: %s", x.Data)
	}
	for _, in := range x.inputs() {
		for _, out := range []string{x.Output, x.Ranges, x.Mapfile, x.journalPath(), x.statePath()} {
			if in != "" && out != "" && source.SameFile(in, out) {
				return cli.Usagef("%s is an input, so it cannot be the output", out)
			}
		}
	}
	outputs := []string{x.Output, x.Ranges, x.Mapfile, x.journalPath(), x.statePath()}
	for i, out := range outputs {
		for _, other := range outputs[:i] {
			if out != "" && (out == other || source.SameFile(out, other)) {
				return cli.Usagef("two outputs are the same file: %s", out)
			}
		}
	}
	return nil
}

// inputs lists the files that are read.
func (x *Export) inputs() []string {
	return append(x.disk().Files(x.Input), x.Metadata, x.Data, x.Origin)
}

// exportInputs is what an export reads.
type exportInputs struct {
	metadata block.Device
	src      volume.Source
	size     int64         // of the device, according to LVM; 0: unknown
	place    *source.Place // nil: not inside an image
	plain    *plain        // the content, if it is not in a pool; else nil
	device   *uint64       // the device to export; nil: the tree of --root
	older    *uint64       // export only what differs from this device; nil: everything
	close    []io.Closer
}

func (in *exportInputs) Close() {
	for _, c := range in.close {
		c.Close()
	}
}

// open opens all inputs. No other code uses the paths.
func (x *Export) open(env *cli.Env) (in *exportInputs, err error) {
	in = &exportInputs{src: volume.Source{DataSize: math.MaxInt64}}
	defer func() {
		if err != nil {
			in.Close()
		}
	}()
	if x.Metadata != "" {
		from, err := source.Open(env, source.Spec{Path: x.Metadata, Snapshot: x.MetadataSnap, Packs: true})
		if err != nil {
			return in, err
		}
		in.metadata, in.close = from, append(in.close, from)
	}
	if x.Input != "" {
		return in, x.openImages(env, in)
	}
	if err := x.devices(in); err != nil {
		return in, err
	}
	if x.Data != "" {
		data, err := source.OpenData(env, x.Data, x.MetadataSnap.Set)
		if err != nil {
			return in, err
		}
		in.close = append(in.close, data)
		offset := int64(x.DataOffset)
		if offset > data.Size {
			return in, fmt.Errorf("%s: --data-offset is beyond its end, at %d bytes", x.Data, data.Size)
		}
		in.src.Data, in.src.DataSize = data, wholeSectors(data.Size-offset)
		if data.Advise != nil {
			in.src.Advise = func(off, n int64) { data.Advise(off+offset, n) }
		}
		if offset > 0 {
			in.src.Data = io.NewSectionReader(data, offset, in.src.DataSize)
		}
	}
	if x.Origin != "" {
		origin, err := source.OpenData(env, x.Origin, true) // other devices may share it
		if err != nil {
			return in, err
		}
		in.close = append(in.close, origin)
		in.src.Origin, in.src.OriginSize = origin, wholeSectors(origin.Size)
	}
	return in, nil
}

// devices resolves the devices the options name.
func (x *Export) devices(in *exportInputs) (err error) {
	if in.device, err = x.DevID.in(in.place); err == nil {
		in.older, err = x.ChangedSince.in(in.place)
	}
	return err
}

// wholeSectors rounds the size of a file down to whole sectors, as a device needs.
func wholeSectors(size int64) int64 { return size / cli.SectorSize * cli.SectorSize }

// A content is the data to export, as a stream of extents.
type content interface {
	export.Reader
	Size() int64
	Extents(ctx context.Context) iter.Seq2[volume.Extent, error]
}

// An exportVolume is the data to export and where it comes from.
type exportVolume struct {
	content
	plain         *plain         // the content, if it is not in a pool; then only lossy is set below
	thin          *volume.Volume // the content, if it is in a pool
	pool          *metadata.Pool
	tree          metadata.MappingTree
	older         *metadata.MappingTree // export only what differs from this tree,
	base          int64                 // plus everything from this byte on,
	rewritable    *uint32               // plus what was mapped at this time or later; nil: nothing
	place         *source.Place
	src           volume.Source
	device, since *uint64 // device ids, if there are any
	live          *live   // the device in the kernel; nil: not asked
	lossy         bool    // something is lost, even if it is unknown what
}

// volume opens the device and collects what is known about it.
func (x *Export) volume(env *cli.Env, in *exportInputs, snapshot block.Nr) (*exportVolume, error) {
	if in.plain != nil {
		return &exportVolume{content: in.plain, plain: in.plain}, nil
	}
	v := &exportVolume{src: in.src, device: in.device, since: in.older, base: math.MaxInt64, place: in.place}
	opt := metadata.Options{
		Snapshot: x.MetadataSnap.Set, SnapshotBlock: snapshot,
		MappingRoot: numbered(x.MappingRoot), DetailsRoot: numbered(x.DetailsRoot),
	}
	from, err := in.metadata, error(nil)
	var known volume.Options
	if x.Repair && x.Root == nil {
		if from, known, v.lossy, err = x.salvage(env, in); err != nil {
			return nil, err
		}
		opt = metadata.Options{} // the repair has applied them
	}
	v.pool, err = metadata.Open(from, opt)
	switch {
	case errors.Is(err, metadata.ErrNoSnapshot):
		return nil, source.NoSnapshot(cmp.Or(x.Metadata, x.Input), err)
	case err != nil:
		return nil, source.Damaged(source.Hint(err))
	}
	if v.tree, err = tree(v.pool, in.device, x.Root); err != nil {
		return nil, err
	}
	if in.older != nil {
		older, err := tree(v.pool, in.older, nil)
		if err != nil {
			return nil, err
		}
		v.older = &older
	}
	if known.Size, err = x.size(env, v, in.size); err != nil {
		return nil, err
	}
	v.thin, err = volume.Open(env, v.pool, v.tree, in.src, known)
	v.content = v.thin
	return v, source.Damaged(err)
}

// checkHeld returns an error if the metadata snapshot has been released since it was opened.
func (v *exportVolume) checkHeld() error {
	if v.plain != nil {
		return nil
	}
	return errors.Join(v.pool.CheckSnapshotHeld(), v.checkCurrent())
}

func numbered(nr *uint64) block.Nr {
	if nr == nil {
		return 0
	}
	return block.Nr(*nr)
}

// salvage recovers what it can from the metadata. lossy means that the device is incomplete or
// uncertain; known lists the affected places, if known.
func (x *Export) salvage(env *cli.Env, in *exportInputs) (whole block.Device, known volume.Options, lossy bool, err error) {
	found, err := repair.Find(env, in.metadata, repair.Options{
		MappingRoot: numbered(x.MappingRoot), DetailsRoot: numbered(x.DetailsRoot),
		Overrides: metadata.Overrides{DataBlockSize: x.DataBlockSize}, Progress: env.Progress, LVM: in.place.Facts(), Name: in.place.Name(),
	})
	if err != nil {
		return nil, known, false, fmt.Errorf("%s: %w", cmp.Or(x.Metadata, x.Input), hopeless(err))
	}
	if found.Report.Damaged {
		if err := view.TextReport(env.Stderr, &found.Report, in.place.Name()); err != nil {
			return nil, known, false, err
		}
	}
	lossy = found.Report.Chosen || len(found.Report.Doubts) > 0
	for i := range found.Report.Devices {
		d := &found.Report.Devices[i]
		if d.ID != metadata.DevID(*in.device) {
			continue
		}
		lossy = lossy || !d.Complete()
		for l := range d.Holes() {
			known.Gaps = append(known.Gaps, volume.Gap{Keys: l.Keys, Err: l.Err})
		}
		known.Guesses = slices.Collect(d.Guesses())
	}
	return found.Device, known, lossy, nil
}

// size returns the size of the device in bytes. known is the size according to LVM.
func (x *Export) size(env *cli.Env, v *exportVolume, known int64) (int64, error) {
	switch {
	case x.Size != nil:
		return int64(*x.Size), nil
	case known != 0:
		return known, nil
	}
	size, err := volume.MappedSize(v.pool, v.tree)
	if err != nil {
		return 0, source.Damaged(fmt.Errorf("the end of the last mapped block (give the device's size with --size): %w", err))
	}
	fmt.Fprintf(env.Stderr, "assuming a size of %d bytes, the end of the last mapped block; give the device's size with --size\n", size)
	return size, nil
}
