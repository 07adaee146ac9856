package command

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
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// volumes says where on disks or in images of them the metadata is. Tools that read
// embed it.
type volumes struct {
	LV string `group:"images" help:"The pool, or any volume that has metadata; without it, the only pool." name:"lv" placeholder:"VG/LV"`
	images
}

// images says where volume groups are, and how they are read.
type images struct {
	PV          []string `group:"images" help:"Another image of the same group; may be repeated. IMAGE@BYTES says where in IMAGE the physical volume begins; NAME=IMAGE which one it is, for --lvm-metadata." name:"pv" placeholder:"IMAGE" sep:"none"`
	Leg         int      `group:"images" help:"Read this leg of mirrors, counted from 1." placeholder:"N"`
	Backing     []string `group:"images" help:"A file or device that a qcow2 image is based on and that may be read although it is not in the folder of the image; may be repeated. It also stands for a file of the same name that is not there any more." name:"backing" placeholder:"FILE" sep:"none"`
	LVMMetadata string   `group:"images" help:"Take what LVM knows from a file of vgcfgbackup." name:"lvm-metadata" placeholder:"FILE"`
}

func (v *volumes) given() bool {
	return v.LV != "" || v.PV != nil || v.Leg != 0 || v.Backing != nil || v.LVMMetadata != ""
}

// A source is metadata that is open for reading.
type source struct {
	block.Device
	place *place // nil: it is not inside of an image
}

// Close closes the metadata and all images.
func (s *source) Close() error {
	err := s.Device.Close()
	if s.place != nil {
		err = errors.Join(err, s.place.Close())
	}
	return err
}

// open opens metadata for reading: on a device, in a file, packed, or inside of a disk
// or an image of one. snapshot says that only a metadata snapshot will be read.
func (v *volumes) open(env *cli.Env, path string, snapshot bool) (*source, error) {
	return v.openWith(env, path, snapshot, func() (block.Device, error) { return openMetadata(env, path, snapshot) })
}

// openInactive is open for what cannot be done to a pool in use.
func (v *volumes) openInactive(env *cli.Env, path string) (*source, error) {
	return v.openWith(env, path, false, func() (block.Device, error) { return openInactive(env, path) })
}

// openWith opens what open does, or says that it is a disk; then the metadata inside.
func (v *volumes) openWith(env *cli.Env, path string, snapshot bool, open func() (block.Device, error)) (*source, error) {
	if v.given() {
		return v.inside(env, path, snapshot)
	}
	dev, err := open()
	if errors.Is(err, cli.ErrDisk) {
		s, inside := v.inside(env, path, snapshot)
		if errors.Is(inside, block.ErrBusy) {
			return nil, fmt.Errorf("%w; or deactivate what is on the disk, which is in use, to read it past the kernel", err)
		}
		return s, inside
	}
	if err != nil {
		return nil, err
	}
	return &source{Device: dev}, nil
}

// openPool opens the pool: the live one, or with -m its metadata snapshot. The source
// has to be closed.
func (v *volumes) openPool(env *cli.Env, path string, snap cli.Optional) (*metadata.Pool, *source, error) {
	s, err := v.open(env, path, snap.Set)
	if err != nil {
		return nil, nil, err
	}
	pool, err := poolIn(env, s, path, snap)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return pool, s, nil
}

// openDamaged is open for what may look like something else: doubt is what speaks
// against it.
func (v *volumes) openDamaged(env *cli.Env, path string, snapshot bool) (s *source, doubt, err error) {
	if v.given() {
		s, err = v.inside(env, path, snapshot)
		return s, nil, err
	}
	dev, doubt, err := openDamaged(env, path, snapshot)
	if err != nil {
		return nil, nil, err
	}
	if errors.Is(doubt, cli.ErrDisk) {
		dev.Close()
		if s, err := v.inside(env, path, snapshot); !errors.Is(err, errNoVolumes) {
			return s, nil, err
		}
		if dev, doubt, err = openDamaged(env, path, snapshot); err != nil {
			return nil, nil, err
		}
	}
	return &source{Device: dev}, doubt, nil
}

// inside opens metadata in a volume group.
func (v *volumes) inside(env *cli.Env, path string, shared bool) (*source, error) {
	p, err := v.find(env, path, lvm.ImageOptions{Shared: shared})
	if err != nil {
		return nil, err
	}
	r, err := p.group.Open(p.volume, lvm.ReadOptions{Leg: v.Leg})
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	for _, note := range r.Notes {
		env.Log.Info(note)
	}
	return &source{r.Device(), p}, nil
}

// errNoVolumes says that there is no volume group.
var errNoVolumes = errors.New("no LVM volume group was found")

// find finds the metadata in the image at path and those of --pv.
func (v *volumes) find(env *cli.Env, path string, opt lvm.ImageOptions) (*place, error) {
	p := &place{}
	err := v.scan(env, p, []string{path}, opt)
	if err == nil {
		err = p.choose(path, v.LV)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	env.Stderr = p.named(env.Stderr)
	sayProblems(env, slices.Concat(p.set.Problems, p.group.Problems))
	if slices.ContainsFunc(p.group.PVs, func(pv *lvm.PhysicalVolume) bool { return pv.Disk == nil }) {
		fmt.Fprintln(env.Stderr, "note: --pv IMAGE adds the image of a physical volume that is missing")
	}
	return p, nil
}

// sayProblems says what users should know; what is only unusual is logged.
func sayProblems(env *cli.Env, problems []lvm.Problem) {
	for _, problem := range problems {
		if problem.Note {
			env.Log.Info(problem.Text)
		} else {
			fmt.Fprintf(env.Stderr, "note: %s\n", printable.Text(problem.Text))
		}
	}
}

// scan opens the images and reads what LVM says about them.
func (v *images) scan(env *cli.Env, p *place, paths []string, opt lvm.ImageOptions) error {
	var so lvm.Options
	if v.LVMMetadata != "" {
		text, err := env.ReadFile(v.LVMMetadata, maxBackup)
		if err != nil {
			return err
		}
		if so.Backup, err = lvm.ParseBackup(text); err != nil {
			return fmt.Errorf("%s: %w", v.LVMMetadata, err)
		}
		so.PVs = map[string]*lvm.Image{}
	}
	for _, arg := range slices.Concat(paths, v.PV) {
		name, image := "", arg
		if n, rest, ok := strings.Cut(arg, "="); ok && so.Backup != nil && so.Backup.PV(n) != nil {
			name, image = n, rest
		}
		opt := opt
		opt.Backing = v.Backing
		image, opt.Offset = splitOffset(image)
		img, err := openImage(image, opt)
		if err != nil {
			return err
		}
		p.images = append(p.images, img)
		if name != "" {
			so.PVs[name] = img
		}
	}
	sayBacking(env, p.images)
	var err error
	p.set, err = lvm.Scan(env, so, p.images...)
	return err
}

// sayBacking says what is read that the command line does not name.
func sayBacking(env *cli.Env, imgs []*lvm.Image) {
	for _, img := range imgs {
		above := img.Name
		for _, file := range img.Backing {
			fmt.Fprintf(env.Stderr, "note: reading %s, which %s is based on\n", printable.Text(file), printable.Text(above))
			above = file
		}
	}
}

// openImage is [lvm.OpenImage], in the words of all tools.
func openImage(path string, opt lvm.ImageOptions) (*lvm.Image, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) { // not the backing file of an image
		return nil, cli.Accessf("%s: no such file or device", path)
	}
	img, err := lvm.OpenImage(path, opt)
	switch {
	case errors.Is(err, block.ErrNotBlocks):
		//lint:ignore ST1005 scripts know these words
		return nil, cli.Accessf("Not a block device or regular file '%s'.", path)
	case opt.Claim && errors.Is(err, block.ErrBusy):
		return nil, cli.Busy(path, err)
	}
	if refused, ok := errors.AsType[*lvm.BackingError](err); ok {
		return nil, fmt.Errorf("%w: %s", err, adviseBacking(refused))
	}
	return img, err
}

// adviseBacking says how to have read what an image is based on.
func adviseBacking(refused *lvm.BackingError) string {
	if errors.Is(refused, fs.ErrNotExist) {
		return "--backing FILE says where it is now"
	}
	name := refused.Path
	if printable.Text(name) != name || strings.ContainsAny(name, " '\"$`\\;&|<>()*?[]!#~") {
		name = "FILE" // a shell would take it for something else
	}
	return "--backing " + name + " allows it"
}

// maxBackup is more than any file of vgcfgbackup has.
const maxBackup = 256 << 20

// reads reports whether path is the input, or anything else that is read along with it.
func (v *images) reads(input, path string) bool {
	return path != "" && slices.ContainsFunc(v.files(input), func(file string) bool { return cli.SameFile(file, path) })
}

// files are all that may be read. Of NAME=IMAGE the whole may be the name of a file, too.
func (v *images) files(input string) []string {
	files := append([]string{v.LVMMetadata}, v.Backing...)
	for _, image := range append([]string{input}, v.PV...) {
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
