package source

import (
	"errors"
	"fmt"

	"thinpool/internal/cli"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// An Access is what metadata is opened for.
type Access int

// What metadata is opened for.
const (
	Read      Access = iota // of a pool in use its metadata snapshot can be read
	ReadIdle                // as Read, for what cannot be done to a pool in use
	Claim                   // read, and later perhaps written where it lies: see [Source.Writable]
	Overwrite               // written over at once; it must exist
)

// A Spec says what a tool opens, and what it makes do with.
type Spec struct {
	Path     string
	Access   Access
	Snapshot cli.Optional // only this metadata snapshot is read, so the pool may be in use
	Packs    bool         // packed metadata is read, too
	Disk     *Disk        // which volume is meant if Path is a disk; nil: a disk is refused
	DiskHint string       // what is said to that
	Doubtful bool         // what does not look like metadata is opened all the same
	Least    block.Nr     // blocks that it must have
}

// A Source is metadata that is open.
type Source struct {
	block.Device
	Path  string
	Doubt error  // what speaks against its being metadata, if the Spec lets that pass
	Place *Place // in a volume group; nil: it does not lie in one

	// Name is what LVM calls a device, "" for one that it does not know; nil if nothing is
	// known about the pool.
	Name func(metadata.DevID) string

	snapshot cli.Optional
}

// Open opens metadata: on a device, in a file, packed, or in a volume on a disk or in an
// image of one.
func Open(env *cli.Env, spec Spec) (*Source, error) {
	s, err := spec.open(env)
	if err != nil {
		return nil, err
	}
	if have := block.Blocks(s); have < spec.Least {
		err := fmt.Errorf("%s: Output file too small. It has %d bytes; metadata needs %d blocks of %d at least", spec.Path, s.Size(), spec.Least, block.Size)
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (spec *Spec) open(env *cli.Env) (*Source, error) {
	if spec.Disk.Given() {
		return spec.inside(env)
	}
	s, err := spec.plain(env)
	if !errors.Is(err, ErrDisk) {
		return s, err
	}
	if spec.Disk == nil {
		if spec.DiskHint != "" {
			err = fmt.Errorf("%w; %s", err, spec.DiskHint)
		}
		return nil, err
	}
	s, inside := spec.inside(env)
	switch {
	case spec.Access == Claim:
	case errors.Is(inside, ErrNoVolumes) && spec.Doubtful:
		anything := *spec
		anything.Disk = nil
		return anything.plain(env)
	case errors.Is(inside, block.ErrBusy) && !spec.Doubtful:
		inside = fmt.Errorf("%w; or deactivate what is on the disk, because it is in use", err)
	}
	return s, inside
}

// plain opens a device or a file. A disk is an [ErrDisk].
func (spec *Spec) plain(env *cli.Env) (*Source, error) {
	dev, err := spec.device()
	if err != nil {
		return nil, err
	}
	doubt := spec.recognise(dev)
	if doubt == nil || spec.passes(dev, doubt) {
		return &Source{Device: dev, Path: spec.Path, Doubt: doubt, snapshot: spec.Snapshot}, nil
	}
	if err := dev.Close(); err != nil {
		return nil, err
	}
	if errors.Is(doubt, ErrPacked) && spec.Packs {
		pack, err := loadPack(env, spec.Path)
		if err != nil {
			return nil, err
		}
		return &Source{Device: pack, Path: spec.Path, snapshot: spec.Snapshot}, nil
	}
	return nil, fmt.Errorf("%s: %w", spec.Path, doubt)
}

func (spec *Spec) device() (block.Device, error) {
	busy := sys.busyOtherwise
	if spec.Access == Read {
		busy = sys.busyReading
	}
	if spec.Access == Claim {
		dev, err := block.Claim(spec.Path)
		if err != nil {
			return nil, openError(spec.Path, err, busy)
		}
		return dev, nil
	}
	return openDevice(spec.Path, block.Options{Shared: spec.Snapshot.Set, Write: spec.Access == Overwrite}, busy)
}

// recognise says what dev is instead of metadata. A file that is written over is refused only if
// it is wanted for what it has: a pack, or the image of a disk. What volumes held before they
// were given to a pool says nothing.
func (spec *Spec) recognise(dev block.Device) error {
	is := Recognise(dev)
	if spec.Access != Overwrite {
		return is
	}
	if regular(spec.Path) && (errors.Is(is, ErrPacked) || errors.Is(is, ErrDisk)) {
		return is
	}
	return nil
}

// passes reports whether dev is opened in spite of doubt.
func (spec *Spec) passes(dev block.Device, doubt error) bool {
	return spec.Doubtful && dev.Size() >= block.Size && !errors.Is(doubt, ErrPacked) && (spec.Disk == nil || !errors.Is(doubt, ErrDisk))
}

// inside opens metadata in a volume group.
func (spec *Spec) inside(env *cli.Env) (*Source, error) {
	claim := spec.Access == Claim
	p, err := spec.Disk.Find(env, spec.Path, lvm.ImageOptions{Shared: spec.Snapshot.Set, Claim: claim})
	if err != nil {
		return nil, err
	}
	if claim {
		err = p.mayBeWritten()
	}
	var r *lvm.Reader
	if err == nil {
		// What is written goes to all copies of a mirror, so they must be the same, or one be chosen.
		r, err = p.Group.Open(p.Volume, lvm.ReadOptions{Leg: spec.Disk.Leg, Same: claim && spec.Disk.Leg == 0})
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	for _, note := range r.Notes {
		env.Log.Info(note)
	}
	return &Source{Device: r.Device(), Path: spec.Path, Place: p, Name: p.Name(), snapshot: spec.Snapshot}, nil
}

// Close closes the metadata and all images.
func (s *Source) Close() error {
	err := s.Device.Close()
	if s.Place != nil {
		err = errors.Join(err, s.Place.Close())
	}
	return err
}
