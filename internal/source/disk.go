package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/printable"
	"thinpool/lvm"
	"thinpool/metadata/block"
)

// A Disk says which volume on a disk, or in images of it, has the metadata.
type Disk struct {
	LV string // VG/LV: a pool, or any volume; empty: the only pool
	Images
}

// Images says where volume groups are besides, and how they are read.
type Images struct {
	PVs     []string // other images: IMAGE@BYTES, NAME=IMAGE
	Leg     int      // of mirrors, counted from 1; 0: any
	Backing []string // files that images may be based on
	Text    string   // a file of vgcfgbackup in place of what the disks say; empty: none
}

// Given reports whether the metadata must be on a disk.
func (d *Disk) Given() bool {
	return d != nil && (d.LV != "" || d.PVs != nil || d.Leg != 0 || d.Backing != nil || d.Text != "")
}

// ErrNoVolumes says that there is no volume group.
var ErrNoVolumes = errors.New("no LVM volume group was found")

// Disks are images that are open, and what LVM has on them.
type Disks struct {
	*lvm.Set
	images []*lvm.Image
}

// Close closes the images.
func (d *Disks) Close() error {
	var err error
	for _, img := range d.images {
		err = errors.Join(err, img.Close())
	}
	return err
}

// Find finds the metadata in the image at path and the others.
func (d *Disk) Find(env *cli.Env, path string, opt lvm.ImageOptions) (*Place, error) {
	disks, err := OpenDisks(env, []string{path}, d.Images, opt)
	if err != nil {
		return nil, err
	}
	p := &Place{Disks: disks}
	if err := p.choose(path, d.LV); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	SayProblems(env, slices.Concat(p.Problems, p.Group.Problems))
	if slices.ContainsFunc(p.Group.PVs, func(pv *lvm.PhysicalVolume) bool { return pv.Disk == nil }) {
		fmt.Fprintln(env.Stderr, "note: add the image of a missing physical volume with --pv IMAGE")
	}
	return p, nil
}

// SayProblems says what users should know; what is only unusual is logged.
func SayProblems(env *cli.Env, problems []lvm.Problem) {
	for _, problem := range problems {
		if problem.Note {
			env.Log.Info(problem.Text)
		} else {
			fmt.Fprintf(env.Stderr, "note: %s\n", printable.Text(problem.Text))
		}
	}
}

// OpenDisks opens images, and reads what LVM says about them.
func OpenDisks(env *cli.Env, paths []string, images Images, opt lvm.ImageOptions) (*Disks, error) {
	d := &Disks{}
	if err := d.scan(env, slices.Concat(paths, images.PVs), images, opt); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Disks) scan(env *cli.Env, paths []string, images Images, opt lvm.ImageOptions) error {
	so, err := images.options(env)
	if err != nil {
		return err
	}
	opt.Backing = images.Backing
	for _, arg := range paths {
		name, image := "", arg
		if n, rest, ok := strings.Cut(arg, "="); ok && so.Backup != nil && so.Backup.PV(n) != nil {
			name, image = n, rest
		}
		opt := opt
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

// options are how the text of LVM is found.
func (images *Images) options(env *cli.Env) (lvm.Options, error) {
	var so lvm.Options
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
	so.PVs = map[string]*lvm.Image{}
	return so, nil
}

// sayBacking says what is read that the command line does not name.
func sayBacking(env *cli.Env, imgs []*lvm.Image) {
	for _, img := range imgs {
		above := img.Name
		for _, file := range img.Backing {
			fmt.Fprintf(env.Stderr, "note: also reading %s, the backing file of %s\n", printable.Text(file), printable.Text(above))
			above = file
		}
	}
}

// keepBacking refuses a command line that names a file which an image is based on for anything but
// reading: what is an output would be lost as a part of the image.
func (images *Images) keepBacking(env *cli.Env, paths []string, imgs []*lvm.Image) error {
	var inputs []string
	for _, path := range paths {
		inputs = append(inputs, images.Files(path)...)
	}
	for _, img := range imgs {
		for _, file := range img.Backing {
			same := func(name string) bool { return name != "" && SameFile(name, file) }
			if slices.ContainsFunc(env.Named, same) && !slices.ContainsFunc(inputs, same) {
				return cli.Usagef("%s is the backing file of %s, so it cannot be the output", file, img.Name)
			}
		}
	}
	return nil
}

// openImage is [lvm.OpenImage], in the words of all tools.
func openImage(path string, opt lvm.ImageOptions) (*lvm.Image, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) { // not the backing file of an image
		return nil, cli.Accessf("%s: no such file or device", path)
	}
	img, err := lvm.OpenImage(path, opt)
	switch {
	case errors.Is(err, block.ErrNotBlocks):
		return nil, cli.Accessf("Not a block device or regular file '%s'.", path)
	case opt.Claim && errors.Is(err, block.ErrBusy):
		return nil, Busy(path, err)
	}
	if refused, ok := errors.AsType[*lvm.BackingError](err); ok {
		return nil, fmt.Errorf("%w: %s", err, adviseBacking(refused))
	}
	return img, err
}

// adviseBacking says how to have read what an image is based on.
func adviseBacking(refused *lvm.BackingError) string {
	if errors.Is(refused, fs.ErrNotExist) {
		return "use --backing FILE to say where it is now"
	}
	name := refused.Path
	if printable.Text(name) != name || strings.ContainsAny(name, " '\"$`\\;&|<>()*?[]!#~") {
		name = "FILE" // a shell would take it for something else
	}
	return "--backing " + name + " allows it"
}

// maxBackup is more than any file of vgcfgbackup has.
const maxBackup = 256 << 20

// Reads reports whether path is the input, or anything else that is read along with it.
func (images *Images) Reads(input, path string) bool {
	return path != "" && slices.ContainsFunc(images.Files(input), func(file string) bool { return SameFile(file, path) })
}

// Files are all that may be read. Of NAME=IMAGE the whole may be the name of a file, too.
func (images *Images) Files(input string) []string {
	files := append([]string{images.Text}, images.Backing...)
	for _, image := range append([]string{input}, images.PVs...) {
		_, second, _ := strings.Cut(image, "=")
		for _, file := range []string{image, second} {
			file, _ = splitOffset(file)
			files = append(files, file)
		}
	}
	return files
}

// splitOffset cuts what follows the last @ from the name of an image, if it is a number
// and no part of a name that exists.
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
