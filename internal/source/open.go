package source

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"thinpool/disk"
	"thinpool/internal/cli"
	"thinpool/internal/printable"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// An Access says what metadata is opened for.
type Access int

// The kinds of access.
const (
	Read      Access = iota // the metadata snapshot of a pool in use can be read
	ReadIdle                // like Read, for operations that are impossible on a pool in use
	Claim                   // read, and perhaps write in place later: see [Source.Writable]
	Overwrite               // overwrite at once; it must exist
)

// A Spec says what a tool opens and what it accepts.
type Spec struct {
	Path     string
	Access   Access
	Snapshot cli.Optional // read only this metadata snapshot, so the pool may be in use
	Packs    bool         // accept packed metadata
	Disk     *Disk        // the volume to use if Path is a disk; nil: refuse disks
	DiskHint string       // advice in that refusal
	Doubtful bool         // also open what does not look like metadata
	Force    bool         // overwrite whatever it holds; see [Occupied]
	Least    block.Nr     // minimum size in blocks
	Partial  bool         // also open what is partly on a missing physical volume
}

// A Source is open metadata.
type Source struct {
	block.Device
	Path  string
	Doubt error  // why it may not be metadata, if the Spec tolerates that
	Place *Place // in a volume group; nil: not in one

	// Name returns LVM's name for a device, "" if unknown. Name is nil if the pool is unknown.
	Name func(metadata.DevID) string

	bare     *disk.Disk // the metadata, directly on a disk in an image; nil: not so
	disks    *Disks     // open disks; nil: none
	snapshot cli.Optional
}

// Open opens metadata: on a device, in a file, packed, or in a volume on a disk or disk image.
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

// plain opens a device or a file. For a disk, it returns [ErrDisk].
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

// member handles a member of a software RAID, which may look like metadata: it must not be written
// to, and is read together with the other members.
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
	dev, err := block.Open(spec.Path, block.Options{Shared: spec.Snapshot.Set, Write: spec.Access == Overwrite})
	if spec.Access == Overwrite && errors.Is(err, fs.ErrNotExist) {
		return nil, noOutput(spec.Path)
	}
	return dev, openError(spec.Path, err, busy)
}

// noOutput is the error for an output that does not exist. A node that is missing in /dev is not for
// us to make.
func noOutput(path string) error {
	err := cli.Accessf("%s: no such file or device", path)
	if strings.HasPrefix(path, "/dev/") {
		return err
	}
	return fmt.Errorf("%w. An output must exist. Make it as large as the old metadata, or as thin_metadata_size says: truncate -s SIZE %s", err, printable.Shell(path))
}

// occupied applies [Occupied] to a target whose old content does not matter.
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

// inside opens metadata in a volume group, or directly on a disk without one.
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
	// Writes go to all copies of a mirror, so they must be equal, or one must be selected.
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
