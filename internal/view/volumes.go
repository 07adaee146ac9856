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

// A VolumeRow is a logical volume and, if it is a pool or a thin volume, what the metadata says
// about it. It may also be a pool's device that LVM does not know.
type VolumeRow struct {
	Group   *lvm.Group
	Volume  *lvm.Volume // nil: unknown to LVM
	Partial bool
	Pool    *PoolState // of a pool, or of the device's pool
	Device  *ls.Row    // of a thin volume; nil: not in the pool
}

// A PoolState is what the metadata says about a pool.
type PoolState struct {
	Volume     *lvm.Volume
	Superblock *metadata.Superblock // nil: unreadable
	Devices    []ls.Row             // the readable ones
	Sharing    bool                 // exclusive blocks are known
	Err        error                // why something could not be read
	Differs    []lvmcheck.Difference
}

// Waiting reports whether the thin messages in LVM's metadata have not been sent yet. LVM raises
// its transaction id first; the pool's follows when the messages are done.
func (p *PoolState) Waiting() bool {
	return p.Superblock == nil || p.Superblock.TransactionID != p.Volume.ThinPool().TransactionID
}

// Volumes holds everything to list.
type Volumes struct {
	Groups   []*lvm.Group
	PVs      []lvmreport.PV
	Rows     []VolumeRow // by group and name
	Problems []lvm.Problem
}

// Find returns the device with the given id, or nil.
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
