package source

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"thinpool/disk"
	"thinpool/internal/cli"
	"thinpool/internal/printable"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Disk says which volume on a disk or in disk images has the metadata.
type Disk struct {
	LV string // VG/LV: a pool, or any volume; empty: the only pool
	// Inside selects something inside the volume LV, which is itself a disk: VG/LV, or the number
	// of a partition that contains the only pool; empty: LV itself.
	Inside string
	Images
}

// Images says where else volume groups are, and how to read them.
type Images struct {
	PVs     []string // other images: IMAGE@BYTES or NAME=IMAGE
	Leg     int      // of mirrors, counted from 1; 0: any
	Backing []string // allowed backing files
	Text    string   // file from vgcfgbackup that replaces what the disks say; empty: none

	Parts     []string // parts that follow the first image if it is split; nil: found by name
	KeyFile   string   // key of encrypted disks, "-" for standard input; empty: ask the user
	KeyMemory int64    // memory a key may take; 0: the default
}

// Given reports whether the options require the metadata to be on a disk.
func (d *Disk) Given() bool {
	return d != nil && (d.LV != "" || d.Inside != "" || d.PVs != nil || d.Leg != 0 || d.Backing != nil || d.Text != "" || d.KeyFile != "" || d.Parts != nil)
}

// ErrNoVolumes means that there is no volume group.
var ErrNoVolumes = errors.New("no LVM volume group was found")

// Disks are open images and what LVM has on them.
type Disks struct {
	*lvm.Set
	Part *disk.Disk // the partition to look at; nil: all

	how    disk.How
	images []*disk.Disk
}

// Close closes the images.
func (d *Disks) Close() error {
	var err error
	for _, img := range d.images {
		err = errors.Join(err, img.Close())
	}
	return err
}

// Open opens the image at path and the others, and a volume inside them if requested.
func (d *Disk) Open(env *cli.Env, path string, opt disk.Options) (*Disks, error) {
	if d.Inside != "" && d.LV == "" {
		return nil, cli.Usagef("--inside needs --lv: the volume that is looked into")
	}
	disks, err := OpenDisks(env, []string{path}, d.Images, opt)
	if err != nil || d.Inside == "" {
		return disks, err
	}
	part, _ := d.Partition()
	if err := disks.Enter(env, d.LV, part); err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	return disks, nil
}

// Partition returns the number of the partition to look into; 0 if there is none.
func (d *Disk) Partition() (number int, ok bool) {
	n, err := strconv.ParseUint(d.Inside, 10, 16)
	return int(n), err == nil && n > 0
}

// Sought returns the name of the volume to look for on the disks from Open; empty: the only pool.
func (d *Disk) Sought() string {
	if _, ok := d.Partition(); ok {
		return ""
	}
	return cmp.Or(d.Inside, d.LV)
}

// Find finds the metadata on disks from Open. They stay open.
func (d *Disk) Find(env *cli.Env, path string, disks *Disks) (*Place, error) {
	p := &Place{Disks: disks}
	if err := p.choose(path, d.Sought()); err != nil {
		return nil, err
	}
	SayProblems(env, slices.Concat(p.Problems, p.Group.Problems))
	if slices.ContainsFunc(p.Group.PVs, func(pv *lvm.PhysicalVolume) bool { return pv.Disk == nil }) {
		fmt.Fprintln(env.Stderr, "note: add the image of a missing physical volume with --pv IMAGE")
	}
	return p, nil
}

// bare returns the only disk that starts like metadata if there is no volume group; else nil.
func (d *Disks) bare() *disk.Disk {
	if len(d.Groups) > 0 {
		return nil
	}
	var found []*disk.Disk
	for _, m := range d.Found.Media {
		for _, on := range m.Plain {
			start := make([]byte, min(block.Size, on.Size()))
			if on.ReadFull(start, 0) == nil && has(start, offMagic, le64(metadata.Magic)) {
				found = append(found, on)
			}
		}
	}
	if len(found) != 1 {
		return nil
	}
	return found[0]
}

// SayProblems prints problems users should know about. Notes are only logged.
func SayProblems(env *cli.Env, problems []lvm.Problem) {
	for _, problem := range problems {
		if problem.Note {
			env.Log.Info(problem.Text)
		} else {
			fmt.Fprintf(env.Stderr, "note: %s\n", printable.Text(problem.Text))
		}
	}
}

// OpenDisks opens images and reads LVM's metadata on them.
func OpenDisks(env *cli.Env, paths []string, images Images, opt disk.Options) (*Disks, error) {
	d := &Disks{}
	if err := d.scan(env, slices.Concat(paths, images.PVs), images, opt); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Disks) scan(env *cli.Env, paths []string, images Images, opt disk.Options) error {
	so, err := images.options(env)
	if err != nil {
		return err
	}
	opt.Backing, opt.Done, d.how = images.Backing, env.Done(), so.How
	for i, arg := range paths {
		name, image := "", arg
		if n, rest, ok := strings.Cut(arg, "="); ok && so.Backup != nil && so.Backup.PV(n) != nil {
			name, image = n, rest
		}
		opt := opt
		if i == 0 {
			opt.Parts = images.Parts
		}
		image, opt.Offset = splitOffset(image)
		img, err := openImage(image, opt)
		if err != nil {
			return err
		}
		d.images = append(d.images, img)
		if name != "" {
			so.PVs[name] = img
		}
	}
	sayBacking(env, d.images)
	if err := images.keepBacking(env, paths, d.images); err != nil {
		return err
	}
	d.Set, err = lvm.Scan(env, so, d.images...)
	return err
}

// options says how to find LVM's text.
func (images *Images) options(env *cli.Env) (lvm.Options, error) {
	so := lvm.Options{How: images.how(env)}
	if images.Text == "" {
		return so, nil
	}
	text, err := env.ReadFile(images.Text, maxBackup)
	if err != nil {
		return so, err
	}
	if so.Backup, err = lvm.ParseBackup(text); err != nil {
		return so, fmt.Errorf("%s: %w", images.Text, err)
	}
	so.PVs = map[string]*disk.Disk{}
	return so, nil
}

// sayBacking prints which files are read that the command line does not name.
func sayBacking(env *cli.Env, imgs []*disk.Disk) {
	for _, img := range imgs {
		if n := len(img.Image().Parts); n > 0 {
			fmt.Fprintf(env.Stderr, "note: reading %d files, starting with %s\n", n+1, printable.Text(img.Image().Name))
		}
		above := img.Image().Name
		for _, file := range img.Image().Backing {
			fmt.Fprintf(env.Stderr, "note: also reading %s, the backing file of %s\n", printable.Text(file), printable.Text(above))
			above = file
		}
	}
}

// keepBacking refuses to use a backing file as anything but an input: writing to it would destroy
// the image.
func (images *Images) keepBacking(env *cli.Env, paths []string, imgs []*disk.Disk) error {
	var inputs []string
	for _, path := range paths {
		inputs = append(inputs, images.Files(path)...)
	}
	for _, img := range imgs {
		img = img.Image()
		for i, file := range slices.Concat(img.Backing, img.Parts) {
			what := "the backing file"
			if i >= len(img.Backing) {
				what = "a part"
			}
			same := func(name string) bool { return name != "" && SameFile(name, file) }
			if slices.ContainsFunc(env.Named, same) && !slices.ContainsFunc(inputs, same) {
				return cli.Usagef("%s is %s of %s, so it cannot be the output", file, what, img.Name)
			}
		}
	}
	return nil
}

// openImage is [disk.Open] with the error messages of all tools.
func openImage(path string, opt disk.Options) (*disk.Disk, error) {
	if _, err := os.Stat(path); !disk.IsURI(path) && errors.Is(err, fs.ErrNotExist) { // not about the backing file of an image
		return nil, cli.Accessf("%s: no such file or device", path)
	}
	img, err := disk.Open(path, opt)
	switch {
	case errors.Is(err, block.ErrNotBlocks):
		return nil, cli.Accessf("Not a block device or regular file '%s'.", path)
	case opt.Claim && errors.Is(err, block.ErrBusy):
		return nil, Busy(path, err)
	}
	if refused, ok := errors.AsType[*disk.BackingError](err); ok {
		return nil, fmt.Errorf("%w: %s", err, adviseBacking(refused))
	}
	return img, err
}

// adviseBacking says how to allow a backing file.
func adviseBacking(refused *disk.BackingError) string {
	if errors.Is(refused, fs.ErrNotExist) {
		return "use --backing FILE to say where it is now"
	}
	name := refused.Path
	if printable.Text(name) != name || strings.ContainsAny(name, " '\"$`\\;&|<>()*?[]!#~") {
		name = "FILE" // a shell would misread it
	}
	return "--backing " + name + " allows it"
}

// maxBackup is larger than any file from vgcfgbackup.
const maxBackup = 256 << 20

// Reads reports whether path is the input or another file that is read.
func (images *Images) Reads(input, path string) bool {
	return path != "" && slices.ContainsFunc(images.Files(input), func(file string) bool { return SameFile(file, path) })
}

// Files lists all files that may be read. NAME=IMAGE as a whole may also be a file name.
func (images *Images) Files(input string) []string {
	files := slices.Concat([]string{images.Text, images.KeyFile}, images.Backing, images.Parts)
	for _, image := range append([]string{input}, images.PVs...) {
		_, second, _ := strings.Cut(image, "=")
		for _, file := range []string{image, second} {
			file, _ = splitOffset(file)
			files = append(files, file)
		}
	}
	return files
}

// IsPlace reports whether path is not a file or device name, but an offset in one, or on a server.
func IsPlace(path string) bool {
	file, _ := splitOffset(path)
	return file != path || disk.IsURI(path)
}

// splitOffset splits the offset after the last @ off the name of an image. It must be a number, and
// image must not be an existing file.
func splitOffset(image string) (string, int64) {
	at := strings.LastIndexByte(image, '@')
	if _, err := os.Stat(image); at < 0 || err == nil {
		return image, 0
	}
	offset, err := strconv.ParseUint(image[at+1:], 10, 63)
	if err != nil {
		return image, 0
	}
	return image[:at], int64(offset)
}
