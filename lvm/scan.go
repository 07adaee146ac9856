package lvm

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"thinpool/disk"
)

// A Disk is a physical volume found in an image.
type Disk struct {
	On         *disk.Disk
	ID         string // with dashes
	Sector     int    // of the label
	DeviceSize uint64 // bytes, from the label; the value in the text is better
	DataAreas  []Area
	BootAreas  []Area
	Metadata   []MetadataArea
	Version    uint32 // of the header extension; 0 if there is none
	Used       bool   // in use by a group according to the extension
	GroupID    string // of the group its own texts describe; empty if there are none
	Seqno      uint64 // highest of its texts
}

func (d *Disk) String() string { return d.On.String() }

// A Problem is something a user should know.
type Problem = disk.Problem

func (g *Group) problem(format string, args ...any) {
	g.Problems = append(g.Problems, Problem{Text: fmt.Sprintf(format, args...)})
}

// distrust records a reason not to write to the group. Only the first is kept.
func (g *Group) distrust(format string, args ...any) {
	if g.doubt == nil {
		g.doubt = fmt.Errorf(format, args...)
	}
}

// A Set is everything found in images.
type Set struct {
	Found    *disk.Found // where physical volumes were searched
	Disks    []*Disk     // in the order of the images
	Groups   []*Group    // by name, then by id
	Problems []Problem
}

// Options for [Scan].
type Options struct {
	How disk.How // how to open layers above the disks
	// Backup is a group from [ParseBackup]. It replaces what the disks say about the group with its
	// id. Scan sets its disks and problems, so use it for one Scan only.
	Backup *Group
	// PVs says which images hold which physical volumes of Backup, by their names in it (pv0). This
	// is for physical volumes that have lost their labels. They start at the image's offset.
	PVs map[string]*disk.Disk
}

// Scan finds the physical volumes in images, and their groups. Of all texts about a group, the one
// with the highest seqno counts. Anything unreadable or wrong becomes a problem of the set or its
// groups. The error is for the end of ctx, and for options that name a physical volume that does
// not exist.
func Scan(ctx context.Context, opt Options, disks ...*disk.Disk) (*Set, error) {
	s := &scanner{set: &Set{}, best: map[string]*Group{}, disks: map[string][]*Disk{}, named: map[string]*Disk{}}
	if err := s.addGivenDisks(opt); err != nil {
		return nil, err
	}
	found, err := disk.Search(ctx, opt.How, disks...)
	if err != nil {
		return nil, err
	}
	s.set.Found, s.set.Problems = found, append(s.set.Problems, found.Problems...)
	for _, m := range found.Media {
		if err := s.medium(ctx, m); err != nil {
			return nil, err
		}
	}
	if opt.Backup != nil {
		s.best[opt.Backup.ID] = opt.Backup
	}
	for _, g := range s.best {
		s.set.Groups = append(s.set.Groups, g)
	}
	slices.SortFunc(s.set.Groups, func(a, b *Group) int {
		return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID)
	})
	for _, g := range s.set.Groups {
		s.attach(g)
	}
	s.findSameNames()
	s.findOrphans()
	return s.set, nil
}

type scanner struct {
	set   *Set
	best  map[string]*Group // by id
	disks map[string][]*Disk
	named map[string]*Disk // by the id that the caller assigns to it
}

func (s *scanner) problem(format string, args ...any) {
	s.set.Problems = append(s.set.Problems, Problem{Text: fmt.Sprintf(format, args...)})
}

func (s *scanner) note(format string, args ...any) {
	s.set.Problems = append(s.set.Problems, Problem{Note: true, Text: fmt.Sprintf(format, args...)})
}

// medium looks for physical volumes in an image and its partitions.
func (s *scanner) medium(ctx context.Context, m *disk.Medium) error {
	var found []*disk.Disk
	var odd []string
	for _, d := range m.Plain {
		if err := ctx.Err(); err != nil {
			return err
		}
		l, unlike, err := findLabel(d)
		if err != nil {
			s.problem("%v", err)
			continue
		}
		odd = append(odd, unlike...)
		if l != nil {
			found = append(found, d)
			s.disk(d, l)
		}
	}
	s.noteOddities(m, found, odd)
	return nil
}

// noteOddities reports oddities of the physical volumes found in a medium.
func (s *scanner) noteOddities(m *disk.Medium, found []*disk.Disk, odd []string) {
	odd = slices.Concat(m.Looks, odd)
	if len(found) == 0 && m.Opened+m.Closed == 0 {
		text := fmt.Sprintf("no LVM label in %v", m)
		if m.Partitions > 0 {
			text += fmt.Sprintf(" (%d partitions searched)", m.Partitions)
		}
		s.problem("%s", strings.Join(append([]string{text}, odd...), "; "))
		return
	}
	for _, text := range odd {
		s.note("%s", text)
	}
	if len(found) == 0 || found[0] != m.Disk || m.Partitions == 0 {
		return
	}
	text := fmt.Sprintf("%v has both a label and a partition table: one of them is a leftover", m)
	for _, d := range found[1:] {
		text += fmt.Sprintf("; %v has a label, too: @%d", d, d.Start())
	}
	s.problem("%s", text)
}

// disk reads the metadata areas of a physical volume.
func (s *scanner) disk(on *disk.Disk, l *label) {
	d := &Disk{
		On: on, ID: l.id, Sector: l.sector, DeviceSize: l.deviceSize, DataAreas: l.data, BootAreas: l.boot,
		Version: l.version, Used: l.flags&1 != 0,
	}
	s.set.Disks = append(s.set.Disks, d)
	s.disks[d.ID] = append(s.disks[d.ID], d)
	for _, a := range l.metadata {
		m := readArea(on, a)
		if m.Err == nil {
			m.Err = s.text(d, &m)
		}
		if m.Err != nil {
			s.problem("%v: metadata area at byte %d: %v", d, m.Offset, m.Err)
		}
		d.Metadata = append(d.Metadata, m)
	}
}

// text reads the text of an area and keeps it if it is the best of its group so far.
func (s *scanner) text(d *Disk, m *MetadataArea) error {
	if m.Precommitted {
		s.note("%v: a commit was interrupted: a second text was ignored", d)
	}
	if m.Ignored {
		s.note("%v: the metadata area at byte %d is marked as ignored", d, m.Offset)
		return nil
	}
	p, err := m.text(d.On)
	if p == nil || err != nil {
		return err
	}
	g, err := s.parse(p, m.CRC)
	if err != nil {
		return fmt.Errorf("text: %w", err)
	}
	m.GroupID, m.Seqno = g.ID, g.Seqno
	if d.GroupID != "" && d.GroupID != g.ID {
		s.problem("%v: its metadata areas belong to different volume groups", d)
	}
	if d.GroupID == "" || g.Seqno >= d.Seqno {
		d.GroupID, d.Seqno = g.ID, g.Seqno
	}
	switch best := s.best[g.ID]; {
	case best == nil || g.Seqno > best.Seqno:
		s.best[g.ID] = g
	case g.Seqno == best.Seqno && g.crc != best.crc:
		best.problem("%v: the text with sequence number %d differs from that on other physical volumes", d, g.Seqno)
		best.distrust("different texts have the same sequence number")
	}
	return nil
}

// parse parses a text unless the same text has been parsed already. Most are identical.
func (s *scanner) parse(p []byte, crc uint32) (*Group, error) {
	for _, g := range s.best {
		if g.crc == crc && bytes.Equal(g.Text, bytes.TrimSuffix(p, []byte{0})) {
			return g, nil
		}
	}
	g, err := ParseGroup(p)
	if err == nil {
		g.crc = crc
	}
	return g, err
}

// attach assigns disks to the physical volumes of a group.
func (s *scanner) attach(g *Group) {
	for _, pv := range g.PVs {
		found := s.disks[pv.ID]
		switch {
		case s.named[pv.ID] != nil:
			pv.Disk = s.named[pv.ID]
			g.distrust("nothing on %s confirms the backup", pv.Name)
		case len(found) > 1:
			pv.Twice = found
			g.problem("%s (%s) was found %d times, as %v: leave out all but one", pv.Name, pv.ID, len(found), joined(found))
		case len(found) == 0:
			g.problem("%s (%s, last seen as %s) is missing", pv.Name, pv.ID, pv.Device)
		default:
			g.attachDisk(pv, found[0])
		}
	}
	for _, d := range s.set.Disks {
		if d.GroupID == g.ID && g.pvByID[d.ID] == nil {
			g.problem("%v (%s) has metadata of %s but does not belong to it", d, d.ID, g.Name)
		}
	}
}

// attachDisk assigns a disk to a physical volume and reports oddities.
func (g *Group) attachDisk(pv *PhysicalVolume, d *Disk) {
	if d.GroupID != "" && d.GroupID != g.ID {
		g.problem("%s (%s) now belongs to another volume group: %v is not used", pv.Name, pv.ID, d)
		return
	}
	pv.Disk = d
	switch {
	case d.GroupID == "" || d.Seqno == g.Seqno:
	case d.Seqno < g.Seqno:
		g.problem("%v: its metadata (sequence number %d) is older than that of the volume group (%d): it was missing, and its data may be stale", d, d.Seqno, g.Seqno)
		g.distrust("%s has an older text", pv.Name)
	default: // the group is from a backup
		g.problem("%v: its metadata (sequence number %d) is newer than the backup (%d)", d, d.Seqno, g.Seqno)
		g.distrust("%s has a newer text", pv.Name)
	}
	for _, m := range d.Metadata {
		if m.Err != nil { // it may be newer
			g.distrust("%s has a text that cannot be read", pv.Name)
		}
	}
	if pv.Missing() {
		g.problem("%s (%v): LVM has marked it as missing: its data may be stale", pv.Name, d)
	}
	if end := int64(pv.Start)*sector + int64(pv.Extents)*g.extentBytes(); end > d.On.Size() {
		g.problem("%s: %v is %d bytes shorter than its extents", pv.Name, d, end-d.On.Size())
	}
}

func joined(disks []*Disk) string {
	names := make([]string, len(disks))
	for i, d := range disks {
		names[i] = d.String()
	}
	return strings.Join(names, " and ")
}

// findSameNames reports groups that differ only in their ids.
func (s *scanner) findSameNames() {
	for i, g := range s.set.Groups {
		if i > 0 && s.set.Groups[i-1].Name == g.Name {
			s.problem("two volume groups are called %s: %s and %s", g.Name, s.set.Groups[i-1].ID, g.ID)
		}
	}
}

// findOrphans reports physical volumes without a group.
func (s *scanner) findOrphans() {
	for _, d := range s.set.Disks {
		known := d.GroupID != "" || slices.ContainsFunc(s.set.Groups, func(g *Group) bool { return g.pvByID[d.ID] != nil })
		switch {
		case known:
		case d.Used:
			s.problem("%v (%s) belongs to a volume group whose metadata was not found", d, d.ID)
		default:
			s.note("%v (%s) is a physical volume without a volume group", d, d.ID)
		}
	}
}

// addGivenDisks records the disks the caller names.
func (s *scanner) addGivenDisks(opt Options) error {
	for name, on := range opt.PVs {
		var pv *PhysicalVolume
		if opt.Backup != nil {
			pv = opt.Backup.PV(name)
		}
		if pv == nil {
			return fmt.Errorf("no physical volume %s", name)
		}
		s.named[pv.ID] = &Disk{On: on, ID: pv.ID}
	}
	return nil
}

// Group returns the group with the given name or id. It is an error if there is none, or if several
// groups have that name.
func (s *Set) Group(name string) (*Group, error) {
	var found *Group
	for _, g := range s.Groups {
		switch {
		case g.ID == name:
			return g, nil
		case g.Name != name:
		case found != nil:
			return nil, fmt.Errorf("more than one volume group is called %s: give the id of one", name)
		default:
			found = g
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no volume group %s", name)
	}
	return found, nil
}
