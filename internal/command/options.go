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

// volumes says where on disks or in images of them the metadata is. Tools that read
// embed it.
type volumes struct {
	LV     string `group:"images" help:"Pool or volume to use. Not needed if there is only one pool." name:"lv" placeholder:"VG/LV"`
	Inside string `group:"images" help:"With --lv: volume, or number of a partition, inside that volume." name:"inside" placeholder:"VG/LV|N"`
	images
}

// images says where volume groups are, and how they are read.
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

// inPlace is the options of tools that may write over metadata that is wanted. Inside of a
// disk or an image nothing is written without both.
type inPlace struct {
	InPlace bool   `help:"Modify the metadata where it is, also inside a disk or raw image. Requires --undo." name:"in-place"`
	Undo    string `help:"First save what will be overwritten to this new file, for thin_check --apply-undo." placeholder:"FILE"`
}

// force lets a tool write over something that is known and is not metadata.
type force struct {
	Force bool `help:"Overwrite the output even if it holds a file system, a disk or the like."`
}

// inPlaceRules are those of tools that write: nothing is written into disks without --in-place.
func inPlaceRules() []cli.Rule {
	return []cli.Rule{{If: []string{"in-place"}, Needs: []string{"undo"}, Why: "a new file, needed to undo the change"}}
}

// imageOptions are those of volumes.
var imageOptions = []string{"lv", "inside", "pv", "leg", "backing", "part", "key-file", "key-memory", "lvm-metadata"}

// intoDisks are the rules that keep what the other options write out of disks.
func intoDisks(write ...string) []cli.Rule {
	var rules []cli.Rule
	for _, o := range imageOptions {
		rules = append(rules, cli.Rule{If: append(write[:len(write):len(write)], o), Needs: []string{"in-place"}, Why: "a disk is never written to without it"})
	}
	return rules
}

// newUndo wants an undo file that is not there yet: rather before the work than after it.
func (o *inPlace) newUndo() error {
	if _, err := os.Lstat(o.Undo); o.Undo != "" && err == nil {
		return fmt.Errorf("%s: %w", o.Undo, undo.ErrExists)
	}
	return nil
}

const inPlaceHint = "on a raw disk, --in-place with --undo FILE writes into the metadata volume"

// leastOutput is how many blocks the smallest output has.
const leastOutput block.Nr = 10

// output is what new metadata is written to.
func (o *inPlace) output(path string, disk *source.Disk, f force) source.Spec {
	if o.InPlace {
		return source.Spec{Path: path, Access: source.Claim, Disk: disk, Doubtful: true, Least: leastOutput, Force: f.Force}
	}
	return source.Spec{Path: path, Access: source.Overwrite, DiskHint: inPlaceHint, Least: leastOutput, Force: f.Force}
}

// A deviceID is a thin device: its id or, where LVM's text is at hand, VG/LV.
type deviceID struct {
	id   uint64
	name string // empty: the id
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

// in is the id of the device in the pool at p; nil if d is.
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
