package command

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"

	"thinpool/internal/cli"
	"thinpool/internal/lvmthin"
	"thinpool/internal/source"
	"thinpool/lvm"
	"thinpool/metadata/volume"
)

// A plain is something to export that is in no pool: a logical volume of any sort, a partition.
type plain struct {
	io.ReaderAt
	name string
	size int64
	id   string // of the volume
	text uint64 // of the group
}

// Size is the number of bytes.
func (p *plain) Size() int64 { return p.size }

// Extents is all of it.
func (p *plain) Extents(context.Context) iter.Seq2[volume.Extent, error] {
	return func(yield func(volume.Extent, error) bool) {
		if p.size > 0 {
			yield(volume.Extent{Kind: volume.Mapped, Len: p.size}, nil)
		}
	}
}

// Advise does nothing.
func (p *plain) Advise(volume.Extent) {}

// Read reads the beginning of an extent.
func (p *plain) Read(b []byte, e volume.Extent) error {
	n, err := p.ReadAt(b, e.Begin)
	switch {
	case n == len(b):
		return nil
	case err == nil || err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return &volume.ReadError{Extent: e, BlockSize: plainBlock, Err: err}
}

// plainBlock is what errors about something in no pool are rounded to.
const plainBlock = cli.SectorSize

// plainVolume opens a volume that is in no pool.
func (x *Export) plainVolume(env *cli.Env, g *lvm.Group, v *lvm.Volume) (*plain, error) {
	r, err := lvmthin.Open(env, g, v, x.lvmthinOptions(env))
	if err != nil {
		return nil, err
	}
	return &plain{r, g.Name + "/" + v.Name, r.Size(), v.ID, g.Seqno}, nil
}

func (x *Export) lvmthinOptions(env *cli.Env) lvmthin.Options {
	return lvmthin.Options{Leg: x.Leg, Note: func(text string) { env.Log.Info(text) }}
}

// onlyThin refuses options that make sense only for what is in a pool.
func (x *Export) onlyThin(p *plain) error {
	options := []struct {
		name string
		set  bool
	}{
		{"--dev-id", x.DevID != nil},
		{"--root", x.Root != nil},
		{"--size", x.Size != nil},
		{"--changed-since", x.ChangedSince != nil},
		{"--map", x.Map != ""},
		{"--metadata", x.Metadata != ""},
		{"--metadata-snap", x.MetadataSnap.Set},
	}
	for _, o := range options {
		if o.set {
			return cli.Usagef("%s is not a thin volume, and %s is for those", p.name, o.name)
		}
	}
	return nil
}

// plainInside finds what is to be exported if it is in no pool; nil if it is in one.
func (x *Export) plainInside(env *cli.Env, p *source.Place) (*plain, error) {
	v := p.Volume
	if p.Thin != nil || v == nil || p.Pool != nil && (x.DevID != nil || x.Root != nil || !x.names(p, v)) {
		return nil, nil
	}
	found, err := x.plainVolume(env, p.Group, v)
	if err != nil {
		return nil, err
	}
	return found, x.onlyThin(found)
}

// names reports whether the command line names v itself, not the pool that it is a part of.
func (x *Export) names(p *source.Place, v *lvm.Volume) bool {
	return slices.Contains([]string{v.Name, p.Group.Name + "/" + v.Name, "/dev/" + p.Group.Name + "/" + v.Name}, x.disk().Sought())
}

// plainFacts is what must not have changed when an export goes on.
func (p *plain) facts(fact func(name string, value any)) {
	fact("volume", p.name)
	fact("id", p.id)
	fact("text", p.text)
	fact("size", fmt.Sprint(p.size))
}
