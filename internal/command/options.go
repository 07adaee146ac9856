package command

import (
	"fmt"
	"math"
	"os"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/undo"
	"thinpool/metadata/block"
)

// volumes says where on disks or disk images the metadata is. Tools that read metadata embed it.
type volumes struct {
	LV     string `group:"images" help:"Pool or volume to use. Not needed if there is only one pool." name:"lv" placeholder:"VG/LV"`
	Inside string `group:"images" help:"With --lv: volume, or number of a partition, inside that volume." name:"inside" placeholder:"VG/LV|N"`
	images
}

// images says where volume groups are and how to read them.
type images struct {
	PV          []string `group:"images" help:"Another disk of the volume group, also as IMAGE@BYTES or NAME=IMAGE; repeatable." name:"pv" placeholder:"IMAGE" sep:"none"`
	Leg         int      `group:"images" help:"Use leg N of mirrors and raid1 volumes, counted from 1." placeholder:"N"`
	Backing     []string `group:"images" help:"Base file of a qcow2 image, if it is not in the folder of the image; repeatable." name:"backing" placeholder:"FILE" sep:"none"`
	Part        []string `group:"images" help:"Next part of a split image; repeatable. Parts with names such as disk.001 are found without it." name:"part" placeholder:"FILE" sep:"none"`
	KeyFile     string   `group:"images" help:"File with the key or passphrase for LUKS, or -. If not given, you are asked." name:"key-file" placeholder:"FILE"`
	KeyMemory   byteSize `group:"images" help:"Most memory for trying a key; 4g if not given." name:"key-memory" placeholder:"SIZE"`
	LVMMetadata string   `group:"images" help:"Use LVM metadata from a vgcfgbackup file, not from the disks." name:"lvm-metadata" placeholder:"FILE"`
}

func (v *images) open() source.Images {
	return source.Images{PVs: v.PV, Leg: v.Leg, Backing: v.Backing, Parts: v.Part, Text: v.LVMMetadata, KeyFile: v.KeyFile, KeyMemory: int64(min(v.KeyMemory, math.MaxInt64))}
}

func (v *volumes) disk() *source.Disk {
	return &source.Disk{LV: v.LV, Inside: v.Inside, Images: v.images.open()}
}

// inPlace has the options of tools that may overwrite metadata. Inside a disk or an image, nothing
// is written without both.
type inPlace struct {
	InPlace bool   `help:"Modify the metadata where it is, also inside a disk or raw image. Requires --undo." name:"in-place"`
	Undo    string `help:"First save what will be overwritten to this new file, for thin_check --apply-undo." placeholder:"FILE"`
}

// force allows a tool to overwrite something recognised that is not metadata.
type force struct {
	Force bool `help:"Overwrite the output even if it holds a file system, a disk or the like."`
}

// inPlaceRules returns the rules for tools that write: no writes to disks without --in-place.
func inPlaceRules() []cli.Rule {
	return []cli.Rule{{If: []string{"in-place"}, Needs: []string{"undo"}, Why: "a new file, needed to undo the change"}}
}

// imageOptions lists the options of volumes.
var imageOptions = []string{"lv", "inside", "pv", "leg", "backing", "part", "key-file", "key-memory", "lvm-metadata"}

// intoDisks returns rules that keep the output of other options off disks.
func intoDisks(write ...string) []cli.Rule {
	var rules []cli.Rule
	for _, o := range imageOptions {
		rules = append(rules, cli.Rule{If: append(write[:len(write):len(write)], o), Needs: []string{"in-place"}, Why: "a disk is never written to without it"})
	}
	return rules
}

// newUndo refuses an undo file that exists, before any work is done.
func (o *inPlace) newUndo() error {
	if _, err := os.Lstat(o.Undo); o.Undo != "" && err == nil {
		return fmt.Errorf("%s: %w", o.Undo, undo.ErrExists)
	}
	return nil
}

const inPlaceHint = "on a raw disk, --in-place with --undo FILE writes into the metadata volume"

// leastOutput is the minimum number of blocks of an output.
const leastOutput block.Nr = 10

// output returns how to open the target of new metadata.
func (o *inPlace) output(path string, disk *source.Disk, f force) source.Spec {
	if o.InPlace {
		return source.Spec{Path: path, Access: source.Claim, Disk: disk, Doubtful: true, Least: leastOutput, Force: f.Force}
	}
	return source.Spec{Path: path, Access: source.Overwrite, DiskHint: inPlaceHint, Least: leastOutput, Force: f.Force}
}

// A deviceID names a thin device: by id or, if LVM's text is available, by VG/LV.
type deviceID struct {
	id   uint64
	name string // empty: use the id
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *deviceID) UnmarshalText(text []byte) error {
	if strings.Contains(string(text), "/") {
		d.name = string(text)
		return nil
	}
	var err error
	d.id, err = cli.ParseNumber(string(text), 64)
	return err
}

// in returns the id of the device in the pool at p; nil if d is nil.
func (d *deviceID) in(p *source.Place) (*uint64, error) {
	switch {
	case d == nil:
		return nil, nil
	case d.name == "":
		return &d.id, nil
	}
	id, err := p.DevID(d.name)
	n := uint64(id)
	return &n, err
}
