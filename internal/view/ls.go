package view

import (
	"cmp"
	"io"
	"slices"
	"strconv"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/tool/ls"
)

// An LsRow is a device, and the name of its volume if that is known.
type LsRow struct {
	ls.Row
	Name string
}

// An LsField is a column of thin_ls.
type LsField struct {
	Name             string
	Sharing, Highest bool // what it needs
	value            func(r LsRow, blockSize uint64) string
}

// unit is how a number of data blocks is shown.
type unit func(blocks, blockSize uint64) string

func inBlocks(n, _ uint64) string       { return strconv.FormatUint(n, 10) }
func inSectors(n, size uint64) string   { return strconv.FormatUint(n*size, 10) }
func inBytes(n, size uint64) string     { return strconv.FormatUint(n*size*cli.SectorSize, 10) }
func inHumanUnit(n, size uint64) string { return cli.HumanSize(n * size * cli.SectorSize) }

// LsFields are all of them.
var LsFields = slices.Concat(
	[]LsField{{Name: "DEV", value: func(r LsRow, _ uint64) string { return strconv.FormatUint(uint64(r.ID), 10) }}},
	sizeFields("MAPPED", false, func(r LsRow) uint64 { return r.MappedBlocks }),
	sizeFields("EXCLUSIVE", true, func(r LsRow) uint64 { return r.Exclusive }),
	sizeFields("SHARED", true, func(r LsRow) uint64 { return r.Shared }),
	highestFields(),
	[]LsField{
		{Name: "TRANSACTION", value: func(r LsRow, _ uint64) string { return strconv.FormatUint(r.TransactionID, 10) }},
		{Name: "CREATE_TIME", value: func(r LsRow, _ uint64) string { return strconv.FormatUint(uint64(r.CreationTime), 10) }},
		{Name: "SNAP_TIME", value: func(r LsRow, _ uint64) string { return strconv.FormatUint(uint64(r.SnapshottedTime), 10) }},
		LsName,
	},
)

// LsName is the volume of a device, which only LVM knows: in disk images.
var LsName = LsField{Name: "NAME", value: func(r LsRow, _ uint64) string { return cmp.Or(r.Name, "-") }}

// sizeFields are the four ways to show a number of blocks.
func sizeFields(name string, sharing bool, blocks func(LsRow) uint64) []LsField {
	in := func(suffix string, u unit) LsField {
		return LsField{Name: name + suffix, Sharing: sharing, value: func(r LsRow, size uint64) string { return u(blocks(r), size) }}
	}
	return []LsField{in("_BLOCKS", inBlocks), in("_SECTORS", inSectors), in("_BYTES", inBytes), in("", inHumanUnit)}
}

// highestFields are the highest mapped block and the last sector and byte of it.
func highestFields() []LsField {
	in := func(name string, value func(end, size uint64) string) LsField {
		return LsField{Name: name, Highest: true, value: func(r LsRow, size uint64) string {
			if r.Empty {
				return "-"
			}
			return value(uint64(r.Highest)+1, size)
		}}
	}
	return []LsField{
		in("HIGHEST_BLOCK", func(end, _ uint64) string { return strconv.FormatUint(end-1, 10) }),
		in("HIGHEST_SECTOR", func(end, size uint64) string { return strconv.FormatUint(end*size-1, 10) }),
		in("HIGHEST_BYTE", func(end, size uint64) string { return strconv.FormatUint(end*size*cli.SectorSize-1, 10) }),
		in("HIGHEST_MAPPED", func(end, size uint64) string { return cli.HumanSize(end*size*cli.SectorSize - 1) }),
	}
}

// LsTable prints the columns, each as wide as its widest cell, right-aligned and
// followed by a space, also the last: programs split the lines there.
func LsTable(w io.Writer, columns []LsField, rows []LsRow, blockSize uint64, headers bool) error {
	t := &table{bare: !headers, gap: " ", end: " "}
	for _, f := range columns {
		t.columns = append(t.columns, f.Name)
	}
	for _, r := range rows {
		cells := make([]string, len(columns))
		for i, f := range columns {
			cells[i] = f.value(r, blockSize)
		}
		t.add(cells...)
	}
	return t.writeTo(w)
}

// rowRecord is a device in JSON. Numbers of blocks are of data blocks.
type rowRecord struct {
	Type            string              `json:"type"` // "device"
	DevID           metadata.DevID      `json:"dev_id"`
	MappedBlocks    uint64              `json:"mapped_blocks"`
	ExclusiveBlocks uint64              `json:"exclusive_blocks"`
	SharedBlocks    uint64              `json:"shared_blocks"`
	HighestBlock    *metadata.ThinBlock `json:"highest_block,omitempty"` // nil: nothing is mapped
	Transaction     uint64              `json:"transaction_id"`
	CreationTime    uint32              `json:"creation_time"`
	SnapTime        uint32              `json:"snap_time"`
	DataBlockSize   uint32              `json:"data_block_size"` // sectors
	Name            string              `json:"name,omitempty"`
}

// LsJSON prints a record a device, and the summary.
func LsJSON(w io.Writer, rows []LsRow, blockSize uint32) error {
	enc := NewEncoder(w)
	for _, r := range rows {
		rec := rowRecord{
			Type: "device", DevID: r.ID, MappedBlocks: r.MappedBlocks, ExclusiveBlocks: r.Exclusive, SharedBlocks: r.Shared,
			Transaction: r.TransactionID, CreationTime: r.CreationTime, SnapTime: r.SnapshottedTime, DataBlockSize: blockSize, Name: r.Name,
		}
		if !r.Empty {
			rec.HighestBlock = &r.Highest
		}
		if err := enc.Encode(rec); err != nil {
			return err
		}
	}
	return enc.Encode(devicesEndRecord{"summary", len(rows)})
}

// devicesEndRecord is the last line: how many devices there are.
type devicesEndRecord struct {
	Type    string `json:"type"` // "summary"
	Devices int    `json:"devices"`
}
