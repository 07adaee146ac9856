package command

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"thinpool/internal/cli"
	"thinpool/internal/lvmreport"
	"thinpool/internal/printable"
	"thinpool/lvm"
	"thinpool/metadata"
)

// A grid is a table: each column as wide as its widest cell. Columns in which all cells are
// empty are left out.
type grid struct {
	title   string // empty for none
	columns []string
	left    []string // of them, those that are aligned left; the others are numbers
	rows    [][]string
}

// widest bounds what a cell costs all others of its column; only the last column has none below.
const widest = 255

func (g *grid) add(cells ...string) {
	for i, c := range cells {
		if i < len(cells)-1 && len(c) > widest {
			c = strings.ToValidUTF8(c[:widest], "") + "..."
		}
		cells[i] = printable.Text(c)
	}
	g.rows = append(g.rows, cells)
}

// write writes the table, nothing if it has no rows.
func (g *grid) write(out *strings.Builder) {
	if len(g.rows) == 0 {
		return
	}
	if g.title != "" {
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(g.title + "\n")
	}
	widths := make([]int, len(g.columns))
	for _, cells := range g.rows {
		for i, c := range cells {
			if c != "" && i < len(cells)-1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(c), len(g.columns[i]))
			} else if c != "" {
				widths[i] = 1 // nothing stands right of it
			}
		}
	}
	for _, cells := range append([][]string{g.columns}, g.rows...) {
		var line strings.Builder
		for i, c := range cells {
			switch pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(c))); {
			case widths[i] == 0:
			case slices.Contains(g.left, g.columns[i]):
				line.WriteString("  " + c + pad)
			default:
				line.WriteString("  " + pad + c)
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// plainSize writes a number of bytes in the largest unit in which it is whole and below 1024, or
// as [cli.HumanSize] does.
func plainSize(bytes uint64) string {
	units := [...]string{"b", "KiB", "MiB", "GiB", "TiB", "PiB"}
	whole, unit := bytes, 0
	for whole > 0 && whole%1024 == 0 && unit < len(units)-1 {
		whole, unit = whole/1024, unit+1
	}
	if whole < 1024 {
		return strconv.FormatUint(whole, 10) + units[unit]
	}
	return cli.HumanSize(bytes)
}

func digits(n uint64) string { return strconv.FormatUint(n, 10) }

func fraction(u lvmreport.Usage) string { return fmt.Sprintf("%d/%d", u.Used, u.Total) }

// words joins words, without those that are empty.
func words(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(w string) bool { return w == "" }), ", ")
}

// print prints tables for people, and on standard error what they should know.
func (t *ThinVolumes) print(env *cli.Env, a *account) error {
	var out strings.Builder
	a.pvGrid().write(&out)
	a.vgGrid().write(&out)
	if t.Verbose > 0 {
		for _, g := range a.groups {
			allKeys(g).write(&out)
		}
	}
	a.lvGrid().write(&out)
	if t.Segments {
		a.segmentGrid().write(&out)
	}
	a.poolGrid().write(&out)
	if _, err := env.Stdout.Write([]byte(out.String())); err != nil {
		return err
	}
	sayProblems(env, a.problems)
	for _, r := range a.pools() {
		for _, d := range r.pool.differs {
			fmt.Fprintf(env.Stderr, "%s/%s: %s\n", r.group.Name, r.volume.Name, printable.Text(d.String()))
			for _, command := range d.Fix {
				fmt.Fprintf(env.Stderr, "  %s\n", command)
			}
		}
	}
	return nil
}

// pools are the rows of pools.
func (a *account) pools() []volumeRow {
	var pools []volumeRow
	for _, r := range a.rows {
		if r.isPool() {
			pools = append(pools, r)
		}
	}
	return pools
}

func (r *volumeRow) isPool() bool { return r.pool != nil && r.pool.volume == r.volume }

func (a *account) pvGrid() *grid {
	g := &grid{
		title:   "Physical volumes",
		columns: []string{"PV", "VG", "IMAGE", "BASED ON", "SIZE", "USED", "FREE", "EXTENTS", "START", "SEQNO", "ID", "PROBLEMS"},
		left:    []string{"PV", "VG", "IMAGE", "BASED ON", "ID", "PROBLEMS"},
	}
	for _, pv := range a.pvs {
		var problems []string
		for _, p := range pv.Problems {
			problems = append(problems, string(p))
		}
		name, group, image, base, size, used, free, extents, start, seqno, id := "", "", "", "", "", "", "", "", "", "", ""
		if d := pv.Disk; d != nil {
			base = strings.Join(d.Image.Backing, ", ")
			image, size, id = d.String(), plainSize(d.DeviceSize), d.ID
			if d.Seqno > 0 {
				seqno = digits(d.Seqno)
			}
		}
		if vg := pv.Group; vg != nil {
			k, extent := pv.Known, vg.ExtentSize*cli.SectorSize
			name, group, id, size = k.Name, vg.Name, k.ID, plainSize(k.Extents*extent)
			used, free = digits(pv.Used), digits(k.Extents-pv.Used)
			extents, start = digits(k.Extents), plainSize(k.Start*cli.SectorSize)
		}
		g.add(name, group, image, base, size, used, free, extents, start, seqno, id, words(problems...))
	}
	return g
}

// A groupSum is what adds up in a group.
type groupSum struct {
	extents, free uint64
	missing       int // physical volumes
}

func (a *account) sum(g *lvm.Group) groupSum {
	var s groupSum
	seen := map[*lvm.PhysicalVolume]bool{} // some are there twice
	for _, pv := range a.pvs {
		if pv.Group != g || seen[pv.Known] {
			continue
		}
		seen[pv.Known] = true
		s.extents += pv.Known.Extents
		s.free += pv.Known.Extents - pv.Used
		if pv.Known.Disk == nil {
			s.missing++
		}
	}
	return s
}

func (a *account) vgGrid() *grid {
	grid := &grid{
		title:   "Volume groups",
		columns: []string{"VG", "SEQNO", "PVS", "LVS", "SIZE", "FREE", "EXTENT", "EXTENTS", "STATUS", "ID", "NOTES"},
		left:    []string{"VG", "STATUS", "ID", "NOTES"},
	}
	for _, g := range a.groups {
		s, extent := a.sum(g), g.ExtentSize*cli.SectorSize
		notes := slices.Clone(g.Flags)
		if s.missing > 0 {
			notes = append(notes, fmt.Sprintf("%d of the PVs missing", s.missing))
		}
		for _, n := range []struct{ name, value string }{{"system id", g.SystemID}, {"lock type", g.LockType}, {"profile", g.Profile}} {
			if n.value != "" {
				notes = append(notes, n.name+" "+n.value)
			}
		}
		grid.add(g.Name, digits(g.Seqno), strconv.Itoa(len(g.PVs)), strconv.Itoa(len(g.LVs)), plainSize(s.extents*extent), plainSize(s.free*extent),
			plainSize(extent), digits(s.extents), strings.Join(g.Status, ","), g.ID, words(append(notes, tags(g.Tags))...))
	}
	return grid
}

func tags(all []string) string {
	var at []string
	for _, t := range all {
		at = append(at, "@"+t)
	}
	return strings.Join(at, " ")
}

// allKeys lists the keys that the text has of a group, known or not, and of its last change.
func allKeys(g *lvm.Group) *grid {
	grid := &grid{title: "Keys of " + g.Name, columns: []string{"KEY", "VALUE"}, left: []string{"KEY", "VALUE"}}
	for _, e := range g.Section.Entries {
		if e.Section != nil {
			continue
		}
		var items []string
		for _, item := range plainItems(e.Value) {
			items = append(items, fmt.Sprint(item))
		}
		grid.add(e.Key, words(items...))
	}
	grid.add("description", g.Description)
	grid.add("creation_host", g.CreationHost)
	grid.add("creation_time", utc(g.CreationTime))
	return grid
}

func utc(seconds int64) string { return time.Unix(seconds, 0).UTC().Format("2006-01-02 15:04:05") }

func (a *account) lvGrid() *grid {
	g := &grid{
		title:   "Logical volumes",
		columns: []string{"LV", "VG", "TYPE", "SIZE", "POOL", "ORIGIN", "DEVICE", "MADE IN", "MAPPED", "EXCLUSIVE", "DATA%", "META%", "NOTES"},
		left:    []string{"LV", "VG", "TYPE", "POOL", "ORIGIN", "NOTES"},
	}
	for i := range a.rows {
		r := &a.rows[i]
		name, kind, size, pool, origin, device, made := "(no volume)", "thin", "", "", "", "", ""
		if r.device != nil {
			pool, device, made = r.pool.volume.Name, digits(uint64(r.device.ID)), digits(r.device.TransactionID)
		}
		if v := r.volume; v != nil {
			name, kind, size = v.Name, kindOfVolume(v), plainSize(uint64(v.Size))
			if !v.Visible() {
				name = "[" + v.Name + "]"
			}
			if thin := v.Thin(); thin != nil {
				pool, origin, device, made = thin.Pool, thin.Origin, digits(thin.DeviceID), digits(thin.TransactionID)
			} else if c := cacheOf(v); c != "" {
				origin = c
			}
		}
		mapped, exclusive, data, meta := r.figures()
		g.add(name, r.group.Name, kind, size, pool, origin, device, made, mapped, exclusive, data, meta, r.notes())
	}
	return g
}

// figures are what the metadata says, as far as it is known.
func (r *volumeRow) figures() (mapped, exclusive, data, meta string) {
	switch {
	case r.pool == nil || r.pool.superblock == nil:
	case r.isPool():
		data, meta = lvmreport.DataUsage(r.pool.superblock).Percent().String(), lvmreport.MetadataUsage(r.pool.superblock).Percent().String()
	case r.device != nil:
		chunk := blockBytes(*r.pool.superblock)
		mapped = plainSize(r.device.MappedBlocks * chunk)
		if r.pool.sharing {
			exclusive = plainSize(r.device.Exclusive * chunk)
		}
		if r.volume != nil {
			data = lvmreport.VolumeUsage(r.device.MappedBlocks, r.volume.Size, chunk).Percent().String()
		}
	}
	return mapped, exclusive, data, meta
}

// kindOfVolume is the type as lvs has it, which calls volumes with one stripe linear.
func kindOfVolume(v *lvm.Volume) string {
	if len(v.Segments) == 0 {
		return ""
	}
	return kindOfSegment(&v.Segments[0])
}

func kindOfSegment(s *lvm.Segment) string {
	if s.Type == "striped" && len(s.Stripes) == 1 {
		return "linear"
	}
	return s.Type
}

// cacheOf is the volume on which another one lies that is newer in part; empty if v is none.
func cacheOf(v *lvm.Volume) string {
	if len(v.Segments) == 0 || v.Segments[0].Cache == nil {
		return ""
	}
	return v.Segments[0].Cache.Origin
}

// notes is what is not as with most volumes.
func (r *volumeRow) notes() string {
	v := r.volume
	if v == nil {
		if r.pool.waiting() && slices.Contains(r.pool.volume.ThinPool().Messages, lvm.Message{Delete: uint64(r.device.ID)}) {
			return "to be deleted"
		}
		return "LVM does not know it"
	}
	var notes []string
	add := func(is bool, format string, args ...any) {
		if is {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	add(r.partial, "a PV is missing")
	// WRITE_LOCKED is WRITE for those who know it.
	add(!slices.Contains(v.Status, "WRITE") && !slices.Contains(v.Flags, "WRITE_LOCKED"), "read-only")
	for _, w := range v.Status {
		add(w != "READ" && w != "WRITE" && w != "VISIBLE", "%s", w)
	}
	for _, w := range v.Flags {
		add(w != "WRITE_LOCKED", "%s", w)
	}
	if thin := v.Thin(); thin != nil {
		add(r.pool == nil, "the pool is not there")
		if r.pool != nil && r.device == nil && r.pool.err == nil {
			made := !r.pool.waiting() || !slices.Contains(r.pool.volume.ThinPool().Messages, lvm.Message{Create: v.Name})
			add(made, "the pool does not have it")
			add(!made, "to be made")
		}
		add(thin.ExternalOrigin != "", "on top of %s", thin.ExternalOrigin)
		add(thin.Merge != "", "to be merged into %s", thin.Merge)
	}
	return words(append(notes, tags(v.Tags))...)
}

func (a *account) poolGrid() *grid {
	g := &grid{
		title:   "Thin pools",
		columns: []string{"POOL", "VG", "CHUNK", "TRANSACTION", "IN METADATA", "DATA", "METADATA", "DISCARDS", "ZERO", "NOTES"},
		left:    []string{"POOL", "VG", "DISCARDS", "ZERO", "NOTES"},
	}
	for _, r := range a.pools() {
		p := r.volume.ThinPool()
		zero := "no"
		if p.ZeroNewBlocks {
			zero = "yes"
		}
		transaction, data, meta := "", "", ""
		var notes []string
		if sb := r.pool.superblock; sb != nil {
			transaction, data, meta = digits(sb.TransactionID), fraction(lvmreport.DataUsage(sb)), fraction(lvmreport.MetadataUsage(sb))
			if sb.Flags&metadata.NeedsCheck != 0 {
				notes = append(notes, "needs_check")
			}
		}
		if p.CropMetadata {
			notes = append(notes, "metadata cropped")
		}
		for _, m := range p.Messages {
			if r.pool.waiting() {
				notes = append(notes, "waiting: "+m.String())
			} else {
				notes = append(notes, "done: "+m.String())
			}
		}
		if r.pool.err != nil {
			notes = append(notes, "metadata cannot be read: "+r.pool.err.Error())
		}
		g.add(r.volume.Name, r.group.Name, plainSize(p.ChunkSize*cli.SectorSize), digits(p.TransactionID), transaction, data, meta, discards(p), zero, words(notes...))
	}
	return g
}

// discards is what a pool does with them; LVM leaves out the word for nothing.
func discards(p *lvm.ThinPool) string {
	if p.Discards == "" {
		return "ignore"
	}
	return p.Discards
}

func (a *account) segmentGrid() *grid {
	g := &grid{
		title:   "Segments",
		columns: []string{"LV", "VG", "START", "EXTENTS", "SIZE", "TYPE", "STRIPE", "DEVICES"},
		left:    []string{"LV", "VG", "TYPE", "DEVICES"},
	}
	for _, r := range a.rows {
		if r.volume == nil {
			continue
		}
		for i := range r.volume.Segments {
			s := &r.volume.Segments[i]
			stripe := ""
			if s.StripeSize > 0 {
				stripe = plainSize(s.StripeSize * cli.SectorSize)
			}
			g.add(r.volume.Name, r.group.Name, digits(s.Start), digits(s.Extents), plainSize(s.Extents*r.group.ExtentSize*cli.SectorSize),
				strings.Join(append([]string{kindOfSegment(s)}, s.Flags...), "+"), stripe, devices(r.group, s))
		}
	}
	return g
}

// devices are what a segment lies on, as lvs writes it: names and extents.
func devices(g *lvm.Group, s *lvm.Segment) string {
	var all []string
	for _, p := range lvmreport.Parts(g, s) {
		all = append(all, fmt.Sprintf("%s(%d)", p.Name, p.First))
	}
	return strings.Join(all, ",")
}
