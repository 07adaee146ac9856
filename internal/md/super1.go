package md

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Offsets in version 1 superblocks, which are little-endian.
const (
	off1Magic       = 0
	off1Major       = 4
	off1Features    = 8
	off1UUID        = 16
	off1Name        = 32
	off1Created     = 64
	off1Level       = 72
	off1Layout      = 76
	off1Size        = 80
	off1Chunk       = 88
	off1Devices     = 92
	off1DataOffset  = 128
	off1DataSize    = 136
	off1SuperOffset = 144
	off1Recovery    = 152
	off1Number      = 160
	off1Device      = 168
	off1BadShift    = 185
	off1BadSize     = 186
	off1BadOffset   = 188
	off1Updated     = 192
	off1Events      = 200
	off1Resync      = 208
	off1Sum         = 216
	off1MaxDevices  = 220
	off1Roles       = 256

	magic = 0xa92b4efc
)

// Features of version 1.
const (
	featBitmap = 1 << iota
	featRecovery
	featReshape
	featBad
	featReplacement
	featBackwards
	featNewOffset
	featRecoveryBitmap
	featClustered
	featJournal
	featPPL
	featPPLs
	featRaid0Layout

	featKnown = featRaid0Layout<<1 - 1
)

// layoutUnknown is the layout of a raid0 that does not say which of two ways it uses.
const layoutUnknown = -1

var le = binary.LittleEndian

// decode1 decodes a superblock of version 1.
func decode1(b []byte, at int64) (*Superblock, error) {
	if le.Uint32(b[off1Magic:]) != magic || le.Uint32(b[off1Major:]) != 1 || le.Uint64(b[off1SuperOffset:]) != uint64(at/sector) {
		return nil, errNone
	}
	devices := le.Uint32(b[off1MaxDevices:])
	if devices > (superSize-off1Roles)/2 {
		return nil, fmt.Errorf("it says that it has %d roles", devices)
	}
	if got, want := le.Uint32(b[off1Sum:]), sum1(b[:off1Roles+2*devices]); got != want {
		return nil, fmt.Errorf("its checksum is %#08x, should be %#08x", got, want)
	}
	features := le.Uint32(b[off1Features:])
	if unknown := features &^ featKnown; unknown != 0 {
		return nil, fmt.Errorf("it has features that are not known (%#x)", unknown)
	}
	s := &Superblock{
		UUID: UUID(b[off1UUID:]), Device: UUID(b[off1Device:]), Name: text(b[off1Name:off1Created]),
		Level: int(int32(le.Uint32(b[off1Level:]))), Layout: int(int32(le.Uint32(b[off1Layout:]))),
		Chunk: int64(le.Uint32(b[off1Chunk:])) * sector, Devices: int(le.Uint32(b[off1Devices:])),
		Updated: time.Unix(int64(le.Uint64(b[off1Updated:])&(1<<40-1)), 0), // the upper bits are microseconds
		Events:  le.Uint64(b[off1Events:]), Clean: le.Uint64(b[off1Resync:]) == math.MaxUint64, Recovered: -1,
		Bitmap: features&featBitmap != 0, Reshape: features&featReshape != 0, Journal: features&featJournal != 0,
		Replacement: features&featReplacement != 0,
		created:     le.Uint64(b[off1Created:]) & (1<<40 - 1), number: int(le.Uint32(b[off1Number:])),
	}
	if s.Level == 0 && features&featRaid0Layout == 0 {
		s.Layout = layoutUnknown
	}
	recovered := uint64(math.MaxUint64)
	if features&featRecovery != 0 {
		recovered = le.Uint64(b[off1Recovery:])
	}
	for _, n := range []struct {
		to      *int64
		sectors uint64
		what    string
	}{
		{&s.DataOffset, le.Uint64(b[off1DataOffset:]), "an offset"},
		{&s.DataSize, le.Uint64(b[off1DataSize:]), "a size"},
		{&s.Used, le.Uint64(b[off1Size:]), "a used size"},
	} {
		if n.sectors > maxSectors {
			return nil, fmt.Errorf("%s of %d sectors", n.what, n.sectors)
		}
		*n.to = int64(n.sectors) * sector
	}
	if recovered <= maxSectors {
		s.Recovered = int64(recovered) * sector
	}
	for i := range devices {
		s.roles = append(s.roles, role1(le.Uint16(b[off1Roles+2*i:])))
	}
	s.Role = RoleSpare
	if s.number < len(s.roles) {
		s.Role = s.roles[s.number]
	}
	return s, s.check()
}

func role1(r uint16) int {
	switch r {
	case 0xffff:
		return RoleSpare
	case 0xfffe:
		return RoleFaulty
	case 0xfffd:
		return RoleJournal
	}
	return int(r)
}

// sum1 computes the checksum of version 1: the folded sum of all other words.
func sum1(b []byte) uint32 {
	sum := -uint64(le.Uint32(b[off1Sum:]))
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(le.Uint32(b))
	}
	if len(b) == 2 {
		sum += uint64(le.Uint16(b))
	}
	return uint32(sum) + uint32(sum>>32)
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
