package lvmreport

import (
	"fmt"

	"thinpool/metadata"
)

// A Usage is how much of something is used, in blocks.
type Usage struct{ Used, Total uint64 }

// A Percent is a share of 100, as lvs prints it: with two decimals.
type Percent float64

func (p Percent) String() string { return fmt.Sprintf("%.2f", float64(p)) }

// MarshalJSON implements json.Marshaler.
func (p Percent) MarshalJSON() ([]byte, error) { return []byte(p.String()), nil }

// Percent is what lvs says: 0 and 100 are for what is empty and full, and nothing is rounded to
// them.
func (u Usage) Percent() Percent {
	const least, most = 0.01, 99.99
	switch {
	case u.Used == 0:
		return 0
	case u.Used >= u.Total:
		return 100
	}
	return min(max(Percent(float64(u.Used)/float64(u.Total)*100), least), most)
}

// DataUsage is how much of the data device a pool uses, as its space map has it.
func DataUsage(sb *metadata.Superblock) Usage {
	return Usage{sb.DataSpaceMap.NrAllocated, sb.DataSpaceMap.NrBlocks}
}

// MetadataUsage is how much of the metadata a pool uses as the kernel says it, and lvs after it:
// with the [metadata.Reserve].
func MetadataUsage(sb *metadata.Superblock) Usage {
	used, total := sb.MetadataSpaceMap.NrAllocated, sb.MetadataSpaceMap.NrBlocks
	return Usage{min(used, total) + min(metadata.Reserve(total), total-min(used, total)), total}
}

// VolumeUsage is how much of a thin volume of size bytes is mapped, in chunks of chunkSize bytes;
// the last chunk may reach beyond its end.
func VolumeUsage(mapped uint64, size int64, chunkSize uint64) Usage {
	return Usage{mapped, (uint64(size) + chunkSize - 1) / max(chunkSize, 1)}
}
