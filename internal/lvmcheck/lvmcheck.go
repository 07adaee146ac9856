// Package lvmcheck compares what LVM knows about a thin pool with the pool's metadata.
//
// Both sides count transactions and know sizes and devices. LVM first changes its own text, then
// tells the kernel, and then sets the transaction id in the superblock. An interruption in between
// makes them differ, and so does a restore of only one side from a backup.
package lvmcheck

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Code names a kind of difference. Codes are stable.
type Code string

// The codes.
const (
	TransactionID       Code = "transaction-id"
	ChunkSize           Code = "chunk-size"
	DataSize            Code = "data-size"
	UnknownDevice       Code = "device-without-volume"
	MissingDevice       Code = "volume-without-device"
	DeviceTwice         Code = "device-id-twice"
	VolumeTransactionID Code = "volume-transaction-id"
)

// A Difference is something LVM and the metadata disagree about.
type Difference struct {
	Code    Code
	Refused bool   // LVM or the kernel refuses to activate the pool or the volume
	Text    string // a sentence
	Fix     []string
}

func (d *Difference) String() string {
	kind := "note"
	if d.Refused {
		kind = "fatal"
	}
	return fmt.Sprintf("%s: LVM: %s [%s]", kind, d.Text, d.Code)
}

// A Pool is a pool as seen by both sides.
type Pool struct {
	Group      *lvm.Group
	Volume     *lvm.Volume // of type thin-pool
	Superblock metadata.Superblock
	Devices    []metadata.Device // by ascending id
}

// Compare returns the differences. Those about the whole pool come first.
func (p Pool) Compare() []Difference {
	c := comparison{
		Pool: p, pool: p.Volume.ThinPool(), volumes: map[uint64][]*lvm.Volume{},
		creates: map[string]bool{}, deletes: map[uint64]bool{},
	}
	for _, m := range c.pool.Messages {
		if m.Create != "" {
			c.creates[m.Create] = true
		} else {
			c.deletes[m.Delete] = true
		}
	}
	for _, v := range p.Group.LVs {
		if t := v.Thin(); t != nil && t.Pool == p.Volume.Name {
			c.volumes[t.DeviceID] = append(c.volumes[t.DeviceID], v)
		}
	}
	c.checkDevices()
	c.checkSizes()
	c.checkTransaction()
	sort.SliceStable(c.found, func(i, j int) bool { return rank(c.found[i].Code) < rank(c.found[j].Code) })
	return c.found
}

func rank(c Code) int {
	return slices.Index([]Code{TransactionID, ChunkSize, DataSize, DeviceTwice, MissingDevice, VolumeTransactionID, UnknownDevice}, c)
}

// A comparison collects differences.
type comparison struct {
	Pool
	pool    *lvm.ThinPool
	volumes map[uint64][]*lvm.Volume // by device id
	creates map[string]bool          // volumes LVM is about to create
	deletes map[uint64]bool          // devices LVM is about to delete
	missing []string                 // volumes without a device
	unknown []string                 // devices without a volume
	found   []Difference
}

func (c *comparison) add(code Code, refused bool, fix []string, format string, args ...any) {
	c.found = append(c.found, Difference{code, refused, fmt.Sprintf(format, args...), fix})
}

// name returns VG/LV.
func (c *comparison) name(lv string) string { return c.Group.Name + "/" + lv }

// checkDevices compares the devices with the thin volumes.
func (c *comparison) checkDevices() {
	for _, v := range c.Group.LVs { // in text order
		t := v.Thin()
		if t == nil || t.Pool != c.Volume.Name {
			continue
		}
		if all := c.volumes[t.DeviceID]; len(all) > 1 && all[0] == v {
			c.add(DeviceTwice, true, nil, "volumes %s and %s have the same device id %d", c.name(v.Name), c.name(all[1].Name), t.DeviceID)
		}
		i, ok := slices.BinarySearchFunc(c.Devices, t.DeviceID, func(d metadata.Device, id uint64) int { return cmp.Compare(uint64(d.ID), id) })
		switch {
		case !ok && c.creates[v.Name]:
			// LVM creates it when it activates the pool.
		case !ok:
			c.missing = append(c.missing, v.Name)
			c.add(MissingDevice, true, nil, "volume %s is device %d, which the metadata does not have: it cannot be activated", c.name(v.Name), t.DeviceID)
		case c.Devices[i].TransactionID != t.TransactionID:
			c.add(VolumeTransactionID, true, nil, "volume %s was created in transaction %d, but device %d in transaction %d: LVM's metadata and the pool's are from different times, and the device may belong to another volume",
				c.name(v.Name), t.TransactionID, t.DeviceID, c.Devices[i].TransactionID)
		}
	}
	for _, d := range c.Devices {
		if len(c.volumes[uint64(d.ID)]) > 0 || c.deletes[uint64(d.ID)] {
			continue
		}
		c.unknown = append(c.unknown, fmt.Sprint(d.ID))
		c.add(UnknownDevice, false, []string{
			fmt.Sprintf("dmsetup message %s 0 'delete %d'   # with the pool active, if you do not need it", c.activeName(), d.ID),
		}, "no volume uses device %d (created in transaction %d, %d mapped blocks)", d.ID, d.TransactionID, d.MappedBlocks)
	}
}

// activeName returns the device-mapper name of the active pool.
func (c *comparison) activeName() string {
	escape := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return escape(c.Group.Name) + "-" + escape(c.Volume.Name) + "-tpool"
}

// checkSizes compares the block size and the size of the data device.
func (c *comparison) checkSizes() {
	if c.pool.ChunkSize != uint64(c.Superblock.DataBlockSize) {
		c.add(ChunkSize, true, nil, "the chunk size of %s is %d sectors, but the metadata has data blocks of %d: it belongs to another pool",
			c.name(c.Volume.Name), c.pool.ChunkSize, c.Superblock.DataBlockSize)
		return
	}
	data := c.Group.Volume(c.pool.Data)
	if data == nil || c.pool.ChunkSize == 0 {
		return
	}
	chunks := uint64(data.Size) / block.SectorSize / c.pool.ChunkSize
	switch have := c.Superblock.DataSpaceMap.NrBlocks; {
	case have > chunks:
		c.add(DataSize, true, nil, "the metadata has %d data blocks, but %s has room for only %d, so the kernel refuses the pool; restore the volume's size with lvextend or vgcfgrestore",
			have, c.name(data.Name), chunks)
	case have < chunks:
		c.add(DataSize, false, nil, "%s has room for %d data blocks, but the metadata has %d: the pool grows when it is activated", c.name(data.Name), chunks, have)
	}
}

// checkTransaction compares the transaction ids, after the devices have been compared.
func (c *comparison) checkTransaction() {
	lvmHas, have := c.pool.TransactionID, c.Superblock.TransactionID
	expected := lvmHas
	if len(c.pool.Messages) > 0 {
		expected--
	}
	switch {
	case lvmHas == 0 || have == lvmHas: // LVM does not check, or is satisfied
	case have+1 == lvmHas && len(c.pool.Messages) > 0:
		var todo []string
		for _, m := range c.pool.Messages {
			todo = append(todo, m.String())
		}
		c.add(TransactionID, false, nil, "LVM is at transaction %d, the metadata at %d: LVM makes up for one step when it activates the pool: %s", lvmHas, have, strings.Join(todo, ", "))
	case have+1 == lvmHas:
		c.add(TransactionID, false, nil, "LVM is at transaction %d, the metadata at %d: LVM accepts a difference of one", lvmHas, have)
	default:
		side := "the metadata is ahead: LVM's metadata may be old"
		if have < lvmHas {
			side = "LVM is ahead: the metadata may be old, or come from a repair that went back"
		}
		fix, how := c.fixTransaction(expected)
		c.add(TransactionID, true, fix, "LVM is at transaction %d, the metadata at %d; %s. LVM will say: Thin pool %s transaction_id is %d, while expected %d. %s",
			lvmHas, have, side, c.activeName(), have, expected, how)
	}
}

// fixTransaction says what can safely be done about differing transaction ids.
func (c *comparison) fixTransaction(expected uint64) (commands []string, how string) {
	switch {
	case slices.ContainsFunc(c.found, func(d Difference) bool { return d.Code == VolumeTransactionID || d.Code == DeviceTwice }):
		return nil, "LVM's volumes do not match the devices, so change neither side: look for the LVM metadata that matches (thin_volumes --history, /etc/lvm/archive)"
	case len(c.missing) > 0:
		return nil, fmt.Sprintf("The metadata lacks volumes (%s), so change neither side: look for newer metadata first (thin_repair --list-roots, POOL_metaN)", strings.Join(c.missing, ", "))
	case len(c.unknown) > 0:
		return nil, fmt.Sprintf("LVM does not know all devices (%s), so first look for LVM metadata that does (thin_volumes --history, /etc/lvm/archive; vgcfgrestore)", strings.Join(c.unknown, ", "))
	}
	vg, pool := c.Group.Name, c.name(c.Volume.Name)
	size := int64(0)
	if v := c.Group.Volume(c.pool.Metadata); v != nil {
		size = v.Size
	}
	return []string{
		fmt.Sprintf("lvcreate -an -Zn -Wn -L %db -n newmeta %s && lvchange -ay %s/newmeta && lvchange -ay -y %s", size, vg, vg, c.name(c.pool.Metadata)),
		fmt.Sprintf("thin_dump --transaction-id %d /dev/%s | thin_restore -i - -o /dev/%s/newmeta", expected, c.name(c.pool.Metadata), vg),
		fmt.Sprintf("lvchange -an %s %s/newmeta && lvconvert -y --swapmetadata --poolmetadata %s/newmeta %s", c.name(c.pool.Metadata), vg, vg, pool),
	}, "Both have the same volumes, so it is safe to give the metadata LVM's id"
}
