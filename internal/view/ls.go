package view

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/tool/ls"
)

// An LsRow is a device and its volume name, if known.
type LsRow struct {
	ls.Row
	Name string
}

// An LsField is a column of thin_ls.
type LsField struct {
	Name             string
	Sharing, Highest bool // what must be computed for it
	value            func(r LsRow, blockSize uint64) string
	order            func(r LsRow) uint64 // sort key; nil: sort by value
	blocks           bool                 // order is a number of blocks, so a total makes sense
	unit             unit
}

// unit formats a number of data blocks.
type unit func(blocks, blockSize uint64) string

func inBlocks(n, _ uint64) string       { return strconv.FormatUint(n, 10) }
func inSectors(n, size uint64) string   { return strconv.FormatUint(n*size, 10) }
func inBytes(n, size uint64) string     { return strconv.FormatUint(n*size*cli.SectorSize, 10) }
func inHumanUnit(n, size uint64) string { return cli.HumanSize(n * size * cli.SectorSize) }

// LsFields lists all columns.
var LsFields = slices.Concat(
	[]LsField{numberField("DEV", func(r LsRow) uint64 { return uint64(r.ID) })},
	sizeFields("MAPPED", false, func(r LsRow) uint64 { return r.MappedBlocks }),
	sizeFields("EXCLUSIVE", true, func(r LsRow) uint64 { return r.Exclusive }),
	sizeFields("SHARED", true, func(r LsRow) uint64 { return r.Shared }),
	highestFields(),
	[]LsField{
		numberField("TRANSACTION", func(r LsRow) uint64 { return r.TransactionID }),
		numberField("CREATE_TIME", func(r LsRow) uint64 { return uint64(r.CreationTime) }),
		numberField("SNAP_TIME", func(r LsRow) uint64 { return uint64(r.SnapshottedTime) }),
		LsName,
	},
)

func numberField(name string, number func(LsRow) uint64) LsField {
	return LsField{Name: name, order: number, value: func(r LsRow, _ uint64) string { return digits(number(r)) }}
}

// LsName is the volume name of a device. Only LVM knows it, so it needs disk images as input.
var LsName = LsField{Name: "NAME", value: func(r LsRow, _ uint64) string { return cmp.Or(r.Name, "-") }}

// sizeFields returns the four columns that show a number of blocks, one per unit.
func sizeFields(name string, sharing bool, blocks func(LsRow) uint64) []LsField {
	in := func(suffix string, u unit) LsField {
		return LsField{
			Name: name + suffix, Sharing: sharing, order: blocks, blocks: true, unit: u,
			value: func(r LsRow, size uint64) string { return u(blocks(r), size) },
		}
	}
	return []LsField{in("_BLOCKS", inBlocks), in("_SECTORS", inSectors), in("_BYTES", inBytes), in("", inHumanUnit)}
}

// highestFields returns the highest mapped block, and its last sector and byte.
func highestFields() []LsField {
	in := func(name string, value func(end, size uint64) string) LsField {
		end := func(r LsRow) uint64 {
			if r.Empty {
				return 0
			}
			return uint64(r.Highest) + 1
		}
		return LsField{Name: name, Highest: true, order: end, value: func(r LsRow, size uint64) string {
			if r.Empty {
				return "-"
			}
			return value(end(r), size)
		}}
	}
	return []LsField{
		in("HIGHEST_BLOCK", func(end, _ uint64) string { return strconv.FormatUint(end-1, 10) }),
		in("HIGHEST_SECTOR", func(end, size uint64) string { return strconv.FormatUint(end*size-1, 10) }),
		in("HIGHEST_BYTE", func(end, size uint64) string { return strconv.FormatUint(end*size*cli.SectorSize-1, 10) }),
		in("HIGHEST_MAPPED", func(end, size uint64) string { return cli.HumanSize(end*size*cli.SectorSize - 1) }),
	}
}

// An LsOrder is a field to sort by.
type LsOrder struct {
	LsField
	Descending bool
}

// SortLs sorts rows by the first field, then by the second, and so on.
func SortLs(rows []LsRow, by []LsOrder) {
	sort.SliceStable(rows, func(i, j int) bool {
		a, b := rows[i], rows[j]
		for _, o := range by {
			c := 0
			if o.order != nil {
				c = cmp.Compare(o.order(a), o.order(b))
			} else {
				c = cmp.Compare(o.value(a, 1), o.value(b, 1))
			}
			if o.Descending {
				c = -c
			}
			if c != 0 {
				return c < 0
			}
		}
		return false
	})
}

// LsText selects what LsTable prints besides the rows.
type LsText struct{ Headers, Totals bool }

// LsTable prints the columns, each as wide as its widest cell, right-aligned and followed by a
// space. The last column has the space too: programs split lines there.
func LsTable(w io.Writer, columns []LsField, rows []LsRow, blockSize uint64, text LsText) error {
	t := &table{bare: !text.Headers, gap: " ", end: " "}
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
	if text.Totals {
		t.add(totals(columns, rows, blockSize)...)
	}
	return t.writeTo(w)
}

// totals returns the cells of the last line.
func totals(columns []LsField, rows []LsRow, blockSize uint64) []string {
	var cells []string
	for _, f := range columns {
		switch {
		case f.Name == "DEV":
			cells = append(cells, "total")
		case f.blocks:
			cells = append(cells, f.unit(sum(rows, f.order), blockSize))
		default:
			cells = append(cells, "-")
		}
	}
	return cells
}

func sum(rows []LsRow, of func(LsRow) uint64) (n uint64) {
	for _, r := range rows {
		n += of(r)
	}
	return n
}

// LsSets prints the sets of devices that free more space together than one by one.
func LsSets(w io.Writer, sets ls.Sets, blockSize uint64) error {
	columns := []string{"TOGETHER", "APART", "DEVICES"}
	t := &table{columns: columns, left: columns[2:], gap: " "}
	for _, s := range sets.List {
		ids := make([]string, len(s.IDs))
		for i, id := range s.IDs {
			ids[i] = digits(uint64(id))
		}
		t.add(inHumanUnit(s.Together, blockSize), inHumanUnit(s.Apart, blockSize), strings.Join(ids, ","))
	}
	fmt.Fprintln(w)
	if len(sets.List) == 0 {
		fmt.Fprintf(w, "No set of up to %d devices frees more together than apart.\n", ls.MostInSet)
		return nil
	}
	if err := t.writeTo(w); err != nil {
		return err
	}
	if sets.More > 0 {
		fmt.Fprintf(w, "and %s\n", plural(uint64(sets.More), "more set", "more sets"))
	}
	if sets.Lost {
		fmt.Fprintln(w, "There are too many sets to find all of them.")
	}
	return nil
}

// rowRecord is a device in JSON. Block counts are in data blocks.
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

// setRecord is a set of devices in JSON. Block counts are in data blocks.
type setRecord struct {
	Type           string           `json:"type"` // "set"
	DevIDs         []metadata.DevID `json:"dev_ids"`
	TogetherBlocks uint64           `json:"together_blocks"`
	ApartBlocks    uint64           `json:"apart_blocks"`
}

// LsJSON prints one record per device, one per set if requested, and the summary.
func LsJSON(w io.Writer, rows []LsRow, sets *ls.Sets, blockSize uint32, withTotals bool) error {
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
	end := lsEndRecord{devicesEndRecord: devicesEndRecord{"summary", len(rows)}}
	if sets != nil {
		for _, s := range sets.List {
			if err := enc.Encode(setRecord{"set", s.IDs, s.Together, s.Apart}); err != nil {
				return err
			}
		}
		n, all := len(sets.List)+sets.More, !sets.Lost
		end.Sets, end.AllSets = &n, &all
	}
	if withTotals {
		end.lsTotals = &lsTotals{
			sum(rows, func(r LsRow) uint64 { return r.MappedBlocks }), sum(rows, func(r LsRow) uint64 { return r.Exclusive }),
			sum(rows, func(r LsRow) uint64 { return r.Shared }),
		}
	}
	return enc.Encode(end)
}

// devicesEndRecord is the last line: the number of devices.
type devicesEndRecord struct {
	Type    string `json:"type"` // "summary"
	Devices int    `json:"devices"`
}

type lsEndRecord struct {
	devicesEndRecord
	Sets    *int  `json:"sets,omitempty"` // listed or not
	AllSets *bool `json:"all_sets,omitempty"`
	*lsTotals
}

type lsTotals struct {
	MappedBlocks    uint64 `json:"mapped_blocks"`
	ExclusiveBlocks uint64 `json:"exclusive_blocks"`
	SharedBlocks    uint64 `json:"shared_blocks"`
}
