// Package undo keeps in a file what a repair is about to change, and puts it back.
//
// A repair either mends, which writes into free blocks and then the superblock, or makes
// all metadata anew, which overwrites blocks that both the old and the new metadata use.
// The undo file, of 4096-byte blocks, knows which; integers are little-endian:
//
//	header    0  8  "thinundo"
//	          8  4  version: 1 mended, 2 made anew
//	         12  4  zero
//	         16  8  size of the metadata device in bytes
//	         24  8  number of blocks, n
//	         32  8  position of block 0 among them
//	block 0 as the repair writes it
//	in version 1: numbers of the blocks, 8 bytes each, filled up with zeroes to whole blocks
//	the n blocks as they were
//	32 bytes: SHA-256 of all before
//
// Of what was mended, the blocks come in the order in which they are put back, with a
// flush before block 0 and one after it. First those that the repair released: the metadata
// that it wrote does not use them. After block 0 those that it wrote: the old metadata
// does not use those. So at any moment the device holds the one or the other.
//
// Where all was made anew, the file has every block that metadata can be in, 0 to n-1, so
// that nothing a pool has done since is left either. They are put back as they were
// overwritten: block 0 is made invalid first, the others follow, and block 0 is last, with a
// flush after each of the three. So at any moment the device holds the new metadata, the old,
// or a block 0 that the kernel refuses.
package undo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"thinpool/internal/newfile"
	"thinpool/metadata/block"
)

const (
	magic     = "thinundo"
	mended    = 1 // versions
	remade    = 2
	offMagic  = 0
	offVer    = 8
	offSize   = 16
	offBlocks = 24
	offFirst  = 32
	perTable  = block.Size / 8 // numbers in a block
	atOnce    = 256            // blocks, that are copied in one piece
	sector    = 512            // what a disk writes in one piece
)

var le = binary.LittleEndian

// ErrExists says that the undo file is there already.
var ErrExists = errors.New("the undo file must not exist")

// A Change is what a repair will do, as far as an undo file has to know.
type Change struct {
	Released []block.Nr // used by the old metadata only
	Written  []block.Nr // used by the new metadata only
	// All, if not 0, says that all metadata is made anew, and that it can be in so many
	// blocks. Released and Written do not count then.
	All    block.Nr
	Block0 *block.Data // after the repair
}

// Create writes the undo file for a change of dev. When it returns the file, and
// its name in its folder, are on stable storage; if it fails there is no file.
func Create(ctx context.Context, path string, dev block.Device, c Change) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w", path, ErrExists)
	}
	f, err := newfile.Create(path, 0o600)
	if err != nil {
		return err
	}
	defer f.Discard()
	out := &sparse{f: f.File}
	if err := Write(ctx, out, dev, c); err != nil {
		return err
	}
	if err := out.end(); err != nil {
		return err
	}
	err = f.Commit(false)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", path, ErrExists)
	}
	return err
}

// A sparse writer leaves holes in a file for what is all zero: most of a metadata device is
// free, as a rule.
type sparse struct {
	f    *os.File
	size int64
}

func (s *sparse) Write(p []byte) (int, error) {
	for at := 0; at < len(p); at += block.Size {
		piece := p[at:min(at+block.Size, len(p))]
		if !allZero(piece) {
			if _, err := s.f.WriteAt(piece, s.size); err != nil {
				return at, err
			}
		}
		s.size += int64(len(piece))
	}
	return len(p), nil
}

// end gives the file its size, should it end with a hole.
func (s *sparse) end() error { return s.f.Truncate(s.size) }

var zeroes block.Data

func allZero(p []byte) bool { return bytes.Equal(p, zeroes[:len(p)]) }

// Write writes the content of an undo file for a change of dev.
func Write(ctx context.Context, out io.Writer, dev block.Device, c Change) error {
	sum := sha256.New()
	w := io.MultiWriter(out, sum)
	var err error
	if c.All > 0 {
		err = writeAll(ctx, w, dev, c)
	} else {
		err = writeSome(ctx, w, dev, c)
	}
	if err != nil {
		return err
	}
	_, err = out.Write(sum.Sum(nil))
	return err
}

// header makes the header for n blocks, among which block 0 is at some position.
func header(version uint32, dev block.Device, n, position int) (b block.Data) {
	copy(b[offMagic:], magic)
	le.PutUint32(b[offVer:], version)
	le.PutUint64(b[offSize:], uint64(dev.Size()))
	le.PutUint64(b[offBlocks:], uint64(n))
	le.PutUint64(b[offFirst:], uint64(position))
	return b
}

// writeSome writes the blocks that mending changes.
func writeSome(ctx context.Context, w io.Writer, dev block.Device, c Change) error {
	nrs := slices.Concat(c.Released, []block.Nr{0}, c.Written)
	head := make([]block.Data, 2+tables(len(nrs)))
	head[0], head[1] = header(mended, dev, len(nrs), len(c.Released)), *c.Block0
	for i, nr := range nrs {
		le.PutUint64(head[2+i/perTable][i%perTable*8:], uint64(nr))
	}
	if _, err := w.Write(block.Bytes(head)); err != nil {
		return err
	}
	buf := block.Buffer(1)
	for _, nr := range nrs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := block.Read(dev, nr, &buf[0]); err != nil {
			return fmt.Errorf("reading block %d: %w", nr, err)
		}
		if _, err := w.Write(buf[0][:]); err != nil {
			return err
		}
	}
	return nil
}

// writeAll writes all blocks that metadata can be in.
func writeAll(ctx context.Context, w io.Writer, dev block.Device, c Change) error {
	head := [2]block.Data{header(remade, dev, int(c.All), 0), *c.Block0}
	if _, err := w.Write(block.Bytes(head[:])); err != nil {
		return err
	}
	return pieces(ctx, 0, c.All, func(from block.Nr, buf []block.Data) error {
		if n, err := dev.ReadAt(block.Bytes(buf), int64(from)*block.Size); n < len(buf)*block.Size {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("reading block %d: %w", from+block.Nr(n/block.Size), err)
		}
		_, err := w.Write(block.Bytes(buf))
		return err
	})
}

// pieces calls fn for blocks from up to but not including end, as many at once as fit a
// buffer.
func pieces(ctx context.Context, from, end block.Nr, fn func(from block.Nr, buf []block.Data) error) error {
	buf := block.Buffer(atOnce)
	for ; from < end; from += atOnce {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(from, buf[:min(atOnce, end-from)]); err != nil {
			return err
		}
	}
	return nil
}

// tables is the number of blocks that n numbers take.
func tables(n int) int { return (n + perTable - 1) / perTable }

// A File is an undo file that was verified.
type File struct {
	in     io.ReaderAt
	size   uint64     // of the device
	n      int        // blocks saved
	nrs    []block.Nr // which; nil: all from 0 on
	first  int        // position of block 0 among them
	data   int64      // offset of the blocks in the file
	block0 block.Data
}

// Open verifies the undo file in, which has size bytes.
func Open(ctx context.Context, in io.ReaderAt, size int64) (*File, error) {
	var head [2]block.Data
	if _, err := in.ReadAt(block.Bytes(head[:]), 0); err != nil || string(head[0][:len(magic)]) != magic {
		return nil, errors.New("this is no undo file")
	}
	version, n, first := le.Uint32(head[0][offVer:]), le.Uint64(head[0][offBlocks:]), le.Uint64(head[0][offFirst:])
	if version != mended && version != remade {
		return nil, fmt.Errorf("undo file of version %d, want %d or %d", version, mended, remade)
	}
	f := &File{in: in, size: le.Uint64(head[0][offSize:]), block0: head[1]}
	most := uint64(size) / block.Size
	if n > 0 && n <= most && first < n {
		f.n, f.first, f.data = int(n), int(first), 2*block.Size
		if version == mended {
			f.data += int64(tables(f.n)) * block.Size
		}
	}
	if f.n == 0 || size != f.data+int64(f.n)*block.Size+sha256.Size {
		return nil, fmt.Errorf("the undo file is damaged: it has %d bytes, which do not fit %d blocks", size, n)
	}
	if err := verify(ctx, in, size); err != nil {
		return nil, err
	}
	if version == remade {
		if f.first != 0 || n > f.size/block.Size {
			return nil, fmt.Errorf("the undo file is damaged: %d blocks, block 0 at position %d, of a device of %d bytes", n, first, f.size)
		}
		return f, nil
	}
	return f, f.readNumbers()
}

// readNumbers reads the numbers of the blocks.
func (f *File) readNumbers() error {
	numbers := make([]byte, 8*f.n)
	if _, err := f.in.ReadAt(numbers, 2*block.Size); err != nil {
		return err
	}
	f.nrs = make([]block.Nr, f.n)
	for i := range f.nrs {
		f.nrs[i] = block.Nr(le.Uint64(numbers[8*i:]))
		if (f.nrs[i] == 0) != (i == f.first) || uint64(f.nrs[i]) >= f.size/block.Size {
			return fmt.Errorf("the undo file is damaged: block %d does not belong at position %d", f.nrs[i], i)
		}
	}
	return nil
}

// verify compares the checksum at the end with the rest.
func verify(ctx context.Context, in io.ReaderAt, size int64) error {
	sum := sha256.New()
	rest := io.NewSectionReader(in, 0, size-sha256.Size)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.CopyN(sum, rest, 1<<20); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	want := make([]byte, sha256.Size)
	if _, err := in.ReadAt(want, size-sha256.Size); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return errors.New("the undo file is damaged: its checksum is wrong")
	}
	return nil
}

// old reads old blocks of the file, from position i on.
func (f *File) old(i int, buf []block.Data) error {
	if _, err := f.in.ReadAt(block.Bytes(buf), f.data+int64(i)*block.Size); err != nil {
		return fmt.Errorf("reading the undo file: %w", err)
	}
	return nil
}

// Apply makes dev what it was before the repair. It refuses a device that is not in
// the state the repair left, and takes up one where the repair or an Apply was interrupted.
func (f *File) Apply(ctx context.Context, dev block.Device) error {
	if uint64(dev.Size()) != f.size {
		return fmt.Errorf("the undo file is for a device of %d bytes, but this has %d", f.size, dev.Size())
	}
	buf, old := block.Buffer(1), block.Buffer(1)
	if err := block.Read(dev, 0, &buf[0]); err != nil {
		return fmt.Errorf("reading block 0: %w", err)
	}
	if err := f.old(f.first, old); err != nil {
		return err
	}
	if f.nrs == nil {
		return f.applyAll(ctx, dev, &buf[0], &old[0])
	}
	switch buf[0] {
	case f.block0:
		return f.applySome(ctx, dev, 0)
	case old[0]:
		// The repair or an Apply was interrupted. What the old metadata uses is there.
		return f.applySome(ctx, dev, f.first)
	}
	return errUsed
}

var errUsed = errors.New("the superblock is not the one that the repair wrote: the pool was used since, or this is another pool's metadata")

// applySome puts back what mending changed, from a position on.
func (f *File) applySome(ctx context.Context, dev block.Device, from int) error {
	old := block.Buffer(1)
	for i := from; i < f.n; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.old(i, old); err != nil {
			return err
		}
		if i == f.first {
			if err := flush(dev, "flushing"); err != nil {
				return err
			}
		}
		if err := block.Write(dev, f.nrs[i], &old[0]); err != nil {
			return fmt.Errorf("writing block %d: %w", f.nrs[i], err)
		}
		if i == f.first {
			if err := flush(dev, "flushing the superblock"); err != nil {
				return err
			}
		}
	}
	return flush(dev, "flushing")
}

// applyAll puts everything back. block0 is what the device has, old what it had.
func (f *File) applyAll(ctx context.Context, dev block.Device, block0, old *block.Data) error {
	invalid := block.Buffer(1)
	invalid[0] = *old
	block.Spoil(&invalid[0]) // as who makes metadata anew does
	if !mixed(block0, old, &invalid[0], &f.block0) {
		return errUsed
	}
	if err := writeBlock0(dev, &invalid[0]); err != nil {
		return fmt.Errorf("invalidating block 0: %w", err)
	}
	err := pieces(ctx, 1, block.Nr(f.n), func(from block.Nr, buf []block.Data) error {
		if err := f.old(int(from), buf); err != nil {
			return err
		}
		if _, err := dev.WriteAt(block.Bytes(buf), int64(from)*block.Size); err != nil {
			return fmt.Errorf("writing blocks %d to %d: %w", from, from+block.Nr(len(buf))-1, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := flush(dev, "flushing"); err != nil {
		return err
	}
	if err := writeBlock0(dev, old); err != nil {
		return fmt.Errorf("writing the superblock: %w", err)
	}
	return nil
}

// mixed reports whether each sector of b is that of one of the others: a power cut may
// have torn the write of one over another.
func mixed(b *block.Data, of ...*block.Data) bool {
	for at := 0; at < block.Size; at += sector {
		if !slices.ContainsFunc(of, func(o *block.Data) bool { return bytes.Equal(b[at:at+sector], o[at:at+sector]) }) {
			return false
		}
	}
	return true
}

func writeBlock0(dev block.Device, b *block.Data) error {
	if err := block.Write(dev, 0, b); err != nil {
		return err
	}
	return dev.Flush()
}

func flush(dev block.Device, deed string) error {
	if err := dev.Flush(); err != nil {
		return fmt.Errorf("%s: %w", deed, err)
	}
	return nil
}
