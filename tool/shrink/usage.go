package shrink

import (
	"errors"
	"fmt"
	"math"

	"thinpool/internal/blockset"
	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// mostBlocks is the number of blocks that the largest metadata can count. A description may claim
// more. It limits how much a Usage allocates.
const mostBlocks = spacemap.MaxMetadata * spacemap.PerBitmap

var mostMappings = spacemap.MaxMetadata * uint64(btree.MaxEntries(metadata.MappingSize))

// A Usage is a [metadata.Visitor] that records which data blocks a pool uses. The zero Usage is
// ready for a visit.
type Usage struct {
	header   metadata.Header
	mapped   blockset.Set // by devices
	taken    blockset.Set // mapped blocks, and others that must not be overwritten
	mappings uint64
}

// Begin implements [metadata.Visitor].
func (u *Usage) Begin(h metadata.Header) error {
	if err := metadata.CheckDataBlockSize(uint64(h.DataBlockSize)); err != nil {
		return err
	}
	if h.NrDataBlocks == 0 {
		return errNotWhole
	}
	u.header = h
	return checkBlocks(h.NrDataBlocks, h.DataBlockSize)
}

var errNotWhole = errors.New("nr_data_blocks is 0, as in a dump of a metadata snapshot, which does not list all blocks in use: use a dump of the whole pool")

// checkBlocks returns an error if a pool cannot have n data blocks of that size.
func checkBlocks(n uint64, sectors uint32) error {
	if most := min(mostBlocks, math.MaxInt64/blockBytes(sectors)); n > most {
		return fmt.Errorf("%d data blocks of %d sectors are more than a pool can have: at most %d", n, sectors, most)
	}
	return nil
}

func blockBytes(sectors uint32) uint64 {
	return uint64(sectors) * block.SectorSize
}

// BeginDef implements [metadata.Visitor].
func (u *Usage) BeginDef(string) error { return nil }

// EndDef implements [metadata.Visitor].
func (u *Usage) EndDef() error { return nil }

// BeginDevice implements [metadata.Visitor].
func (u *Usage) BeginDevice(metadata.DevID, metadata.Details) error { return nil }

// EndDevice implements [metadata.Visitor].
func (u *Usage) EndDevice() error { return nil }

// Ref implements [metadata.Visitor]. The runs of the def are already recorded.
func (u *Usage) Ref(string) error { return nil }

// End implements [metadata.Visitor].
func (u *Usage) End() error { return nil }

// Runs implements [metadata.Visitor].
func (u *Usage) Runs(runs []metadata.Run) error {
	limit := u.header.NrDataBlocks
	for _, r := range runs {
		switch data := uint64(r.Data); {
		case data >= limit || r.Len > limit-data:
			return fmt.Errorf("data block %d is beyond the data device", data+r.Len-1)
		case r.Len > mostMappings-u.mappings:
			return fmt.Errorf("more than %d mappings: no metadata can hold that", mostMappings)
		}
		u.mappings += r.Len
		u.mapped.Add(uint64(r.Data), r.Len)
		u.taken.Add(uint64(r.Data), r.Len)
	}
	return nil
}

// Keep protects the blocks from begin to end-1 from being overwritten, even if no mapping uses
// them, because reference counts say that they are in use.
func (u *Usage) Keep(begin, end metadata.DataBlock) error {
	if begin > end || end > mostBlocks {
		return fmt.Errorf("data blocks %d to %d are not a valid range", begin, end)
	}
	u.taken.Add(uint64(begin), uint64(end-begin))
	return nil
}
