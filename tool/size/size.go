// Package size, whose API may change, estimates how much metadata a pool needs. Several rules are
// in use, and each has its reasons. Package internal/write knows the exact size for a given
// description.
package size

import (
	"fmt"
	"math"
	"strconv"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Rule is a way to estimate the size.
type Rule string

// The rules.
const (
	// Tree counts half full trees: a leaf for 126 mappings, and one more block per device.
	// thin_metadata_size has always used it.
	Tree Rule = "tree"
	// Kernel is the guide in the kernel's documentation: 48 bytes per data block, from 2 MiB to 16
	// GiB.
	Kernel Rule = "kernel"
	// LVM is what lvcreate allocates: 64 bytes per data block, from 2 MiB to 15.875 GiB.
	LVM Rule = "lvm"
	// Packed is the minimum: full leaves, as thin_restore writes them.
	Packed Rule = "packed"
	// Scattered is Tree for snapshots with evenly spread changes, so that most leaves are copied. It
	// also counts the space maps. Tree assumes that changes are adjacent.
	Scattered Rule = "scattered"
)

// Rules returns the rules that apply to a pool.
func (p Pool) Rules() []Rule {
	if p.Snapshots > 0 {
		return []Rule{Tree, Scattered, Kernel, LVM, Packed}
	}
	return []Rule{Tree, Kernel, LVM, Packed}
}

// Sizes in bytes.
const (
	mib       = 1 << 20
	gib       = 1 << 30
	least     = 2 * mib
	kernelMax = 16 * gib
	// Ceiling is the most that the kernel can use: 15.875 GiB.
	Ceiling    = spacemap.MaxMetadata * block.Size
	sectorSize = block.SectorSize
	halfLeaf   = 126
	fullLeaf   = 252
	leastBlock = metadata.MinDataBlockSize * sectorSize
	mostBlock  = metadata.MaxDataBlockSize * sectorSize
)

// A Pool describes the pool that the metadata is for. Sizes are in bytes.
type Pool struct {
	BlockSize uint64 // of a data block
	Size      uint64 // of the data device
	Thins     uint64 // devices and snapshots

	// Snapshots is the number of snapshots of a fully mapped device, each with Divergence percent of
	// its own mappings: for Tree and Scattered.
	Snapshots  uint64
	Divergence float64
	ExtentSize uint64 // of the volume group; only for LVM
}

// Blocks returns the number of data blocks.
func (p Pool) Blocks() uint64 { return p.Size / p.BlockSize }

// Check returns an error if the values are invalid.
func (p Pool) Check() error {
	if p.BlockSize%sectorSize != 0 {
		return fmt.Errorf("block size of %d bytes: want a multiple of 64 KiB from 64 KiB to 1 GiB", p.BlockSize)
	}
	if err := metadata.CheckDataBlockSize(p.BlockSize / sectorSize); err != nil {
		return fmt.Errorf("block size of %d sectors: want a multiple of 64 KiB from 64 KiB to 1 GiB", p.BlockSize/sectorSize)
	}
	if p.Size < p.BlockSize {
		return fmt.Errorf("the pool has %d bytes, less than one block of %d", p.Size, p.BlockSize)
	}
	if p.ExtentSize > kernelMax {
		return fmt.Errorf("extents of %d bytes: want at most 16 GiB", p.ExtentSize)
	}
	if p.Divergence < 0 || p.Divergence > 100 || math.IsNaN(p.Divergence) {
		return fmt.Errorf("divergence of %v percent: want 0 to 100", p.Divergence)
	}
	return nil
}

// An Estimate is the result of a rule.
type Estimate struct {
	Rule  Rule
	Bytes uint64
	Need  uint64 // Bytes before any limit
	Bound string // the limit that applied, in words; "" if none did
}

// counts reports whether the estimate counts nodes. Otherwise it is the size of a device.
func (e Estimate) counts() bool { return e.Rule != Kernel && e.Rule != LVM }

// Estimate applies a rule to a pool, whose values must be valid.
func (p Pool) Estimate(rule Rule) Estimate {
	e := Estimate{Rule: rule}
	n := p.Blocks()
	switch rule {
	case Kernel:
		e.Bytes = 48 * p.Size / p.BlockSize
		if p.Size > math.MaxUint64/48 {
			e.Bytes = 48 * n
		}
		e.Need = e.Bytes
		e.raise(least, "at least 2 MiB")
		e.cut(kernelMax, "at most 16 GiB")
		e.Bytes = roundUp(e.Bytes, block.Size)
	case LVM:
		e.Bytes = 64 * n
		e.Need = e.Bytes
		e.raise(least, "at least 2 MiB")
		e.cut(Ceiling, "at most 15.875 GiB")
		if p.ExtentSize > 0 {
			e.Bytes = roundUp(e.Bytes, p.ExtentSize)
		}
	case Packed:
		e.blocks(1+(n+fullLeaf-1)/fullLeaf, p.Thins)
	case Scattered:
		e.blocks(uint64(min(math.Ceil(p.scattered()), math.MaxUint32)), 0) // no pool has that many
	default:
		own := uint64(float64(n) * p.Divergence / 100)
		perSnapshot := 1 + own/halfLeaf
		snapshots := uint64(spacemap.MaxMetadata) // more than that is cut anyway
		if p.Snapshots <= snapshots {
			snapshots = p.Snapshots * perSnapshot
		}
		e.blocks(1+n/halfLeaf+snapshots, p.Thins)
	}
	return e
}

// blocks sets the estimate to n metadata blocks plus one per device.
func (e *Estimate) blocks(n, thins uint64) {
	n += min(thins, math.MaxUint32) // no pool has that many
	e.Bytes = min(n, math.MaxUint64/block.Size) * block.Size
	e.Need = e.Bytes
	e.cut(Ceiling, "at most 15.875 GiB")
}

func (e *Estimate) raise(to uint64, bound string) {
	if e.Bytes < to {
		e.Bytes, e.Bound = to, bound
	}
}

func (e *Estimate) cut(to uint64, bound string) {
	if e.Bytes > to {
		e.Bytes, e.Bound = to, bound
	}
}

func roundUp(n, step uint64) uint64 { return (n + step - 1) / step * step }

// Number formats bytes in the given unit: integers without decimals, fractions with two decimals,
// and numbers below a hundredth like 1.23e-04.
func Number(bytes, unit uint64) string {
	if bytes%unit == 0 {
		return strconv.FormatUint(bytes/unit, 10)
	}
	n := float64(bytes) / float64(unit)
	if n < 0.01 {
		return fmt.Sprintf("%.2e", n)
	}
	return fmt.Sprintf("%.2f", n)
}
