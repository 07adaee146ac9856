// Package lvmreport reports what pvs, vgs and lvs would show about disks used by LVM: the physical
// volumes and how much of them is used, the devices under each volume, how full thin pools and thin
// volumes are, and which old texts the metadata areas still hold.
package lvmreport

import (
	"slices"
	"sort"

	"thinpool/disk"
	"thinpool/lvm"
	"thinpool/metadata/block"
)

// A Problem is something wrong or unusual about a physical volume. The values are stable.
type Problem string

// The problems.
const (
	Missing      Problem = "missing"        // it is not in any of the images
	WrittenOff   Problem = "written-off"    // LVM has given up on it: its data may be stale
	Stale        Problem = "stale"          // its text is older than the group's: it was missing for a while
	Newer        Problem = "newer"          // its text is newer than the given backup
	Twice        Problem = "twice"          // another one has the same id, so neither is used
	OtherGroup   Problem = "other-group"    // its label and text belong to another group by now
	NoGroup      Problem = "no-group"       // it is not in any known group
	Short        Problem = "short"          // the image ends before its last extent
	IgnoredArea  Problem = "ignored-area"   // a metadata area that LVM does not use
	BadArea      Problem = "bad-area"       // a metadata area or the text in it cannot be used
	Interrupted  Problem = "interrupted"    // a commit was interrupted: there is a second text
	UsedTwice    Problem = "used-twice"     // two volumes use the same extent
	BeyondTheEnd Problem = "beyond-the-end" // a volume uses extents beyond its end
)

// sector is the unit of sizes in LVM's text.
const sector = block.SectorSize

// A PV is a physical volume: known to a group, found on a disk, or both.
type PV struct {
	Group    *lvm.Group          // nil: in no known group
	Known    *lvm.PhysicalVolume // nil without a group
	Disk     *lvm.Disk           // nil: not found
	Used     uint64              // extents used by volumes
	Problems []Problem
}

// PVs returns the physical volumes of all groups in the order of their texts. If one exists twice,
// each copy gets a row. Those without a group follow in the order of the images.
func PVs(set *lvm.Set) []PV {
	var rows []PV
	type spot struct {
		img   *disk.Disk
		start int64
	}
	listed := map[spot]bool{} // a disk named by the caller is a different object than the one found there
	add := func(pv PV, problems ...Problem) {
		pv.Problems = append(problems, ofDisk(pv)...)
		rows = append(rows, pv)
		if pv.Disk != nil {
			listed[spot{pv.Disk.On.Image(), pv.Disk.On.Start()}] = true
		}
	}
	found := map[string]bool{}
	for _, d := range set.Disks {
		found[d.ID] = true
	}
	for _, g := range set.Groups {
		used := allocations(g)
		for _, known := range g.PVs {
			pv := PV{Group: g, Known: known, Disk: known.Disk, Used: used[known].extents}
			problems := used[known].problems
			if known.Missing() {
				problems = append(problems, WrittenOff)
			}
			for _, d := range known.Twice {
				pv.Disk = d
				add(pv, append(slices.Clone(problems), Twice)...)
			}
			switch {
			case pv.Disk == nil && found[known.ID]:
				add(pv, append(problems, OtherGroup)...)
			case pv.Disk == nil:
				add(pv, append(problems, Missing)...)
			case known.Twice == nil:
				add(pv, problems...)
			}
		}
	}
	for _, d := range set.Disks {
		if !listed[spot{d.On.Image(), d.On.Start()}] {
			add(PV{Disk: d}, NoGroup)
		}
	}
	return rows
}

// ofDisk returns the problems with the disk of a physical volume.
func ofDisk(pv PV) []Problem {
	d := pv.Disk
	if d == nil {
		return nil
	}
	var problems []Problem
	add := func(is bool, p Problem) {
		if is && !slices.Contains(problems, p) {
			problems = append(problems, p)
		}
	}
	if g := pv.Group; g != nil {
		add(d.GroupID == g.ID && d.Seqno < g.Seqno, Stale)
		add(d.GroupID == g.ID && d.Seqno > g.Seqno, Newer)
		add(uint64(d.On.Size())/sector < pv.Known.Start+pv.Known.Extents*g.ExtentSize, Short)
	}
	for _, m := range d.Metadata {
		add(m.Err != nil, BadArea)
		add(m.Ignored, IgnoredArea)
		add(m.Precommitted, Interrupted)
	}
	return problems
}

// An allocation is the space that volumes use on a physical volume.
type allocation struct {
	extents  uint64
	problems []Problem
}

// A stretch is a range of extents of a physical volume.
type stretch struct{ begin, end uint64 }

// allocations returns the space that the volumes of a group use.
func allocations(g *lvm.Group) map[*lvm.PhysicalVolume]allocation {
	taken := map[*lvm.PhysicalVolume][]stretch{}
	for _, v := range g.LVs {
		for i := range v.Segments {
			s := &v.Segments[i]
			each := s.Extents
			if s.Type != "mirror" && len(s.Stripes) > 0 {
				each /= uint64(len(s.Stripes))
			}
			for _, p := range Parts(g, s) {
				if p.PV != nil {
					taken[p.PV] = append(taken[p.PV], stretch{p.First, p.First + each})
				}
			}
		}
	}
	all := map[*lvm.PhysicalVolume]allocation{}
	for pv, stretches := range taken {
		all[pv] = allocationOf(pv, stretches)
	}
	return all
}

// allocationOf counts each existing extent once.
func allocationOf(pv *lvm.PhysicalVolume, stretches []stretch) allocation {
	var a allocation
	twice, beyond := false, false
	next := uint64(0)
	sort.Slice(stretches, func(i, j int) bool { return stretches[i].begin < stretches[j].begin })
	for _, s := range stretches {
		twice = twice || s.begin < next && s.begin < s.end
		beyond = beyond || s.end > pv.Extents
		begin, end := max(s.begin, next), min(s.end, pv.Extents)
		if begin < end {
			a.extents += end - begin
		}
		next = max(next, s.end)
	}
	if twice {
		a.problems = append(a.problems, UsedTwice)
	}
	if beyond {
		a.problems = append(a.problems, BeyondTheEnd)
	}
	return a
}
