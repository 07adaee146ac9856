// Package size, whose API may change, estimates how much metadata a pool needs. There are several rules
// in use, and each has its reasons; package internal/write knows exactly what a
// given description takes.
package size

import (
	"fmt"
	"math"
	"strconv"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Rule is a way to estimate.
type Rule string

// The rules.
const (
	// Tree counts what half full trees take: a leaf for 126 mappings, one more
	// block a device. It is what thin_metadata_size has always printed.
	Tree Rule = "tree"
	// Kernel is the kernel document's guide: 48 bytes a data block, 2 MiB to 16 GiB.
	Kernel Rule = "kernel"
	// LVM is what lvcreate allocates: 64 bytes a data block, 2 MiB to 15.875 GiB.
	LVM Rule = "lvm"
	// Packed is the least: full leaves, as thin_restore writes them.
	Packed Rule = "packed"
	// Scattered is Tree for snapshots whose changes are spread evenly, so that most leaves
	// are copied; it counts the space maps as well. Tree takes changes to be adjacent.
	Scattered Rule = "scattered"
)

// Rules are the rules that apply to a pool.
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

// A Pool is what the metadata is for. Sizes are in bytes.
type Pool struct {
	BlockSize uint64 // of a data block
	Size      uint64 // of the data device
	Thins     uint64 // devices and snapshots

	// Snapshots of a device that is mapped in full, of whose mappings Divergence
	// percent are their own: for Tree and Scattered.
	Snapshots  uint64
	Divergence float64
	ExtentSize uint64 // of the volume group: for LVM only
}

// Blocks is the number of data blocks.
func (p Pool) Blocks() uint64 { return p.Size / p.BlockSize }

// Check says what is wrong with the figures.
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

// An Estimate is what a rule says.
type Estimate struct {
	Rule  Rule
	Bytes uint64
	Need  uint64 // Bytes before any bound
	Bound string // the bound that decided, in words; "" if none did
}

// counts reports whether the estimate counts nodes; else it is the size of a device.
func (e Estimate) counts() bool { return e.Rule != Kernel && e.Rule != LVM }

// Estimate applies a rule to a pool whose figures are right.
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
		e.blocks(uint64(min(math.Ceil(p.scattered()), math.MaxUint32)), 0) // no pool has as many
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

// blocks sets the estimate to so many metadata blocks and one a device.
func (e *Estimate) blocks(n, thins uint64) {
	n += min(thins, math.MaxUint32) // no pool has as many
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

// Number writes bytes in a unit of so many bytes: whole numbers plain, fractions
// with two decimals, below a hundredth as 1.23e-04.
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
