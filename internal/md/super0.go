package md

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// Words of the version 0.90 superblock, in the byte order of the machine that wrote it.
const (
	word0Minor   = 2
	word0UUID    = 5 // first of four; the others start at 13
	word0Created = 6
	word0Level   = 7
	word0Size    = 8 // KiB
	word0Devices = 10
	word0UUID1   = 13
	word0Updated = 32
	word0State   = 33
	word0Sum     = 38
	word0Events  = 39 // two words
	word0Layout  = 64
	word0Chunk   = 65 // bytes
	word0Disks   = 128
	word0This    = 992

	disks0     = 27
	disk0      = 32 // words of a disk
	disk0Role  = 3
	disk0State = 4
)

// State bits in version 0.90.
const (
	state0Clean  = 1 << 0
	state0Bitmap = 1 << 8

	disk0Faulty = 1 << 0
	disk0Active = 1 << 1
	disk0Sync   = 1 << 2
)

// decode0 decodes a superblock of version 0.90.
func decode0(b []byte, at int64) (*Superblock, error) {
	var order binary.ByteOrder = binary.LittleEndian
	if binary.BigEndian.Uint32(b) == magic {
		order = binary.BigEndian
	}
	word := func(i int) uint32 { return order.Uint32(b[4*i:]) }
	if word(0) != magic || word(1) != 0 {
		return nil, errNone
	}
	if got, want := word(word0Sum), sum0(b, order); got != want {
		return nil, fmt.Errorf("its checksum is %#08x, should be %#08x", got, want)
	}
	minor := word(word0Minor)
	if minor != 90 && minor != 91 {
		return nil, fmt.Errorf("version 0.%d", minor)
	}
	s := &Superblock{
		Level: int(int32(word(word0Level))), Layout: int(int32(word(word0Layout))),
		Chunk: int64(word(word0Chunk)), Devices: int(word(word0Devices)), Updated: time.Unix(int64(word(word0Updated)), 0),
		DataSize: at, Used: int64(word(word0Size)) << 10, Recovered: -1,
		Clean: word(word0State)&state0Clean != 0, Bitmap: word(word0State)&state0Bitmap != 0,
		Reshape: minor == 91, created: uint64(word(word0Created)),
	}
	// The halves of 64-bit numbers are in machine order, too.
	s.Events = order.Uint64(b[4*word0Events:])
	for i, w := range []int{word0UUID, word0UUID1, word0UUID1 + 1, word0UUID1 + 2} {
		binary.BigEndian.PutUint32(s.UUID[4*i:], word(w))
	}
	switch {
	case s.Level == 0:
		s.Layout = layoutUnknown
		s.Used = 0
	case s.Level == levelLinear:
		s.Used = 0
	}
	for i := range disks0 {
		s.roles = append(s.roles, role0(word(word0Disks+i*disk0+disk0Role), word(word0Disks+i*disk0+disk0State)))
	}
	s.number = int(word(word0This))
	if s.number >= disks0 {
		return nil, fmt.Errorf("it is of device %d", s.number)
	}
	s.Role = s.roles[s.number]
	if state := word(word0Disks + s.number*disk0 + disk0State); s.Role >= 0 && state&disk0Sync == 0 {
		s.Recovered = 0
	}
	s.guessRoles0()
	return s, s.check()
}

func role0(role, state uint32) int {
	switch {
	case state&disk0Faulty != 0:
		return RoleFaulty
	case state&(disk0Active|disk0Sync) != 0 && role < disks0:
		return int(role)
	}
	return RoleSpare
}

// guessRoles0 fills in a table of roles without any active or faulty device. No array has such a table,
// so it was lost, and each device most likely has the role of its number.
func (s *Superblock) guessRoles0() {
	if slices.ContainsFunc(s.roles, func(role int) bool { return role != RoleSpare }) || s.number >= s.Devices {
		return
	}
	for i := range min(s.Devices, disks0) {
		s.roles[i] = i
	}
	s.Role = s.number
}

// sum0 computes the checksum of version 0.90: the folded sum of all other words.
func sum0(b []byte, order binary.ByteOrder) uint32 {
	var sum uint64
	for i := 0; i < len(b); i += 4 {
		if i != 4*word0Sum {
			sum += uint64(order.Uint32(b[i:]))
		}
	}
	return uint32(sum) + uint32(sum>>32)
}
