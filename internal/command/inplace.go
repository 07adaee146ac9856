package command

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"thinpool/internal/cli"
	"thinpool/internal/lvmcheck"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/undo"
	"thinpool/internal/write"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// inPlace is the options of tools that may write over metadata that is wanted. Inside of a
// disk or an image nothing is written without both.
type inPlace struct {
	InPlace bool   `help:"Write into the metadata where it lies, which may be inside of a disk or an image of one; with --undo only." name:"in-place"`
	Undo    string `help:"Before anything is written, keep in this new file what it takes to undo it (thin_check --apply-undo)." placeholder:"FILE"`
}

// validate wants both options, and a file that is not there yet: rather before the work
// than after it.
func (o *inPlace) validate() error {
	if o.InPlace && o.Undo == "" {
		return cli.Usagef("--in-place wants --undo FILE as well: a new file that keeps what it takes to go back")
	}
	if _, err := os.Lstat(o.Undo); o.Undo != "" && err == nil {
		return fmt.Errorf("%s: %w", o.Undo, undo.ErrExists)
	}
	return nil
}

// onlyInPlace refuses options that have no meaning without --in-place.
func (v *volumes) onlyInPlace(given bool) error {
	if v.given() && !given {
		return cli.Usagef("--lv, --pv, --leg, --backing and --lvm-metadata are for disks and their images, into which nothing is written without --in-place and --undo FILE")
	}
	return nil
}

// diskHint adds to the error that an output is a disk what would write into it.
func diskHint(err error, options string) error {
	if errors.Is(err, cli.ErrDisk) {
		return fmt.Errorf("%w; on a raw disk %s writes into the metadata volume", err, options)
	}
	return err
}

const bothOptions = "--in-place with --undo FILE"

// mustBeMetadata opens what is to be written where it lies, and refuses what does not look
// like metadata.
func (v *volumes) mustBeMetadata(env *cli.Env, path string) (*source, error) {
	s, doubt, err := v.openInPlace(env, path)
	if err == nil && doubt != nil {
		err = errors.Join(fmt.Errorf("%s: %w", path, doubt), s.Close())
	}
	return s, err
}

// openInPlace opens what is to be written where it lies; so far it is only read. doubt is
// what speaks against its being metadata. Of mirrors all copies must be the same, or one be
// chosen, as what is written goes to all.
func (v *volumes) openInPlace(env *cli.Env, path string) (s *source, doubt, err error) {
	if !v.given() {
		dev, doubt, err := cli.Claim(path)
		if err != nil {
			return nil, nil, err
		}
		if !errors.Is(doubt, cli.ErrDisk) {
			return &source{Device: dev}, doubt, nil
		}
		if err := dev.Close(); err != nil {
			return nil, nil, err
		}
	}
	p, err := v.find(env, path, lvm.ImageOptions{Claim: true})
	if err != nil {
		return nil, nil, err
	}
	if s, err = p.openInPlace(env, v.Leg); err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return s, nil, nil
}

func (p *place) openInPlace(env *cli.Env, leg int) (*source, error) {
	for _, pool := range p.group.LVs {
		if t := pool.ThinPool(); t != nil && t.Data == p.volume.Name {
			return nil, fmt.Errorf("%s/%s holds the data of %s, no metadata: nothing is written there", p.group.Name, p.volume.Name, pool.Name)
		}
	}
	if _, err := p.group.Writable(p.volume); err != nil {
		return nil, err
	}
	r, err := p.group.Open(p.volume, lvm.ReadOptions{Leg: leg, Same: leg == 0})
	if err != nil {
		return nil, err
	}
	for _, note := range r.Notes {
		env.Log.Info(note)
	}
	return &source{r.Device(), p}, nil
}

// writable is what is open from openInPlace or openOutput, for writing too. It is closed
// with s.
func (s *source) writable() (block.Device, error) {
	if s.place == nil {
		if claimed, ok := s.Device.(*block.Claimed); ok {
			return claimed, claimed.AllowWriting()
		}
		return s.Device, nil
	}
	imgs, err := s.place.group.Writable(s.place.volume)
	if err != nil {
		return nil, err
	}
	for _, img := range imgs {
		if err := img.OpenForWriting(); err != nil {
			return nil, err
		}
	}
	return s.place.group.OpenWritable(s.place.volume)
}

// differHint says what to do if the copies of mirrors are not the same.
func differHint(err error) error {
	if errors.Is(err, lvm.ErrDiffer) {
		return fmt.Errorf("%w: thin_repair --in-place --undo FILE --leg N puts what copy N holds in place of all", err)
	}
	return err
}

// An output is where new metadata is written to.
type output struct {
	*source
	path string
	undo string // file; empty: none is kept
}

// openOutput opens what new metadata is to be written to.
func (o *inPlace) openOutput(env *cli.Env, v *volumes, path string) (*output, error) {
	if !o.InPlace {
		dev, err := openOutput(path)
		if err != nil {
			return nil, diskHint(err, bothOptions)
		}
		return &output{&source{Device: dev}, path, o.Undo}, nil
	}
	s, _, err := v.openInPlace(env, path) // what volumes held before says nothing
	if err != nil {
		return nil, err
	}
	if err := largeEnough(s, path); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &output{s, path, o.Undo}, nil
}

// write writes metadata, the undo file first. All that b makes it of is in b, so the
// output may be what it was read from.
func (o *output) write(env *cli.Env, b *write.Builder) error {
	if o.undo == "" {
		if err := b.Write(env, o.Device); err != nil {
			return fmt.Errorf("%s: %w", o.path, err)
		}
		return nil
	}
	block0, err := b.Block0(env, block.Blocks(o))
	if err != nil {
		return fmt.Errorf("%s: %w", o.path, err)
	}
	if err := o.place.accepts(block0); err != nil {
		return fmt.Errorf("%s: %w; nothing was written", o.path, err)
	}
	to, err := o.writable()
	if err != nil {
		return err
	}
	env.Progress("writing "+o.undo, 0, 0)
	change := undo.Change{All: min(block.Blocks(o), spacemap.MaxMetadata), Block0: block0}
	if err := undo.Create(env, o.undo, o, change); err != nil {
		return fmt.Errorf("undo file: %w; nothing was written", differHint(err))
	}
	if err := b.Write(env, to); err != nil {
		fmt.Fprintf(env.Stderr, "%s is not complete: thin_check --in-place --apply-undo %s %s puts back what was there\n", o.path, o.undo, o.path)
		return fmt.Errorf("%s: %w", o.path, err)
	}
	return nil
}

// accepts refuses metadata with which LVM or the kernel would refuse the pool at p, as its
// blocks are of another size, or there are too many. block0 is its superblock.
func (p *place) accepts(block0 *block.Data) error {
	if p == nil || p.pool == nil {
		return nil
	}
	sb, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, block0)
	if err != nil {
		return err
	}
	both := lvmcheck.Pool{Group: p.group, Volume: p.pool, Superblock: sb}
	for _, d := range both.Compare() {
		if d.Refused && slices.Contains([]lvmcheck.Code{lvmcheck.ChunkSize, lvmcheck.DataSize}, d.Code) {
			return fmt.Errorf("LVM: %s [%s]", d.Text, d.Code)
		}
	}
	return nil
}

// openUndo opens and verifies an undo file.
func openUndo(env *cli.Env, path string) (*undo.File, *os.File, error) {
	// Looked at first, as opening a named pipe waits for the other end.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = cli.Accessf("%s: not a regular file", path)
	}
	if err != nil {
		return nil, nil, err
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	file, err := undo.Open(env, in, info.Size())
	if err != nil {
		in.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, in, nil
}
