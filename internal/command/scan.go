package command

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/scan"
)

// Scan is thin_scan.
type Scan struct {
	cli.Common
	Begin             uint64       `help:"Begin at this block." placeholder:"BLOCK"`
	End               *uint64      `help:"End before this block." placeholder:"BLOCK"`
	MetadataSnap      cli.Optional `help:"Only list what the metadata snapshot is made of; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	ExamineCorruption bool         `help:"Only list blocks that are damaged, misplaced or wrongly counted." name:"examine-corruption"`
	Format            string       `help:"A table (text), or an object a line (json)." default:"text" enum:"text,json" placeholder:"text|json"`
	Output            string       `help:"Write to a file; it appears only if all went well." short:"o" placeholder:"FILE"`
	Input             string       `arg:"" help:"Metadata device or file."`
	volumes
}

// Details implements cli.Detailer.
func (s *Scan) Details() string {
	return `Adjacent blocks that are alike in every respect are one line: what they hold, whether
their checksums are right, their reference count in the metadata space map (STORED) and by
the pointers that were found (COUNTED), and which trees lead to them. What is wrong with
them follows after "!". Without a superblock nobody knows the owners; the rest is listed
all the same, and the exit code stays 0.`
}

// Run implements cli.Command.
func (s *Scan) Run(env *cli.Env) error {
	switch {
	case s.End != nil && *s.End <= s.Begin:
		return cli.Usagef("--end %d is not above --begin %d", *s.End, s.Begin)
	case s.reads(s.Input, s.Output):
		return cli.Usagef("input and output are the same file: %s", s.Output)
	}
	dev, doubt, err := s.openDamaged(env, s.Input, s.MetadataSnap.Set)
	if err != nil {
		return err
	}
	defer dev.Close()
	stillHeld := func() error { return nil }
	if s.MetadataSnap.Set {
		pool, err := poolIn(env, dev, s.Input, s.MetadataSnap)
		if err != nil {
			return err
		}
		stillHeld = pool.CheckSnapshotHeld
	}
	opt := scan.Options{Begin: block.Nr(s.Begin), FaultsOnly: s.ExamineCorruption, Snapshot: s.MetadataSnap.Set, Progress: env.Progress}
	if opt.Begin >= block.Blocks(dev) {
		return cli.Usagef("--begin %d: the device has only %d blocks", s.Begin, block.Blocks(dev))
	}
	if s.End != nil {
		opt.End = block.Nr(*s.End)
	}
	file, err := env.CreateOutput(s.Output, "", s.files(s.Input)...)
	if err != nil {
		return err
	}
	defer file.Discard()
	sum, err := s.scan(env, dev, opt, file)
	if err != nil {
		return err
	}
	if err := stillHeld(); err != nil {
		return err
	}
	if err := file.Commit(); err != nil {
		return err
	}
	if sum.Superblock != nil {
		reason := cli.Hint(sum.Superblock).Error()
		if doubt != nil {
			reason = doubt.Error()
		}
		fmt.Fprintf(env.Stderr, "thin_scan: %s: the owners of blocks are not known: %s\n", s.Input, reason)
	}
	return nil
}

// scan writes the rows to w.
func (s *Scan) scan(env *cli.Env, dev *source, opt scan.Options, w io.Writer) (scan.Summary, error) {
	out := bufio.NewWriter(w)
	table := scanTable{dev.place.named(out), len(strconv.FormatUint(uint64(block.Blocks(dev)), 10))}
	print := table.row
	if s.Format == "json" {
		enc := newEncoder(out)
		print = func(r scan.Row) error { return enc.Encode(scanRecordOf(r)) }
	} else if err := table.header(); err != nil {
		return scan.Summary{}, err
	}
	var failed error // of the output
	sum, err := scan.Run(env, dev, opt, func(r scan.Row) error {
		failed = print(r)
		return failed
	})
	switch {
	case failed != nil:
		return sum, failed
	case err != nil:
		return sum, fmt.Errorf("%s: %w", s.Input, err)
	}
	return sum, out.Flush()
}

// scanTable prints rows for people. Columns have fixed widths, so that a row need not
// wait for those after it.
type scanTable struct {
	w     io.Writer
	width int // of block numbers
}

const (
	kindWidth = len("snapshot superblock")
	sumWidth  = len("CHECKSUM")
	countsFit = len("COUNTED")
)

func (t scanTable) header() error {
	return t.line("FIRST", "LAST", "BLOCKS", "KIND", "CHECKSUM", "STORED", "COUNTED", "OWNER")
}

func (t scanTable) line(first, last, n, kind, checksum, stored, counted, owner string) error {
	width := max(t.width, len("BLOCKS"))
	_, err := fmt.Fprintf(t.w, "%*s  %*s  %*s  %-*s  %-*s  %*s  %*s  %s\n",
		width, first, width, last, width, n, kindWidth, kind, sumWidth, checksum, countsFit, stored, countsFit, counted, owner)
	return err
}

func (t scanTable) row(r scan.Row) error {
	owner := owners(&r)
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

// kindOf names the kind of block: the copy that a metadata snapshot has of the
// superblock lies elsewhere.
func kindOf(r *scan.Row) string {
	if r.Kind == survey.Superblock && (r.First != metadata.SuperblockLocation || r.Self != nil && *r.Self != metadata.SuperblockLocation) {
		return "snapshot superblock"
	}
	return r.Kind.String()
}

// ownerNames are what trees are called in the table.
var ownerNames = map[scan.Tree]string{
	scan.DataIndex:        "index of the data space map",
	scan.DataBitmap:       "bitmap of the data space map",
	scan.DataOverflow:     "overflow tree of the data space map",
	scan.MetadataIndex:    "index of the metadata space map",
	scan.MetadataBitmap:   "bitmap of the metadata space map",
	scan.MetadataOverflow: "overflow tree of the metadata space map",
}

// owners says who leads to the blocks of a row.
func owners(r *scan.Row) string {
	if len(r.Owners) == 0 {
		return r.Use.String() + keysOf(r)
	}
	var names []string
	for _, o := range r.Owners {
		name := ownerNames[o.Tree]
		if name == "" {
			name = o.Tree.String()
		}
		if o.Tree == scan.Mappings {
			name += " of " + someDevices(o)
		}
		if o.Snapshot {
			name += " in the metadata snapshot"
		}
		names = append(names, name)
	}
	return strings.Join(names, "; ") + keysOf(r)
}

// someDevices names the devices of an owner, as far as they are known.
func someDevices(o scan.Owner) string {
	var ids []string
	for _, id := range o.FirstIDs {
		ids = append(ids, fmt.Sprint(uint64(id)))
	}
	rest := o.Devices - uint64(len(ids))
	switch {
	case o.Devices == 1:
		return "device " + ids[0]
	case rest > 0:
		return fmt.Sprintf("devices %s and %d more", strings.Join(ids, ", "), rest)
	}
	last := len(ids) - 1
	return "devices " + strings.Join(ids[:last], ", ") + " and " + ids[last]
}

// keyNames are what the keys of trees are.
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
	case r.Keys.End == 0:
		return fmt.Sprintf(": %s from %d on", name, r.Keys.Begin)
	}
	return fmt.Sprintf(": %s %d..%d", name, r.Keys.Begin, r.Keys.End-1)
}

// scanRecord is a row in JSON. Fields that do not apply, or are not known, are left out.
type scanRecord struct {
	Type       string            `json:"type"` // "blocks"
	Begin      block.Nr          `json:"begin"`
	End        block.Nr          `json:"end"`
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

// correctionRecord is the change of one byte that makes a block valid.
type correctionRecord struct {
	Byte int   `json:"byte"` // offset in the block
	Mask uint8 `json:"mask"` // bits that are wrong
}

type ownerRecord struct {
	Tree     string           `json:"tree"`
	Snapshot bool             `json:"snapshot"`
	Devices  *uint64          `json:"devices,omitempty"`
	FirstIDs []metadata.DevID `json:"first_ids,omitempty"`
}

func scanRecordOf(r scan.Row) scanRecord {
	rec := scanRecord{
		Type: "blocks", Begin: r.First, End: r.First + block.Nr(r.N), Kind: kindOf(&r),
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
		rec.Keys = &lostRecord{Begin: r.Keys.Begin}
		if r.Keys.End != 0 {
			rec.Keys.End = &r.Keys.End
		}
	}
	rec.Faults = append(rec.Faults, r.Faults...)
	return rec
}
