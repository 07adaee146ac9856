package view

import (
	"fmt"
	"io"
	"strings"

	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/scan"
)

// A ScanTable prints rows for people. Its columns have fixed widths, so each row can be printed at
// once.
type ScanTable struct {
	Writer io.Writer
	Width  int                         // of block numbers
	Name   func(metadata.DevID) string // maps a device to its volume name; nil: unknown
}

const (
	kindWidth = len("snapshot superblock")
	sumWidth  = len("CHECKSUM")
	countsFit = len("COUNTED")
)

// Header prints the column names.
func (t ScanTable) Header() error {
	return t.line("FIRST", "LAST", "BLOCKS", "KIND", "CHECKSUM", "STORED", "COUNTED", "OWNER")
}

func (t ScanTable) line(first, last, n, kind, checksum, stored, counted, owner string) error {
	width := max(t.Width, len("BLOCKS"))
	_, err := fmt.Fprintf(t.Writer, "%*s  %*s  %*s  %-*s  %-*s  %*s  %*s  %s\n",
		width, first, width, last, width, n, kindWidth, kind, sumWidth, checksum, countsFit, stored, countsFit, counted, owner)
	return err
}

func (t ScanTable) Row(r scan.Row) error {
	owner := owners(&r, t.Name)
	if len(r.Faults) > 0 {
		owner += " ! " + strings.Join(r.Faults, "; ")
	}
	checksum := [...]string{scan.NoChecksum: "-", scan.RightChecksum: "right", scan.WrongChecksum: "wrong"}[r.Checksum]
	return t.line(fmt.Sprint(uint64(r.First)), fmt.Sprint(uint64(r.First)+r.N-1), fmt.Sprint(r.N),
		kindOf(&r), checksum, optional(r.Stored), optional(r.Counted), owner)
}

func optional(n *uint32) string {
	if n == nil {
		return "?"
	}
	return fmt.Sprint(*n)
}

// kindOf names the kind of block. A metadata snapshot's copy of the superblock is not at block 0,
// so it gets a name of its own.
func kindOf(r *scan.Row) string {
	if r.Kind == survey.Superblock && (r.First != metadata.SuperblockLocation || r.Self != nil && *r.Self != metadata.SuperblockLocation) {
		return "snapshot superblock"
	}
	return r.Kind.String()
}

// ownerNames has the table's names for trees.
var ownerNames = map[scan.Tree]string{
	scan.DataIndex:        "index of the data space map",
	scan.DataBitmap:       "bitmap of the data space map",
	scan.DataOverflow:     "overflow tree of the data space map",
	scan.MetadataIndex:    "index of the metadata space map",
	scan.MetadataBitmap:   "bitmap of the metadata space map",
	scan.MetadataOverflow: "overflow tree of the metadata space map",
}

// owners names the trees that use the blocks of a row.
func owners(r *scan.Row, name func(metadata.DevID) string) string {
	if len(r.Owners) == 0 {
		return r.Use.String() + keysOf(r)
	}
	var names []string
	for _, o := range r.Owners {
		tree := ownerNames[o.Tree]
		if tree == "" {
			tree = o.Tree.String()
		}
		if o.Tree == scan.Mappings {
			tree += " of " + someDevices(o, name)
		}
		if o.Snapshot {
			tree += " in the metadata snapshot"
		}
		names = append(names, tree)
	}
	return strings.Join(names, "; ") + keysOf(r)
}

// someDevices names the devices of an owner, as far as known.
func someDevices(o scan.Owner, name func(metadata.DevID) string) string {
	var ids []string
	for _, id := range o.FirstIDs {
		ids = append(ids, fmt.Sprint(uint64(id)))
	}
	rest := o.Devices - uint64(len(ids))
	switch {
	case o.Devices == 1:
		return label(o.FirstIDs[0], name)
	case rest > 0:
		return fmt.Sprintf("devices %s and %d more", strings.Join(ids, ", "), rest)
	}
	last := len(ids) - 1
	return "devices " + strings.Join(ids[:last], ", ") + " and " + ids[last]
}

// keyNames says what the keys of each tree are.
var keyNames = map[scan.Tree]string{
	scan.TopLevel:         "device ids",
	scan.Details:          "device ids",
	scan.Mappings:         "thin blocks",
	scan.DataIndex:        "bitmaps",
	scan.DataBitmap:       "data blocks",
	scan.DataOverflow:     "data blocks",
	scan.MetadataBitmap:   "metadata blocks",
	scan.MetadataOverflow: "metadata blocks",
}

func keysOf(r *scan.Row) string {
	name := "keys"
	if len(r.Owners) > 0 {
		name = keyNames[r.Owners[0].Tree]
	}
	switch {
	case r.Keys == nil || name == "":
		return ""
	case r.Keys.Open():
		return fmt.Sprintf(": %s from %d on", name, r.Keys.First)
	}
	return fmt.Sprintf(": %s %d..%d", name, r.Keys.First, r.Keys.Last)
}

// scanRecord is a row in JSON. Fields that do not apply or are unknown are omitted.
type scanRecord struct {
	Type       string            `json:"type"` // "blocks"
	Begin      block.Nr          `json:"begin"`
	Length     uint64            `json:"length"`
	Kind       string            `json:"kind"`
	Checksum   string            `json:"checksum,omitempty"`
	Correction *correctionRecord `json:"correction,omitempty"`
	Self       *block.Nr         `json:"self,omitempty"`
	Use        string            `json:"use"`
	Owners     []ownerRecord     `json:"owners"`
	Keys       *lostRecord       `json:"keys,omitempty"`
	Stored     *uint32           `json:"stored,omitempty"`
	Counted    *uint32           `json:"counted,omitempty"`
	Faults     []string          `json:"faults"`
}

// scanEndRecord is the last line.
type scanEndRecord struct {
	Type        string `json:"type"`          // "summary"
	Blocks      uint64 `json:"device_blocks"` // listed or not
	Used        uint64 `json:"owned_blocks"`  // used by some tree
	OwnersKnown bool   `json:"owners_known"`
}

// ScanSummary returns the last line of the JSON output.
func ScanSummary(sum scan.Summary) any {
	return scanEndRecord{"summary", sum.Blocks, sum.Used, sum.Superblock == nil}
}

// correctionRecord is the one-byte change that makes a block valid.
type correctionRecord struct {
	Byte int   `json:"byte"` // offset in the block
	Mask uint8 `json:"mask"` // the wrong bits
}

type ownerRecord struct {
	Tree     string           `json:"tree"`
	Snapshot bool             `json:"snapshot"`
	Devices  *uint64          `json:"devices,omitempty"`
	FirstIDs []metadata.DevID `json:"first_dev_ids,omitempty"`
}

// ScanRecord returns a row for JSON.
func ScanRecord(r scan.Row) any {
	rec := scanRecord{
		Type: "blocks", Begin: r.First, Length: r.N, Kind: kindOf(&r),
		Checksum: [...]string{scan.NoChecksum: "", scan.RightChecksum: "right", scan.WrongChecksum: "wrong"}[r.Checksum],
		Self:     r.Self, Use: r.Use.String(), Owners: []ownerRecord{}, Stored: r.Stored, Counted: r.Counted, Faults: []string{},
	}
	if c := r.Correction; c != nil {
		rec.Correction = &correctionRecord{c.Byte, c.Mask}
	}
	for _, o := range r.Owners {
		owner := ownerRecord{Tree: o.Tree.String(), Snapshot: o.Snapshot, FirstIDs: o.FirstIDs}
		if o.Tree == scan.Mappings {
			owner.Devices = &o.Devices
		}
		rec.Owners = append(rec.Owners, owner)
	}
	if r.Keys != nil {
		keys := rangeOf(*r.Keys)
		rec.Keys = &keys
	}
	rec.Faults = append(rec.Faults, r.Faults...)
	return rec
}
