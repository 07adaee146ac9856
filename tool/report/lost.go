package report

import (
	"cmp"
	"slices"

	"thinpool/metadata"
)

// mostStrips is the maximum number of devices whose lost ranges are drawn.
const mostStrips = 20

// A strip shows a device from its first block to its last, with marked ranges.
type strip struct {
	id      metadata.DevID
	name    string
	class   string // of the ranges
	end     uint64 // least number of blocks
	ranges  []metadata.KeyRange
	omitted uint64 // number of ranges not in ranges
}

// lost draws the ranges that each device lost, according to the listed faults.
func (p *page) lost(r *Report) {
	lost := map[metadata.DevID]*strip{}
	for i := range r.Faults {
		f := &r.Faults[i]
		if f.Lost == nil {
			continue
		}
		for _, id := range f.Devices[:min(len(f.Devices), mostStrips)] {
			s := lost[id]
			if s == nil {
				s = &strip{id: id, name: metadata.Label(id, ""), class: "x"}
				lost[id] = s
			}
			if len(s.ranges) < MostRanges {
				s.ranges = append(s.ranges, *f.Lost)
			} else {
				s.omitted++
			}
		}
	}
	var strips []strip
	for _, s := range lost {
		strips = append(strips, *s)
	}
	slices.SortFunc(strips, func(a, b strip) int { return cmp.Compare(a.id, b.id) })
	for i := range r.Volumes {
		v := &r.Volumes[i]
		if at, ok := slices.BinarySearchFunc(strips, v.ID, func(s strip, id metadata.DevID) int { return cmp.Compare(s.id, id) }); ok {
			strips[at].name = r.device(v)
		}
	}
	p.strips(r, "Lost ranges", "Where mappings of a device can no longer be reached, from its first block to its last.", strips)
}

// strips draws devices with marked ranges, if there are any.
func (p *page) strips(r *Report, heading, text string, all []strip) {
	if len(all) == 0 {
		return
	}
	p.put("<h3>%s</h3>\n<p>%s</p>\n<div class=\"scroll\"><table><tr><th class=\"l\">Device</th><th class=\"l\">Thin blocks</th><th class=\"l\">Picture</th></tr>\n", heading, text)
	for i := range all[:min(len(all), mostStrips)] {
		p.strip(r, &all[i])
	}
	p.put("</table></div>\n")
	if n := len(all) - mostStrips; n > 0 {
		p.put("<p class=\"note\">Ranges of %s are not shown.</p>\n", number(uint64(n), "more device", "more devices"))
	}
}

func (p *page) strip(r *Report, s *strip) {
	end := max(s.end, 1)
	for i := range r.Volumes {
		if v := &r.Volumes[i]; v.ID == s.id {
			end = max(end, v.Blocks(r.Superblock.DataBlockSize), v.MappedBlocks)
		}
	}
	for _, k := range s.ranges {
		end = max(end, k.First+1)
		if !k.Open() {
			end = max(end, k.Last+1)
		}
	}
	p.put("<tr><td class=\"l\">%s</td><td class=\"w\">", s.name)
	for i, k := range s.ranges {
		if i > 0 {
			p.put(", ")
		}
		if k.Open() {
			p.put("from %s on", count(k.First))
		} else {
			p.put("%s to %s", count(k.First), count(k.Last))
		}
	}
	if s.omitted > 0 {
		p.put(" and %s more", count(s.omitted))
	}
	p.put("</td><td class=\"bar\"><svg viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" role=\"img\"><title>%s: lost ranges</title><path class=\"f\" d=\"M0 0h1000v10H0z\"/>", s.name)
	const thinnest = 3
	for _, k := range s.ranges {
		first := min(float64(k.First)/float64(end)*1000, 1000-thinnest)
		last := min(float64(k.Last)/float64(end)*1000, 1000)
		length := tenth(max(last-first, thinnest))
		p.put("<path class=\"%s\" d=\"M%s 0h%sv10h-%sz\"/>", s.class, tenth(first), length, length)
	}
	p.put("</svg></td></tr>\n")
}
