package view

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"thinpool/internal/lvmcheck"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
)

// A FaultPrinter prints the faults a check finds.
type FaultPrinter struct {
	Out, Err    io.Writer
	JSON, Quiet bool
	Fixes       bool                        // a repair follows
	Reserve     string                      // how to take a metadata snapshot, if one is wanted and we know how
	Wiped       string                      // advice for a wiped superblock, if we know better than the default
	Live        *metadata.Superblock        // nil until read
	Name        func(metadata.DevID) string // maps a device to its volume name; nil: unknown
	InDevices   bool                        // some faults are in device trees

	advice []advice
	fixed  uint64 // number of faults fixed
	noRoom *spacemap.SpaceError
	listed int // device ids listed in JSON so far
}

// mostListed limits the device ids that all faults in JSON list together: thousands of damaged
// nodes may be shared by ten thousand snapshots.
const mostListed = metadata.MostOwners

// Superblock prints the lines that scripts parse.
func (p *FaultPrinter) Superblock(sb metadata.Superblock) {
	p.Live = &sb
	if !p.JSON && !p.Quiet {
		fmt.Fprintf(p.Out, "TRANSACTION_ID=%d\nMETADATA_FREE_BLOCKS=%d\n", sb.TransactionID, sb.FreeMetadataBlocks())
	}
}

// Fault prints a fault.
func (p *FaultPrinter) Fault(f check.Fault) {
	p.InDevices = p.InDevices || f.InDevices()
	text := f.Advice()
	if f.Code == check.SnapshotMissing && p.Reserve != "" {
		text = p.Reserve
	}
	if _, wiped := errors.AsType[*check.WipedError](f.Err); wiped && p.Wiped != "" {
		text = p.Wiped
	}
	if !p.Fixes || !f.Fixable() {
		p.advise(advice{f.Code, f.Severity, f.Urgency(), text, 1})
	}
	switch {
	case p.Quiet:
	case p.JSON:
		r := jsonFault(f)
		r.Advice = text
		if p.listed += len(r.Devices); p.listed > mostListed {
			few := r.Devices[:min(len(r.Devices), 8)]
			r.Devices, r.More = few, r.More || len(few) < len(r.Devices)
		}
		p.line(r)
	default:
		fmt.Fprintln(p.Err, f.Text(p.Name))
	}
}

// advice says what to do about the faults of one code and severity.
type advice struct {
	code     check.Code
	severity check.Severity
	urgency  int
	text     string
	faults   uint64
}

// advise records advice. Each piece is kept once.
func (p *FaultPrinter) advise(a advice) {
	for i, b := range p.advice {
		if b.code == a.code && b.severity == a.severity && b.text == a.text {
			p.advice[i].faults++
			return
		}
	}
	p.advice = append(p.advice, a)
}

// settled withdraws advice for faults that a repair removed along with others.
func (p *FaultPrinter) settled(m check.Fixed) {
	for i, a := range p.advice {
		if a.code == m.Code && a.severity == m.Severity {
			p.advice[i].faults -= min(a.faults, m.Faults)
		}
	}
}

// worst returns the advice to print: the most urgent for the worst faults. Advice for lesser faults
// may be wrong while worse ones remain.
func (p *FaultPrinter) worst() []string {
	left := slices.DeleteFunc(slices.Clone(p.advice), func(a advice) bool { return a.faults == 0 })
	if len(left) == 0 {
		return nil
	}
	order := func(a, b advice) int {
		return cmp.Or(cmp.Compare(a.severity, b.severity), cmp.Compare(a.urgency, b.urgency))
	}
	worst := slices.MaxFunc(left, order)
	var texts []string
	for _, a := range left {
		if order(a, worst) == 0 && !slices.Contains(texts, a.text) {
			texts = append(texts, a.text)
		}
	}
	return texts
}

func (p *FaultPrinter) line(v any) {
	_ = NewEncoder(p.Out).Encode(v) // the writer of standard output remembers errors
}

// Summary prints the totals and the advice.
func (p *FaultPrinter) Summary(sum check.Summary) {
	switch {
	case p.Quiet:
	case p.JSON:
		p.line(p.jsonSummary(sum))
	case sum.Fatal+sum.NonFatal+sum.Notes > 0:
		fmt.Fprintf(p.Err, "%d fatal, %d non-fatal, %d notes", sum.Fatal, sum.NonFatal, sum.Notes)
		if p.fixed > 0 {
			fmt.Fprintf(p.Err, "; %d of them fixed", p.fixed)
		}
		fmt.Fprintln(p.Err)
		for _, text := range p.worst() {
			fmt.Fprintf(p.Err, "what to do: %s\n", text)
		}
	}
	if !p.Quiet && !p.JSON && sum.Fatal == 0 {
		p.room()
	}
}

// room says if the metadata has no room for new mappings. That is not a fault: nothing in the
// metadata is wrong.
func (p *FaultPrinter) room() {
	if p.Live == nil {
		return
	}
	free, reserve := p.Live.FreeMetadataBlocks(), metadata.Reserve(p.Live.MetadataSpaceMap.NrBlocks)
	if free <= reserve {
		fmt.Fprintf(p.Err, "the metadata is full: %s free, and the kernel reserves %d, so the pool maps no new blocks. With LVM, lvextend --poolmetadatasize makes it larger\n", plural(free, "block is", "blocks are"), reserve)
	}
}

// faultRecord is a fault in JSON. Fields that do not apply are omitted.
type faultRecord struct {
	Type     string           `json:"type"` // "fault"
	Code     check.Code       `json:"code"`
	Severity string           `json:"severity"`
	Tree     string           `json:"tree,omitempty"`
	Devices  []metadata.DevID `json:"dev_ids,omitempty"`
	More     bool             `json:"more_dev_ids,omitempty"`
	Block    *block.Nr        `json:"block,omitempty"`
	Lost     *lostRecord      `json:"lost,omitempty"`
	Counts   *countRecord     `json:"counts,omitempty"`
	Message  string           `json:"message"`
	Advice   string           `json:"advice"`
}

// lostRecord is a range of keys. It has no length if the range has no upper bound.
type lostRecord struct {
	Begin  uint64  `json:"begin"`
	Length *uint64 `json:"length,omitempty"`
}

// rangeOf converts a key range for JSON.
func rangeOf(keys metadata.KeyRange) lostRecord {
	r := lostRecord{Begin: keys.First}
	if !keys.Open() {
		r.Length = new(keys.Last - keys.First + 1)
	}
	return r
}

// countRecord describes blocks with a wrong reference count.
type countRecord struct {
	Begin   uint64 `json:"begin"`
	Length  uint64 `json:"length"`
	Stored  uint32 `json:"stored"`
	Counted uint32 `json:"counted"`
}

func jsonFault(f check.Fault) faultRecord {
	r := faultRecord{
		Type: "fault", Code: f.Code, Severity: f.Severity.String(), Tree: f.Tree, Devices: f.Devices, More: f.MoreDevices,
		Block: f.Block, Message: f.Err.Error(), Advice: f.Advice(),
	}
	if f.Lost != nil {
		r.Lost = new(rangeOf(*f.Lost))
	}
	if w := f.Counts; w != nil {
		r.Counts = &countRecord{w.First, w.N, w.Stored, w.Counted}
	}
	return r
}

// summaryRecord is the last line of the JSON output.
type summaryRecord struct {
	Type               string      `json:"type"` // "summary"
	Fatal              uint64      `json:"fatal"`
	NonFatal           uint64      `json:"non_fatal"`
	Notes              uint64      `json:"notes"`
	Devices            uint64      `json:"devices"`
	Mappings           uint64      `json:"mappings"`
	DataLeaks          uint64      `json:"data_leaks"`
	MetadataLeaks      uint64      `json:"metadata_leaks"`
	Fixed              *uint64     `json:"fixed,omitempty"`
	NoRoom             *roomRecord `json:"no_room,omitempty"`
	Advice             []string    `json:"advice,omitempty"`
	TransactionID      *uint64     `json:"transaction_id,omitempty"`
	MetadataBlocks     *uint64     `json:"metadata_blocks,omitempty"`
	MetadataFreeBlocks *uint64     `json:"metadata_free_blocks,omitempty"`
	MetadataReserved   *uint64     `json:"metadata_reserved_blocks,omitempty"` // of the free ones, for the kernel
	DataBlocks         *uint64     `json:"data_blocks,omitempty"`
	NeedsCheck         *bool       `json:"needs_check,omitempty"`
	HeldRoot           *uint64     `json:"held_root,omitempty"`
}

func (p *FaultPrinter) jsonSummary(sum check.Summary) summaryRecord {
	r := summaryRecord{
		Type: "summary", Fatal: sum.Fatal, NonFatal: sum.NonFatal, Notes: sum.Notes,
		Devices: sum.Devices, Mappings: sum.Mappings, DataLeaks: sum.DataLeaks, MetadataLeaks: sum.MetadataLeaks,
		Advice: p.worst(),
	}
	if p.Fixes {
		r.Fixed = &p.fixed
	}
	if p.noRoom != nil {
		r.NoRoom = &roomRecord{p.noRoom.Needed, p.noRoom.Have}
	}
	if sb := p.Live; sb != nil {
		free, held, flag := sb.FreeMetadataBlocks(), uint64(sb.HeldRoot), sb.Flags&metadata.NeedsCheck != 0
		r.TransactionID, r.MetadataFreeBlocks, r.HeldRoot, r.NeedsCheck = &sb.TransactionID, &free, &held, &flag
		r.MetadataReserved = new(metadata.Reserve(sb.MetadataSpaceMap.NrBlocks))
		r.MetadataBlocks, r.DataBlocks = &sb.MetadataSpaceMap.NrBlocks, &sb.DataSpaceMap.NrBlocks
	}
	return r
}

// Say prints a remark that is not a fault.
func (p *FaultPrinter) Say(text string) {
	if !p.Quiet {
		fmt.Fprintln(p.Err, text)
	}
}

// fixedRecord reports fixed faults in JSON.
type fixedRecord struct {
	Type     string     `json:"type"` // "fixed"
	Code     check.Code `json:"code"`
	Severity string     `json:"severity"`
	Tree     string     `json:"tree"`
	Faults   uint64     `json:"faults"`
	Blocks   uint64     `json:"blocks,omitempty"`  // with wrong counts
	Devices  uint64     `json:"devices,omitempty"` // given a later snapshotted_time
	Time     uint32     `json:"time,omitempty"`    // the new snapshotted_time
}

// roomRecord has the number of free metadata blocks a fix needs, and the number available.
type roomRecord struct {
	Needed uint64 `json:"needed"`
	Have   uint64 `json:"have"`
}

// Repaired prints what was fixed.
func (p *FaultPrinter) Repaired(r *check.Fix) {
	if p.Live != nil {
		p.Live = &r.Superblock
	}
	p.noRoom = r.NoRoom
	for _, m := range r.Fixed {
		p.fixed += m.Faults
		p.settled(m)
		switch {
		case p.Quiet:
		case p.JSON:
			p.line(fixedRecord{"fixed", m.Code, m.Severity.String(), m.Tree, m.Faults, m.Blocks, m.Devices, m.Time})
		default:
			fmt.Fprintf(p.Err, "fixed: %v\n", m)
		}
	}
}

// Difference prints a mismatch between LVM and the metadata.
func (p *FaultPrinter) Difference(d lvmcheck.Difference) {
	switch {
	case p.Quiet:
	case p.JSON:
		p.line(lvmRecord{"lvm", d.Code, d.Refused, d.Text, d.Fix})
	default:
		fmt.Fprintln(p.Err, d.String())
		for _, command := range d.Fix {
			fmt.Fprintf(p.Err, "  %s\n", command)
		}
	}
}

// lvmRecord is a mismatch between LVM and the metadata in JSON.
type lvmRecord struct {
	Type    string        `json:"type"` // "lvm"
	Code    lvmcheck.Code `json:"code"`
	Refused bool          `json:"refused"`
	Message string        `json:"message"`
	Fix     []string      `json:"fix,omitempty"`
}
