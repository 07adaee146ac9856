package command

import (
	"fmt"

	"thinpool/internal/cli"
	"thinpool/internal/lvmthin"
	"thinpool/lvm"
)

// openImages opens all inputs that are inside of a volume group, and finds out what LVM
// knows of the device: its id, its size and its external origin.
func (x *Export) openImages(env *cli.Env, in *exportInputs) error {
	p, err := x.find(env, x.Input, lvm.ImageOptions{Shared: x.MetadataSnap.Set})
	if err != nil {
		return err
	}
	in.place = p
	in.close = append(in.close, p)
	if p.pool == nil {
		return fmt.Errorf("%s/%s is no thin volume or pool that LVM knows: --metadata and --data take files and devices", p.group.Name, p.volume.Name)
	}
	switch {
	case x.DevID != nil: // which may be another one
		p.thin = p.thinVolume(*x.DevID)
	case p.thin != nil && x.Root == nil:
		x.DevID = &p.thin.Thin().DeviceID
	case x.Root == nil:
		return cli.Usagef("which volume? --lv takes one of %s, --dev-id any device", list(p.thinVolumes()))
	}
	if p.thin != nil {
		in.size = p.thin.Size
	}
	opt := lvmthin.Options{Leg: x.Leg, Note: func(text string) { env.Log.Info(text) }}
	if x.Metadata == "" {
		if in.metadata, err = lvmthin.Metadata(p.group, p.pool, opt); err != nil {
			return err
		}
	}
	in.src, err = lvmthin.Source(env, p.group, p.pool, p.thin, opt)
	return err
}

// thinVolumes are the names of the volumes in the pool.
func (p *place) thinVolumes() []string {
	var all []string
	for _, v := range p.group.LVs {
		if t := v.Thin(); t != nil && t.Pool == p.pool.Name {
			all = append(all, p.group.Name+"/"+v.Name)
		}
	}
	return all
}

// thinVolume is the volume in the pool that has a device id; nil if LVM knows of none.
func (p *place) thinVolume(id uint64) *lvm.Volume {
	for _, v := range p.group.LVs {
		if t := v.Thin(); t != nil && t.Pool == p.pool.Name && t.DeviceID == id {
			return v
		}
	}
	return nil
}
