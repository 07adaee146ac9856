package undo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A File is a verified undo file.
type File struct {
	in         io.ReaderAt
	size       uint64     // of the device
	n          int        // number of saved blocks
	nrs        []block.Nr // their numbers; nil: all from 0 on
	first      int        // position of block 0 among them
	data       int64      // offset of the blocks in the file
	block0     block.Data // as the repair wrote it
	old0       block.Data // as it was before
	superblock metadata.Superblock
}

// damagedf returns an error about the content of the file.
func damagedf(format string, args ...any) error {
	return fmt.Errorf("the undo file is damaged: "+format, args...)
}

// Open verifies the undo file in, which has size bytes. Anybody can make a valid checksum; it only
// detects damage. So Open also refuses anything that a repair would not have written.
func Open(ctx context.Context, in io.ReaderAt, size int64) (*File, error) {
	var head [2]block.Data
	if _, err := in.ReadAt(block.Bytes(head[:]), 0); err != nil || string(head[0][:len(magic)]) != magic {
		return nil, errors.New("this is not an undo file")
	}
	version := le.Uint32(head[0][offVer:])
	if version != versionInPlace && version != versionRewritten {
		return nil, fmt.Errorf("undo file of version %d, want %d or %d", version, versionInPlace, versionRewritten)
	}
	f := &File{in: in, size: le.Uint64(head[0][offSize:]), block0: head[1]}
	if err := f.readHeader(&head[0], version, size); err != nil {
		return nil, err
	}
	if err := verify(ctx, in, size); err != nil {
		return nil, err
	}
	if version == versionInPlace {
		if err := f.readNumbers(); err != nil {
			return nil, err
		}
	}
	return f, f.checkBlock0()
}

// readHeader finds the parts of the file. It does not accept more blocks than metadata can have.
func (f *File) readHeader(head *block.Data, version uint32, size int64) error {
	n, first := le.Uint64(head[offBlocks:]), le.Uint64(head[offFirst:])
	if n == 0 || n > f.maxBlocks() || first >= n || version == versionRewritten && (n != f.maxBlocks() || first != 0) {
		return damagedf("%d blocks, block 0 at position %d, of a device of %d bytes", n, first, f.size)
	}
	f.n, f.first, f.data = int(n), int(first), 2*block.Size
	if version == versionInPlace {
		f.data += int64(tables(f.n)) * block.Size
	}
	if size != f.data+int64(f.n)*block.Size+sha256.Size {
		return damagedf("it has %d bytes, which do not fit %d blocks", size, n)
	}
	if !allZero(head[offVer+4:offSize]) || !allZero(head[offFirst+8:]) {
		return damagedf("its header is malformed")
	}
	return nil
}

// maxBlocks returns how many blocks of the device the metadata can use.
func (f *File) maxBlocks() uint64 { return min(f.size/block.Size, spacemap.MaxMetadata) }

// readNumbers reads the block numbers, and checks that all differ.
func (f *File) readNumbers() error {
	table := make([]byte, tables(f.n)*block.Size)
	if _, err := f.in.ReadAt(table, 2*block.Size); err != nil {
		return err
	}
	numbers, rest := table[:8*f.n], table[8*f.n:]
	f.nrs = make([]block.Nr, f.n)
	for i := range f.nrs {
		nr := block.Nr(le.Uint64(numbers[8*i:]))
		if (nr == 0) != (i == f.first) || uint64(nr) >= f.maxBlocks() {
			return damagedf("block %d does not belong at position %d", nr, i)
		}
		f.nrs[i] = nr
	}
	if sorted := slices.Sorted(slices.Values(f.nrs)); len(slices.Compact(sorted)) < f.n || !allZero(rest) {
		return damagedf("its list of blocks is not one a repair would write")
	}
	return nil
}

// checkBlock0 checks that the new block 0 is a superblock as a repair leaves it. If all metadata
// was rewritten, the old block 0 can be anything: such a repair may start from a lost superblock.
// Otherwise the two differ only in what a repair in place changes.
func (f *File) checkBlock0() error {
	old := block.Buffer(1)
	if err := f.readOld(f.first, old); err != nil {
		return err
	}
	f.old0 = old[0]
	sb, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, &f.block0)
	if err != nil {
		return damagedf("the superblock that the repair wrote: %w", err)
	}
	f.superblock = sb
	if sb.MetadataSpaceMap.NrBlocks > f.maxBlocks() {
		return damagedf("its superblock is for %d blocks, but the device has %d bytes", sb.MetadataSpaceMap.NrBlocks, f.size)
	}
	var want block.Data
	if f.nrs == nil {
		sb.Encode(&want)
	} else {
		if _, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, &f.old0); err != nil {
			return damagedf("the superblock from before the repair: %w", err)
		}
		want = sb.Amend(f.old0)
	}
	if want != f.block0 {
		return damagedf("its superblock is not one a repair would write")
	}
	return nil
}

// verify compares the checksum at the end with the rest of the file.
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
		return damagedf("its checksum is wrong")
	}
	return nil
}

// readOld reads saved blocks from the file, from position i on.
func (f *File) readOld(i int, buf []block.Data) error {
	if _, err := f.in.ReadAt(block.Bytes(buf), f.data+int64(i)*block.Size); err != nil {
		return fmt.Errorf("reading the undo file: %w", err)
	}
	return nil
}
