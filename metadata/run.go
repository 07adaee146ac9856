package metadata

import "fmt"

// A ThinBlock is a block of a thin device: the offset in the device divided by the data block
// size. The format allows any value; XML calls it origin.
type ThinBlock uint64

// A DataBlock is a block of the pool's data device: the offset divided by the data block size. On
// disk it has 40 bits.
type DataBlock uint64

// A DevID identifies a thin device in its pool. The kernel's messages accept 0..[MaxDevID]; keys
// on disk have 64 bits.
type DevID uint64

// Limits of the format.
const (
	MaxDevID         = 1<<24 - 1 // highest device id the kernel accepts
	MaxTime          = 1<<24 - 1 // highest time in a mapping
	MinDataBlockSize = 128       // sectors; a data block size is a multiple of it
	MaxDataBlockSize = 1 << 21   // sectors
	MaxDataBlocks    = 1 << 40   // limit of what a mapping can address
)

// A Run is a sequence of mappings: Len adjacent thin blocks are mapped to as many adjacent data
// blocks, all with the same time.
type Run struct {
	Thin ThinBlock
	Data DataBlock
	Len  uint64 // at least 1
	Time uint32 // snapshot clock when the mapping was made; at most [MaxTime]
}

func (r Run) String() string {
	if r.Len == 1 {
		return fmt.Sprintf("thin %d -> data %d at time %d", r.Thin, r.Data, r.Time)
	}
	return fmt.Sprintf("thin %d..%d -> data %d..%d at time %d",
		r.Thin, r.Thin+ThinBlock(r.Len-1), r.Data, r.Data+DataBlock(r.Len-1), r.Time)
}

// Continues reports whether r directly follows prev, so that both are one run.
func (r Run) Continues(prev Run) bool {
	return r.Thin == prev.Thin+ThinBlock(prev.Len) && r.Data == prev.Data+DataBlock(prev.Len) && r.Time == prev.Time
}
