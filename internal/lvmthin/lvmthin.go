// Package lvmthin reads logical volumes of any type: those LVM maps itself as in package lvm, and
// thin volumes through the metadata of their pool, with their external origins.
package lvmthin

import (
	"context"
	"fmt"
	"io"

	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/volume"
)

// A Reader is the content of a volume.
type Reader interface {
	io.ReaderAt
	Size() int64 // bytes
}

// Options say how to read volumes.
type Options struct {
	Leg  int               // of mirrors, as in [lvm.ReadOptions]
	Note func(text string) // called with anything unusual about a volume; may be nil
}

func (o Options) open(g *lvm.Group, v *lvm.Volume) (*lvm.Reader, error) {
	r, err := g.Open(v, lvm.ReadOptions{Leg: o.Leg})
	if err == nil && o.Note != nil {
		for _, note := range r.Notes {
			o.Note(note)
		}
	}
	return r, err
}

// mostOrigins limits the length of a chain of external origins.
const mostOrigins = 16

// Open opens a volume of g. Reads of thin volumes fail when ctx ends. The error wraps
// [block.ErrCorrupt] if a pool's metadata is damaged.
func Open(ctx context.Context, g *lvm.Group, v *lvm.Volume, opt Options) (Reader, error) {
	return openBelow(ctx, g, v, opt, 0)
}

func openBelow(ctx context.Context, g *lvm.Group, v *lvm.Volume, opt Options, depth int) (Reader, error) {
	t := v.Thin()
	if t == nil {
		return opt.open(g, v)
	}
	if depth > mostOrigins {
		return nil, fmt.Errorf("%s/%s: more than %d external origins in a chain", g.Name, v.Name, mostOrigins)
	}
	pool := g.Volume(t.Pool)
	if pool == nil {
		return nil, fmt.Errorf("%s/%s: its pool %s is missing", g.Name, v.Name, t.Pool)
	}
	dev, err := Metadata(g, pool, opt)
	if err != nil {
		return nil, err
	}
	src, err := source(ctx, g, pool, v, opt, depth)
	if err != nil {
		return nil, err
	}
	content, err := openThin(ctx, dev, v, src)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", g.Name, v.Name, err)
	}
	return content, nil
}

// openThin opens the thin volume v of the pool whose metadata is on dev.
func openThin(ctx context.Context, dev block.Device, v *lvm.Volume, src volume.Source) (*volume.Volume, error) {
	pool, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		return nil, err
	}
	tree, err := pool.MappingTree(metadata.DevID(v.Thin().DeviceID))
	if err != nil {
		return nil, err
	}
	return volume.Open(ctx, pool, tree, src, volume.Options{Size: v.Size})
}

// Metadata opens the metadata of a thin pool of g.
func Metadata(g *lvm.Group, pool *lvm.Volume, opt Options) (block.Device, error) {
	v, err := part(g, pool, "metadata", func(t *lvm.ThinPool) string { return t.Metadata })
	if err != nil {
		return nil, err
	}
	r, err := opt.open(g, v)
	if err != nil {
		return nil, err
	}
	return r.Device(), nil
}

// part returns a volume that a pool consists of.
func part(g *lvm.Group, pool *lvm.Volume, what string, name func(*lvm.ThinPool) string) (*lvm.Volume, error) {
	t := pool.ThinPool()
	if t == nil {
		return nil, fmt.Errorf("%s/%s is not a thin pool", g.Name, pool.Name)
	}
	v := g.Volume(name(t))
	if v == nil {
		return nil, fmt.Errorf("%s/%s: its %s volume %s is missing", g.Name, pool.Name, what, name(t))
	}
	return v, nil
}

// Source returns where the data of the thin volume in the pool comes from. If thin is nil, it is
// for any device of the pool without an external origin.
func Source(ctx context.Context, g *lvm.Group, pool, thin *lvm.Volume, opt Options) (volume.Source, error) {
	return source(ctx, g, pool, thin, opt, 0)
}

func source(ctx context.Context, g *lvm.Group, pool, thin *lvm.Volume, opt Options, depth int) (volume.Source, error) {
	var src volume.Source
	v, err := part(g, pool, "data", func(t *lvm.ThinPool) string { return t.Data })
	if err != nil {
		return src, err
	}
	data, err := opt.open(g, v)
	if err != nil {
		return src, err
	}
	src.Data, src.DataSize = data, data.Size()
	if thin == nil || thin.Thin().ExternalOrigin == "" {
		return src, nil
	}
	below := g.Volume(thin.Thin().ExternalOrigin)
	if below == nil {
		return src, fmt.Errorf("%s/%s: its external origin %s is missing", g.Name, thin.Name, thin.Thin().ExternalOrigin)
	}
	origin, err := openBelow(ctx, g, below, opt, depth+1)
	if err != nil {
		return src, err
	}
	src.Origin, src.OriginSize = origin, origin.Size()
	return src, nil
}
