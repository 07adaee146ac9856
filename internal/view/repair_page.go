package view

import (
	"strings"

	"thinpool/metadata"
	"thinpool/tool/repair"
	"thinpool/tool/report"
)

// RepairPage is what a page says about a repair: what TextReport prints. planned says that nothing
// was written.
func RepairPage(r *repair.Report, planned bool, name func(metadata.DevID) string) *report.Repair {
	page := &report.Repair{
		Planned: planned, Damaged: r.Damaged, Lossless: r.Lossless(),
		Verdict: sentences(verdict(r)), Remarks: append([]string{}, r.Notes...),
	}
	for i := range r.Devices {
		page.Devices = append(page.Devices, recovered(&r.Devices[i], name))
		page.Remarks = append(page.Remarks, unplaced(label(r.Devices[i].ID, name), &r.Devices[i])...)
	}
	for _, id := range r.LostVolumes {
		page.Remarks = append(page.Remarks, lostVolume(id, name))
	}
	for i := range r.Orphans {
		page.Remarks = append(page.Remarks, orphanText(&r.Orphans[i], name))
	}
	for i, s := range r.Alternatives {
		var text strings.Builder
		alternativeText(&text, i+2, s, r, name)
		page.Remarks = append(page.Remarks, strings.Join(strings.Fields(text.String()), " "))
	}
	return page
}

// recovered is what a repair saved and lost of a device.
func recovered(d *repair.DeviceReport, name func(metadata.DevID) string) report.Recovered {
	rec := report.Recovered{
		ID: d.ID, Known: d.Known, Expected: d.Expected, Read: d.Read, Confirmed: d.Confirmed, Guessed: d.Guessed, Lost: d.Lost,
		Dropped: d.Dropped, Complete: d.Complete(),
	}
	if name != nil {
		rec.Name = name(d.ID)
	}
	room := report.MostRanges
	for l := range upTo(d.Holes(), &room) {
		rec.Ranges = append(rec.Ranges, l.Keys)
	}
	rec.Omitted = d.LostRanges - min(d.LostRanges, uint64(len(rec.Ranges)))
	return rec
}

// sentences makes sentences of the lines of text.
func sentences(text string) []string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.ToUpper(line[:1]) + line[1:] + "."
	}
	return lines
}
