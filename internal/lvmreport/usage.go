package lvmreport

import (
	"fmt"

	"thinpool/metadata"
)

// A Usage says how many blocks are used.
type Usage struct{ Used, Total uint64 }

// A Percent is a percentage with two decimals, as lvs prints it.
type Percent float64

func (p Percent) String() string { return fmt.Sprintf("%.2f", float64(p)) }

// MarshalJSON implements json.Marshaler.
func (p Percent) MarshalJSON() ([]byte, error) { return []byte(p.String()), nil }

// Percent returns the value lvs prints. Only an empty device gives 0 and only a full one 100;
// nothing is rounded to them.
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

// DataUsage returns the usage of a pool's data device according to its space map.
func DataUsage(sb *metadata.Superblock) Usage {
	return Usage{sb.DataSpaceMap.NrAllocated, sb.DataSpaceMap.NrBlocks}
}

// MetadataUsage returns the usage of a pool's metadata as the kernel and lvs report it: including
// the [metadata.Reserve].
func MetadataUsage(sb *metadata.Superblock) Usage {
	used, total := sb.MetadataSpaceMap.NrAllocated, sb.MetadataSpaceMap.NrBlocks
	return Usage{min(used, total) + min(metadata.Reserve(total), total-min(used, total)), total}
}

// VolumeUsage returns how much of a thin volume of size bytes is mapped, in chunks of chunkSize
// bytes. The last chunk may extend beyond its end.
func VolumeUsage(mapped uint64, size int64, chunkSize uint64) Usage {
	return Usage{mapped, (uint64(size) + chunkSize - 1) / max(chunkSize, 1)}
}
