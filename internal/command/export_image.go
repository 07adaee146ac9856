package command

import (
	"thinpool/disk"
	"thinpool/internal/cli"
	"thinpool/internal/lvmthin"
	"thinpool/internal/source"
)

// openImages opens inputs inside a disk: from a volume group, or from a partition inside one of its
// volumes.
func (x *Export) openImages(env *cli.Env, in *exportInputs) error {
	disks, err := x.disk().Open(env, x.Input, disk.Options{Shared: x.MetadataSnap.Set})
	if err != nil {
		return err
	}
	in.close = append(in.close, disks)
	if part := disks.Part; part != nil {
		in.plain = &plain{part, part.String(), part.Size(), "", 0}
		return x.onlyThin(in.plain)
	}
	p, err := x.disk().Find(env, x.Input, disks)
	if err != nil {
		return err
	}
	in.place = p
	if in.plain, err = x.plainInside(env, p); in.plain != nil || err != nil {
		return err
	}
	return x.openPool(env, in)
}

// openPool opens the pool and gets the device's id, size and external origin from LVM.
func (x *Export) openPool(env *cli.Env, in *exportInputs) error {
	p := in.place
	err := x.devices(in)
	if err != nil {
		return err
	}
	switch {
	case in.device != nil: // may differ from --lv
		p.Thin = p.ThinVolume(*in.device)
	case p.Thin != nil && x.Root == nil:
		in.device = &p.Thin.Thin().DeviceID
	case x.Root == nil:
		return cli.Usagef("which volume? Choose one with --lv (%s), or any device with --dev-id", source.List(p.ThinVolumes()))
	}
	if p.Thin != nil {
		in.size = p.Thin.Size
	}
	opt := x.lvmthinOptions(env)
	if x.Metadata == "" {
		if in.metadata, err = lvmthin.Metadata(p.Group, p.Pool, opt); err != nil {
			return err
		}
	}
	in.src, err = lvmthin.Source(env, p.Group, p.Pool, p.Thin, opt)
	return err
}
