package command

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/volume"
	"thinpool/tool/export"
)

// statePath returns the path of the state file that describes a full copy; empty if there is none.
func (x *Export) statePath() string {
	if x.outputKind() != toFile || x.ChangedSince != nil && x.Onto == "" {
		return ""
	}
	return export.StatePath(x.Output)
}

// copyState describes the content of a full copy of a thin device; nil if it is not recorded.
func (x *Export) copyState(env *cli.Env, v *exportVolume) *export.State {
	if v.plain != nil || x.statePath() == "" {
		return nil
	}
	s := &export.State{Status: export.Unfit, Size: v.Size()}
	switch {
	case v.device == nil:
		s.Why = "it was made of a mapping tree (--root), not of a device"
	case x.Repair:
		s.Why = "it was made with --repair"
	default:
		of, err := v.identity(env, *v.device)
		if err != nil { // the copy is correct all the same
			s.Why = fmt.Sprintf("its device could not be identified: %v", err)
			break
		}
		s.Status, s.Of = export.Complete, of
	}
	return s
}

// identity identifies the content of a device.
func (v *exportVolume) identity(env *cli.Env, id uint64) (export.Identity, error) {
	env.Progress("identifying the device", 0, 0)
	d, err := v.pool.Device(metadata.DevID(id))
	if err != nil {
		return export.Identity{}, source.Damaged(err)
	}
	is, err := export.Identify(env, v.pool, d)
	if err != nil {
		return is, source.Damaged(err)
	}
	is.Origin = v.src.OriginSize
	uuid := v.pool.Superblock.UUID
	switch {
	case v.place != nil && v.place.Pool != nil:
		is.Pool = "lvm:" + v.place.Pool.ID
		if lv := v.place.ThinVolume(id); lv != nil {
			is.Name = v.place.Group.Name + "/" + lv.Name
		}
	case uuid != [16]byte{}:
		is.Pool = "uuid:" + hex.EncodeToString(uuid[:])
	}
	return is, nil
}

// update brings a full copy of the older device up to date.
func (x *Export) update(env *cli.Env, v *exportVolume) error {
	to, err := export.OpenCopy(x.Onto)
	if errors.Is(err, block.ErrBusy) {
		return source.Busy(x.Onto, err)
	}
	if err != nil {
		return err
	}
	defer to.Close()
	u, err := x.newUpdate(env, v, to)
	if err != nil {
		return fmt.Errorf("%s: %w", x.Onto, err)
	}
	if u == nil {
		env.Log.Info("the copy is up to date", "file", x.Onto)
		return errors.Join(x.list(env, v), v.checkHeld())
	}
	v.base = u.Base
	plan, err := x.plan(env, v, 0)
	if err != nil {
		return err
	}
	if err := x.list(env, v); err != nil {
		return err
	}
	u.Size = v.Size()
	u.Save = func(s export.State) error { return s.Save(x.Onto) }
	opt := export.Options{Phase: "updating MiB", Total: plan.bytes + plan.zeros, Zeros: true, Progress: env.Progress}
	u.Check = func() error {
		if x.Verify {
			to.Forget()
			opt.Phase = "verifying MiB"
			if err := export.Verify(env, v, v.extents(env), to, opt); err != nil {
				return fmt.Errorf("verify: %w", err)
			}
		}
		return v.checkHeld()
	}
	if err := u.Run(env, v, v.extents(env), to, opt); err != nil {
		return fmt.Errorf("%s: %w", x.Onto, err)
	}
	return nil
}

// newUpdate checks that the copy is one of the older device. It returns nil if there is nothing to
// do.
func (x *Export) newUpdate(env *cli.Env, v *exportVolume, to *export.FullCopy) (*export.Update, error) {
	s, err := export.LoadState(x.Onto)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("it is not known what it holds, as there is no %s: only a full copy that thin_export has made can be brought up to date", export.StatePath(x.Onto))
	}
	if err != nil {
		return nil, err
	}
	size, err := to.Size()
	if err != nil {
		return nil, err
	}
	if s.Status == export.Complete && s.Size != size {
		return nil, fmt.Errorf("it has %d bytes, but %s says %d: something has changed it", size, export.StatePath(x.Onto), s.Size)
	}
	older, err := v.identity(env, *v.since)
	if err != nil {
		return nil, err
	}
	newer, err := v.identity(env, *v.device)
	if err != nil {
		return nil, err
	}
	u, err := export.NewUpdate(s, &older, &newer)
	if u == nil || err != nil {
		return nil, err
	}
	u.Base = min(s.Size, size) // an interrupted update may have truncated it
	if !s.Of.Settled {
		v.rewritable = &s.Of.Snapshotted
	}
	if s.Status == export.Updating {
		return u, nil
	}
	return u, x.sample(env, v, to, &u.From)
}

// sample compares the copy with the older device at some positions, except where the pool may have
// written since.
func (x *Export) sample(env *cli.Env, v *exportVolume, to *export.FullCopy, s *export.State) error {
	older, err := volume.Open(env, v.pool, *v.older, v.src, volume.Options{Size: s.Size})
	if err != nil {
		return source.Damaged(err)
	}
	mapped := min(int64(min(s.Of.Mapped, 1<<40))*int64(s.Of.BlockSize)*cli.SectorSize, s.Size)
	settled := func(yield func(volume.Extent, error) bool) {
		for r, err := range v.pool.Runs(env, metadata.Device{ID: v.older.ID, Root: v.older.Root}) {
			if err != nil {
				yield(volume.Extent{}, source.Damaged(err))
				return
			}
			if r.Time >= s.Of.Snapshotted {
				continue
			}
			for _, e := range older.Mapped(r) {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
	err = export.Sample(older, settled, mapped, to)
	if errors.Is(err, export.ErrDiffers) {
		return fmt.Errorf("it does not hold what %s says: %w. Something has changed it, or this is another pool", export.StatePath(x.Onto), err)
	}
	return err
}
