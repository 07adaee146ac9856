package undo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

const sector = block.SectorSize

// Reasons to refuse a device before writing anything.
var (
	// ErrUsed says that there is metadata, but not what the repair wrote.
	ErrUsed = errors.New("the superblock is not the one the repair wrote: the pool has been used since, or this is another pool's metadata. Nothing was written")
	// ErrSize means that the device has another size than the repaired one.
	ErrSize = errors.New("the undo file is for another device")
	// ErrOther means that neither a repair nor its undo can have left this content.
	ErrOther = errors.New("block 0 is neither a superblock nor what an interrupted repair leaves: is this the device that was repaired? Nothing was written")
)

// A sizeError is an [ErrSize] with details.
type sizeError struct {
	want uint64
	have int64
}

func (e *sizeError) Error() string {
	return fmt.Sprintf("the undo file is for a device of %d bytes, but this one has %d", e.want, e.have)
}

func (e *sizeError) Unwrap() error { return ErrSize }

// Foreign returns an error if a block other than block 0 shows that the device is not a metadata
// device; else nil.
type Foreign func(block.Nr, *block.Data) error

// Apply restores dev to its state before the repair. It writes only to a device in a state left by
// the repair or by an Apply, even an interrupted one. It never overwrites blocks that foreign
// recognises; foreign may be nil.
func (f *File) Apply(ctx context.Context, dev block.Device, foreign Foreign) error {
	if uint64(dev.Size()) != f.size {
		return &sizeError{f.size, dev.Size()}
	}
	buf := block.Buffer(1)
	if err := block.Read(dev, 0, &buf[0]); err != nil {
		return fmt.Errorf("reading block 0: %w", err)
	}
	if err := f.checkNotForeign(dev, foreign); err != nil {
		return err
	}
	if f.nrs == nil {
		return f.applyRewritten(ctx, dev, &buf[0])
	}
	switch buf[0] {
	case f.block0:
		return f.applyInPlace(ctx, dev, 0)
	case f.old0:
		// The repair or an Apply was interrupted. The blocks of the old metadata are there.
		return f.applyInPlace(ctx, dev, f.first)
	}
	return unexpectedBlock0Error(&buf[0])
}

// unexpectedBlock0Error returns the error for a device with another block 0.
func unexpectedBlock0Error(block0 *block.Data) error {
	if _, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, block0); err == nil {
		return ErrUsed
	}
	return ErrOther
}

// checkNotForeign refuses a device that was reused for something that starts after block 0, and so left
// block 0 alone.
func (f *File) checkNotForeign(dev block.Device, foreign Foreign) error {
	const looked = 32 // blocks
	if foreign == nil {
		return nil
	}
	now, old := block.Buffer(1), block.Buffer(1)
	for i := range f.n {
		nr := block.Nr(i)
		if f.nrs != nil {
			nr = f.nrs[i]
		}
		if nr == 0 || nr >= looked {
			continue
		}
		if err := block.Read(dev, nr, &now[0]); err != nil {
			continue // unreadable blocks may be overwritten
		}
		if err := f.readOld(i, old); err != nil {
			return err
		}
		for at := 0; at < block.Size; at += sector { // unchanged sectors are not new
			if bytes.Equal(now[0][at:at+sector], old[0][at:at+sector]) {
				clear(now[0][at : at+sector])
			}
		}
		if err := foreign(nr, &now[0]); err != nil {
			return fmt.Errorf("%w. Nothing was written", err)
		}
	}
	return nil
}

// applyInPlace puts back what a repair in place changed, from position from on.
func (f *File) applyInPlace(ctx context.Context, dev block.Device, from int) error {
	// A process that died may have left block 0 only in a cache. The block 0 on disk may still need
	// blocks that are about to be overwritten, so flush first.
	if err := flush(dev, "flushing"); err != nil {
		return err
	}
	old := block.Buffer(1)
	for i := from; i < f.n; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.readOld(i, old); err != nil {
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

// applyRewritten puts everything back. block0 is the device's current block 0.
//
// Both the repair and overwrite first invalidate block 0 and flush it, and end by writing a valid
// one. So block 0 tells what the rest is:
//
//   - as the repair wrote it: the new metadata, or what the pool has made of it since;
//   - invalidated: anything. Only this package writes that checksum, which matches the whole block;
//   - as before the repair: nothing was written, or everything was put back;
//   - torn between the first two: the new metadata. One is written after everything else is
//     complete, the other before anything else.
func (f *File) applyRewritten(ctx context.Context, dev block.Device, block0 *block.Data) error {
	spoiled := block.Buffer(1)
	spoiled[0] = f.old0
	block.Invalidate(&spoiled[0])
	switch {
	case *block0 == f.block0, *block0 == spoiled[0]:
	case *block0 == f.old0:
		if err := f.checkRestored(ctx, dev); err != nil {
			return err
		}
		return f.finish(dev) // on a mirror, the other copy may still be invalidated
	case !isTorn(block0, &f.block0, &spoiled[0]) || !f.isNew(dev):
		return unexpectedBlock0Error(block0)
	}
	return f.overwrite(ctx, dev, &spoiled[0])
}

// isTorn reports whether each sector of b comes from one of the others: a power cut may have torn
// the write of one over another.
func isTorn(b *block.Data, of ...*block.Data) bool {
	for at := 0; at < block.Size; at += sector {
		if !slices.ContainsFunc(of, func(o *block.Data) bool { return bytes.Equal(b[at:at+sector], o[at:at+sector]) }) {
			return false
		}
	}
	return true
}

// isNew reports whether dev has the metadata that the repair's superblock points to.
func (f *File) isNew(dev block.Device) bool {
	sb := &f.superblock
	buf := block.Buffer(1)
	for _, root := range []struct {
		nr   block.Nr
		kind block.Kind
	}{
		{sb.MappingRoot, block.Node},
		{sb.DetailsRoot, block.Node},
		{sb.DataSpaceMap.BitmapRoot, block.Node},
		{sb.DataSpaceMap.RefCountRoot, block.Node},
		{sb.MetadataSpaceMap.BitmapRoot, block.Index},
		{sb.MetadataSpaceMap.RefCountRoot, block.Node},
	} {
		if uint64(root.nr) >= f.maxBlocks() || block.Read(dev, root.nr, &buf[0]) != nil || block.Verify(root.nr, &buf[0], root.kind) != nil {
			return false
		}
	}
	return true
}

// checkRestored checks that all blocks, like block 0, are as before the repair.
func (f *File) checkRestored(ctx context.Context, dev block.Device) error {
	now := block.Buffer(pieceBlocks)
	return eachPiece(ctx, 0, block.Nr(f.n), func(from block.Nr, old []block.Data) error {
		if err := f.readOld(int(from), old); err != nil {
			return err
		}
		now := now[:len(old)]
		if err := readPiece(dev, from, now); err != nil {
			return err
		}
		for i := range now {
			if now[i] != old[i] {
				return fmt.Errorf("block 0 is as it was before the repair, but block %d is not: the device has been written to since. Nothing was written", from+block.Nr(i))
			}
		}
		return nil
	})
}

// overwrite writes all blocks: first the invalidated block 0, last the original block 0.
func (f *File) overwrite(ctx context.Context, dev block.Device, spoiled *block.Data) error {
	if err := writeBlock0(dev, spoiled); err != nil {
		return fmt.Errorf("invalidating block 0: %w", err)
	}
	err := eachPiece(ctx, 1, block.Nr(f.n), func(from block.Nr, buf []block.Data) error {
		if err := f.readOld(int(from), buf); err != nil {
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
	return f.finish(dev)
}

// finish writes the original block 0 as the last write.
func (f *File) finish(dev block.Device) error {
	buf := block.Buffer(1)
	buf[0] = f.old0
	if err := writeBlock0(dev, &buf[0]); err != nil {
		return fmt.Errorf("writing the superblock: %w", err)
	}
	return nil
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
