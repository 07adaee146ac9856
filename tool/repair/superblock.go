package repair

import (
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
)

// completeSuper returns the superblock of the chosen state, as far as it is known. If block 0 is
// lost or names another state, completeSuper builds it from what was found. sizeKnown is false if
// the number of data blocks is unknown.
func completeSuper(e *evidence, state *chosen, opt *Options) (sb metadata.Superblock, sizeKnown bool, err error) {
	if e.super.err == nil && state.Current {
		return e.super.Superblock, true, nil
	}
	sb = state.super
	sb.Magic, sb.Version, sb.MetadataBlockSize = metadata.Magic, metadata.Version, metadata.MetadataBlockSize
	if s := &e.super; s.err == nil { // an older one of the same pool
		sb.DataBlockSize, sb.UUID = s.DataBlockSize, s.UUID
		sb.Time, sb.TransactionID = max(s.Time, state.Time), s.TransactionID
		sb.DataSpaceMap.NrBlocks = max(s.DataSpaceMap.NrBlocks, sb.DataSpaceMap.NrBlocks)
		if sb.DataSpaceMap.NrBlocks-s.DataSpaceMap.NrBlocks < spacemap.PerBitmap {
			sb.DataSpaceMap.NrBlocks = s.DataSpaceMap.NrBlocks // bitmaps cover a few more
		}
	} else {
		size, from, err := e.blockSize(opt)
		if err != nil {
			return sb, false, err
		}
		if from != "" {
			e.note("the data block size, %d sectors, was taken from %s", size, from)
		}
		sb.DataBlockSize = size
		sb.Time = max(sb.Time, state.Time)
	}
	e.transactionOf(state, opt, &sb)
	switch lvm := opt.LVM; {
	case e.super.err == nil:
		return sb, true, nil
	case opt.Overrides.NrDataBlocks != nil: // bitmaps cover a few more
		sb.DataSpaceMap.NrBlocks = min(sb.DataSpaceMap.NrBlocks, *opt.Overrides.NrDataBlocks)
		return sb, true, nil
	case lvm != nil && lvm.DataBlocks > 0:
		sb.DataSpaceMap.NrBlocks = lvm.DataBlocks
		e.note("the number of data blocks, %d, is the size of LVM's data volume", lvm.DataBlocks)
		return sb, true, nil
	}
	return sb, false, nil
}

// transactionOf sets the transaction id of a state's superblock, or a lower bound of it.
func (e *evidence) transactionOf(state *chosen, opt *Options, sb *metadata.Superblock) {
	if opt.Overrides.TransactionID != nil {
		return
	}
	least := state.TransactionID
	if len(state.Devices) > 0 {
		least++
	}
	if lvm := opt.LVM; lvm != nil && lvm.TransactionID >= state.TransactionID {
		sb.TransactionID = lvm.TransactionID
		e.note("the transaction id, %d, was taken from LVM", sb.TransactionID)
		return
	}
	if e.super.err == nil && sb.TransactionID >= least {
		return
	}
	sb.TransactionID = least
	e.note("the transaction id is unknown; using %d, one more than that of the latest device. LVM needs its own: see transaction_id in its metadata", sb.TransactionID)
}
