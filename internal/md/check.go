package md

import (
	"fmt"
	"io"
	"math"
)

// check returns an error for impossible values in a superblock of any version.
func (s *Superblock) check() error {
	switch {
	case s.Devices < 1 || s.Devices > MaxDevices:
		return fmt.Errorf("an array of %d devices, 1 to %d are supported", s.Devices, MaxDevices)
	case s.Role >= s.Devices && !s.Reshape:
		return fmt.Errorf("role %d in an array of %d devices", s.Role, s.Devices)
	case s.Chunk%sector != 0 || s.Chunk > 1<<30:
		return fmt.Errorf("chunks of %d bytes", s.Chunk)
	case s.Used > s.DataSize && s.Role >= 0:
		return fmt.Errorf("the array uses %d bytes of each device, this one has %d for data", s.Used, s.DataSize)
	}
	return nil
}

// Entries of the bad block log: the first sector, and the number of sectors in the lower bits.
const (
	badLengthBits = 10
	badEnd        = math.MaxUint64
	badMaxSectors = 128 // sectors of the log
)

// readBad reads the bad block log of version 1: what this member lost and other members have.
func (s *Superblock) readBad(r io.ReaderAt, b []byte, at int64) error {
	if s.Version == "0.90" || le.Uint32(b[off1Features:])&featBad == 0 {
		return nil
	}
	size := int64(le.Uint16(b[off1BadSize:]))
	shift := b[off1BadShift]
	offset := at + int64(int32(le.Uint32(b[off1BadOffset:])))*sector
	if size > badMaxSectors || shift > 20 || offset < 0 {
		return fmt.Errorf("its bad block log: %d sectors at byte %d", size, offset)
	}
	log := make([]byte, size*sector)
	if err := readFull(r, log, offset); err != nil {
		return fmt.Errorf("its bad block log: %w", err)
	}
	for ; len(log) > 0; log = log[8:] {
		entry := le.Uint64(log)
		if entry == badEnd {
			break
		}
		first, n := int64(entry>>badLengthBits), int64(entry&(1<<badLengthBits-1))
		if first > maxSectors>>shift {
			return fmt.Errorf("its bad block log: %d is not a sector", first)
		}
		if n > 0 {
			s.Bad = append(s.Bad, Bad{first << shift * sector, n << shift * sector})
		}
	}
	return nil
}
