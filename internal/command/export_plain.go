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

// A plain is something outside any pool to export: a logical volume of another type, or a
// partition.
type plain struct {
	io.ReaderAt
	name string
	size int64
	id   string // UUID of the volume
	text uint64 // seqno of the group's text
}

// Size returns the size in bytes.
func (p *plain) Size() int64 { return p.size }

// Extents yields one extent: everything.
func (p *plain) Extents(context.Context) iter.Seq2[volume.Extent, error] {
	return func(yield func(volume.Extent, error) bool) {
		if p.size > 0 {
			yield(volume.Extent{Kind: volume.Mapped, Len: p.size}, nil)
		}
	}
}

// Advise does nothing.
func (p *plain) Advise(volume.Extent) {}

// Read reads the start of an extent.
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

// plainBlock is the granularity of read errors outside pools.
const plainBlock = cli.SectorSize

// plainVolume opens a volume that is not in a pool.
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

// onlyThin refuses options that only apply to pools.
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

// plainInside opens the volume or partition to export. It returns nil if it is in a pool.
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

// names reports whether the command line names v itself rather than the pool it belongs to.
func (x *Export) names(p *source.Place, v *lvm.Volume) bool {
	return slices.Contains([]string{v.Name, p.Group.Name + "/" + v.Name, "/dev/" + p.Group.Name + "/" + v.Name}, x.disk().Sought())
}

// facts lists what must not have changed when an export resumes.
func (p *plain) facts(fact func(name string, value any)) {
	fact("volume", p.name)
	fact("id", p.id)
	fact("text", p.text)
	fact("size", fmt.Sprint(p.size))
}
