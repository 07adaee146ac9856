// Package undo saves the blocks that a repair is about to change to a file, and restores them.
//
// A repair either works in place, which writes into free blocks and then the superblock, or
// rewrites all metadata, which overwrites blocks used by both the old and the new metadata. The
// undo file says which. It consists of 4096-byte blocks; integers are little-endian:
//
//	header    0  8  "thinundo"
//	          8  4  version: 1 in place, 2 rewritten
//	         12  4  zero
//	         16  8  size of the metadata device in bytes
//	         24  8  number of blocks, n
//	         32  8  position of block 0 among them
//	block 0 as the repair writes it
//	in version 1: numbers of the blocks, 8 bytes each, padded with zeroes to whole blocks
//	the n blocks as they were
//	32 bytes: SHA-256 of everything before
//
// For a repair in place, the blocks are in the order in which they are put back, with a flush
// before block 0 and one after it. First come the blocks that the repair released, which the new
// metadata does not use. After block 0 come the blocks that it wrote, which the old metadata does
// not use. So at any moment, the device holds one or the other.
//
// For a complete rewrite, the file has every block that metadata can use, 0 to n-1, so that it
// also reverts everything the pool has done since. The blocks are put back in the order in which
// they were overwritten: first block 0 is invalidated, then the others follow, and block 0 is
// last, with a flush after each of the three. So at any moment, the device holds the new metadata,
// the old metadata, or a block 0 that the kernel refuses.
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
	magic            = "thinundo"
	versionInPlace   = 1 // versions
	versionRewritten = 2
	offMagic         = 0
	offVer           = 8
	offSize          = 16
	offBlocks        = 24
	offFirst         = 32
	perTable         = block.Size / 8 // numbers in a block
	pieceBlocks      = 256            // blocks copied at a time
)

var le = binary.LittleEndian

// ErrExists says that the undo file already exists.
var ErrExists = errors.New("the undo file must not exist")

// A Change describes a repair for an undo file.
type Change struct {
	Released []block.Nr // only used by the old metadata
	Written  []block.Nr // only used by the new metadata
	// All, if not 0, is the number of blocks that metadata can use, and means that the repair rewrites
	// all of it. Released and Written are ignored then.
	All    block.Nr
	Block0 *block.Data // after the repair
}

// Create writes the undo file for a change of dev. When it returns, the file and its name in its
// folder are on stable storage. If it fails, there is no file.
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

// A sparse writer leaves holes for zeroes in a file. Most of a metadata device is usually free.
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

// end sets the size of the file, in case it ends with a hole.
func (s *sparse) end() error { return s.f.Truncate(s.size) }

var zeroes block.Data

func allZero(p []byte) bool { return bytes.Equal(p, zeroes[:len(p)]) }

// Write writes the content of an undo file for a change of dev.
func Write(ctx context.Context, out io.Writer, dev block.Device, c Change) error {
	sum := sha256.New()
	w := io.MultiWriter(out, sum)
	var err error
	if c.All > 0 {
		err = writeRewritten(ctx, w, dev, c)
	} else {
		err = writeInPlace(ctx, w, dev, c)
	}
	if err != nil {
		return err
	}
	_, err = out.Write(sum.Sum(nil))
	return err
}

// header returns the header for n blocks, with block 0 at the given position.
func header(version uint32, dev block.Device, n, position int) (b block.Data) {
	copy(b[offMagic:], magic)
	le.PutUint32(b[offVer:], version)
	le.PutUint64(b[offSize:], uint64(dev.Size()))
	le.PutUint64(b[offBlocks:], uint64(n))
	le.PutUint64(b[offFirst:], uint64(position))
	return b
}

// writeInPlace writes the blocks that a repair in place changes.
func writeInPlace(ctx context.Context, w io.Writer, dev block.Device, c Change) error {
	nrs := slices.Concat(c.Released, []block.Nr{0}, c.Written)
	head := make([]block.Data, 2+tables(len(nrs)))
	head[0], head[1] = header(versionInPlace, dev, len(nrs), len(c.Released)), *c.Block0
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

// writeRewritten writes all blocks that metadata can use.
func writeRewritten(ctx context.Context, w io.Writer, dev block.Device, c Change) error {
	head := [2]block.Data{header(versionRewritten, dev, int(c.All), 0), *c.Block0}
	if _, err := w.Write(block.Bytes(head[:])); err != nil {
		return err
	}
	return eachPiece(ctx, 0, c.All, func(from block.Nr, buf []block.Data) error {
		if err := readPiece(dev, from, buf); err != nil {
			return err
		}
		_, err := w.Write(block.Bytes(buf))
		return err
	})
}

// readPiece reads blocks at once or, if that fails, one at a time, to name the one that is bad.
func readPiece(dev block.Device, from block.Nr, buf []block.Data) error {
	if n, _ := dev.ReadAt(block.Bytes(buf), int64(from)*block.Size); n == len(buf)*block.Size {
		return nil
	}
	for i := range buf {
		if err := block.Read(dev, from+block.Nr(i), &buf[i]); err != nil {
			return fmt.Errorf("reading block %d: %w", from+block.Nr(i), err)
		}
	}
	return nil
}

// eachPiece calls fn for the blocks from from to end-1, as many at a time as fit in a buffer.
func eachPiece(ctx context.Context, from, end block.Nr, fn func(from block.Nr, buf []block.Data) error) error {
	buf := block.Buffer(pieceBlocks)
	for ; from < end; from += pieceBlocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(from, buf[:min(pieceBlocks, end-from)]); err != nil {
			return err
		}
	}
	return nil
}

// tables returns the number of blocks that n numbers take.
func tables(n int) int { return (n + perTable - 1) / perTable }
