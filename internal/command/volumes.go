package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"thinpool/internal/cli"
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
	LVMMetadata string   `group:"images" help:"Take what LVM knows from a file of vgcfgbackup." name:"lvm-metadata" placeholder:"FILE"`
}

func (v *volumes) given() bool {
	return v.LV != "" || v.PV != nil || v.Leg != 0 || v.LVMMetadata != ""
}

// A source is metadata that is open for reading.
type source struct {
	block.Device
	place *place // nil: it is not inside of an image
}

// A place is where in a volume group metadata is.
type place struct {
	images []*lvm.Image
	set    *lvm.Set
	group  *lvm.Group
	pool   *lvm.Volume // nil: LVM does not know that this is metadata
	thin   *lvm.Volume // in the pool, that was asked for; nil: none
	volume *lvm.Volume // that has the metadata
}

// Close closes the metadata and all images.
func (s *source) Close() error {
	err := s.Device.Close()
	if s.place != nil {
		err = errors.Join(err, s.place.Close())
	}
	return err
}

// Close closes the images.
func (p *place) Close() error {
	var err error
	for _, img := range p.images {
		err = errors.Join(err, img.Close())
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
			fmt.Fprintf(env.Stderr, "note: %s\n", printable(problem.Text))
		}
	}
}

// printable is text that may hold anything, as a terminal can bear it.
func printable(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// scan opens the images and reads what LVM says about them.
func (v *images) scan(env *cli.Env, p *place, paths []string, opt lvm.ImageOptions) error {
	var so lvm.Options
	if v.LVMMetadata != "" {
		text, err := readLimited(v.LVMMetadata)
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
	var err error
	p.set, err = lvm.Scan(env, so, p.images...)
	return err
}

// openImage is [lvm.OpenImage], in the words of all tools.
func openImage(path string, opt lvm.ImageOptions) (*lvm.Image, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) { // not the backing file of an image
		return nil, fmt.Errorf("%s: no such file or device", path)
	}
	img, err := lvm.OpenImage(path, opt)
	if errors.Is(err, block.ErrNotBlocks) {
		//lint:ignore ST1005 scripts know these words
		return nil, fmt.Errorf("Not a block device or regular file '%s'.", path)
	}
	return img, err
}

// maxBackup is more than any file of vgcfgbackup has.
const maxBackup = 256 << 20

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBackup+1))
	if err == nil && len(text) > maxBackup {
		err = fmt.Errorf("%s: too large for a text of LVM", path)
	}
	return text, err
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

// choose finds the volume with the metadata: of the pool or volume that lv names, or
// of the only pool.
func (p *place) choose(path, lv string) error {
	switch {
	case len(p.set.Groups) == 0:
		return because(fmt.Errorf("%s: %w", path, errNoVolumes), p.set.Problems)
	case lv == "":
		return p.onlyPool()
	}
	v, err := p.lookUp(lv)
	if err != nil {
		return err
	}
	return p.metadataOf(v)
}

// because is an error with the problems that explain it.
func because(err error, problems []lvm.Problem) error {
	why := []error{err}
	for _, problem := range problems {
		why = append(why, errors.New(printable(problem.Text)))
	}
	return errors.Join(why...)
}

// onlyPool chooses the only pool that there is.
func (p *place) onlyPool() error {
	var pools, others []string
	for _, g := range p.set.Groups {
		for _, v := range g.LVs {
			switch {
			case v.ThinPool() != nil:
				pools = append(pools, g.Name+"/"+v.Name)
				p.group, p.pool = g, v
			case v.Visible():
				others = append(others, g.Name+"/"+v.Name)
			}
		}
	}
	switch len(pools) {
	case 1:
		return p.metadataOf(p.pool)
	case 0:
		return fmt.Errorf("LVM has no thin pool here; --lv VG/LV reads metadata from any volume: %s", list(others))
	}
	return fmt.Errorf("which pool? --lv VG/POOL takes one of %s", list(pools))
}

// list lists names, as far as they fit a message.
func list(names []string) string {
	const most = 20
	switch {
	case len(names) == 0:
		return "(there is none)"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// lookUp finds the volume VG/LV; LV alone will do if there is only one of that name.
func (p *place) lookUp(name string) (*lvm.Volume, error) {
	name = strings.TrimPrefix(name, "/dev/")
	vg, lv, ok := strings.Cut(name, "/")
	if ok {
		g, err := p.set.Group(vg)
		if err != nil {
			return nil, fmt.Errorf("--lv %s: %w", name, err)
		}
		if p.group = g; g.Volume(lv) == nil {
			return nil, fmt.Errorf("--lv %s: group %s has no such volume; it has %s", name, g.Name, list(names(g)))
		}
		return g.Volume(lv), nil
	}
	var found *lvm.Volume
	for _, g := range p.set.Groups {
		if v := g.Volume(name); v != nil {
			if found != nil {
				return nil, fmt.Errorf("--lv %s: several groups have a volume of that name: give VG/%s", name, name)
			}
			p.group, found = g, v
		}
	}
	if found == nil {
		return nil, fmt.Errorf("--lv %s: there is no such volume", name)
	}
	return found, nil
}

func names(g *lvm.Group) []string {
	var all []string
	for _, v := range g.LVs {
		all = append(all, v.Name)
	}
	return all
}

// metadataOf chooses the metadata of a pool, of the pool of a thin volume, or what a
// volume has, of which LVM may know whose metadata it is.
func (p *place) metadataOf(v *lvm.Volume) error {
	if t := v.Thin(); t != nil {
		p.thin = v
		if v = p.group.Volume(t.Pool); v == nil || v.ThinPool() == nil {
			return fmt.Errorf("%s: the pool %s is not there", p.group.Name, t.Pool)
		}
	}
	if t := v.ThinPool(); t != nil {
		p.pool, p.volume = v, p.group.Volume(t.Metadata)
		if p.volume == nil {
			return fmt.Errorf("%s/%s: its metadata %s is not there", p.group.Name, v.Name, t.Metadata)
		}
		return nil
	}
	p.volume = v
	for _, pool := range p.group.LVs {
		if t := pool.ThinPool(); t != nil && t.Metadata == v.Name {
			p.pool = pool
		}
	}
	return nil
}

// deviceNames are the volumes of the pool by their device ids.
func (p *place) deviceNames() map[metadata.DevID]string {
	if p == nil || p.pool == nil {
		return nil
	}
	all := map[metadata.DevID]string{}
	for _, v := range p.group.LVs {
		if t := v.Thin(); t != nil && t.Pool == p.pool.Name && t.DeviceID <= metadata.MaxDevID {
			all[metadata.DevID(t.DeviceID)] = p.group.Name + "/" + v.Name
		}
	}
	return all
}

var deviceWord = regexp.MustCompile(`\bdevice (\d+)\b`)

// A namer puts the names of volumes into messages: all tools say "device 7" of the same
// thing, so that vg/data (device 7) asks nothing of them.
type namer struct {
	w     io.Writer
	names map[metadata.DevID]string
	part  []byte // of a line
}

// named returns a writer that passes lines on to w with the names of volumes; w itself
// if p has none.
func (p *place) named(w io.Writer) io.Writer {
	if names := p.deviceNames(); len(names) > 0 {
		return &namer{w: w, names: names}
	}
	return w
}

// Write implements [io.Writer].
func (n *namer) Write(text []byte) (int, error) {
	n.part = append(n.part, text...)
	end := bytes.LastIndexByte(n.part, '\n') + 1
	if end == 0 {
		return len(text), nil
	}
	lines := deviceWord.ReplaceAllFunc(n.part[:end], func(word []byte) []byte {
		id, err := strconv.ParseUint(string(word[len("device "):]), 10, 24)
		if name, ok := n.names[metadata.DevID(id)]; ok && err == nil {
			return fmt.Appendf(nil, "%s (%s)", name, word)
		}
		return word
	})
	n.part = n.part[:copy(n.part, n.part[end:])]
	_, err := n.w.Write(lines)
	return len(text), err
}
