package command

import (
	"fmt"

	"thinpool/internal/cli"
	"thinpool/internal/lvmthin"
	"thinpool/internal/source"
	"thinpool/lvm"
)

// openImages opens all inputs that are inside of a volume group, and finds out what LVM
// knows of the device: its id, its size and its external origin.
func (x *Export) openImages(env *cli.Env, in *exportInputs) error {
	p, err := x.disk().Find(env, x.Input, lvm.ImageOptions{Shared: x.MetadataSnap.Set})
	if err != nil {
		return err
	}
	in.place = p
	in.close = append(in.close, p)
	if p.Pool == nil {
		return fmt.Errorf("%s/%s is not a thin volume or thin pool; for files and devices use --metadata and --data", p.Group.Name, p.Volume.Name)
	}
	if err := x.devices(in); err != nil {
		return err
	}
	switch {
	case in.device != nil: // which may be another one
		p.Thin = p.ThinVolume(*in.device)
	case p.Thin != nil && x.Root == nil:
		in.device = &p.Thin.Thin().DeviceID
	case x.Root == nil:
		return cli.Usagef("which volume? Choose one with --lv (%s), or any device with --dev-id", source.List(p.ThinVolumes()))
	}
	if p.Thin != nil {
		in.size = p.Thin.Size
	}
	opt := lvmthin.Options{Leg: x.Leg, Note: func(text string) { env.Log.Info(text) }}
	if x.Metadata == "" {
		if in.metadata, err = lvmthin.Metadata(p.Group, p.Pool, opt); err != nil {
			return err
		}
	}
	in.src, err = lvmthin.Source(env, p.Group, p.Pool, p.Thin, opt)
	return err
}
