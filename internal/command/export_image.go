package command

import (
	"fmt"
	"io"

	"thinpool/internal/cli"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/volume"
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
	if x.Metadata == "" {
		r, err := p.open(env, p.volume, x.Leg)
		if err != nil {
			return err
		}
		in.metadata = r.Device()
	}
	in.src, err = p.source(env, p.pool, p.thin, x.Leg, 0)
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

// open opens a volume for reading.
func (p *place) open(env *cli.Env, v *lvm.Volume, leg int) (*lvm.Reader, error) {
	r, err := p.group.Open(v, lvm.ReadOptions{Leg: leg})
	if err != nil {
		return nil, err
	}
	for _, note := range r.Notes {
		env.Log.Info(note)
	}
	return r, nil
}

// mostOrigins bounds how many external origins follow one another.
const mostOrigins = 16

// source is where the bytes of v, a thin volume, come from, or with nil those of any device of
// the pool.
func (p *place) source(env *cli.Env, pool, v *lvm.Volume, leg, depth int) (volume.Source, error) {
	var src volume.Source
	data := p.group.Volume(pool.ThinPool().Data)
	if data == nil {
		return src, fmt.Errorf("%s/%s: its data volume %s is not there", p.group.Name, pool.Name, pool.ThinPool().Data)
	}
	r, err := p.open(env, data, leg)
	if err != nil {
		return src, err
	}
	src.Data, src.DataSize = r, r.Size()
	if v == nil || v.Thin().ExternalOrigin == "" {
		return src, nil
	}
	origin := p.group.Volume(v.Thin().ExternalOrigin)
	if origin == nil {
		return src, fmt.Errorf("%s/%s: its external origin %s is not there", p.group.Name, v.Name, v.Thin().ExternalOrigin)
	}
	src.OriginSize = origin.Size
	src.Origin, err = p.content(env, origin, leg, depth+1)
	return src, err
}

// content is what a volume of any sort holds; a thin one may have external origins in turn.
func (p *place) content(env *cli.Env, v *lvm.Volume, leg, depth int) (io.ReaderAt, error) {
	t := v.Thin()
	if t == nil {
		return p.open(env, v, leg)
	}
	fail := func(err error) (io.ReaderAt, error) { return nil, fmt.Errorf("%s/%s: %w", p.group.Name, v.Name, err) }
	if depth > mostOrigins {
		return fail(fmt.Errorf("more than %d external origins follow one another", mostOrigins))
	}
	in := &place{images: p.images, set: p.set, group: p.group}
	if err := in.metadataOf(v); err != nil {
		return nil, err
	}
	r, err := p.open(env, in.volume, leg)
	if err != nil {
		return nil, err
	}
	pool, err := metadata.Open(r.Device(), metadata.Options{})
	if err != nil {
		return fail(damaged(err))
	}
	tree, err := pool.Tree(metadata.DevID(t.DeviceID))
	if err != nil {
		return fail(err)
	}
	src, err := p.source(env, in.pool, v, leg, depth)
	if err != nil {
		return nil, err
	}
	content, err := volume.Open(env, pool, tree, src, volume.Options{Size: v.Size})
	if err != nil {
		return fail(damaged(err))
	}
	return content, nil
}
