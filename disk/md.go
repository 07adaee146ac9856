package disk

import (
	"fmt"
	"io"
)

// Superblocks of md: where they are depends on the version, and what is in them on whether that is 0.90.
const (
	mdMagic       = 0xa92b4efc
	mdMajor       = 4
	mdLevel       = 72
	mdDataOffset  = 128 // sectors
	mdDataSize    = 136
	mdSuperOffset = 144
	mdAtEnd       = 8 << 10

	mdOldReserved = 64 << 10
	mdOldLevel    = 28
	mdOldSize     = 32 // KiB

	mdMost = 1 << 53 // sectors
)

// An mdMember is a member of a software RAID.
type mdMember struct {
	version    string
	level      int32
	data, size int64 // where its data is, in bytes
}

func (m *mdMember) String() string { return fmt.Sprintf("md %s, level %d", m.version, m.level) }

// recogniseMD looks for a superblock of md: also at the end, where what lies in front of it looks
// like a disk of its own.
func recogniseMD(r io.ReaderAt, size int64) *mdMember {
	for _, v := range []struct {
		version string
		at      int64
	}{
		{"1.2", 4096},
		{"1.1", 0},
		{"1.0", (size - mdAtEnd) &^ 4095},
		{"0.90", size&^(mdOldReserved-1) - mdOldReserved},
	} {
		var b [sector]byte
		if v.at < 0 || v.at > size-sector {
			continue
		}
		if n, _ := r.ReadAt(b[:], v.at); n < len(b) || le.Uint32(b[:]) != mdMagic {
			continue
		}
		m := &mdMember{version: v.version}
		switch major := le.Uint32(b[mdMajor:]); {
		case major == 0 && v.version == "0.90":
			m.level, m.size = int32(le.Uint32(b[mdOldLevel:])), int64(le.Uint32(b[mdOldSize:]))<<10
		// The last partition may end where the disk does: a superblock at the end is of that which
		// begins where it says.
		case major == 1 && v.version != "0.90" && le.Uint64(b[mdSuperOffset:]) == uint64(v.at)/sector:
			m.level = int32(le.Uint32(b[mdLevel:]))
			m.data = int64(min(le.Uint64(b[mdDataOffset:]), mdMost)) * sector
			m.size = int64(min(le.Uint64(b[mdDataSize:]), mdMost)) * sector
		default:
			continue
		}
		return m
	}
	return nil
}

// md recognises a member of a software RAID. A leg of a mirror is read alone.
func (s *search) md(m *Medium, d *Disk) bool {
	member := recogniseMD(d, d.size)
	switch {
	case member == nil:
		return false
	case member.level != 1 || member.data >= d.size:
		m.look("%v looks like a member of a software RAID (%v): assemble it first", d, member)
		return true
	}
	s.problem(false, "%v is a leg of a software RAID (%v), and is read alone", d, member)
	leg := &Disk{
		Name: d.Name, Layers: append(d.Layers[:len(d.Layers):len(d.Layers)], "md raid1"), fixed: d.mdRefusal(member),
		below: d, start: member.data, size: min(member.size, d.size-member.data),
	}
	s.inside(m, leg)
	return true
}

func (d *Disk) mdRefusal(m *mdMember) error {
	return fmt.Errorf("%v is a member of a software RAID (%v), which is not written to alone, as its members would differ: assemble the array with mdadm, and write to that", d, m)
}
