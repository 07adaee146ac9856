package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/volume"
	"thinpool/tool/delta"
	"thinpool/tool/repair"
)

// Export is thin_export.
type Export struct {
	cli.Common
	Metadata      string       `help:"Metadata device or file; of an image that of LVM, if it is not given." aliases:"metadata-dev" placeholder:"FILE"`
	Data          string       `help:"Data device, or an image of it in a file." aliases:"data-dev" placeholder:"FILE"`
	DataOffset    byteSize     `help:"Where the data device begins in FILE: bytes, or a number with a unit." placeholder:"BYTES"`
	Origin        string       `help:"The external origin of the device, or an image of it: shows where nothing is mapped." placeholder:"FILE"`
	DevID         *uint64      `help:"Export this device." aliases:"device" placeholder:"N" name:"dev-id"`
	Root          *uint64      `help:"Instead of a device, export the mapping tree with its root in this block." placeholder:"BLOCK"`
	Size          *byteSize    `help:"Size of the device: bytes, or a number with a unit; the metadata does not know it. Without it, the end of the last mapped block." placeholder:"BYTES"`
	Output        string       `help:"File to create, block device to overwrite, or - for standard output." short:"o" placeholder:"FILE"`
	Force         bool         `help:"Replace a file that is there." short:"f"`
	Resume        bool         `help:"Go on where an export was interrupted."`
	Journal       string       `help:"Where to note how far the export got; FILE.resume unless the output is a device." placeholder:"FILE"`
	Verify        bool         `help:"Read everything back in the end and compare it."`
	AssumeZeroed  bool         `help:"The output device is all zero: write no zeros."`
	ChangedSince  *uint64      `help:"Only what differs from this device." placeholder:"N"`
	Format        string       `help:"json: list the exported ranges on standard output, an object a line." default:"" enum:",json" placeholder:"json"`
	Ranges        string       `help:"List the exported ranges in a file, as json does." placeholder:"FILE"`
	Map           string       `help:"dmsetup: instead of exporting, print a table for dmsetup create --readonly." default:"" enum:",dmsetup" placeholder:"dmsetup"`
	MetadataSnap  cli.Optional `help:"Export from the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	MappingRoot   *uint64      `help:"Begin at this root of the mapping tree." placeholder:"BLOCK"`
	DetailsRoot   *uint64      `help:"Begin at this root of the device details." placeholder:"BLOCK"`
	Repair        bool         `help:"Export what can be saved: of damaged metadata, as thin_repair finds it, and of data that cannot be read in part." short:"r"`
	DataBlockSize *uint64      `help:"Use this data block size, with --repair." placeholder:"SECTORS"`
	AcceptLoss    bool         `help:"Succeed with --repair although something is lost."`
	Input         string       `arg:"" optional:"" name:"image" help:"Disk, or an image of one, with LVM on it: --lv says which thin volume."`
	volumes
}

// Details implements cli.Detailer.
func (x *Export) Details() string {
	return `Copies the content of a thin device, without the pool being active. What is not mapped
becomes a hole in a file, zeros elsewhere. An export to a file can be interrupted, and
goes on with the same command and --resume.

What is lost is listed before anything is written, as ranges of bytes of the device;
then the export ends, or with --repair goes on, leaves holes there, and exits with 1.

--format json lists {"type":"data","begin":0,"length":65536}, in bytes; other types are
zero (with --changed-since: make it zero), lost, and at the end the sums.`
}

// Run implements cli.Command.
func (x *Export) Run(env *cli.Env) error {
	snapshot, err := x.check()
	if err != nil {
		return err
	}
	in, err := x.open(env)
	if err != nil {
		return err
	}
	defer in.Close()
	v, err := x.volume(env, in, snapshot)
	if err != nil {
		return err
	}
	if err := x.export(env, v); err != nil {
		return err
	}
	if v.lossy && !x.AcceptLoss {
		return cli.ErrReported
	}
	return nil
}

// check makes sure that the options fit together. It returns the block of -m.
func (x *Export) check() (block.Nr, error) {
	lists := x.Format != "" || x.Ranges != ""
	both := func(a bool, nameA string, b bool, nameB string) error {
		if a && b {
			return cli.Usagef("%s and %s cannot go together", nameA, nameB)
		}
		return nil
	}
	err := errors.Join(
		both(x.DevID != nil, "--dev-id", x.Root != nil, "--root"),
		both(x.Map != "", "--map", x.Output != "", "--output"),
		both(x.Map != "", "--map", x.Format != "", "--format"),
		both(x.Map != "", "--map", x.ChangedSince != nil, "--changed-since"),
		both(x.Repair, "--repair", x.MetadataSnap.Set, "--metadata-snap"),
		both(x.Repair, "--repair", x.ChangedSince != nil, "--changed-since"),
		both(x.AssumeZeroed, "--assume-zeroed", x.ChangedSince != nil, "--changed-since"),
		both(x.Force, "--force", x.Resume, "--resume"),
		both(x.Output == "-", "--output=-", x.Format != "", "--format"),
	)
	writes := x.Output != ""
	inside := x.Input != ""
	switch {
	case err != nil:
		return 0, &cli.UsageError{Err: err}
	case !inside && x.Metadata == "":
		return 0, cli.Usagef("--metadata is missing, or the image of a disk")
	case !inside && x.given():
		return 0, cli.Usagef("--lv, --pv, --leg and --lvm-metadata go with the image of a disk")
	case inside && (x.Data != "" && x.Map == "" || x.DataOffset != 0 || x.Origin != ""):
		return 0, cli.Usagef("--data, --data-offset and --origin do not go with the image of a disk, where LVM knows them")
	case !inside && x.DevID == nil && x.Root == nil:
		return 0, cli.Usagef("--dev-id is missing: which device?")
	case !writes && !lists && x.Map == "":
		return 0, cli.Usagef("--output is missing; - is standard output")
	case writes && !inside && x.Data == "":
		return 0, cli.Usagef("--data is missing; only --map and --format need none")
	case !writes && (x.Force || x.Resume || x.Journal != "" || x.Verify || x.AssumeZeroed):
		return 0, cli.Usagef("--force, --resume, --journal, --verify and --assume-zeroed go with --output")
	case !x.Repair && (x.AcceptLoss || x.DataBlockSize != nil):
		return 0, cli.Usagef("--accept-loss and --data-block-size go with --repair")
	case x.Size != nil && (*x.Size == 0 || *x.Size%cli.SectorSize != 0 || *x.Size > math.MaxInt64):
		return 0, cli.Usagef("--size: %d bytes are no number of sectors of %d bytes", *x.Size, cli.SectorSize)
	case x.DataOffset%cli.SectorSize != 0 || x.DataOffset > math.MaxInt64:
		return 0, cli.Usagef("--data-offset: %d bytes are no number of sectors of %d bytes", x.DataOffset, cli.SectorSize)
	case x.DataOffset != 0 && x.Data == "" && x.Map == "":
		return 0, cli.Usagef("--data-offset goes with --data")
	}
	if err := x.checkOutput(); err != nil {
		return 0, err
	}
	return blockOf(x.MetadataSnap)
}

// checkOutput makes sure that the output can do what the options ask for.
func (x *Export) checkOutput() error {
	kind := x.outputKind()
	switch {
	case kind == toStream && (x.Verify || x.Resume || x.Journal != "" || x.ChangedSince != nil):
		return cli.Usagef("%s takes bytes in order and gives none back: --verify, --resume, --journal and --changed-since need a file or a block device", x.Output)
	case kind == toDisk && x.Resume && x.Journal == "":
		return cli.Usagef("--resume: how far an export to a block device got is noted only with --journal")
	case kind != toDisk && x.AssumeZeroed:
		return cli.Usagef("--assume-zeroed: %s is no block device", x.Output)
	}
	return x.checkFiles()
}

// checkFiles makes sure that nothing is written to what is read.
func (x *Export) checkFiles() error {
	if x.Data != "" && cli.SameFile(x.Metadata, x.Data) {
		return cli.Usagef("metadata and data are the same file: %s", x.Data)
	}
	for _, in := range x.inputs() {
		for _, out := range []string{x.Output, x.Ranges, x.journalPath()} {
			if in != "" && out != "" && cli.SameFile(in, out) {
				return cli.Usagef("%s is read, and cannot be the output", out)
			}
		}
	}
	for _, out := range []string{x.Ranges, x.journalPath()} {
		if out != "" && (out == x.Output || cli.SameFile(out, x.Output)) {
			return cli.Usagef("two outputs are the same file: %s", out)
		}
	}
	return nil
}

// inputs are the files that are read.
func (x *Export) inputs() []string { return append(x.files(x.Input), x.Metadata, x.Data, x.Origin) }

// exportInputs is what an export reads.
type exportInputs struct {
	metadata block.Device
	src      volume.Source
	size     int64  // of the device, as LVM knows it; 0: nobody does
	place    *place // nil: not inside of an image
	close    []io.Closer
}

// Close closes all inputs.
func (in *exportInputs) Close() {
	for _, c := range in.close {
		c.Close()
	}
}

// open opens all inputs. All other code takes them as they are here.
func (x *Export) open(env *cli.Env) (in *exportInputs, err error) {
	in = &exportInputs{src: volume.Source{DataSize: math.MaxInt64}}
	defer func() {
		if err != nil {
			in.Close()
		}
	}()
	if x.Metadata != "" {
		if in.metadata, err = openMetadata(env, x.Metadata, x.MetadataSnap.Set); err != nil {
			return in, err
		}
		in.close = append(in.close, in.metadata)
	}
	if x.Input != "" {
		return in, x.openImages(env, in)
	}
	if x.Data != "" {
		data, err := cli.OpenData(x.Data, x.MetadataSnap.Set)
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
		origin, err := cli.OpenData(x.Origin, true) // other devices may share it
		if err != nil {
			return in, err
		}
		in.close = append(in.close, origin)
		in.src.Origin, in.src.OriginSize = origin, wholeSectors(origin.Size)
	}
	return in, nil
}

// wholeSectors is what of a file a device can have.
func wholeSectors(size int64) int64 { return size / cli.SectorSize * cli.SectorSize }

// An exportVolume is what is exported.
type exportVolume struct {
	*volume.Volume
	pool  *metadata.Pool
	tree  metadata.MappingTree
	older *metadata.MappingTree // only what differs from this one
	src   volume.Source
	lossy bool // something is lost, be it known what or not
}

// volume finds the device, and what is known of it.
func (x *Export) volume(env *cli.Env, in *exportInputs, snapshot block.Nr) (*exportVolume, error) {
	v := &exportVolume{src: in.src}
	opt := metadata.Options{
		Snapshot: x.MetadataSnap.Set, SnapshotBlock: snapshot,
		MappingRoot: numbered(x.MappingRoot), DetailsRoot: numbered(x.DetailsRoot),
	}
	source, gaps := in.metadata, []volume.Gap(nil)
	if x.Repair && x.Root == nil {
		var err error
		if source, gaps, v.lossy, err = x.mend(env, in); err != nil {
			return nil, err
		}
		opt = metadata.Options{} // the repair has made use of them
	}
	var err error
	if v.pool, err = metadata.Open(source, opt); err != nil {
		return nil, damaged(cli.Hint(err))
	}
	if v.tree, err = tree(v.pool, x.DevID, x.Root); err != nil {
		return nil, err
	}
	if x.ChangedSince != nil {
		older, err := tree(v.pool, x.ChangedSince, nil)
		if err != nil {
			return nil, err
		}
		v.older = &older
	}
	size, err := x.size(env, v, in.size)
	if err != nil {
		return nil, err
	}
	v.Volume, err = volume.Open(env, v.pool, v.tree, in.src, volume.Options{Size: size, Gaps: gaps})
	return v, damaged(err)
}

func numbered(nr *uint64) block.Nr {
	if nr == nil {
		return 0
	}
	return block.Nr(*nr)
}

// mend finds what can be saved of the metadata. lossy says that the device is not
// complete; where, if that is known, the gaps say.
func (x *Export) mend(env *cli.Env, in *exportInputs) (mended block.Device, gaps []volume.Gap, lossy bool, err error) {
	found, err := repair.Find(env, in.metadata, repair.Options{
		MappingRoot: numbered(x.MappingRoot), DetailsRoot: numbered(x.DetailsRoot),
		Overrides: metadata.Overrides{DataBlockSize: x.DataBlockSize}, Progress: env.Progress, LVM: in.place.lvmFacts(),
	})
	if err != nil {
		return nil, nil, false, fmt.Errorf("%s: %w", cmp.Or(x.Metadata, x.Input), hopeless(err))
	}
	if found.Report.Damaged {
		if err := textReport(env.Stderr, &found.Report, in.place.deviceNames()); err != nil {
			return nil, nil, false, err
		}
	}
	lossy = found.Report.Chosen || len(found.Report.Doubts) > 0
	for i := range found.Report.Devices {
		d := &found.Report.Devices[i]
		if d.ID != metadata.DevID(*x.DevID) {
			continue
		}
		lossy = lossy || !d.Complete()
		for l := range d.Holes() {
			gaps = append(gaps, volume.Gap{Keys: l.Keys, Err: l.Err})
		}
	}
	return found.Device, gaps, lossy, nil
}

// size is that of the device in bytes; known is what LVM says.
func (x *Export) size(env *cli.Env, v *exportVolume, known int64) (int64, error) {
	switch {
	case x.Size != nil:
		return int64(*x.Size), nil
	case known != 0:
		return known, nil
	}
	size, err := volume.MappedSize(v.pool, v.tree)
	if err != nil {
		return 0, damaged(fmt.Errorf("the end of the last mapped block (--size gives that of the device): %w", err))
	}
	fmt.Fprintf(env.Stderr, "the size is taken to be %d bytes, the end of the last mapped block; --size gives that of the device\n", size)
	return size, nil
}

// extents yields what is to be exported.
func (v *exportVolume) extents(ctx context.Context) iter.Seq2[volume.Extent, error] {
	if v.older == nil {
		return v.Extents(ctx)
	}
	return func(yield func(volume.Extent, error) bool) {
		stopped := errors.New("stopped")
		size := int64(v.pool.Superblock.DataBlockSize) * cli.SectorSize
		opt := delta.Options{Blocks: uint64((v.Size()-1)/size) + 1, OmitSame: true, Data: true}
		err := delta.Run(ctx, v.pool, *v.older, v.tree, opt, func(ranges []delta.Range) error {
			for _, r := range ranges {
				for _, e := range v.changed(r) {
					if !yield(e, nil) {
						return stopped
					}
				}
			}
			return nil
		})
		if err != nil && err != stopped {
			yield(volume.Extent{}, damaged(err))
		}
	}
}

// changed is what a range that differs from the older device consists of now.
func (v *exportVolume) changed(r delta.Range) []volume.Extent {
	if r.Kind == delta.LeftOnly {
		return v.Unmapped(r.Begin, r.Len)
	}
	return v.Mapped(metadata.Run{Thin: r.Begin, Data: r.Right, Len: r.Len})
}
