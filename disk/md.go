package disk

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"thinpool/disk/internal/partition"
	"thinpool/internal/md"
)

// An mdArray has the members found of an md array.
type mdArray struct {
	members []md.Member
	disks   []*Disk
	media   []*Medium // containing the members
}

// mdRefusal returns the reason not to write to a member.
func (d *Disk) mdRefusal(s *md.Superblock) error {
	return fmt.Errorf("%v is a member of a software RAID (md %s, %s): refusing to write, because its members would differ. Assemble the array with mdadm and write to that", d, s.Version, s.LevelName())
}

// member returns the superblock that makes d a member of an md array; nil if there is none.
func (d *Disk) member() (*md.Superblock, error) {
	sb, err := md.Recognise(d, d.size)
	if part, _ := d.around(sb); part != nil {
		return nil, nil
	}
	return sb, err
}

// around returns the partition of d that a version 0.90 superblock at the end of d belongs to; nil if
// it belongs to d itself. Such a superblock does not store where its member starts, and has the same
// place in both cases. But it stores how much of the member the array uses. If a partition contains
// all of that, around takes the superblock for the partition's, as libblkid does. It is sure if the
// array uses the whole partition.
func (d *Disk) around(sb *md.Superblock) (part *partition.Partition, sure bool) {
	const reserved = 64 << 10 // for the superblock
	if sb == nil || sb.Version != "0.90" {
		return nil, false
	}
	table, err := partition.Read(d, d.size)
	if err != nil || table.Beyond { // the table may belong to an array
		return nil, false
	}
	for _, p := range table.Partitions {
		unused := sb.DataSize - sb.Used - p.Start
		if unused >= 0 && p.Start <= sb.DataSize && p.Start+p.Size >= sb.DataSize+reserved {
			return &p, sb.Used > 0 && unused <= sb.Chunk
		}
	}
	return nil, false
}

// doubtfulMember is the error for writing to a disk whose md superblock cannot be read or makes no
// sense.
func (d *Disk) doubtfulMember(err error) error {
	return fmt.Errorf("%v: cannot tell whether it is a member of a software RAID, so refusing to write: %w", d, err)
}

// md recognises a member of an array and keeps it until all of them are found. It comes before all
// other layers: a member with its superblock at the end starts like its content.
func (s *search) md(m *Medium, d *Disk) bool {
	sb, err := md.Recognise(d, d.size)
	part, sure := d.around(sb)
	switch {
	case err != nil: // the content may still be readable
		d.fixed = d.doubtfulMember(err)
		s.problem(true, "%v: %v", d, err)
		return false
	case sb == nil, sure:
		return false
	case part != nil:
		s.problem(false, "%v: its md superblock (0.90) does not say whether it is that of the disk or of %v: taken for that of the partition, where it has room", d, part)
		return false
	}
	a := s.arrays[sb.UUID]
	if a == nil {
		a = &mdArray{}
		s.arrays[sb.UUID], s.order = a, append(s.order, sb.UUID)
	}
	a.members = append(a.members, md.Member{Name: d.String(), R: d, Size: d.size, Super: sb})
	a.disks, a.media = append(a.disks, d), append(a.media, m)
	m.Opened++
	return true
}

// assemble opens the arrays whose members were found. An array's members may be on another array.
func (s *search) assemble(ctx context.Context) {
	for len(s.order) > 0 {
		a := s.arrays[s.order[0]]
		delete(s.arrays, s.order[0])
		s.order = s.order[1:]
		s.array(ctx, a)
	}
}

// array opens an array.
func (s *search) array(ctx context.Context, found *mdArray) {
	newest := slices.MaxFunc(found.members, func(a, b md.Member) int { return cmp.Compare(a.Super.Events, b.Super.Events) }).Super
	name := fmt.Sprintf("array %s (%s)", cmp.Or(newest.Name, newest.UUID.String()), newest.LevelName())
	members, opt := s.wanted(found.members, newest)
	if len(members) == 0 {
		s.problem(false, "%s: no leg %d here: %s", name, s.opt.Leg, have(found, newest))
		return
	}
	gone := missing(found.members, newest)
	a, err := md.Assemble(members, opt)
	switch {
	case err != nil && gone != "":
		s.problem(false, "%s: %s (%v)", name, gone, err)
		return
	case err != nil:
		s.problem(false, "%s: %v", name, err)
		return
	case gone != "":
		s.problem(false, "%s: %s; reading without it", name, gone)
	}
	for _, u := range a.Unused {
		s.problem(false, "%s: %s is not used: %s", name, members[u.Member].Name, u.Reason)
	}
	for _, note := range a.Notes {
		s.problem(false, "%s: %s", name, note)
	}
	s.open(ctx, found, a)
}

// open searches an array.
func (s *search) open(ctx context.Context, found *mdArray, a *md.Array) {
	d := found.disks[0].made("md "+a.Super.LevelName(), a, a.Size())
	d.Members = found.disks
	d.fixed = fmt.Errorf("%v is read-only: to write, assemble the array with mdadm", d)
	depth := 0
	for _, m := range found.media {
		depth = max(depth, m.depth)
	}
	s.deeper(ctx, d, depth)
}

// wanted returns the members to assemble: all, or only the requested leg of a mirror, even if it is old.
func (s *search) wanted(members []md.Member, newest *md.Superblock) ([]md.Member, md.Options) {
	if s.opt.Leg == 0 || newest.Level != 1 {
		return members, md.Options{}
	}
	var leg []md.Member
	for _, m := range members {
		if m.Super.Role == s.opt.Leg-1 {
			leg = append(leg, m)
		}
	}
	return leg, md.Options{Stale: true}
}

// missing lists the positions in an array without a member; empty if complete.
func missing(members []md.Member, newest *md.Superblock) string {
	var gone []string
	for role := range newest.Devices {
		if !slices.ContainsFunc(members, func(m md.Member) bool { return m.Super.Role == role }) {
			gone = append(gone, fmt.Sprint(role+1))
		}
	}
	switch len(gone) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("member %s of %d is missing: add --pv IMAGE", gone[0], newest.Devices)
	}
	return fmt.Sprintf("members %s of %d are missing: add --pv IMAGE for each", strings.Join(gone, ", "), newest.Devices)
}

// have lists the members found, with their positions.
func have(found *mdArray, newest *md.Superblock) string {
	var list []string
	for _, m := range found.members {
		list = append(list, fmt.Sprintf("%s is leg %d of %d", m.Name, m.Super.Role+1, newest.Devices))
	}
	return strings.Join(list, ", ")
}
