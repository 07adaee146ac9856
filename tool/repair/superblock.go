package repair

import (
	"errors"
	"fmt"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
	"thinpool/metadata/spacemap"
	"thinpool/metadata/survey"
)

// readSuperblock reads block 0. Where it cannot be used sbErr says why; fields of a
// damaged one are still in sb, for the message.
func (f *finder) readSuperblock() {
	var b block.Data
	if f.sbErr = f.r.Read(metadata.SuperblockLocation, &b); f.sbErr != nil {
		return
	}
	f.sb, f.sbErr = metadata.DecodeSuperblock(metadata.SuperblockLocation, &b)
	nr := f.sb.MetadataSpaceMap.NrBlocks
	switch {
	case b == (block.Data{}):
		f.sbErr = metadata.ErrUnformatted
	case f.sbErr != nil:
	case f.sb.IncompatFlags != 0:
		f.sbErr = fmt.Errorf("unknown incompatible features %#x: %w", f.sb.IncompatFlags, block.ErrCorrupt)
	case metadata.CheckDataBlockSize(uint64(f.sb.DataBlockSize)) != nil && f.opt.Overrides.DataBlockSize == nil:
		f.sbErr = fmt.Errorf("data_block_size is %d sectors: %w", f.sb.DataBlockSize, block.ErrCorrupt)
	case nr > 0 && nr <= spacemap.MaxMetadata:
		f.limit = min(f.limit, block.Nr(nr))
	}
}

// replaceSuperblock makes a superblock of what options say and what was found, if
// there is none to be used.
func (f *finder) replaceSuperblock() error {
	if f.sbErr == nil {
		return nil
	}
	if len(f.survey.Roots(survey.TopLeaf)) == 0 && len(f.survey.Roots(survey.MappingLeaf)) == 0 {
		if errors.Is(f.sbErr, metadata.ErrUnformatted) {
			return f.sbErr // nothing was ever here
		}
		return fmt.Errorf("%w: the superblock cannot be used (%w), and nothing on the device looks like a mapping tree", ErrNoRoots, f.sbErr)
	}
	if errors.Is(f.sbErr, metadata.ErrUnformatted) {
		f.sbErr = errZeroed // as there are trees it was written once
	}
	f.note("the superblock cannot be used: %v", f.sbErr)
	if _, ok := errors.AsType[*block.ChecksumError](f.sbErr); ok && f.sb.Magic == metadata.Magic {
		f.note("it says, but its checksum is wrong: data block size %d sectors, %d data blocks, transaction %d",
			f.sb.DataBlockSize, f.sb.DataSpaceMap.NrBlocks, f.sb.TransactionID)
	}
	f.report.Guessed = true
	damaged := f.sb
	f.sb = metadata.Superblock{Magic: metadata.Magic, Version: metadata.Version, MetadataBlockSize: metadata.MetadataBlockSize}
	switch size, from := f.otherBlockSize(); {
	case f.opt.Overrides.DataBlockSize != nil:
		f.sb.DataBlockSize = uint32(*f.opt.Overrides.DataBlockSize)
	case from != 0:
		f.sb.DataBlockSize = size
		f.note("the data block size, %d sectors, is that of the metadata snapshot in block %d", size, from)
	default:
		return f.askForBlockSize(&damaged)
	}
	return nil
}

var errZeroed = fmt.Errorf("block 0 is all zero: %w", block.ErrCorrupt)

func (f *finder) askForBlockSize(damaged *metadata.Superblock) error {
	if damaged.Magic == metadata.Magic && metadata.CheckDataBlockSize(uint64(damaged.DataBlockSize)) == nil {
		return fmt.Errorf("%w. The damaged superblock says %d sectors; that may be wrong (%w)", ErrNoBlockSize, damaged.DataBlockSize, f.sbErr)
	}
	return fmt.Errorf("%w (%w)", ErrNoBlockSize, f.sbErr)
}

// otherBlockSize looks for the superblock of a metadata snapshot.
func (f *finder) otherBlockSize() (sectors uint32, from block.Nr) {
	for nr, sort := range f.survey.Sorts {
		if sort != survey.Superblock || nr == 0 {
			continue
		}
		var b block.Data
		if f.r.Read(block.Nr(nr), &b) != nil {
			continue
		}
		sb, err := metadata.DecodeSuperblock(block.Nr(nr), &b)
		if err == nil && metadata.CheckDataBlockSize(uint64(sb.DataBlockSize)) == nil {
			return sb.DataBlockSize, block.Nr(nr)
		}
	}
	return 0, 0
}

// writeTop gives the view a superblock, and trees of devices that lead to these.
func (f *finder) writeTop(devices []device) error {
	sb := f.sb
	sb.Block, sb.Flags, sb.HeldRoot = metadata.SuperblockLocation, 0, 0
	sb.Time, sb.TransactionID, sb.Version = f.report.Header.Time, f.report.Header.TransactionID, f.report.Header.Version
	sb.DataBlockSize, sb.DataSpaceMap.NrBlocks = f.report.Header.DataBlockSize, f.report.Header.NrDataBlocks
	var err error
	sb.MappingRoot, err = btree.Build(f.view, metadata.RootSize, len(devices), func(i int, value []byte) uint64 {
		le.PutUint64(value, uint64(devices[i].Root))
		return uint64(devices[i].ID)
	})
	if err != nil {
		return err
	}
	sb.DetailsRoot, err = btree.Build(f.view, metadata.DetailsSize, len(devices), func(i int, value []byte) uint64 {
		devices[i].Details.Encode(value)
		return uint64(devices[i].ID)
	})
	if err != nil {
		return err
	}
	sb.MetadataSpaceMap.NrBlocks = uint64(block.Blocks(f.view)) // new blocks lie beyond the end
	var b block.Data
	sb.Encode(&b)
	f.view.Put(metadata.SuperblockLocation, &b)
	return nil
}
