package command

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/tool/ls"
)

// Ls is thin_ls.
type Ls struct {
	cli.Common
	MetadataSnap cli.Optional `help:"List the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	NoHeaders    bool         `help:"Leave out the line of headers."`
	Fields       string       `help:"Fields to print, with commas between; json prints all as one object a line." short:"o" name:"format" placeholder:"FIELD,..."`
	Input        string       `arg:"" help:"Metadata device or file."`
	volumes
}

const defaultFields = "DEV,MAPPED,CREATE_TIME,SNAP_TIME"

// Details implements cli.Detailer.
func (l *Ls) Details() string {
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	return "Fields: " + strings.Join(names, " ") + `
Default: ` + defaultFields + `; in disk images NAME as well. EXCLUSIVE and SHARED fields walk all mappings, HIGHEST fields
read a few blocks a device, all others the device details only.`
}

// An lsRow is a device, and the name of its volume if that is known.
type lsRow struct {
	ls.Row
	Name string
}

// A field is a column of thin_ls.
type field struct {
	name             string
	sharing, highest bool // what it needs
	value            func(r lsRow, blockSize uint64) string
}

// unit is how a number of data blocks is shown.
type unit func(blocks, blockSize uint64) string

func inBlocks(n, _ uint64) string       { return strconv.FormatUint(n, 10) }
func inSectors(n, size uint64) string   { return strconv.FormatUint(n*size, 10) }
func inBytes(n, size uint64) string     { return strconv.FormatUint(n*size*cli.SectorSize, 10) }
func inHumanUnit(n, size uint64) string { return cli.HumanSize(n * size * cli.SectorSize) }

var fields = slices.Concat(
	[]field{{name: "DEV", value: func(r lsRow, _ uint64) string { return strconv.FormatUint(uint64(r.ID), 10) }}},
	sizeFields("MAPPED", false, func(r lsRow) uint64 { return r.MappedBlocks }),
	sizeFields("EXCLUSIVE", true, func(r lsRow) uint64 { return r.Exclusive }),
	sizeFields("SHARED", true, func(r lsRow) uint64 { return r.Shared }),
	highestFields(),
	[]field{
		{name: "TRANSACTION", value: func(r lsRow, _ uint64) string { return strconv.FormatUint(r.TransactionID, 10) }},
		{name: "CREATE_TIME", value: func(r lsRow, _ uint64) string { return strconv.FormatUint(uint64(r.CreationTime), 10) }},
		{name: "SNAP_TIME", value: func(r lsRow, _ uint64) string { return strconv.FormatUint(uint64(r.SnapshottedTime), 10) }},
		nameField,
	},
)

// nameField is the volume of a device, which only LVM knows: in disk images.
var nameField = field{name: "NAME", value: func(r lsRow, _ uint64) string { return cmp.Or(r.Name, "-") }}

// sizeFields are the four ways to show a number of blocks.
func sizeFields(name string, sharing bool, blocks func(lsRow) uint64) []field {
	in := func(suffix string, u unit) field {
		return field{name: name + suffix, sharing: sharing, value: func(r lsRow, size uint64) string { return u(blocks(r), size) }}
	}
	return []field{in("_BLOCKS", inBlocks), in("_SECTORS", inSectors), in("_BYTES", inBytes), in("", inHumanUnit)}
}

// highestFields are the highest mapped block and the last sector and byte of it.
func highestFields() []field {
	in := func(name string, value func(end, size uint64) string) field {
		return field{name: name, highest: true, value: func(r lsRow, size uint64) string {
			if r.Empty {
				return "-"
			}
			return value(uint64(r.Highest)+1, size)
		}}
	}
	return []field{
		in("HIGHEST_BLOCK", func(end, _ uint64) string { return strconv.FormatUint(end-1, 10) }),
		in("HIGHEST_SECTOR", func(end, size uint64) string { return strconv.FormatUint(end*size-1, 10) }),
		in("HIGHEST_BYTE", func(end, size uint64) string { return strconv.FormatUint(end*size*cli.SectorSize-1, 10) }),
		in("HIGHEST_MAPPED", func(end, size uint64) string { return cli.HumanSize(end*size*cli.SectorSize - 1) }),
	}
}

// Run implements cli.Command.
func (l *Ls) Run(env *cli.Env) error {
	columns, err := l.columns()
	if err != nil {
		return err
	}
	pool, dev, err := l.openPool(env, l.Input, l.MetadataSnap)
	if err != nil {
		return err
	}
	defer dev.Close()
	names := dev.place.deviceNames()
	if names != nil && l.Fields == "" {
		columns = append(columns, nameField)
	}
	opt := ls.Options{Progress: env.Progress}
	for _, f := range columns {
		opt.Sharing = opt.Sharing || f.sharing
		opt.Highest = opt.Highest || f.highest
	}
	rows, err := ls.Run(env, pool, opt)
	if err != nil {
		return damaged(err)
	}
	if err := pool.CheckSnapshotHeld(); err != nil {
		return err
	}
	var named []lsRow
	for _, r := range rows {
		named = append(named, lsRow{r, names[r.ID]})
	}
	if l.json() {
		return printRows(env.Stdout, named, pool.Superblock.DataBlockSize)
	}
	return l.table(env.Stdout, columns, named, uint64(pool.Superblock.DataBlockSize))
}

func (l *Ls) json() bool { return l.Fields == "json" }

// columns are the fields that were asked for.
func (l *Ls) columns() ([]field, error) {
	names := l.Fields
	switch {
	case l.json():
		return fields, nil
	case names == "":
		names = defaultFields
	}
	var columns []field
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			return nil, cli.Usagef("unknown field %q", name)
		}
		columns = append(columns, fields[i])
	}
	return columns, nil
}

// table prints the columns, each as wide as its widest cell, right-aligned and
// followed by a space, also the last: programs split the lines there.
func (l *Ls) table(w io.Writer, columns []field, rows []lsRow, blockSize uint64) error {
	var lines [][]string
	if !l.NoHeaders {
		headers := make([]string, len(columns))
		for i, f := range columns {
			headers[i] = f.name
		}
		lines = append(lines, headers)
	}
	for _, r := range rows {
		cells := make([]string, len(columns))
		for i, f := range columns {
			cells[i] = f.value(r, blockSize)
		}
		lines = append(lines, cells)
	}
	widths := make([]int, len(columns))
	for _, cells := range lines {
		for i, c := range cells {
			widths[i] = max(widths[i], len(c))
		}
	}
	var out strings.Builder
	for _, cells := range lines {
		for i, c := range cells {
			fmt.Fprintf(&out, "%*s ", widths[i], c)
		}
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// rowRecord is a device in JSON. Numbers of blocks are of data blocks.
type rowRecord struct {
	DevID           metadata.DevID      `json:"dev_id"`
	MappedBlocks    uint64              `json:"mapped_blocks"`
	ExclusiveBlocks uint64              `json:"exclusive_blocks"`
	SharedBlocks    uint64              `json:"shared_blocks"`
	HighestBlock    *metadata.ThinBlock `json:"highest_block"` // null: nothing is mapped
	Transaction     uint64              `json:"transaction"`
	CreationTime    uint32              `json:"creation_time"`
	SnapTime        uint32              `json:"snap_time"`
	DataBlockSize   uint32              `json:"data_block_size"` // sectors
	Name            string              `json:"name,omitempty"`
}

func printRows(w io.Writer, rows []lsRow, blockSize uint32) error {
	enc := newEncoder(w)
	for _, r := range rows {
		rec := rowRecord{
			DevID: r.ID, MappedBlocks: r.MappedBlocks, ExclusiveBlocks: r.Exclusive, SharedBlocks: r.Shared,
			Transaction: r.TransactionID, CreationTime: r.CreationTime, SnapTime: r.SnapshottedTime, DataBlockSize: blockSize, Name: r.Name,
		}
		if !r.Empty {
			rec.HighestBlock = &r.Highest
		}
		if err := enc.Encode(rec); err != nil {
			return err
		}
	}
	return nil
}
