package report

import (
	"cmp"
	"slices"

	"thinpool/metadata"
)

// A Repair tells what a repair saved and lost. A report with a Repair is about the repaired metadata.
// The caller fills it in from the result of tool/repair.
type Repair struct {
	Planned  bool // nothing was written: the report is about the planned result
	Damaged  bool // there was something to repair
	Lossless bool
	Verdict  []string // lines
	Remarks  []string // findings and decisions, in order
	Devices  []Recovered
}

// Recovered tells how many mappings of a device a repair saved and lost.
type Recovered struct {
	ID       metadata.DevID
	Name     string // "" for none
	Known    bool   // Expected and Lost are known
	Expected uint64
	Read, Confirmed, Guessed,
	Lost uint64
	Dropped  bool                // left out of the result
	Complete bool                // nothing is lost or guessed
	Ranges   []metadata.KeyRange // with lost or guessed mappings; only the first MostRanges
	Omitted  uint64              // number of ranges not in Ranges
}

// MostRanges is the maximum number of ranges of a device in a report.
const MostRanges = 30

// title returns the heading of the page.
func (r *Report) title() string {
	if r.Repair != nil {
		return "Pool " + r.name() + ", repaired"
	}
	return "Pool " + r.name()
}

// state describes the result of the repair in a sentence.
func (f *Repair) state() (Level, string) {
	switch {
	case !f.Damaged && f.Lossless:
		return Good, "Nothing is damaged, so there is nothing to repair."
	case f.Planned && f.Lossless:
		return Good, "The metadata can be repaired, and nothing would be lost. Nothing was written yet."
	case f.Planned:
		return Warning, "The metadata can be repaired, but something would be lost or uncertain. Nothing was written yet."
	case f.Lossless:
		return Good, "The metadata was repaired, and nothing is lost."
	}
	return Warning, "The metadata was repaired, but something is lost or uncertain."
}

// repair shows what the repair saved and lost.
func (p *page) repair(r *Report) {
	f := r.Repair
	p.put("<section><h2>What the repair saved and lost</h2>\n")
	for _, line := range f.Verdict {
		p.put("<p>%s</p>\n", short(line, longestFault))
	}
	p.remarks(f.Remarks)
	devices := slices.Clone(f.Devices)
	slices.SortStableFunc(devices, func(a, b Recovered) int {
		return cmp.Or(compareBool(a.Complete, b.Complete), cmp.Compare(b.Lost+b.Guessed, a.Lost+a.Guessed), cmp.Compare(a.ID, b.ID))
	})
	p.recovered(r, devices)
	p.lostRanges(r, devices)
	p.put("</section>\n")
}

// Limits of the remarks on the page; thin_repair prints all.
const (
	mostRemarks   = 30
	longestRemark = 300
)

func (p *page) remarks(all []string) {
	if len(all) == 0 {
		return
	}
	p.put("<ul class=\"faults\">\n")
	for _, line := range all[:min(len(all), mostRemarks)] {
		p.put("<li>%s</li>\n", short(line, longestRemark))
	}
	if n := len(all) - mostRemarks; n > 0 {
		p.put("<li>and %s more</li>\n", count(uint64(n)))
	}
	p.put("</ul>\n")
}

// recovered writes a table of the devices, with the mappings saved and lost.
func (p *page) recovered(r *Report, devices []Recovered) {
	if len(devices) == 0 {
		return
	}
	p.put("<h3>Mappings of each device</h3>\n<p>Read: found in the tree of the device. Confirmed: found elsewhere, and all reference counts fit. Guessed: found elsewhere without that proof. A mapping is for %s of data.</p>\n", r.size(1))
	p.key("e", "read", "r", "confirmed", "s", "guessed", "x", "lost")
	p.put("<div class=\"scroll\"><table><tr><th class=\"l\">Device</th><th>Expected</th><th>Read</th><th>Confirmed</th><th>Guessed</th><th>Lost</th><th class=\"l\">Picture</th></tr>\n")
	for i := range devices[:min(len(devices), mostRows)] {
		d := &devices[i]
		expected, lost, name := "?", "?", d.label()
		switch {
		case d.Known:
			expected, lost = count(d.Expected), count(d.Lost)
		case d.Complete:
			lost = "0"
		}
		if d.Dropped {
			name += " (left out)"
		}
		p.put("<tr><td class=\"l\">%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td class=\"bar\">",
			name, expected, count(d.Read), count(d.Confirmed), count(d.Guessed), lost)
		p.bar("", name+": mappings read, confirmed, guessed and lost", d.Read+d.Confirmed+d.Guessed+d.Lost,
			part{"e", d.Read}, part{"r", d.Confirmed}, part{"s", d.Guessed}, part{"x", d.Lost})
		p.put("</td></tr>\n")
	}
	if n := len(devices) - mostRows; n > 0 {
		var rest Recovered
		for _, d := range devices[mostRows:] {
			rest.Read, rest.Confirmed, rest.Guessed, rest.Lost = rest.Read+d.Read, rest.Confirmed+d.Confirmed, rest.Guessed+d.Guessed, rest.Lost+d.Lost
		}
		p.put("<tr><td class=\"l\">and %s more</td><td></td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td></td></tr>\n",
			count(uint64(n)), count(rest.Read), count(rest.Confirmed), count(rest.Guessed), count(rest.Lost))
	}
	p.put("</table></div>\n")
}

// lostRanges draws the ranges where devices lost mappings, or have guessed ones.
func (p *page) lostRanges(r *Report, devices []Recovered) {
	var strips []strip
	for i := range devices {
		if d := &devices[i]; len(d.Ranges) > 0 {
			class := "x"
			if d.Known && d.Lost == 0 {
				class = "s"
			}
			strips = append(strips, strip{d.ID, d.label(), class, d.Expected, d.Ranges, d.Omitted})
		}
	}
	p.strips(r, "Lost and guessed ranges", "Among these thin blocks, mappings are lost or guessed. What is lost reads as zeros.", strips)
}

func (d *Recovered) label() string {
	if d.Name == "" {
		return short(metadata.Label(d.ID, ""), longestName)
	}
	return short(d.Name, longestName)
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// maker returns the name of the tool that made the page.
func (r *Report) maker() string {
	if r.Repair != nil {
		return "thin_repair"
	}
	return "thin_report"
}
