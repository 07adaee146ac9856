package view

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"iter"
	"strings"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/repair"
)

// TextReport prints what a repair found, for people. If name is not nil, it adds volume names.
func TextReport(w io.Writer, r *repair.Report, name func(metadata.DevID) string) error {
	out := bufio.NewWriter(w)
	h := &r.Header
	fmt.Fprintf(out, "transaction %d, time %d, data blocks of %d sectors, %d of them\n", h.TransactionID, h.Time, h.DataBlockSize, h.NrDataBlocks)
	if !r.Damaged && r.Lossless() {
		fmt.Fprintln(out, "mappings and device details are undamaged")
	}
	for _, note := range r.Notes {
		fmt.Fprintf(out, "- %s\n", note)
	}
	fmt.Fprintln(out)
	if err := devicesTable(r, name).writeTo(out); err != nil {
		return err
	}
	room := mostLostLines
	for i := range r.Devices {
		room = lostText(out, label(r.Devices[i].ID, name), &r.Devices[i], h, room)
	}
	if room == 0 {
		fmt.Fprintf(out, "only the first %d lost ranges are listed\n", mostLostLines)
	}
	for _, id := range r.LostVolumes {
		fmt.Fprintln(out, lostVolume(id, name))
	}
	for i := range r.Orphans {
		fmt.Fprintln(out, orphanText(&r.Orphans[i], name))
	}
	for i, s := range r.Alternatives {
		alternativeText(out, i+2, s, r, name)
	}
	fmt.Fprintf(out, "\n%s\n", verdict(r))
	return out.Flush()
}

// devicesTable has a row per device: how many mappings were found and how certain they are.
func devicesTable(r *repair.Report, name func(metadata.DevID) string) *table {
	columns := []string{"device", "expected", "read", "confirmed", "guessed", "lost"}
	if name != nil {
		columns = append(columns, "volume")
	}
	t := newTable(columns...)
	for i := range r.Devices {
		d := &r.Devices[i]
		expected, lost := "?", "?"
		if d.Known {
			expected, lost = digits(d.Expected), digits(d.Lost)
		} else if d.Complete() {
			lost = "0"
		}
		cells := []string{fmt.Sprint(d.ID), expected, digits(d.Read), digits(d.Confirmed), digits(d.Guessed), lost}
		if name != nil {
			cells = append(cells, cmp.Or(name(d.ID), "-"))
		}
		t.add(cells...)
	}
	return t
}

// Limits on the lost ranges a report lists: ten thousand snapshots may share thousands of them.
const (
	mostLostLines   = 10000
	mostLostRecords = 1 << 16
)

// lostText prints where mappings of a device are missing or guessed, in at most room lines. It
// returns how many lines are left.
func lostText(w io.Writer, device string, d *repair.DeviceReport, h *metadata.Header, room int) int {
	if d.Dropped {
		fmt.Fprintf(w, "%s: left out\n", device)
	}
	what := "missing"
	if d.Lost == 0 && d.Guessed > 0 {
		what = "guessed"
	}
	size := uint64(h.DataBlockSize) * cli.SectorSize
	for l := range upTo(d.Holes(), &room) {
		end := "on"
		bytes := fmt.Sprintf("from byte %d", l.Keys.First*size)
		if !l.Keys.Open() {
			end = fmt.Sprintf("to %d", l.Keys.Last)
			bytes = fmt.Sprintf("bytes %d to %d", l.Keys.First*size, (l.Keys.Last+1)*size-1)
		}
		fmt.Fprintf(w, "%s: mappings are %s among thin blocks %d %s (%s): %v\n", device, what, l.Keys.First, end, bytes, l.Err)
	}
	for _, line := range unplaced(device, d) {
		fmt.Fprintln(w, line)
	}
	return room
}

// unplaced says what is wrong with a device apart from its lost ranges.
func unplaced(device string, d *repair.DeviceReport) []string {
	var lines []string
	if d.Known && d.Lost > 0 && d.LostRanges == 0 {
		lines = append(lines, device+": mappings are missing at unknown positions; part of its tree may be from another transaction")
	}
	if d.Reused > 0 {
		lines = append(lines, fmt.Sprintf("%s: %d of its mappings point to data blocks that are in use today, so their content may have been overwritten", device, d.Reused))
	}
	return lines
}

func lostVolume(id metadata.DevID, name func(metadata.DevID) string) string {
	return label(id, name) + ": LVM has this volume, but the repaired metadata does not have the device"
}

// upTo yields at most room values and subtracts them from room.
func upTo[T any](all iter.Seq[T], room *int) iter.Seq[T] {
	return func(yield func(T) bool) {
		if *room == 0 {
			return
		}
		for v := range all {
			if *room--; !yield(v) || *room == 0 {
				return
			}
		}
	}
}

// orphanText describes a tree whose device is unknown.
func orphanText(o *repair.Orphan, name func(metadata.DevID) string) string {
	text := fmt.Sprintf("block %d: a complete mapping tree with %d mappings is in use, but its device is unknown", o.Root, o.Mappings)
	if len(o.Devices) > 0 {
		text += ": it may belong to " + idList(o.Devices, "one of devices ", name)
	}
	if o.Kept {
		return fmt.Sprintf("%s. Kept as %s", text, label(o.Assigned, name))
	}
	return fmt.Sprintf("%s. Use --adopt %d=ID to keep it as device ID, or --keep-orphans to keep it under a new id", text, o.Root)
}

// idList lists device ids, as many as fit on a line.
func idList(ids []metadata.DevID, many string, name func(metadata.DevID) string) string {
	const most = 8
	if len(ids) == 1 {
		return label(ids[0], name)
	}
	text := many
	for i, id := range ids {
		switch {
		case i == most:
			return fmt.Sprintf("%s and %d more", text, len(ids)-most)
		case i > 0:
			text += ", "
		}
		text += fmt.Sprint(id)
	}
	return text
}

// alternativeText says how another possible state differs from the one chosen.
func alternativeText(w io.Writer, number int, s *repair.State, r *repair.Report, name func(metadata.DevID) string) {
	fmt.Fprintf(w, "another state may be the right one (--state %d): mapping root %d, details root %d, time %d, device transactions up to %d\n",
		number, s.Mapping, s.Details, s.Time, s.TransactionID)
	there := map[metadata.DevID]uint64{}
	var more, fewer, differ []metadata.DevID
	for i := range s.Devices {
		there[s.Devices[i].ID] = s.Devices[i].Mappings
	}
	for i := range r.Devices {
		d := &r.Devices[i]
		n, ok := there[d.ID]
		delete(there, d.ID)
		switch {
		case !ok:
			fewer = append(fewer, d.ID)
		case n != d.Found():
			differ = append(differ, d.ID)
		}
	}
	for i := range s.Devices {
		if _, ok := there[s.Devices[i].ID]; ok {
			more = append(more, s.Devices[i].ID)
		}
	}
	if len(more) > 0 {
		fmt.Fprintf(w, "  it also has %s\n", idList(more, "devices ", name))
	}
	if len(fewer) > 0 {
		fmt.Fprintf(w, "  it lacks %s\n", idList(fewer, "devices ", name))
	}
	if len(differ) > 0 {
		fmt.Fprintf(w, "  it has different mapping counts for %s\n", idList(differ, "devices ", name))
	}
	if len(more)+len(fewer)+len(differ) == 0 {
		fmt.Fprintln(w, "  it has the same devices and mapping counts")
	}
}

// verdict returns the end of a report: what the result means and what to do.
func verdict(r *repair.Report) string {
	if r.Lossless() {
		return "nothing is lost"
	}
	var parts []string
	var lost, guessed, reused uint64
	incomplete, unknown := 0, 0
	for i := range r.Devices {
		d := &r.Devices[i]
		if !d.Complete() && !d.Named {
			incomplete++
			lost, guessed, reused = lost+d.Lost, guessed+d.Guessed, reused+d.Reused
			if !d.Known {
				unknown++
			}
		}
	}
	if incomplete > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d devices are incomplete", incomplete, len(r.Devices)))
	}
	if lost > 0 {
		parts = append(parts, plural(lost, "mapping is lost", "mappings are lost"))
	}
	if unknown > 0 {
		parts = append(parts, fmt.Sprintf("the number of lost mappings is unknown for %d devices", unknown))
	}
	if guessed > 0 {
		parts = append(parts, plural(guessed, "mapping is guessed and may be wrong", "mappings are guessed and may be wrong"))
	}
	if reused > 0 {
		parts = append(parts, fmt.Sprintf("the data of %d mappings may have been overwritten since", reused))
	}
	if len(r.LostVolumes) > 0 {
		parts = append(parts, plural(uint64(len(r.LostVolumes)), "LVM volume has no device", "LVM volumes have no device"))
	}
	parts = append(parts, r.Doubts...)
	switch {
	case !r.Chosen:
	case len(r.Alternatives) > 0:
		parts = append(parts, "the choice of the pool's state is uncertain: "+r.Reason)
	default:
		parts = append(parts, "the superblock does not name this state of the pool, so a newer one may be lost")
	}
	return strings.Join(parts, "; ") + "\nkeep the damaged metadata until you have checked all data: it is the only evidence (LVM keeps it as POOL_metaN)"
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// reportRecord is the first line of a report in JSON.
type reportRecord struct {
	Type          string           `json:"type"` // "repair"
	Lossless      bool             `json:"lossless"`
	Damaged       bool             `json:"damaged"`
	Chosen        bool             `json:"chosen"`
	Reason        string           `json:"reason"`
	MappingRoot   block.Nr         `json:"mapping_root"`
	DetailsRoot   block.Nr         `json:"details_root"`
	TransactionID uint64           `json:"transaction_id"`
	Time          uint32           `json:"time"`
	DataBlockSize uint32           `json:"data_block_size"`
	NrDataBlocks  uint64           `json:"data_blocks"`
	Corrections   int              `json:"corrections"`
	Missing       []metadata.DevID `json:"missing_dev_ids"`
	Doubts        []string         `json:"doubts"`
	Notes         []string         `json:"notes"`
}

// deviceRecord is a device in a report. Expected and Lost are omitted if the number of mappings it
// had is unknown.
type deviceRecord struct {
	Type      string           `json:"type"` // "device"
	DevID     metadata.DevID   `json:"dev_id"`
	Expected  *uint64          `json:"expected,omitempty"`
	Read      uint64           `json:"read"`
	Confirmed uint64           `json:"confirmed"`
	Guessed   uint64           `json:"guessed"`
	Lost      *uint64          `json:"lost,omitempty"`
	Reused    uint64           `json:"reused"`
	Complete  bool             `json:"complete"`
	MadeUp    bool             `json:"details_guessed"`
	Dropped   bool             `json:"dropped"`
	Holes     []lostPartRecord `json:"holes"`
	LeftOut   uint64           `json:"holes_left_out,omitempty"`
}

type lostPartRecord struct {
	lostRecord
	Block   block.Nr `json:"block"`
	Message string   `json:"message"`
}

// reportEndRecord is the last line: the number of objects of each type.
type reportEndRecord struct {
	Type    string `json:"type"` // "summary"
	Devices int    `json:"devices"`
	Orphans int    `json:"orphans"`
	States  int    `json:"states"`
}

// orphanRecord is a tree whose device is unknown.
type orphanRecord struct {
	Type     string           `json:"type"` // "orphan"
	Root     block.Nr         `json:"root"`
	Mappings uint64           `json:"mappings"`
	Devices  []metadata.DevID `json:"may_be"`
	Adopted  *metadata.DevID  `json:"kept_as,omitempty"`
}

// JSONReport prints what a repair found, for programs: one line for the pool, then one per device,
// orphan and other possible state.
func JSONReport(w io.Writer, r *repair.Report) error {
	h := &r.Header
	first := reportRecord{
		Type: "repair", Lossless: r.Lossless(), Damaged: r.Damaged, Chosen: r.Chosen, Reason: r.Reason, MappingRoot: r.MappingRoot, DetailsRoot: r.DetailsRoot,
		TransactionID: h.TransactionID, Time: h.Time, DataBlockSize: h.DataBlockSize, NrDataBlocks: h.NrDataBlocks,
		Corrections: len(r.Corrections), Missing: some(r.LostVolumes), Doubts: some(r.Doubts), Notes: some(r.Notes),
	}
	return encodeLines(w, func(yield func(any) bool) {
		if !yield(first) {
			return
		}
		room := mostLostRecords
		for i := range r.Devices {
			if !yield(deviceRecordOf(&r.Devices[i], &room)) {
				return
			}
		}
		for i := range r.Orphans {
			if !yield(orphanRecordOf(&r.Orphans[i])) {
				return
			}
		}
		for i, s := range r.Alternatives {
			if !yield(stateRecordOf(i+2, s, true)) {
				return
			}
		}
		yield(reportEndRecord{"summary", len(r.Devices), len(r.Orphans), len(r.Alternatives)})
	})
}

func orphanRecordOf(o *repair.Orphan) orphanRecord {
	rec := orphanRecord{Type: "orphan", Root: o.Root, Mappings: o.Mappings, Devices: some(o.Devices)}
	if o.Kept {
		rec.Adopted = &o.Assigned
	}
	return rec
}

func encodeLines(w io.Writer, lines iter.Seq[any]) error {
	buffer := bufio.NewWriter(w)
	out := NewEncoder(buffer)
	for line := range lines {
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return buffer.Flush()
}

// deviceRecordOf lists at most room lost ranges and subtracts them from room.
func deviceRecordOf(d *repair.DeviceReport, room *int) deviceRecord {
	rec := deviceRecord{
		Type: "device", DevID: d.ID, Read: d.Read, Confirmed: d.Confirmed, Guessed: d.Guessed, Reused: d.Reused, Complete: d.Complete(),
		MadeUp: d.TimesGuessed, Dropped: d.Dropped, Holes: []lostPartRecord{},
	}
	if d.Known {
		rec.Expected, rec.Lost = &d.Expected, &d.Lost
	}
	for l := range upTo(d.Holes(), room) {
		rec.Holes = append(rec.Holes, lostPartRecord{rangeOf(l.Keys), l.Block, l.Err.Error()})
	}
	if *room == 0 {
		rec.LeftOut = d.LostRanges - min(d.LostRanges, uint64(len(rec.Holes)))
	}
	return rec
}

// TextStates prints the states still found on a device. After the first, rivals of them may be the
// right one, too.
func TextStates(w io.Writer, all []*repair.State, rivals int) error {
	out := bufio.NewWriter(w)
	t := newTable("state", "mapping root", "details root", "time", "transaction", "devices", "mappings", "in use by others", "whole", "device ids")
	for i, s := range all {
		details, transaction, whole := "-", "-", "no"
		if s.Details != 0 {
			details, transaction = fmt.Sprint(s.Details), fmt.Sprint(s.TransactionID)
		}
		if s.Whole {
			whole = "yes"
		}
		if s.Current {
			whole += ", current"
		}
		switch {
		case i == 0:
			whole += ", taken"
		case i <= rivals:
			whole += ", may be right"
		}
		t.add(fmt.Sprint(i+1), fmt.Sprint(s.Mapping), details, fmt.Sprint(s.Time), transaction, fmt.Sprint(len(s.Devices)), digits(s.Mappings), digits(s.Reused), whole, stateIDs(s))
	}
	if err := t.writeTo(out); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nUse thin_repair --state N to take one of them. Data blocks that are in use today may have been overwritten since.")
	return out.Flush()
}

// stateIDs lists the device ids of s, as many as fit on a line.
func stateIDs(s *repair.State) string {
	const most = 8
	var ids []string
	for i := range s.Devices {
		if i == most {
			ids = append(ids, "...")
			break
		}
		ids = append(ids, fmt.Sprint(s.Devices[i].ID))
	}
	return strings.Join(ids, " ")
}

// stateRecord is a state of the pool in JSON.
type stateRecord struct {
	Type          string              `json:"type"` // "state"
	Number        int                 `json:"state"`
	MappingRoot   block.Nr            `json:"mapping_root"`
	DetailsRoot   block.Nr            `json:"details_root,omitempty"`
	Current       bool                `json:"current"`
	Whole         bool                `json:"whole"`
	Closed        bool                `json:"closed"`
	MayBeRight    bool                `json:"may_be_right"`
	Time          uint32              `json:"time"`
	TransactionID uint64              `json:"transaction_id"`
	Mappings      uint64              `json:"mappings"`
	Reused        uint64              `json:"reused"`
	Devices       []stateDeviceRecord `json:"devices"`
}

type stateDeviceRecord struct {
	DevID    metadata.DevID `json:"dev_id"`
	Root     block.Nr       `json:"root"`
	Mappings uint64         `json:"mappings"`
	Expected uint64         `json:"expected"`
	Reused   uint64         `json:"reused"`
}

func stateRecordOf(number int, s *repair.State, mayBeRight bool) stateRecord {
	rec := stateRecord{
		Type: "state", Number: number, MappingRoot: s.Mapping, DetailsRoot: s.Details, Current: s.Current, Whole: s.Whole, Closed: s.Closed, MayBeRight: mayBeRight,
		Time: s.Time, TransactionID: s.TransactionID, Mappings: s.Mappings, Reused: s.Reused, Devices: []stateDeviceRecord{},
	}
	for i := range s.Devices {
		d := &s.Devices[i]
		rec.Devices = append(rec.Devices, stateDeviceRecord{d.ID, d.Root, d.Mappings, d.Expected, d.Reused})
	}
	return rec
}

func JSONStates(w io.Writer, all []*repair.State, rivals int) error {
	return encodeLines(w, func(yield func(any) bool) {
		for i, s := range all {
			if !yield(stateRecordOf(i+1, s, i <= rivals)) {
				return
			}
		}
		yield(reportEndRecord{Type: "summary", States: len(all)})
	})
}
