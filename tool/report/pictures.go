package report

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"

	"thinpool/metadata/block"
)

// volumes writes a table of the devices. Those that free most if deleted come first.
func (p *page) volumes(r *Report) {
	p.put("<section><h2>Volumes</h2>\n")
	if len(r.Volumes) == 0 {
		p.put("<p>The pool has no devices.</p></section>\n")
		return
	}
	rows := r.ByGain()
	named := slices.ContainsFunc(rows, func(v Volume) bool { return v.Named })
	longest := uint64(1)
	for i := range rows {
		longest = max(longest, rows[i].MappedBlocks, rows[i].Blocks(r.Superblock.DataBlockSize))
	}
	p.put("<p>Deleting a volume gives back what only it has. Those that give back most come first. All bars have one scale.</p>\n")
	p.key("e", "only this volume", "s", "shared with others", "f", "not mapped")
	p.put("<div class=\"scroll\"><table><tr><th class=\"l\">Device</th>")
	if named {
		p.put("<th class=\"n\">Name</th><th>Size</th>")
	}
	p.put("<th>Exclusive</th><th>Shared</th><th>Mapped</th><th class=\"l\">Picture</th><th>Created</th><th>Snapshot</th><th>Run length</th></tr>\n")
	var rest Volume
	for i := range rows {
		v := &rows[i]
		if i >= mostRows {
			rest.Exclusive, rest.Shared, rest.MappedBlocks = rest.Exclusive+v.Exclusive, rest.Shared+v.Shared, rest.MappedBlocks+v.MappedBlocks
			continue
		}
		p.put("<tr><td class=\"l\">%d</td>", uint64(v.ID))
		if named {
			size := ""
			if v.Named {
				size = bytesText(float64(v.Size))
			}
			p.put("<td class=\"n\">%s</td><td>%s</td>", short(v.Name, longestName), size)
		}
		damaged := ""
		if v.Damaged {
			damaged = " (damaged)"
		}
		p.put("<td>%s</td><td>%s</td><td>%s%s</td><td class=\"bar\">", r.size(v.Exclusive), r.size(v.Shared), r.size(v.MappedBlocks), damaged)
		p.bar("", fmt.Sprintf("%s: %s exclusive, %s shared", r.device(v), r.size(v.Exclusive), r.size(v.Shared)), longest, part{"e", v.Exclusive}, part{"s", v.Shared})
		p.put("</td><td>%d</td><td>%d</td><td>%s</td></tr>\n", v.CreationTime, v.SnapshottedTime, ratio(v.MappedBlocks, v.Runs))
	}
	if n := len(rows) - mostRows; n > 0 {
		p.put("<tr><td class=\"l\">and %s more</td>", count(uint64(n)))
		if named {
			p.put("<td></td><td></td>")
		}
		p.put("<td>%s</td><td>%s</td><td>%s</td><td></td><td></td><td></td><td></td></tr>\n", r.size(rest.Exclusive), r.size(rest.Shared), r.size(rest.MappedBlocks))
	}
	p.put("</table></div>\n<p class=\"note\">Created and Snapshot are times of the pool, which counts snapshots: when the device was created, and when a snapshot of it was taken last. Run length is the mean number of adjacent data blocks: the longer, the less fragmented.</p>\n")
	p.pairs(r)
	p.put("</section>\n")
}

func ratio(a, b uint64) string {
	if b == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", float64(a)/float64(b))
}

// about marks estimated figures.
func (m *Matrix) about() string {
	if m.Every > 1 {
		return "about "
	}
	return ""
}

// pairs lists the devices that free more together than one by one.
func (p *page) pairs(r *Report) {
	m := &r.Sharing
	if len(m.Pairs) == 0 {
		return
	}
	p.put("<h3>Pairs that give back more together</h3>\n<p>What only these two share is given back when both are deleted.</p>\n")
	p.put("<div class=\"scroll\"><table><tr><th class=\"l\">Volume</th><th class=\"l\">Volume</th><th>Shared by these two only</th><th>Deleting both gives back</th></tr>\n")
	for _, pair := range m.Pairs {
		a, b := &r.Volumes[m.Devices[pair.A]], &r.Volumes[m.Devices[pair.B]]
		p.put("<tr><td class=\"l\">%s</td><td class=\"l\">%s</td><td>%s%s</td><td>%s%s</td></tr>\n", r.device(a), r.device(b),
			m.about(), r.size(pair.Blocks), m.about(), r.size(pair.Blocks+a.Exclusive+b.Exclusive))
	}
	p.put("</table></div>\n")
}

// largestOnly says which devices a picture leaves out.
func (p *page) largestOnly(r *Report) {
	if n := len(r.Volumes) - len(r.Sharing.Devices); n > 0 {
		p.put("<p class=\"note\">These are %d devices: those that snapshots were taken of, and those that map most. %s left out.</p>\n", len(r.Sharing.Devices), number(uint64(n), "device is", "devices are"))
	}
}

// family draws the tree of snapshots along a time axis.
func (p *page) family(r *Report) {
	m := &r.Sharing
	if !slices.ContainsFunc(m.Origins, func(o Origin) bool { return o.Of >= 0 }) {
		return
	}
	const (
		labels, width, height, top = 190, 900, 22, 26
		axis                       = width - labels - 60
	)
	order, lane := m.lanes(r.Volumes)
	now := max(uint64(r.Superblock.Time), 1)
	x := func(time uint32) float64 { return labels + min(float64(time)/float64(now), 1)*axis }
	y := func(i int) int { return top + lane[i]*height + height/2 }
	p.put("<section><h2>Family tree</h2>\n<p>From left to right is the time of the pool, which counts snapshots. A line begins where a device was created, on that of its origin. A dashed line means that the origin is likely: of those that it can be, it is the one that shares most.</p>\n")
	p.put("<div class=\"scroll\"><svg width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\"><title>Family tree of %s; the table has the same</title>\n",
		width, top+len(order)*height+4, width, top+len(order)*height+4, number(uint64(len(order)), "device", "devices"))
	p.put("<text class=\"d\" x=\"%d\" y=\"14\">time 0</text><text class=\"d\" x=\"%d\" y=\"14\" text-anchor=\"middle\">now: %d</text>\n", labels, width-60, r.Superblock.Time)
	for _, i := range order {
		v := &r.Volumes[m.Devices[i]]
		begin := x(v.CreationTime)
		p.put("<text class=\"t\" x=\"0\" y=\"%d\">%s</text>", y(i)+4, short(r.device(v), 24))
		if o := m.Origins[i]; o.Of >= 0 {
			class := "q"
			if o.Likely {
				class = "q k"
			}
			p.put("<path class=\"%s\" d=\"M%s %dV%d\"/>", class, tenth(begin), y(o.Of), y(i))
		}
		p.put("<path class=\"e\" d=\"M%s %dH%dv4H%sz\"/><circle class=\"e\" cx=\"%s\" cy=\"%d\" r=\"5\"/>\n", tenth(begin), y(i)-2, width-20, tenth(begin), tenth(begin), y(i))
	}
	p.put("</svg></div>\n<details><summary>The same as a table</summary><div class=\"scroll\"><table><tr><th class=\"l\">Device</th><th>Created</th><th class=\"l\">Origin</th></tr>\n")
	for _, i := range order {
		v, origin := &r.Volumes[m.Devices[i]], ""
		if o := m.Origins[i]; o.Of >= 0 {
			origin = r.device(&r.Volumes[m.Devices[o.Of]])
			if o.Likely {
				origin += " (likely)"
			}
		}
		p.put("<tr><td class=\"l\">%s</td><td>%d</td><td class=\"l\">%s</td></tr>\n", r.device(v), v.CreationTime, origin)
	}
	p.put("</table></div></details>\n")
	p.largestOnly(r)
	p.put("</section>\n")
}

// lanes orders the devices so that each comes directly before its snapshots; lane is the position
// of each.
func (m *Matrix) lanes(volumes []Volume) (order, lane []int) {
	children := make([][]int, len(m.Devices))
	var roots []int
	for i, o := range m.Origins {
		if o.Of < 0 {
			roots = append(roots, i)
		} else {
			children[o.Of] = append(children[o.Of], i)
		}
	}
	born := func(a, b int) int {
		return cmp.Or(cmp.Compare(volumes[m.Devices[a]].CreationTime, volumes[m.Devices[b]].CreationTime), cmp.Compare(a, b))
	}
	lane = make([]int, len(m.Devices))
	placed := make([]bool, len(m.Devices))
	var place func(int)
	place = func(i int) {
		if placed[i] {
			return
		}
		placed[i] = true
		lane[i] = len(order)
		order = append(order, i)
		slices.SortFunc(children[i], born)
		for _, c := range children[i] {
			place(c)
		}
	}
	slices.SortFunc(roots, born)
	for _, i := range roots {
		place(i)
	}
	for i := range m.Origins { // a loop, which only a wrong LVM text contains
		place(i)
	}
	return order, lane
}

// matrix shows which devices share data.
func (p *page) matrix(r *Report) {
	m := &r.Sharing
	if len(m.Devices) < 2 {
		return
	}
	p.put("<section><h2>Who shares with whom</h2>\n<p>Of what the device of a row maps, how many percent the device of a column has as well.")
	if m.Every > 1 {
		p.put(" The figures are estimates from one in %s data blocks.", count(m.Every))
	}
	p.put("</p>\n<div class=\"scroll\"><table class=\"heat\"><tr><th class=\"l\">Device</th>")
	for _, k := range m.Devices {
		p.put("<th>%d</th>", uint64(r.Volumes[k].ID))
	}
	p.put("</tr>\n")
	for i, k := range m.Devices {
		p.put("<tr><th class=\"l\">%d %s</th>", uint64(r.Volumes[k].ID), short(r.Volumes[k].Name, 24))
		for j, n := range m.Common[i] {
			switch {
			case i == j:
				p.put("<td class=\"h\">·</td>")
			case n == 0:
				p.put("<td class=\"h\"></td>")
			default:
				share := min(float64(n)/float64(max(m.Common[i][i], 1)), 1)
				p.put("<td class=\"h\" style=\"background:rgba(var(--heat),%s)\">%s</td>", fmt.Sprintf("%.1f", share*0.6), whole(share))
			}
		}
		p.put("</tr>\n")
	}
	p.put("</table></div>\n")
	p.largestOnly(r)
	p.put("</section>\n")
}

// whole formats a share in whole percent. It uses 0 and 100 only for nothing and everything.
func whole(share float64) string {
	switch n := int(share*100 + 0.5); {
	case n < 1:
		return "<1"
	case n > 99 && share < 1:
		return ">99"
	default:
		return strconv.Itoa(n)
	}
}

// Colours of the map. The fuller a cell, the more opaque it is.
const (
	empty = iota
	firstExclusive
	firstShared = firstExclusive + steps
	faulty      = firstShared + steps
	steps       = 4
)

func palette() []colour {
	colours := []colour{empty: {0x80, 0x80, 0x80, 0x30}, faulty: {0xcc, 0x79, 0xa7, 0xff}}
	for i := range steps {
		opacity := byte(0x70 + (0xff-0x70)*i/(steps-1))
		colours[firstExclusive+i] = colour{0x00, 0x72, 0xb2, opacity}
		colours[firstShared+i] = colour{0xe6, 0x9f, 0x00, opacity}
	}
	return colours
}

// pixel returns the colour of a cell.
func (c Cell) pixel(blocks uint64) byte {
	used := c.Exclusive + c.Shared
	step := byte(min(used*steps/max(blocks, 1), steps-1))
	switch {
	case c.Faulty > 0:
		return faulty
	case used == 0:
		return empty
	case c.Shared > c.Exclusive:
		return firstShared + step
	}
	return firstExclusive + step
}

// dataMap draws the data device as a Hilbert curve, and lists its parts in a table.
func (p *page) dataMap(r *Report) {
	if len(r.Cells) == 0 {
		return
	}
	side := 1
	for side*side < len(r.Cells) {
		side *= 2
	}
	pixels := make([]byte, side*side)
	for i, c := range r.Cells {
		x, y := hilbert(side, i)
		pixels[y*side+x] = c.pixel(r.cuts.start(uint64(i)+1) - r.cuts.start(uint64(i)))
	}
	title := "Map of the data device; the table has its parts"
	p.put("<section><h2>Map of the data device</h2>\n<p>The device is a curve through the square, which begins at the top left and ends at the top right: what is near on the device is near in the picture. Each of the %s cells is %s. The fuller a cell, the stronger its colour.</p>\n",
		count(uint64(len(r.Cells))), bytesText(float64(r.cuts.blocks)/float64(r.cuts.cells)*float64(r.Superblock.DataBlockSize)*block.SectorSize))
	p.key("e", "mostly of one device", "s", "mostly shared", "x", "faulty", "f", "free")
	p.put("<img class=\"map\" role=\"img\" width=\"512\" height=\"512\" alt=\"%s\" title=\"%s\" src=\"data:image/png;base64,%s\"/>\n", title, title,
		markup(base64.StdEncoding.EncodeToString(png(side, pixels, palette()))))
	p.put("<details><summary>The same as a table</summary><div class=\"scroll\"><table><tr><th>First block</th><th>Blocks</th><th>Exclusive</th><th>Shared</th><th>Faulty</th><th>Full</th></tr>\n")
	parts := r.Parts()
	used := slices.DeleteFunc(slices.Clone(parts), func(part Part) bool { return part.Cell == Cell{} })
	for _, part := range used {
		p.put("<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n", count(part.First), count(part.Blocks),
			count(part.Exclusive), count(part.Shared), count(part.Faulty), percent(part.Exclusive+part.Shared, part.Blocks))
	}
	p.put("</table></div>\n")
	if n := len(parts) - len(used); n > 0 {
		p.put("<p class=\"note\">%s left out: free, without faults.</p>\n", number(uint64(n), "part is", "parts are"))
	}
	p.put("</details></section>\n")
}

// health shows lost ranges, the lengths of runs and the fill of leaves.
func (p *page) health(r *Report) {
	p.put("<section><h2>Health of the metadata</h2>\n")
	p.lost(r)
	most := uint64(1)
	for _, b := range r.Runs {
		most = max(most, b.Blocks)
	}
	if len(r.Runs) > 0 {
		p.put("<h3>Lengths of runs</h3>\n<p>Runs are adjacent blocks of a device that are adjacent on the data device, mapped at one time. Short runs are slow to read and need more metadata.</p>\n<div class=\"scroll\"><table><tr><th>Blocks in a run</th><th>Runs</th><th>Blocks</th><th class=\"l\">Picture</th></tr>\n")
	}
	for _, b := range r.Runs {
		length := count(b.First)
		if b.Last > b.First {
			length += " to " + count(b.Last)
		}
		p.put("<tr><td>%s</td><td>%s</td><td>%s</td><td class=\"bar\">", length, count(b.Runs), count(b.Blocks))
		p.bar("", fmt.Sprintf("%s blocks in runs of %s", count(b.Blocks), length), most, part{"e", b.Blocks})
		p.put("</td></tr>\n")
	}
	if len(r.Runs) > 0 {
		p.put("</table></div>\n")
	}
	if r.Fill.Leaves > 0 {
		p.leafFill(&r.Fill)
	}
	p.put("</section>\n")
}

func (p *page) leafFill(f *Fill) {
	p.put("<h3>Fill of leaves</h3>\n<p>%s, %s full on average. thin_dump and thin_restore turn half-full leaves into full ones.</p>\n<div class=\"scroll\"><table><tr><th>Fill</th><th>Leaves</th><th class=\"l\">Picture</th></tr>\n",
		number(f.Leaves, "leaf", "leaves"), percent(f.Mappings, f.Room))
	most := max(1, slices.Max(f.Tenths[:]))
	for i, n := range f.Tenths {
		p.put("<tr><td>%d to %d%%</td><td>%s</td><td class=\"bar\">", i*10, i*10+10, count(n))
		p.bar("", fmt.Sprintf("%s leaves are %d to %d%% full", count(n), i*10, i*10+10), most, part{"e", n})
		p.put("</td></tr>\n")
	}
	p.put("</table></div>\n")
}
