package source

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"thinpool/internal/cli"
	"thinpool/internal/lvmcheck"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/printable"
	"thinpool/internal/undo"
	"thinpool/internal/write"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// mayBeWritten refuses volumes that cannot or must not be written.
func (p *Place) mayBeWritten() error {
	for _, pool := range p.Group.LVs {
		if t := pool.ThinPool(); t != nil && t.Data == p.Volume.Name {
			return fmt.Errorf("%s/%s holds the data of %s, not metadata: refusing to write there", p.Group.Name, p.Volume.Name, pool.Name)
		}
	}
	_, err := p.Group.Writable(p.Volume)
	return err
}

// Writable opens a source for writing that was opened with [Claim] or [Overwrite]. Closing s closes
// it.
func (s *Source) Writable() (block.Device, error) {
	if s.bare != nil {
		return s.bare.Device(), s.bare.OpenForWriting()
	}
	if s.Place == nil {
		if claimed, ok := s.Device.(*block.Claimed); ok {
			return claimed, claimed.AllowWriting()
		}
		return s.Device, nil
	}
	imgs, err := s.Place.Group.Writable(s.Place.Volume)
	if err != nil {
		return nil, err
	}
	for _, img := range imgs {
		if err := img.OpenForWriting(); err != nil {
			return nil, err
		}
	}
	return s.Place.Group.OpenWritable(s.Place.Volume)
}

// A legDevice reads from the source, which may be a selected leg, and writes to all legs.
type legDevice struct {
	block.Device
	from io.ReaderAt
}

// ReadAt implements [block.Device].
func (d legDevice) ReadAt(p []byte, off int64) (int, error) { return d.from.ReadAt(p, off) }

// DifferHint adds what to do if the copies of a mirror differ.
func DifferHint(err error) error {
	if errors.Is(err, lvm.ErrDiffer) {
		return fmt.Errorf("%w: use thin_repair --in-place --undo FILE --leg N to replace all copies with copy N", err)
	}
	return err
}

// Replace overwrites s with new metadata. Unless undoFile is empty, it first writes an undo file. b
// has everything it needs, so s may be what it was read from.
func (s *Source) Replace(env *cli.Env, b *write.Builder, undoFile string) error {
	if undoFile == "" {
		if err := b.Write(env, s.Device); err != nil {
			return fmt.Errorf("%s: %w", s.Path, err)
		}
		return nil
	}
	block0, err := b.Block0(env, block.Blocks(s))
	if err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	if err := s.Place.accepts(block0); err != nil {
		return fmt.Errorf("%s: %w; nothing was written", s.Path, err)
	}
	to, err := s.Writable()
	if err != nil {
		return err
	}
	env.Progress("writing "+undoFile, 0, 0)
	change := undo.Change{All: min(block.Blocks(s), spacemap.MaxMetadata), Block0: block0}
	if err := undo.Create(env, undoFile, s, change); err != nil {
		return fmt.Errorf("undo file: %w; nothing was written", DifferHint(err))
	}
	// Write first invalidates block 0. It derives the invalid block from what s reads, as in the
	// undo file, even if the other copies differ.
	if err := b.Write(env, legDevice{to, s.Device}); err != nil {
		fmt.Fprintf(env.Stderr, "%s may be incomplete. %s\n", s.Path, UndoHint(undoFile, s.Path, true))
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	fmt.Fprintf(env.Stderr, "the metadata in %s was replaced. %s\n", s.Path, UndoHint(undoFile, s.Path, true))
	return nil
}

// UndoHint returns the command that undoes what was written to path.
func UndoHint(undoFile, path string, inPlace bool) string {
	option := ""
	if inPlace {
		option = " --in-place"
	}
	return fmt.Sprintf("To undo: thin_check%s --apply-undo %s %s", option, printable.Shell(undoFile), printable.Shell(path))
}

// accepts refuses metadata that does not fit the pool at p: LVM or the kernel would refuse a
// different block size or too many blocks. block0 is the superblock.
func (p *Place) accepts(block0 *block.Data) error {
	if p == nil || p.Pool == nil {
		return nil
	}
	sb, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, block0)
	if err != nil {
		return err
	}
	both := lvmcheck.Pool{Group: p.Group, Volume: p.Pool, Superblock: sb}
	for _, d := range both.Compare() {
		if d.Refused && slices.Contains([]lvmcheck.Code{lvmcheck.ChunkSize, lvmcheck.DataSize}, d.Code) {
			return fmt.Errorf("LVM: %s [%s]", d.Text, d.Code)
		}
	}
	return nil
}

// OpenUndo opens and verifies an undo file.
func OpenUndo(env *cli.Env, path string) (*undo.File, *os.File, error) {
	// Check first: opening a named pipe would wait for the other end.
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
