package command

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/repair"
)

// textReport prints what a repair found for people, with the names of volumes if there are any.
func textReport(w io.Writer, r *repair.Report, names map[metadata.DevID]string) error {
	out := bufio.NewWriter(w)
	h := &r.Header
	fmt.Fprintf(out, "transaction %d, time %d, data blocks of %d sectors, %d of them\n", h.TransactionID, h.Time, h.DataBlockSize, h.NrDataBlocks)
	if !r.Damaged && r.Lossless() {
		fmt.Fprintln(out, "no device has lost anything")
	}
	for _, note := range r.Notes {
		fmt.Fprintf(out, "- %s\n", note)
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	header := "device\texpected\tfound\tlost\tproved\tguessed\t"
	if names != nil {
		header += "volume\t"
	}
	fmt.Fprintln(table, header)
	for i := range r.Devices {
		d := &r.Devices[i]
		expected, lost := "?", "?"
		if d.Known {
			expected, lost = fmt.Sprint(d.Expected), fmt.Sprint(d.Missing())
		} else if d.Complete() {
			lost = "0"
		}
		fmt.Fprintf(table, "%d\t%s\t%d\t%s\t%d\t%d\t", d.ID, expected, d.Found, lost, d.Recovered, d.Old)
		if names != nil {
			fmt.Fprintf(table, "%s\t", cmp.Or(names[d.ID], "-"))
		}
		fmt.Fprintln(table)
	}
	table.Flush()
	for i := range r.Devices {
		lostText(out, &r.Devices[i], h)
	}
	fmt.Fprintf(out, "\n%s\n", verdict(r))
	return out.Flush()
}

// lostText prints which thin blocks a device has lost.
func lostText(w io.Writer, d *repair.DeviceReport, h *metadata.Header) {
	if d.Dropped {
		fmt.Fprintf(w, "device %d: left out\n", d.ID)
	}
	size := uint64(h.DataBlockSize) * cli.SectorSize
	for _, l := range d.Lost {
		end := "on"
		bytes := fmt.Sprintf("from byte %d", l.Keys.Begin*size)
		if l.Keys.End != 0 {
			end = fmt.Sprintf("to %d", l.Keys.End-1)
			bytes = fmt.Sprintf("bytes %d to %d", l.Keys.Begin*size, l.Keys.End*size-1)
		}
		fmt.Fprintf(w, "device %d: mappings are missing among thin blocks %d %s (%s): %v\n", d.ID, l.Keys.Begin, end, bytes, l.Err)
	}
	if d.Known && d.Missing() > 0 && len(d.Lost) == 0 {
		fmt.Fprintf(w, "device %d: mappings are missing, nobody knows where: a node of its tree may be of another transaction\n", d.ID)
	}
	if d.Reused > 0 {
		fmt.Fprintf(w, "device %d: %d of its mappings lead to data blocks that others use now; what was in them is gone\n", d.ID, d.Reused)
	}
	if d.Known && d.Found > d.Expected {
		fmt.Fprintf(w, "device %d: has %d mappings more than its details count\n", d.ID, d.Found-d.Expected)
	}
}

// verdict is the last line of a report: what it means, and what to do.
func verdict(r *repair.Report) string {
	if r.Lossless() {
		return "nothing is lost"
	}
	var parts []string
	var missing, guessed, reused, surplus uint64
	incomplete := 0
	for i := range r.Devices {
		d := &r.Devices[i]
		if !d.Complete() && !d.Named {
			incomplete++
			missing, guessed, reused = missing+d.Missing(), guessed+d.Old, reused+d.Reused
			if d.Known && d.Found > d.Expected {
				surplus += d.Found - d.Expected
			}
		}
	}
	if incomplete > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d devices are not complete", incomplete, len(r.Devices)))
	}
	if missing+guessed > 0 {
		parts = append(parts, fmt.Sprintf("%d mappings are lost, %d are from older transactions and may be out of date", missing, guessed))
	}
	if reused > 0 {
		parts = append(parts, fmt.Sprintf("the data of %d mappings has been overwritten by others since", reused))
	}
	if surplus > 0 {
		parts = append(parts, fmt.Sprintf("%d mappings more were found than the device details count, so some are not right", surplus))
	}
	if r.Guessed {
		parts = append(parts, "the superblock led nowhere: this is the newest state that was found, and newer ones may be lost")
	}
	return strings.Join(parts, "; ") + "\nkeep the damaged metadata until all data has been checked: it is the only evidence (LVM keeps it as POOL_metaN)"
}

// reportRecord is the first line of a report in JSON.
type reportRecord struct {
	Type          string   `json:"type"` // "repair"
	Lossless      bool     `json:"lossless"`
	Damaged       bool     `json:"damaged"`
	Guessed       bool     `json:"guessed"`
	MappingRoot   block.Nr `json:"mapping_root"`
	DetailsRoot   block.Nr `json:"details_root"`
	TransactionID uint64   `json:"transaction"`
	Time          uint32   `json:"time"`
	DataBlockSize uint32   `json:"data_block_size"`
	NrDataBlocks  uint64   `json:"nr_data_blocks"`
	FlippedBits   int      `json:"flipped_bits"`
	Notes         []string `json:"notes"`
}

// deviceRecord is a device in a report. Expected and Missing are not there if it is
// not known how many mappings it had.
type deviceRecord struct {
	Type      string           `json:"type"` // "device"
	DevID     metadata.DevID   `json:"dev_id"`
	Expected  *uint64          `json:"expected,omitempty"`
	Found     uint64           `json:"found"`
	Missing   *uint64          `json:"missing,omitempty"`
	Recovered uint64           `json:"recovered"`
	Guessed   uint64           `json:"guessed"`
	Reused    uint64           `json:"reused"`
	Complete  bool             `json:"complete"`
	MadeUp    bool             `json:"details_made_up"`
	Dropped   bool             `json:"dropped"`
	Lost      []lostPartRecord `json:"lost"`
}

type lostPartRecord struct {
	lostRecord
	Block   block.Nr `json:"block"`
	Message string   `json:"message"`
}

// jsonReport prints what a repair found for programs: one line for the whole, then
// one a device.
func jsonReport(w io.Writer, r *repair.Report) error {
	out := json.NewEncoder(w)
	h := &r.Header
	notes := r.Notes
	if notes == nil {
		notes = []string{}
	}
	err := out.Encode(reportRecord{
		Type: "repair", Lossless: r.Lossless(), Damaged: r.Damaged, Guessed: r.Guessed, MappingRoot: r.MappingRoot, DetailsRoot: r.DetailsRoot,
		TransactionID: h.TransactionID, Time: h.Time, DataBlockSize: h.DataBlockSize, NrDataBlocks: h.NrDataBlocks,
		FlippedBits: len(r.Flips), Notes: notes,
	})
	for i := range r.Devices {
		if err != nil {
			return err
		}
		d := &r.Devices[i]
		rec := deviceRecord{
			Type: "device", DevID: d.ID, Found: d.Found, Recovered: d.Recovered, Guessed: d.Old, Reused: d.Reused, Complete: d.Complete(),
			MadeUp: d.MadeUp, Dropped: d.Dropped, Lost: []lostPartRecord{},
		}
		if d.Known {
			missing := d.Missing()
			rec.Expected, rec.Missing = &d.Expected, &missing
		}
		for _, l := range d.Lost {
			part := lostPartRecord{lostRecord{Begin: l.Keys.Begin}, l.Block, l.Err.Error()}
			if l.Keys.End != 0 {
				part.End = &l.Keys.End
			}
			rec.Lost = append(rec.Lost, part)
		}
		err = out.Encode(rec)
	}
	return err
}

// textRoots prints the roots that are left on a device.
func textRoots(w io.Writer, all []*repair.Generation) error {
	out := bufio.NewWriter(w)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "mapping root\tdetails root\ttime\ttransaction\tdevices\tmappings\tin use by others\twhole\tdevice ids\t")
	for _, g := range all {
		details, transaction, whole := "-", "-", "no"
		if g.Details != 0 {
			details, transaction = fmt.Sprint(g.Details), fmt.Sprint(g.TransactionID)
		}
		if g.Whole {
			whole = "yes"
		}
		if g.Current {
			whole += ", current"
		}
		fmt.Fprintf(table, "%d\t%s\t%d\t%s\t%d\t%d\t%d\t%s\t%s\t", g.Mapping, details, g.Time, transaction, len(g.Devices), g.Mappings, g.Reused, whole, someIDs(g))
		fmt.Fprintln(table)
	}
	table.Flush()
	fmt.Fprintln(out, "\nthin_repair --mapping-root BLOCK --details-root BLOCK takes a pair of them. What is in use by others has been overwritten since.")
	return out.Flush()
}

// someIDs lists the device ids of g, as far as they fit a line.
func someIDs(g *repair.Generation) string {
	const most = 8
	var ids []string
	for i, d := range g.Devices {
		if i == most {
			ids = append(ids, "...")
			break
		}
		ids = append(ids, fmt.Sprint(d.ID))
	}
	return strings.Join(ids, " ")
}

// rootRecord is a pair of roots in JSON.
type rootRecord struct {
	Type          string             `json:"type"` // "root"
	MappingRoot   block.Nr           `json:"mapping_root"`
	DetailsRoot   block.Nr           `json:"details_root,omitempty"`
	Current       bool               `json:"current"`
	Whole         bool               `json:"whole"`
	Time          uint32             `json:"time"`
	TransactionID uint64             `json:"transaction"`
	Mappings      uint64             `json:"mappings"`
	Reused        uint64             `json:"reused"`
	Devices       []deviceRootRecord `json:"devices"`
}

type deviceRootRecord struct {
	DevID    metadata.DevID `json:"dev_id"`
	Root     block.Nr       `json:"root"`
	Mappings uint64         `json:"mappings"`
	Expected uint64         `json:"expected"`
	Reused   uint64         `json:"reused"`
}

func jsonRoots(w io.Writer, all []*repair.Generation) error {
	out := json.NewEncoder(w)
	for _, g := range all {
		rec := rootRecord{
			Type: "root", MappingRoot: g.Mapping, DetailsRoot: g.Details, Current: g.Current, Whole: g.Whole,
			Time: g.Time, TransactionID: g.TransactionID, Mappings: g.Mappings, Reused: g.Reused, Devices: []deviceRootRecord{},
		}
		for _, d := range g.Devices {
			rec.Devices = append(rec.Devices, deviceRootRecord{d.ID, d.Root, d.Mappings, d.Expected, d.Reused})
		}
		if err := out.Encode(rec); err != nil {
			return err
		}
	}
	return nil
}
