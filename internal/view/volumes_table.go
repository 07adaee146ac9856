package view

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"thinpool/internal/cli"
	"thinpool/internal/lvmreport"
	"thinpool/internal/printable"
	"thinpool/lvm"
	"thinpool/metadata"
)

// PlainSize writes a number of bytes in the largest unit that gives a whole number below 1024. If
// there is none, it writes what [cli.HumanSize] returns.
func PlainSize(bytes uint64) string {
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

// words joins the words that are not empty.
func words(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(w string) bool { return w == "" }), ", ")
}

// VolumesText selects what to show besides the tables.
type VolumesText struct {
	Keys     bool // all keys of the groups
	Segments bool
}

// Text writes tables for people.
func (a *Volumes) Text(w io.Writer, show VolumesText) error {
	var out strings.Builder
	a.pvGrid().write(&out)
	a.vgGrid().write(&out)
	if show.Keys {
		for _, g := range a.Groups {
			allKeys(g).write(&out)
		}
	}
	a.lvGrid().write(&out)
	if show.Segments {
		a.segmentGrid().write(&out)
	}
	a.poolGrid().write(&out)
	_, err := io.WriteString(w, out.String())
	return err
}

// Differences prints mismatches between LVM and the metadata of pools.
func (a *Volumes) Differences(w io.Writer) {
	for _, r := range a.pools() {
		for _, d := range r.Pool.Differs {
			fmt.Fprintf(w, "%s/%s: %s\n", r.Group.Name, r.Volume.Name, printable.Text(d.String()))
			for _, command := range d.Fix {
				fmt.Fprintf(w, "  %s\n", command)
			}
		}
	}
}

// pools returns the rows of pools.
func (a *Volumes) pools() []VolumeRow {
	var pools []VolumeRow
	for _, r := range a.Rows {
		if r.isPool() {
			pools = append(pools, r)
		}
	}
	return pools
}

func (r *VolumeRow) isPool() bool { return r.Pool != nil && r.Pool.Volume == r.Volume }

func (a *Volumes) pvGrid() *table {
	g := newGrid("Physical volumes",
		[]string{"PV", "VG", "IMAGE", "BASED ON", "SIZE", "USED", "FREE", "EXTENTS", "START", "SEQNO", "ID", "PROBLEMS"},
		[]string{"PV", "VG", "IMAGE", "BASED ON", "ID", "PROBLEMS"})
	for _, pv := range a.PVs {
		var problems []string
		for _, p := range pv.Problems {
			problems = append(problems, string(p))
		}
		name, group, image, base, size, used, free, extents, start, seqno, id := "", "", "", "", "", "", "", "", "", "", ""
		if d := pv.Disk; d != nil {
			base = strings.Join(d.On.Image().Backing, ", ")
			image, size, id = d.String(), PlainSize(d.DeviceSize), d.ID
			if d.Seqno > 0 {
				seqno = digits(d.Seqno)
			}
		}
		if vg := pv.Group; vg != nil {
			k, extent := pv.Known, vg.ExtentSize*cli.SectorSize
			name, group, id, size = k.Name, vg.Name, k.ID, PlainSize(k.Extents*extent)
			if d := pv.Disk; d != nil && len(d.On.Layers()) > 0 {
				image += " > " + vg.Name
			}
			used, free = digits(pv.Used), digits(k.Extents-pv.Used)
			extents, start = digits(k.Extents), PlainSize(k.Start*cli.SectorSize)
		}
		g.add(name, group, image, base, size, used, free, extents, start, seqno, id, words(problems...))
	}
	return g
}

// A groupSum has the totals of a group.
type groupSum struct {
	extents, free uint64
	missing       int // missing physical volumes
}

func (a *Volumes) sum(g *lvm.Group) groupSum {
	var s groupSum
	seen := map[*lvm.PhysicalVolume]bool{} // a PV may be listed twice
	for _, pv := range a.PVs {
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

func (a *Volumes) vgGrid() *table {
	grid := newGrid("Volume groups",
		[]string{"VG", "SEQNO", "PVS", "LVS", "SIZE", "FREE", "EXTENT", "EXTENTS", "STATUS", "ID", "NOTES"},
		[]string{"VG", "STATUS", "ID", "NOTES"})
	for _, g := range a.Groups {
		s, extent := a.sum(g), g.ExtentSize*cli.SectorSize
		notes := slices.Clone(g.Flags)
		if s.missing > 0 {
			notes = append(notes, fmt.Sprintf("%d PVs missing", s.missing))
		}
		for _, n := range []struct{ name, value string }{{"system id", g.SystemID}, {"lock type", g.LockType}, {"profile", g.Profile}} {
			if n.value != "" {
				notes = append(notes, n.name+" "+n.value)
			}
		}
		grid.add(g.Name, digits(g.Seqno), strconv.Itoa(len(g.PVs)), strconv.Itoa(len(g.LVs)), PlainSize(s.extents*extent), PlainSize(s.free*extent),
			PlainSize(extent), digits(s.extents), strings.Join(g.Status, ","), g.ID, words(append(notes, tags(g.Tags))...))
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

// allKeys lists the keys of a group in the text, known or not, and those about its last change.
func allKeys(g *lvm.Group) *table {
	grid := newGrid("Keys of "+g.Name, []string{"KEY", "VALUE"}, []string{"KEY", "VALUE"})
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
	grid.add("creation_time", UTC(g.CreationTime))
	return grid
}

// UTC formats a time for the tables.
func UTC(seconds int64) string { return time.Unix(seconds, 0).UTC().Format("2006-01-02 15:04:05") }

func (a *Volumes) lvGrid() *table {
	g := newGrid("Logical volumes",
		[]string{"LV", "VG", "TYPE", "SIZE", "POOL", "ORIGIN", "DEVICE", "MADE IN", "MAPPED", "EXCLUSIVE", "DATA%", "META%", "NOTES"},
		[]string{"LV", "VG", "TYPE", "POOL", "ORIGIN", "NOTES"})
	for i := range a.Rows {
		r := &a.Rows[i]
		name, kind, size, pool, origin, device, made := "(no volume)", "thin", "", "", "", "", ""
		if r.Device != nil {
			pool, device, made = r.Pool.Volume.Name, digits(uint64(r.Device.ID)), digits(r.Device.TransactionID)
		}
		if v := r.Volume; v != nil {
			name, kind, size = v.Name, kindOfVolume(v), PlainSize(uint64(v.Size))
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
		g.add(name, r.Group.Name, kind, size, pool, origin, device, made, mapped, exclusive, data, meta, r.notes())
	}
	return g
}

// figures returns what the metadata says, as far as known.
func (r *VolumeRow) figures() (mapped, exclusive, data, meta string) {
	switch {
	case r.Pool == nil || r.Pool.Superblock == nil:
	case r.isPool():
		data, meta = lvmreport.DataUsage(r.Pool.Superblock).Percent().String(), lvmreport.MetadataUsage(r.Pool.Superblock).Percent().String()
	case r.Device != nil:
		chunk := BlockBytes(*r.Pool.Superblock)
		mapped = PlainSize(r.Device.MappedBlocks * chunk)
		if r.Pool.Sharing {
			exclusive = PlainSize(r.Device.Exclusive * chunk)
		}
		if r.Volume != nil {
			data = lvmreport.VolumeUsage(r.Device.MappedBlocks, r.Volume.Size, chunk).Percent().String()
		}
	}
	return mapped, exclusive, data, meta
}

// kindOfVolume returns the segment type as lvs shows it. lvs calls volumes with one stripe linear.
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

// cacheOf returns the origin that a cache volume lies on, or "" if v is not a cache volume.
func cacheOf(v *lvm.Volume) string {
	if len(v.Segments) == 0 || v.Segments[0].Cache == nil {
		return ""
	}
	return v.Segments[0].Cache.Origin
}

// notes lists what is unusual about a volume.
func (r *VolumeRow) notes() string {
	v := r.Volume
	if v == nil {
		if r.Pool.Waiting() && slices.Contains(r.Pool.Volume.ThinPool().Messages, lvm.Message{Delete: uint64(r.Device.ID)}) {
			return "to be deleted"
		}
		return "unknown to LVM"
	}
	var notes []string
	add := func(is bool, format string, args ...any) {
		if is {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	add(r.Partial, "a PV is missing")
	// WRITE_LOCKED means WRITE to versions of LVM that know the flag.
	add(!slices.Contains(v.Status, "WRITE") && !slices.Contains(v.Flags, "WRITE_LOCKED"), "read-only")
	for _, w := range v.Status {
		add(w != "READ" && w != "WRITE" && w != "VISIBLE", "%s", w)
	}
	for _, w := range v.Flags {
		add(w != "WRITE_LOCKED", "%s", w)
	}
	if thin := v.Thin(); thin != nil {
		add(r.Pool == nil, "the pool is missing")
		if r.Pool != nil && r.Device == nil && r.Pool.Err == nil {
			made := !r.Pool.Waiting() || !slices.Contains(r.Pool.Volume.ThinPool().Messages, lvm.Message{Create: v.Name})
			add(made, "not in the pool")
			add(!made, "to be created")
		}
		add(thin.ExternalOrigin != "", "on top of %s", thin.ExternalOrigin)
		add(thin.Merge != "", "to be merged into %s", thin.Merge)
	}
	return words(append(notes, tags(v.Tags))...)
}

func (a *Volumes) poolGrid() *table {
	g := newGrid("Thin pools",
		[]string{"POOL", "VG", "CHUNK", "TRANSACTION", "IN METADATA", "DATA", "METADATA", "DISCARDS", "ZERO", "NOTES"},
		[]string{"POOL", "VG", "DISCARDS", "ZERO", "NOTES"})
	for _, r := range a.pools() {
		p := r.Volume.ThinPool()
		zero := "no"
		if p.ZeroNewBlocks {
			zero = "yes"
		}
		transaction, data, meta := "", "", ""
		var notes []string
		if sb := r.Pool.Superblock; sb != nil {
			transaction, data, meta = digits(sb.TransactionID), fraction(lvmreport.DataUsage(sb)), fraction(lvmreport.MetadataUsage(sb))
			if sb.Flags&metadata.NeedsCheck != 0 {
				notes = append(notes, "needs_check")
			}
		}
		if p.CropMetadata {
			notes = append(notes, "metadata cropped")
		}
		for _, m := range p.Messages {
			if r.Pool.Waiting() {
				notes = append(notes, "waiting: "+m.String())
			} else {
				notes = append(notes, "done: "+m.String())
			}
		}
		if r.Pool.Err != nil {
			notes = append(notes, "metadata cannot be read: "+r.Pool.Err.Error())
		}
		g.add(r.Volume.Name, r.Group.Name, PlainSize(p.ChunkSize*cli.SectorSize), digits(p.TransactionID), transaction, data, meta, discards(p), zero, words(notes...))
	}
	return g
}

// discards returns how a pool handles discards. LVM omits the word when they are ignored.
func discards(p *lvm.ThinPool) string {
	if p.Discards == "" {
		return "ignore"
	}
	return p.Discards
}

func (a *Volumes) segmentGrid() *table {
	g := newGrid("Segments",
		[]string{"LV", "VG", "START", "EXTENTS", "SIZE", "TYPE", "STRIPE", "DEVICES"},
		[]string{"LV", "VG", "TYPE", "DEVICES"})
	for _, r := range a.Rows {
		if r.Volume == nil {
			continue
		}
		for i := range r.Volume.Segments {
			s := &r.Volume.Segments[i]
			stripe := ""
			if s.StripeSize > 0 {
				stripe = PlainSize(s.StripeSize * cli.SectorSize)
			}
			g.add(r.Volume.Name, r.Group.Name, digits(s.Start), digits(s.Extents), PlainSize(s.Extents*r.Group.ExtentSize*cli.SectorSize),
				strings.Join(append([]string{kindOfSegment(s)}, s.Flags...), "+"), stripe, devices(r.Group, s))
		}
	}
	return g
}

// devices lists what a segment lies on, in lvs format: names and extents.
func devices(g *lvm.Group, s *lvm.Segment) string {
	var all []string
	for _, p := range lvmreport.Parts(g, s) {
		all = append(all, fmt.Sprintf("%s(%d)", p.Name, p.First))
	}
	return strings.Join(all, ",")
}
