package command

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/volume"
	"thinpool/tool/delta"
	"thinpool/tool/export"
)

// Migrate is thin_migrate. It exports an active device.
type Migrate struct {
	cli.Common
	SourceDev     string  `help:"Thin device to copy; it must be active and read-only." placeholder:"DEVICE"`
	DestDev       string  `help:"Block device to overwrite." placeholder:"DEVICE"`
	DestFile      string  `help:"File to create or overwrite." placeholder:"FILE"`
	DeltaID       *uint64 `help:"The destination is a copy of this older device; copy only what differs." name:"delta-id" placeholder:"ID"`
	ZeroDest      bool    `help:"Write zeros where nothing is mapped, instead of discarding."`
	Resume        bool    `help:"Continue an interrupted copy."`
	Journal       string  `help:"Record progress in this file. For files, the default is the output name with .resume added." placeholder:"FILE"`
	Verify        bool    `help:"When done, read everything back and compare it."`
	BufferSizeMeg *uint64 `help:"Accepted for compatibility; buffers take 4 MiB in all." placeholder:"MB" name:"buffer-size-meg"`
}

// Details implements cli.Detailer.
func (m *Migrate) Details() string {
	return `The pool stays active. It must have a metadata snapshot that is not older than the last change
of the device; if it has none, the commands that make one are printed. What is not mapped becomes
holes in a file, and is discarded on a device.`
}

// Examples implements cli.Exampler.
func (m *Migrate) Examples() string {
	return `# Copy a read-only snapshot to another volume
thin_migrate --source-dev /dev/vg/snap --dest-dev /dev/vg2/copy
# Make that a copy of a later snapshot; 7 is the thin id of vg/snap
thin_migrate --source-dev /dev/vg/snap2 --delta-id 7 --dest-dev /dev/vg2/copy`
}

// Rules implements cli.Ruler.
func (m *Migrate) Rules() []cli.Rule {
	return []cli.Rule{
		{Needs: []string{"source-dev"}},
		cli.OneOf("dest-dev", "dest-file"),
		cli.Exclusive("dest-dev", "dest-file"),
		cli.Exclusive("zero-dest", "dest-file"),
		{If: []string{"delta-id", "dest-file"}, Not: []string{"journal"}, Why: "an interrupted update is run again as a whole"},
	}
}

// Run implements cli.Command.
func (m *Migrate) Run(env *cli.Env) error {
	if err := m.check(); err != nil {
		return err
	}
	thin, err := source.FindThin(m.SourceDev)
	if err != nil {
		return err
	}
	env.Log.Info("found", "pool", thin.Pool, "device", thin.ID, "metadata", thin.Metadata, "data", thin.Data, "snapshot", uint64(thin.Snapshot))
	x := m.export(thin)
	if thin.Uses(x.Output) {
		return cli.Usagef("%s is a part of the source, so it cannot be the destination", x.Output)
	}
	snapshot, err := x.check()
	if err != nil {
		return err
	}
	in, err := x.open(env)
	if err != nil {
		return err
	}
	defer in.Close()
	v, err := x.volume(env, in, snapshot)
	if errors.Is(err, metadata.ErrNoDevice) {
		return fmt.Errorf("%w in the metadata snapshot. If the device is newer, release the snapshot and reserve a new one:%s", err, thin.Renewal())
	}
	if err != nil {
		return err
	}
	v.live = &live{thin: thin, metadata: in.metadata}
	if err := v.checkCurrent(); err != nil {
		return err
	}
	switch {
	case m.DeltaID == nil:
		return x.export(env, v)
	case m.DestFile != "":
		return x.update(env, v)
	}
	return m.updateDevice(env, x, v)
}

// check makes sure that the destination fits the option.
func (m *Migrate) check() error {
	if m.BufferSizeMeg != nil && *m.BufferSizeMeg == 0 {
		return cli.Usagef("--buffer-size-meg: a buffer has more than 0 MiB")
	}
	info, err := os.Stat(m.DestFile + m.DestDev)
	switch {
	case m.DestFile != "" && err == nil && !info.Mode().IsRegular():
		return cli.Usagef("--dest-file: %s is not a regular file", m.DestFile)
	case m.DestDev != "" && err == nil && info.Mode().Type() != os.ModeDevice:
		return cli.Usagef("--dest-dev: %s is not a block device", m.DestDev)
	case m.DestDev != "":
		return err
	}
	return nil
}

// export returns the same task for thin_export.
func (m *Migrate) export(thin *source.Thin) *Export {
	size := byteSize(thin.Size)
	x := &Export{
		Common: m.Common, Metadata: thin.Metadata, Data: thin.Data, Origin: thin.Origin,
		DevID: &deviceID{id: thin.ID}, Size: &size,
		Output: m.DestFile + m.DestDev, Journal: m.Journal, Resume: m.Resume, Force: !m.Resume, Verify: m.Verify,
		MetadataSnap: cli.Optional{Set: true, Value: strconv.FormatUint(uint64(thin.Snapshot), 10)},
		live:         thin, discard: !m.ZeroDest,
	}
	if m.DeltaID != nil {
		x.ChangedSince = &deviceID{id: *m.DeltaID}
		if m.DestFile != "" {
			x.Onto, x.Force, x.Resume = m.DestFile, false, false
		}
	}
	return x
}

// updateDevice turns a block device that is a copy of the older device into one of the newer. It writes
// everything after the last block that the older device maps, because nothing tells how long that was.
func (m *Migrate) updateDevice(env *cli.Env, x *Export, v *exportVolume) error {
	end, err := volume.MappedSize(v.pool, *v.older)
	if err != nil {
		return source.Damaged(err)
	}
	v.base = min(end, v.Size())
	f, err := os.Open(m.DestDev)
	if err != nil {
		return err
	}
	defer f.Close()
	err = export.Sample(v, v.common(env), v.base, f)
	if errors.Is(err, export.ErrDiffers) {
		return fmt.Errorf("%s is not a copy of device %d: %w", m.DestDev, *m.DeltaID, err)
	}
	if err != nil {
		return err
	}
	return x.export(env, v)
}

// common yields the extents that are the same in the older device.
func (v *exportVolume) common(env *cli.Env) func(yield func(volume.Extent, error) bool) {
	return func(yield func(volume.Extent, error) bool) {
		err := delta.Run(env, v.pool, *v.older, v.tree, delta.Options{Data: true}, func(ranges []delta.Range) error {
			for _, r := range ranges {
				if r.Kind != delta.Same {
					continue
				}
				for _, e := range v.thin.Mapped(metadata.Run{Thin: r.Begin, Data: r.Right, Len: r.Len}) {
					if e.Begin < v.base && !yield(e, nil) {
						return errStopped
					}
				}
			}
			return nil
		})
		if err != nil && err != errStopped {
			yield(volume.Extent{}, source.Damaged(err))
		}
	}
}

// A live is a device whose pool is in use.
type live struct {
	thin     *source.Thin
	metadata block.Device
}

// mostTries limits how often changing metadata is read again.
const mostTries = 16

// checkCurrent makes sure that the metadata snapshot has the current state of the device, and that the
// device is read-only. The kernel never changes a tree in place while the metadata snapshot shares it,
// so the device is unchanged if its tree has the same root. Metadata may look wrong while the pool
// writes it; then checkCurrent reads it again.
func (v *exportVolume) checkCurrent() error {
	if v.live == nil {
		return nil
	}
	thin := v.live.thin
	if err := thin.CheckReadOnly(); err != nil {
		return fmt.Errorf("%s: %w", thin.Path, err)
	}
	for range mostTries {
		if err := thin.Commit(); err != nil {
			return fmt.Errorf("%s: %w", thin.Path, err)
		}
		now, err := metadata.Open(v.live.metadata, metadata.Options{})
		if err != nil {
			continue
		}
		if tree, err := now.MappingTree(v.tree.ID); err == nil && tree.Root == v.tree.Root {
			return nil
		}
	}
	return fmt.Errorf("%s: the metadata snapshot is older than the last change of the device. Release it, and reserve a new one:%s", thin.Path, thin.Renewal())
}
