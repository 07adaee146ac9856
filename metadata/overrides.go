package metadata

import "fmt"

// Overrides are header fields of a pool that a user may replace. A nil field keeps the existing
// value.
type Overrides struct {
	TransactionID *uint64
	DataBlockSize *uint64 // sectors
	NrDataBlocks  *uint64
}

// Apply replaces the fields of h. An error means that a value is invalid.
func (o Overrides) Apply(h *Header) error {
	if o.DataBlockSize != nil {
		if err := CheckDataBlockSize(*o.DataBlockSize); err != nil {
			return err
		}
		h.DataBlockSize = uint32(*o.DataBlockSize)
	}
	if o.NrDataBlocks != nil {
		if *o.NrDataBlocks > MaxDataBlocks {
			return fmt.Errorf("%d data blocks are more than the format allows (%d)", *o.NrDataBlocks, uint64(MaxDataBlocks))
		}
		h.NrDataBlocks = *o.NrDataBlocks
	}
	if o.TransactionID != nil {
		h.TransactionID = *o.TransactionID
	}
	return nil
}
