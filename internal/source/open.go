package source

import (
	"errors"
	"fmt"

	"thinpool/disk"
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
	Force    bool         // what is written over may hold anything, see [Occupied]
	Least    block.Nr     // blocks that it must have
	Partial  bool         // what lies in part on a physical volume that is missing is opened all the same
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

	bare     *disk.Disk // that is the metadata, in an image; nil: it does not lie in one
	disks    *Disks     // that are open; nil: none
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
	if spec.Disk.Given() || spec.Disk != nil && spec.Access != Overwrite && IsPlace(spec.Path) {
		return spec.inside(env)
	}
	if spec.Access != Overwrite && IsPlace(spec.Path) {
		return spec.place(env)
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
	if err := spec.member(dev); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	if err := spec.occupied(dev); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	var doubt error
	if spec.Access != Overwrite {
		doubt = Recognise(dev)
	}
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
		if err := Recognise(pack); err != nil && !spec.Doubtful {
			return nil, errors.Join(fmt.Errorf("%s: in the pack: %w", spec.Path, err), pack.Close())
		}
		return &Source{Device: pack, Path: spec.Path, snapshot: spec.Snapshot}, nil
	}
	return nil, fmt.Errorf("%s: %w", spec.Path, doubt)
}

// member refuses a member of a software RAID, which may look like metadata: it is not written to,
// and read together with the others.
func (spec *Spec) member(dev block.Device) error {
	whole := disk.New(spec.Path, block.Unaligned(dev), dev.Size())
	switch err := disk.Refuse(whole); {
	case spec.Access == Claim:
		return err
	case err != nil && spec.Disk != nil && spec.Access != Overwrite && disk.IsMember(whole):
		return diskError{err}
	}
	return nil
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

// occupied is [Occupied] for what is written over whatever it held before.
func (spec *Spec) occupied(dev block.Device) error {
	over := spec.Access == Overwrite || spec.Access == Claim && spec.Doubtful
	if !over || spec.Force {
		return nil
	}
	return Occupied(spec.Path, dev)
}

// passes reports whether dev is opened in spite of doubt.
func (spec *Spec) passes(dev block.Device, doubt error) bool {
	return spec.Doubtful && dev.Size() >= block.Size && !errors.Is(doubt, ErrPacked) && (spec.Disk == nil || !errors.Is(doubt, ErrDisk))
}

// inside opens metadata in a volume group, or what lies on a disk without one.
func (spec *Spec) inside(env *cli.Env) (*Source, error) {
	claim := spec.Access == Claim
	disks, err := spec.Disk.Open(env, spec.Path, disk.Options{Shared: spec.Snapshot.Set, Claim: claim})
	if err != nil {
		return nil, err
	}
	if bare := disks.bare(); bare != nil && spec.Disk.Sought() == "" {
		if err := bare.Writable(); claim && err != nil {
			return nil, errors.Join(err, disks.Close())
		}
		SayProblems(env, disks.Found.Problems)
		return &Source{Device: bare.Device(), Path: spec.Path, bare: bare, disks: disks, snapshot: spec.Snapshot}, nil
	}
	s, err := spec.volume(env, disks)
	if err != nil {
		return nil, errors.Join(err, disks.Close())
	}
	return s, nil
}

// place opens metadata at a place in an image, or on a server, for a tool that looks for none in volumes.
func (spec *Spec) place(env *cli.Env) (*Source, error) {
	disks, err := (&Disk{}).Open(env, spec.Path, disk.Options{Shared: spec.Snapshot.Set, Claim: spec.Access == Claim})
	if err != nil {
		return nil, err
	}
	bare := disks.bare()
	if bare == nil {
		return nil, errors.Join(fmt.Errorf("%s: no metadata begins there", spec.Path), disks.Close())
	}
	return &Source{Device: bare.Device(), Path: spec.Path, bare: bare, disks: disks, snapshot: spec.Snapshot}, nil
}

// volume opens the volume with the metadata.
func (spec *Spec) volume(env *cli.Env, disks *Disks) (*Source, error) {
	claim := spec.Access == Claim
	p, err := spec.Disk.Find(env, spec.Path, disks)
	if err != nil {
		return nil, err
	}
	if claim {
		if err := p.mayBeWritten(); err != nil {
			return nil, err
		}
	}
	// What is written goes to all copies of a mirror, so they must be the same, or one be chosen.
	r, err := p.Group.Open(p.Volume, lvm.ReadOptions{Leg: spec.Disk.Leg, Same: claim && spec.Disk.Leg == 0})
	if err != nil {
		return nil, err
	}
	for _, note := range r.Notes {
		env.Log.Info(note)
	}
	if !spec.Partial {
		if err := p.complete(r); err != nil {
			return nil, err
		}
	}
	return &Source{Device: r.Device(), Path: spec.Path, Place: p, Name: p.Name(), disks: disks, snapshot: spec.Snapshot}, nil
}

// Close closes the metadata and all images.
func (s *Source) Close() error {
	err := s.Device.Close()
	if s.disks != nil {
		err = errors.Join(err, s.disks.Close())
	}
	return err
}
