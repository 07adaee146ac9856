package view

import (
	"cmp"
	"slices"

	"thinpool/internal/lvmcheck"
	"thinpool/internal/lvmreport"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/tool/ls"
)

// A VolumeRow is a logical volume and, if it is a pool or a thin volume, what the metadata
// says of it; or a device of a pool that LVM does not know.
type VolumeRow struct {
	Group   *lvm.Group
	Volume  *lvm.Volume // nil: unknown to LVM
	Partial bool
	Pool    *PoolState // of a pool, or of the pool that the device is in
	Device  *ls.Row    // of a thin volume; nil if not in the pool
}

// A PoolState is what the metadata of a pool says.
type PoolState struct {
	Volume     *lvm.Volume
	Superblock *metadata.Superblock // nil: it cannot be read
	Devices    []ls.Row             // as far as they can be read
	Sharing    bool                 // it is known what is exclusive
	Err        error                // why not all can be read
	Differs    []lvmcheck.Difference
}

// Waiting reports whether the messages in the text are still to be sent: LVM raises its
// transaction id first, and the pool's when they are done.
func (p *PoolState) Waiting() bool {
	return p.Superblock == nil || p.Superblock.TransactionID != p.Volume.ThinPool().TransactionID
}

// An Volumes is all that there is to list.
type Volumes struct {
	Groups   []*lvm.Group
	PVs      []lvmreport.PV
	Rows     []VolumeRow // by group and name
	Problems []lvm.Problem
}

// Find finds a device by its id; nil if it is not there.
func (p *PoolState) Find(id uint64) *ls.Row {
	if p == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(p.Devices, id, func(r ls.Row, id uint64) int { return cmp.Compare(uint64(r.ID), id) })
	if !ok {
		return nil
	}
	return &p.Devices[i]
}
