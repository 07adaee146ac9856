package command

import (
	"errors"
	"fmt"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata/volume"
)

// An exportPlan sums up what an export will do.
type exportPlan struct {
	bytes int64 // to copy
	zeros int64 // to skip or write as zeros
	lost  int64
	cut   bool // some mappings lie beyond the data device
}

// plan reads all extents to export from byte from on, and reports what is lost. Without --repair,
// any loss is an error.
func (x *Export) plan(env *cli.Env, v *exportVolume, from int64) (exportPlan, error) {
	var p exportPlan
	env.Progress("reading mappings", 0, 0)
	for e, err := range v.extents(env) {
		if err != nil {
			return p, err
		}
		left := max(e.End()-max(e.Begin, from), 0)
		switch e.Kind {
		case volume.Mapped, volume.Origin:
			p.bytes += left
		case volume.Hole:
			p.zeros += left
		case volume.Lost:
			p.zeros += left
			_, cut := errors.AsType[*volume.BeyondError](e.Err)
			p.lost, p.cut = p.lost+e.Len, p.cut || cut
			sayLost(env, e)
		}
	}
	if p.lost == 0 {
		return p, nil
	}
	v.lossy = true
	if x.Repair {
		return p, nil
	}
	advice := "use --repair to export the rest, with holes in these places"
	if x.ChangedSince != nil {
		advice = "from damaged metadata only whole devices can be exported, with --repair"
	}
	if x.live != nil {
		advice = "deactivate the pool, and run thin_check on its metadata"
	}
	if p.cut && x.live == nil {
		advice += "; is this the whole data device, and does it start at --data-offset?"
	}
	return p, fmt.Errorf("%d bytes are lost; nothing was written: %s", p.lost, advice)
}

func sayLost(env *cli.Env, e volume.Extent) {
	fmt.Fprintf(env.Stderr, "lost: bytes %d..%d: %v\n", e.Begin, e.End()-1, e.Err)
}

// list prints the lists that the options request.
func (x *Export) list(env *cli.Env, v *exportVolume) error {
	switch {
	case x.Map != "":
		table := view.NewDMTable(env.Stdout, x.Data, x.Origin, int64(x.DataOffset))
		return errors.Join(v.each(env, table.Add), table.Close())
	case x.Format == "" && x.Ranges == "":
		return nil
	}
	out, err := source.CreateOutput(env, x.Ranges, "", x.inputs()...)
	if err != nil {
		return err
	}
	defer out.Discard()
	ranges := view.NewRanges(out, v.Size())
	if err := v.each(env, ranges.Add); err != nil {
		return err
	}
	if err := ranges.Close(); err != nil {
		return err
	}
	return out.Commit(env)
}

// mapfile lists the ranges lost to damaged metadata or read errors.
func (x *Export) mapfile(env *cli.Env, v *exportVolume, unreadable []volume.Extent) error {
	if x.Mapfile == "" {
		return nil
	}
	out, err := source.CreateOutput(env, x.Mapfile, "", x.inputs()...)
	if err != nil {
		return err
	}
	defer out.Discard()
	m := view.NewMapfile(out)
	if err := v.eachReadable(env, unreadable, m.Add); err != nil {
		return err
	}
	if err := m.Close(); err != nil {
		return err
	}
	return out.Commit(env)
}

// eachReadable is like each, but treats unreadable extents as lost.
func (v *exportVolume) eachReadable(env *cli.Env, unreadable []volume.Extent, fn func(volume.Extent) error) error {
	return v.each(env, func(e volume.Extent) error {
		for len(unreadable) > 0 && unreadable[0].Begin < e.End() {
			bad := unreadable[0]
			readable, lost := e, e.From(max(bad.Begin, e.Begin))
			readable.Len -= lost.Len
			lost.Kind, lost.Len = volume.Lost, min(bad.End(), e.End())-lost.Begin
			if readable.Len > 0 {
				if err := fn(readable); err != nil {
					return err
				}
			}
			if err := fn(lost); err != nil {
				return err
			}
			if e = e.From(lost.End()); bad.End() > lost.End() {
				break // continues in the next extent
			}
			unreadable = unreadable[1:]
		}
		if e.Len == 0 {
			return nil
		}
		return fn(e)
	})
}

func (v *exportVolume) each(env *cli.Env, fn func(volume.Extent) error) error {
	for e, err := range v.extents(env) {
		if err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}
