// Package undo keeps in a file what a repair is about to change, and puts it back.
//
// An undo file consists of 4096-byte blocks; integers are little-endian:
//
//	header    0  8  "thinundo"
//	          8  4  version, 1
//	         12  4  zero
//	         16  8  size of the metadata device in bytes
//	         24  8  number of blocks, n
//	         32  8  position of block 0 among them
//	block 0 as the repair writes it
//	numbers of the blocks, 8 bytes each, filled up with zeroes to whole blocks
//	the n blocks as they were
//	32 bytes: SHA-256 of all before
//
// The blocks come in the order in which they are put back, with a flush before
// block 0 and one after it. First those that the repair released: the metadata that
// it wrote does not use them. After block 0 those that it wrote: the old metadata
// does not use those. So at any moment the device holds the one or the other.
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
	"path/filepath"
	"slices"

	"thinpool/metadata/block"
)

const (
	magic     = "thinundo"
	version   = 1
	offMagic  = 0
	offVer    = 8
	offSize   = 16
	offBlocks = 24
	offFirst  = 32
	perTable  = block.Size / 8 // numbers in a block
)

var le = binary.LittleEndian

// ErrExists says that the undo file is there already.
var ErrExists = errors.New("the undo file must not exist")

// A Change is what a repair will do, as far as an undo file has to know.
type Change struct {
	Released []block.Nr  // used by the old metadata only
	Written  []block.Nr  // used by the new metadata only
	Block0   *block.Data // after the repair
}

// Create writes the undo file for a change of dev. When it returns the file, and
// its name in its folder, are on stable storage; if it fails there is no file.
func Create(ctx context.Context, path string, dev block.Device, c Change) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", path, ErrExists)
	}
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			os.Remove(path)
		}
	}()
	if err := Write(ctx, f, dev, c); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Write writes the content of an undo file for a change of dev.
func Write(ctx context.Context, out io.Writer, dev block.Device, c Change) error {
	nrs := slices.Concat(c.Released, []block.Nr{0}, c.Written)
	sum := sha256.New()
	w := io.MultiWriter(out, sum)
	head := make([]block.Data, 2+tables(len(nrs)))
	copy(head[0][offMagic:], magic)
	le.PutUint32(head[0][offVer:], version)
	le.PutUint64(head[0][offSize:], uint64(dev.Size()))
	le.PutUint64(head[0][offBlocks:], uint64(len(nrs)))
	le.PutUint64(head[0][offFirst:], uint64(len(c.Released)))
	head[1] = *c.Block0
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
	_, err := out.Write(sum.Sum(nil))
	return err
}

// tables is the number of blocks that n numbers take.
func tables(n int) int { return (n + perTable - 1) / perTable }

// A File is an undo file that was verified.
type File struct {
	in     io.ReaderAt
	size   uint64 // of the device
	nrs    []block.Nr
	first  int // position of block 0 in nrs
	block0 block.Data
}

// Open verifies the undo file in, which has size bytes.
func Open(ctx context.Context, in io.ReaderAt, size int64) (*File, error) {
	var head [2]block.Data
	if _, err := in.ReadAt(block.Bytes(head[:]), 0); err != nil || string(head[0][:len(magic)]) != magic {
		return nil, errors.New("this is no undo file of thin_check")
	}
	if v := le.Uint32(head[0][offVer:]); v != version {
		return nil, fmt.Errorf("undo file of version %d, want %d", v, version)
	}
	n, first := le.Uint64(head[0][offBlocks:]), le.Uint64(head[0][offFirst:])
	most := uint64(size) / block.Size
	if n == 0 || n > most || first >= n || size != int64(2+tables(int(n))+int(n))*block.Size+sha256.Size {
		return nil, fmt.Errorf("the undo file is damaged: it has %d bytes, which do not fit %d blocks", size, n)
	}
	if err := verify(ctx, in, size); err != nil {
		return nil, err
	}
	f := &File{in: in, size: le.Uint64(head[0][offSize:]), first: int(first), block0: head[1], nrs: make([]block.Nr, n)}
	numbers := make([]byte, 8*n)
	if _, err := in.ReadAt(numbers, 2*block.Size); err != nil {
		return nil, err
	}
	for i := range f.nrs {
		f.nrs[i] = block.Nr(le.Uint64(numbers[8*i:]))
		if (f.nrs[i] == 0) != (i == f.first) || uint64(f.nrs[i]) >= f.size/block.Size {
			return nil, fmt.Errorf("the undo file is damaged: block %d does not belong at position %d", f.nrs[i], i)
		}
	}
	return f, nil
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

// old reads old block i of the file.
func (f *File) old(i int, b *block.Data) error {
	_, err := f.in.ReadAt(b[:], int64(2+tables(len(f.nrs))+i)*block.Size)
	if err != nil {
		return fmt.Errorf("reading the undo file: %w", err)
	}
	return nil
}

// Apply makes dev what it was before the repair. It refuses a device that is not in
// the state the repair left, and takes up one where an Apply was interrupted.
func (f *File) Apply(ctx context.Context, dev block.Device) error {
	if uint64(dev.Size()) != f.size {
		return fmt.Errorf("the undo file is for a device of %d bytes, but this has %d", f.size, dev.Size())
	}
	buf, old := block.Buffer(1), block.Buffer(1)
	if err := block.Read(dev, 0, &buf[0]); err != nil {
		return fmt.Errorf("reading block 0: %w", err)
	}
	if err := f.old(f.first, &old[0]); err != nil {
		return err
	}
	from := 0
	switch buf[0] {
	case f.block0:
	case old[0]:
		// The repair or an Apply was interrupted. What the old metadata uses is there.
		from = f.first
	default:
		return errors.New("the superblock is not the one that the repair wrote: the pool was used since, or this is another pool's metadata")
	}
	for i := from; i < len(f.nrs); i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.old(i, &old[0]); err != nil {
			return err
		}
		if i == f.first {
			if err := dev.Flush(); err != nil {
				return fmt.Errorf("flushing: %w", err)
			}
		}
		if err := block.Write(dev, f.nrs[i], &old[0]); err != nil {
			return fmt.Errorf("writing block %d: %w", f.nrs[i], err)
		}
		if i == f.first {
			if err := dev.Flush(); err != nil {
				return fmt.Errorf("flushing the superblock: %w", err)
			}
		}
	}
	if err := dev.Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	return nil
}
