package lvm

import (
	"errors"
	"fmt"

	"thinpool/disk"
	"thinpool/lvm/internal/text"
)

// A metadata area starts with a header sector, which points to the text through two slots:
//
//	 0   4  CRC of bytes 4..511            40  24  slot 0: the committed text
//	 4  16  magic                          64  24  slot 1: precommitted
//	20   4  version, 1
//	24   8  where the area begins          a slot: 0  8  offset of the text in the area, 0: none
//	32   8  its size in bytes                      8  8  length, including the final NUL
//	                                              16  4  CRC of the text, including the NUL
//	                                              20  4  flags: bit 0, ignored
//
// The rest is a ring: a text that reaches the end continues at byte 512.
const (
	areaMagic    = "\x20LVM2\x20x[5A%r0N*>"
	journalMagic = "JOURNALLED!1!1!!"
	offAreaMagic = 4
	offVersion   = 20
	offStart     = 24
	offSize      = 32
	offSlots     = 40
	slotSize     = 24
	flagIgnored  = 1
	areaVersion  = 1
)

// A MetadataArea is one of the places on a physical volume that hold the text.
type MetadataArea struct {
	Area
	Ignored      bool // LVM does not write here
	Precommitted bool // a commit was interrupted: slot 1 is in use
	TextOffset   uint64
	TextSize     uint64 // including the NUL; 0 if there is no text
	CRC          uint32 // of the text
	GroupID      string // of the text's group; empty if the text cannot be used
	Seqno        uint64
	Err          error // why the area or its text cannot be used
}

// readArea reads the header of an area.
func readArea(d *disk.Disk, a Area) MetadataArea {
	m := MetadataArea{Area: a}
	m.Err = m.readHeader(d)
	return m
}

func (m *MetadataArea) readHeader(d *disk.Disk) error {
	if m.Offset > uint64(d.Size()) {
		return fmt.Errorf("the area starts at byte %d, beyond the end", m.Offset)
	}
	b := make([]byte, sector)
	if err := d.ReadFull(b, int64(m.Offset)); err != nil {
		return err
	}
	magic := string(b[offAreaMagic:offVersion])
	switch start, version := le.Uint64(b[offStart:]), le.Uint32(b[offVersion:]); {
	case magic == journalMagic:
		return fmt.Errorf("journalled metadata areas are not supported")
	case magic != areaMagic:
		return fmt.Errorf("the area's header has a wrong magic")
	case crcUpdate(crcSeed, b[offAreaMagic:]) != le.Uint32(b):
		return fmt.Errorf("the area's header has a bad CRC")
	case version != areaVersion:
		return fmt.Errorf("the area is of version %d, want %d", version, areaVersion)
	case start != m.Offset:
		return fmt.Errorf("the area says it starts at byte %d", start)
	}
	slot := b[offSlots:]
	size := le.Uint64(b[offSize:])
	if size < 2*sector || size > mostBytes {
		return fmt.Errorf("the area says it has %d bytes", size)
	}
	m.Size = size
	m.TextOffset, m.TextSize = le.Uint64(slot), le.Uint64(slot[8:])
	m.CRC = le.Uint32(slot[16:])
	m.Ignored = le.Uint32(slot[20:])&flagIgnored != 0
	slot = slot[slotSize:]
	m.Precommitted = le.Uint64(slot) != 0 || le.Uint64(slot[8:]) != 0
	switch {
	case m.TextOffset == 0:
		m.TextSize = 0
	case m.TextOffset < sector, m.TextOffset >= m.Size, m.TextSize == 0, m.TextSize > m.Size-sector:
		return fmt.Errorf("the text is at %d and %d bytes long, in an area of %d", m.TextOffset, m.TextSize, m.Size)
	case m.TextSize > text.MaxSize:
		return fmt.Errorf("the text is %d bytes long, more than %d", m.TextSize, text.MaxSize)
	}
	return nil
}

// ring returns the one or two pieces that hold n bytes from offset on, relative to the start of the
// physical volume.
func (m *MetadataArea) ring(offset, n uint64) []Area {
	if rest := m.Size - offset; n > rest {
		return []Area{{m.Offset + offset, rest}, {m.Offset + sector, n - rest}}
	}
	return []Area{{m.Offset + offset, n}}
}

// read reads n bytes of the ring from offset on. It checks that they exist before it allocates
// memory.
func (m *MetadataArea) read(d *disk.Disk, offset, n uint64) ([]byte, error) {
	pieces := m.ring(offset, n)
	for _, p := range pieces {
		if err := d.Check(int(p.Size), int64(p.Offset)); err != nil {
			return nil, err
		}
	}
	b := make([]byte, n)
	rest := b
	for _, p := range pieces {
		if err := d.ReadFull(rest[:p.Size], int64(p.Offset)); err != nil {
			return nil, err
		}
		rest = rest[p.Size:]
	}
	return b, nil
}

// errBadText is wrapped by the error for a text whose content does not match its CRC.
var errBadText = errors.New("the text has a bad CRC")

// text reads the committed text; nil if there is none.
func (m *MetadataArea) text(d *disk.Disk) ([]byte, error) {
	if m.TextSize == 0 {
		return nil, nil
	}
	b, err := m.read(d, m.TextOffset, m.TextSize)
	if err != nil {
		return nil, err
	}
	if crcUpdate(crcSeed, b) != m.CRC {
		return nil, errBadText
	}
	return b, nil
}
