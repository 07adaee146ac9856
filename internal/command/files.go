package command

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"thinpool/disk"
	"thinpool/fsmap"
	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata/volume"
)

// Files is thin_files.
type Files struct {
	cli.Common
	Range        []byteRange `help:"Bytes A to B-1 of the volume, or sizes such as 1m..2m; repeatable. B may be -1, the end." name:"range" placeholder:"A..B" sep:"none"`
	Lost         bool        `help:"What the damaged pool has lost of the volume --lv."`
	Ranges       string      `help:"The lost ranges in a list that thin_export --ranges wrote." placeholder:"FILE"`
	Report       string      `help:"The holes in a report of thin_repair --format json." placeholder:"FILE"`
	DevID        *uint64     `help:"With --report: the device, if --lv does not tell." placeholder:"ID" name:"dev-id"`
	Mapfile      string      `help:"What GNU ddrescue could not copy, by its mapfile." placeholder:"FILE"`
	ChangedSince *deviceID   `help:"What differs from this device of the pool: an id, or VG/LV." placeholder:"ID"`
	Format       string      `help:"Output format." default:"text" enum:"text,json" placeholder:"text|json"`
	Input        string      `arg:"" help:"Disk or image with LVM volumes, or a device or file with a file system."`
	volumes
}

// Details implements cli.Detailer.
func (x *Files) Details() string {
	return `Shows which files lie in the given ranges of a volume, and which metadata of the file system.
Only metadata is read, and nothing is written. ext2, ext3, ext4, XFS and NTFS are searched.

Ranges from --lost, --ranges, --report and --mapfile count as lost: nothing is read there.
If metadata is missing, so that files may be missing in the list, the exit code is 1.`
}

// Examples implements cli.Exampler.
func (x *Files) Examples() string {
	return `# Which files has a damaged pool lost
thin_files --lost --lv vg/home disk.img
# Which files use a bad sector of a volume
thin_files --range 123456s..123457s /dev/vg/home
# Which files changed since a snapshot
thin_files --lv vg/friday --changed-since vg/monday disk.img`
}

// Rules implements cli.Ruler.
func (x *Files) Rules() []cli.Rule {
	return []cli.Rule{
		{Needs: []string{"range", "lost", "ranges", "report", "mapfile", "changed-since"}},
		cli.Requires("lost", "lv"),
		cli.Requires("changed-since", "lv"),
		cli.Requires("dev-id", "report"),
		cli.Exclusive("lost", "changed-since"),
	}
}

// A byteRange is a range of bytes in a volume.
type byteRange struct{ begin, end uint64 } // end is math.MaxUint64 for -1

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *byteRange) UnmarshalText(text []byte) error {
	first, last, ok := strings.Cut(string(text), "..")
	if !ok {
		return fmt.Errorf("range %q: want A..B, as 1m..2m", text)
	}
	var begin, end byteSize
	if err := begin.UnmarshalText([]byte(first)); err != nil {
		return fmt.Errorf("range %q: %w", text, err)
	}
	if end = math.MaxUint64; last != "-1" {
		if err := end.UnmarshalText([]byte(last)); err != nil {
			return fmt.Errorf("range %q: %w", text, err)
		}
	}
	if end <= begin {
		return fmt.Errorf("range %q: the end must be greater than the start", text)
	}
	*r = byteRange{uint64(begin), uint64(end)}
	return nil
}

// in clips r to a volume of the given size.
func (r byteRange) in(size int64) fsmap.Range {
	begin := min(r.begin, uint64(size))
	return fsmap.Range{Begin: int64(begin), Len: int64(min(r.end, uint64(size)) - begin)}
}

// Run implements cli.Command.
func (x *Files) Run(env *cli.Env) error {
	v, err := x.open(env)
	if err != nil {
		return err
	}
	defer v.close()
	ranges, lost, err := x.ranges(env, v)
	if err != nil {
		return view.Named(err, v.place.Name())
	}
	all := slices.Concat(ranges, lost)
	opt := fsmap.Options{Lost: lost, Progress: func(done, total uint64) { env.Progress("reading inodes", done, total) }}
	res, err := fsmap.Find(env, v, v.size, all, opt)
	if err != nil {
		return fmt.Errorf("%s: %w", v.name, err)
	}
	return x.print(env, &view.Files{Result: res, Size: v.size})
}

// print prints the results. If anything is missing, it returns an error.
func (x *Files) print(env *cli.Env, f *view.Files) error {
	if x.Format == "json" {
		if err := f.JSON(env.Stdout); err != nil || f.Complete() {
			return err
		}
		return cli.ErrReported
	}
	if err := f.Text(env.Stdout, env.Stderr); err != nil || f.Complete() {
		return err
	}
	return errors.New("metadata of the file system is missing, so files may be missing in the list")
}

// A filesVolume is the volume to search.
type filesVolume struct {
	io.ReaderAt
	name   string
	size   int64
	export *exportVolume // the volume in LVM; nil: a file or device
	place  *source.Place
	close  func() error
}

// open opens the volume.
func (x *Files) open(env *cli.Env) (*filesVolume, error) {
	if x.LV != "" {
		return x.openLV(env)
	}
	disks, err := source.OpenDisks(env, []string{x.Input}, x.images.open(), disk.Options{})
	if err != nil {
		return nil, err
	}
	found, err := x.bare(disks)
	if err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	return &filesVolume{ReaderAt: found, name: found.String(), size: found.Size(), close: disks.Close}, nil
}

// openLV opens a logical volume, or something inside one, like thin_export.
func (x *Files) openLV(env *cli.Env) (*filesVolume, error) {
	e := &Export{Input: x.Input, Repair: x.Lost, ChangedSince: x.ChangedSince, volumes: x.volumes}
	in, err := e.open(env)
	if err != nil {
		return nil, err
	}
	v := &filesVolume{place: in.place, close: func() error { in.Close(); return nil }}
	if v.export, err = e.volume(env, in, 0); err != nil {
		in.Close()
		return nil, view.Named(err, in.place.Name())
	}
	v.name, v.size = x.disk().Sought(), v.export.Size()
	if v.ReaderAt = v.export.thin; v.export.thin == nil {
		v.ReaderAt, v.name = v.export.plain, v.export.plain.name
	}
	return v, nil
}

// bare returns what to search if no volume is named: the partition of --inside, or the only
// candidate for a file system.
func (x *Files) bare(disks *source.Disks) (*disk.Disk, error) {
	media := disks.Found.Media
	if len(media) == 0 {
		return nil, fmt.Errorf("%s: nothing was found", x.Input)
	}
	if x.Inside != "" {
		n, ok := x.disk().Partition()
		if !ok {
			return nil, cli.Usagef("--inside %s: without --lv it is the number of a partition", x.Inside)
		}
		return media[len(media)-1].Disk.Part(n)
	}
	var all []*disk.Disk
	for _, m := range media {
		for _, d := range m.Plain {
			if m.Partitions == 0 || d != m.Disk {
				all = append(all, d)
			}
		}
	}
	known := slices.DeleteFunc(slices.Clone(all), func(d *disk.Disk) bool { return fsmap.Recognise(d, d.Size()) == "" })
	switch {
	case len(known) == 1:
		return known[0], nil
	case len(disks.Groups) > 0:
		return nil, fmt.Errorf("%s has LVM volumes: choose one with --lv VG/LV", x.Input)
	case len(all) == 1:
		return all[0], nil
	case len(all) == 0:
		return media[0].Disk, nil
	}
	var names []string
	for _, d := range all {
		names = append(names, d.String())
	}
	return nil, fmt.Errorf("which partition? Choose one with --inside N: %s", source.List(names))
}

// ranges returns the ranges to look up, and separately the lost ranges.
func (x *Files) ranges(env *cli.Env, v *filesVolume) (ranges, lost []fsmap.Range, err error) {
	for _, r := range x.Range {
		ranges = append(ranges, r.in(v.size))
	}
	if x.Lost || x.ChangedSince != nil {
		if v.export.thin == nil {
			return nil, nil, cli.Usagef("%s is not a thin volume, and --lost and --changed-since are for those", v.name)
		}
		for e, err := range v.export.extents(env) {
			if err != nil {
				return nil, nil, err
			}
			switch r := (fsmap.Range{Begin: e.Begin, Len: e.Len}); {
			case e.Kind == volume.Lost:
				lost = append(lost, r)
			case x.ChangedSince != nil:
				ranges = append(ranges, r)
			}
		}
	}
	read := func(path string, parse func(io.Reader) ([]fsmap.Range, error)) {
		if path == "" || err != nil {
			return
		}
		var more []fsmap.Range
		if more, err = x.readRanges(env, path, parse); err == nil {
			lost = append(lost, more...)
		}
	}
	read(x.Ranges, lostRanges)
	read(x.Mapfile, mapfileRanges)
	read(x.Report, func(r io.Reader) ([]fsmap.Range, error) { return reportRanges(r, x.device(v)) })
	return ranges, lost, err
}

// device returns the id of the thin device that is searched; nil if unknown.
func (x *Files) device(v *filesVolume) *uint64 {
	if x.DevID != nil || v.export == nil {
		return x.DevID
	}
	return v.export.device
}

func (x *Files) readRanges(env *cli.Env, path string, parse func(io.Reader) ([]fsmap.Range, error)) ([]fsmap.Range, error) {
	f, err := env.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ranges, err := parse(env.Patient(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ranges, nil
}
