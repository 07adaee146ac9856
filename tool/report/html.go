package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// mostRows is the maximum number of volumes on the page.
const mostRows = 100

// Maximum lengths of a name and of a fault on the page.
const (
	longestName  = 64
	longestFault = 700
)

// HTML writes the page. It is at most 300 KB, for any pool.
func (r *Report) HTML(w io.Writer) error {
	p := &page{}
	p.put(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>%s</title>
<style>
%s</style></head>
<body>
<header><h1>%s</h1>
`, r.title(), markup(style), r.title())
	level, state := r.State()
	p.put("<p class=\"state %s\">%s</p></header>\n<main>\n", level, state)
	wrong := r.Check.Fatal+r.Check.NonFatal > 0
	if wrong || len(r.Differences) > 0 {
		p.faults(r)
	}
	if r.Superblock != nil {
		if r.Repair != nil {
			p.repair(r)
		}
		p.space(r)
	}
	if r.Mapped {
		p.volumes(r)
		p.family(r)
		p.matrix(r)
		p.dataMap(r)
		p.health(r)
	}
	if !wrong && len(r.Differences) == 0 {
		p.faults(r)
	}
	p.put("</main>\n<footer>Made by %s. Sizes are in binary units: 1 KiB is 1,024 bytes.</footer>\n</body></html>\n", r.maker())
	_, err := w.Write(p.Bytes())
	return err
}

func (r *Report) name() string {
	if r.Pool == "" {
		return "of unknown name"
	}
	return short(r.Pool, longestName)
}

// A Level says how bad the state of a pool is.
type Level string

// The levels.
const (
	Good    Level = "good"
	Warning Level = "warn"
	Bad     Level = "bad"
)

// State describes the state of the pool in a sentence or two.
func (r *Report) State() (Level, string) {
	sb, sum := r.Superblock, r.Check
	switch {
	case sb == nil:
		return Bad, "The superblock cannot be read, so nothing is known about the pool. See the faults below."
	case sum.Fatal == 0 && r.Differences.refused():
		return Bad, "LVM will refuse the pool, as its text and the metadata do not agree."
	case sum.Fatal > 0 && !r.Mapped:
		return Bad, fmt.Sprintf("The pool is damaged: %s. The devices cannot be listed.", number(sum.Fatal, "fatal fault", "fatal faults"))
	case sum.Fatal > 0:
		return Bad, fmt.Sprintf("The pool is damaged: %s. The figures below are of what can be read.", number(sum.Fatal, "fatal fault", "fatal faults"))
	case sum.NonFatal > 0:
		return Warning, fmt.Sprintf("The pool works, but has %s, which waste space or may do harm later.", number(sum.NonFatal, "fault", "faults"))
	case r.Repair != nil:
		return r.Repair.state()
	case sb.Flags&metadata.NeedsCheck != 0:
		return Warning, "Nothing is damaged, but needs_check is set: the kernel keeps the pool read-only until the flag is cleared."
	case sb.DataSpaceMap.NrAllocated >= sb.DataSpaceMap.NrBlocks:
		return Warning, "Nothing is damaged, but the data device is full."
	case sb.FreeMetadataBlocks() <= metadata.Reserve(sb.MetadataSpaceMap.NrBlocks):
		return Warning, "Nothing is damaged, but the metadata is full: what is left is the kernel's reserve."
	case sum.Notes > 0:
		return Good, fmt.Sprintf("The pool is healthy. There is %s at the end of the page.", number(sum.Notes, "note", "notes"))
	}
	return Good, "The pool is healthy: thin_check finds no faults."
}

// size formats a number of data blocks as bytes.
func (r *Report) size(blocks uint64) string {
	return bytesText(float64(blocks) * float64(r.Superblock.DataBlockSize) * block.SectorSize)
}

// device returns the name of a device.
func (r *Report) device(v *Volume) string {
	if v.Name == "" {
		return "device " + strconv.FormatUint(uint64(v.ID), 10)
	}
	return short(v.Name, longestName)
}

// faults writes the output of thin_check, word for word.
func (p *page) faults(r *Report) {
	sum := r.Check
	p.put("<section><h2>What thin_check says</h2>\n")
	p.differences(r)
	if sum.Fatal+sum.NonFatal+sum.Notes == 0 {
		p.put("<p>No faults.</p></section>\n")
		return
	}
	p.put("<p>%s, %s and %s.</p>\n<ul class=\"faults\">\n", number(sum.Fatal, "fatal fault", "fatal faults"),
		number(sum.NonFatal, "non-fatal fault", "non-fatal faults"), number(sum.Notes, "note", "notes"))
	name := func(id metadata.DevID) string { return r.nameOf(id) }
	for i := range r.Faults {
		f := &r.Faults[i]
		p.put("<li><code>%s</code><span>What to do: %s.</span></li>\n", short(f.Text(name), longestFault), short(f.Advice, longestFault))
	}
	p.put("</ul>\n")
	if r.Omitted > 0 {
		p.put("<p>%s not listed here: thin_check lists all.</p>\n", number(r.Omitted, "more fault is", "more faults are"))
	}
	p.put("</section>\n")
}

// differences writes the differences between LVM and the metadata.
func (p *page) differences(r *Report) {
	if len(r.Differences) == 0 {
		return
	}
	p.put("<p>LVM and the metadata do not agree.</p>\n<ul class=\"faults\">\n")
	for _, d := range r.Differences[:min(len(r.Differences), MostFaults)] {
		p.put("<li><code>%s</code>", short(d.Text, longestFault))
		for _, command := range d.Fix {
			p.put("<span><code>%s</code></span>", short(command, longestFault))
		}
		p.put("</li>\n")
	}
	p.put("</ul>\n")
}

// nameOf returns LVM's name of a device; "" if LVM does not know it.
func (r *Report) nameOf(id metadata.DevID) string {
	for i := range r.Volumes {
		if r.Volumes[i].ID == id {
			return r.Volumes[i].Name
		}
	}
	return ""
}

// A part is a part of a bar: its style class and length.
type part struct {
	class  string
	length uint64
}

// bar draws parts of a whole side by side, with a title for screen readers.
func (p *page) bar(class, title string, whole uint64, parts ...part) {
	const width = 1000
	p.put(`<svg%s viewBox="0 0 1000 10" preserveAspectRatio="none" role="img"><title>%s</title><path class="f" d="M0 0h1000v10H0z"/>`, attribute("class", class), title)
	at := 0.0
	for _, part := range parts {
		length := 0.0
		if whole > 0 {
			length = min(float64(part.length)/float64(whole)*width, width-at)
		}
		if length >= 0.05 {
			p.put(`<path class="%s" d="M%s 0h%sv10h-%sz"/>`, part.class, tenth(at), tenth(length), tenth(length))
		}
		at += length
	}
	p.put("</svg>")
}

// tenth formats a length with one decimal.
func tenth(f float64) string { return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") }

func attribute(name, value string) markup {
	if value == "" {
		return ""
	}
	return markup(" "+name+`="`) + safe(value) + `"`
}

// key explains colours, as pairs of a class and its meaning.
func (p *page) key(pairs ...string) {
	p.put(`<ul class="key">`)
	for ; len(pairs) > 1; pairs = pairs[2:] {
		p.put(`<li><svg viewBox="0 0 1 1" aria-hidden="true"><path class="%s" d="M0 0h1v1H0z"/></svg>%s</li>`, pairs[0], pairs[1])
	}
	p.put("</ul>\n")
}

// space shows how full the pool is.
func (p *page) space(r *Report) {
	sb := r.Superblock
	total, exclusive, shared := r.DataBlocks()
	used := min(sb.DataSpaceMap.NrAllocated, total)
	p.put("<section><h2>Space</h2>\n<h3>Data</h3>\n")
	title := fmt.Sprintf("Data device: %s of %s used", r.size(used), r.size(total))
	if r.Mapped && r.Check.Fatal == 0 {
		p.bar("wide", title, total, part{"e", exclusive}, part{"s", shared}, part{"x", used - min(used, exclusive+shared)})
		p.key("e", "one device", "s", "shared by devices", "x", "used, but not mapped", "f", "free")
	} else {
		p.bar("wide", title, total, part{"e", used})
		p.key("e", "used", "f", "free")
	}
	meta, metaUsed := sb.MetadataSpaceMap.NrBlocks, sb.MetadataSpaceMap.NrBlocks-sb.FreeMetadataBlocks()
	reserve := min(metadata.Reserve(meta), meta-metaUsed)
	p.put("<h3>Metadata</h3>\n")
	p.bar("wide", fmt.Sprintf("Metadata: %s of %s blocks used", count(metaUsed), count(meta)), meta, part{"e", metaUsed}, part{"r", reserve})
	p.key("e", "used", "r", "the kernel's reserve", "f", "free")
	p.put("<div class=\"scroll\"><table><tr><th></th><th>Used</th><th>Used, blocks</th><th>Reserve</th><th>Free</th><th>Free, blocks</th><th>Total</th><th>Full</th></tr>\n")
	p.put("<tr><td class=\"l\">Data</td><td>%s</td><td>%s</td><td></td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n",
		r.size(used), count(used), r.size(total-used), count(total-used), r.size(total), percent(used, total))
	blocks := func(n uint64) string { return bytesText(float64(n) * block.Size) }
	free := meta - metaUsed - reserve
	p.put("<tr><td class=\"l\">Metadata</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n</table></div>\n",
		blocks(metaUsed), count(metaUsed), blocks(reserve), blocks(free), count(free), blocks(meta), percent(metaUsed+reserve, meta))
	p.put("<p class=\"note\">The metadata is full when only the reserve is left, as lvs counts it.</p>\n")
	p.room(r, total-used)
	p.facts(r)
	p.put("</section>\n")
}

// room says which of the two will be full first.
func (p *page) room(r *Report, free uint64) {
	room, ok := r.Room()
	if !ok || r.Check.Fatal > 0 {
		return
	}
	p.put("<p>The leaves of the metadata are %s full: one holds %s mappings on average. At this rate, the free metadata has room for %s of new data",
		percent(r.Fill.Mappings, r.Fill.Room), fmt.Sprintf("%.0f", float64(r.Fill.Mappings)/float64(r.Fill.Leaves)), r.size(room))
	if room < free {
		p.put(", and the data device for %s: <strong>the metadata will be full first.</strong></p>\n", r.size(free))
		return
	}
	p.put(", and the data device for %s: the data device will be full first.</p>\n", r.size(free))
}

// facts lists other superblock fields that people ask for.
func (p *page) facts(r *Report) {
	sb := r.Superblock
	flag, held := "not set", "none"
	if sb.Flags&metadata.NeedsCheck != 0 {
		flag = "set"
	}
	if sb.HeldRoot != 0 {
		held = fmt.Sprintf("in block %d", sb.HeldRoot)
	}
	p.put("<div class=\"scroll\"><table>")
	for _, row := range [][2]string{
		{"Data block size", bytesText(float64(sb.DataBlockSize) * block.SectorSize)},
		{"Transaction", strconv.FormatUint(sb.TransactionID, 10)},
		{"Time, in snapshots", strconv.FormatUint(uint64(sb.Time), 10)},
		{"Devices", count(r.Check.Devices)},
		{"Mappings of all devices", count(r.Check.Mappings)},
		{"needs_check", flag},
		{"Metadata snapshot", held},
	} {
		p.put("<tr><th class=\"l\">%s</th><td>%s</td></tr>\n", row[0], row[1])
	}
	p.put("</table></div>\n")
	if r.Snapshot {
		p.put("<p class=\"note\">The devices and mappings are those of the metadata snapshot. Used blocks are those of the live pool.</p>\n")
	}
}
