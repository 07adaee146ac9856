// Package md reads arrays of Linux's md driver from their members, without the kernel. It never
// writes.
//
// [Recognise] reads the superblock of a disk. Members with the same [Superblock.UUID] belong
// together. [Assemble] chooses which of them to use. An [Array] then reads from them: what one leg
// cannot provide is read from another, or computed from parity.
//
// A member that is older than the others has old data, and nothing in the data shows that. So it is
// not used unless the caller asks for it.
package md

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

const sector = 512

// MaxDevices is the maximum number of devices supported in an array.
const MaxDevices = 64

// maxSectors limits sizes and offsets, so that no sum or product of them overflows.
const maxSectors = 1 << 45

// A UUID identifies an array or a device.
type UUID [16]byte

// String formats a UUID like mdadm.
func (u UUID) String() string {
	return fmt.Sprintf("%x:%x:%x:%x", u[0:4], u[4:8], u[8:12], u[12:16])
}

// Roles other than a position in the array.
const (
	RoleSpare   = -1
	RoleFaulty  = -2
	RoleJournal = -3
)

// levelLinear is the level of an array that concatenates its devices.
const levelLinear = -1

// A Superblock is what a member says about the array and itself.
type Superblock struct {
	Version string // 0.90, 1.0, 1.1, 1.2
	UUID    UUID
	Name    string
	Level   int // -1: linear
	Layout  int
	Chunk   int64 // bytes; 0 for raid1
	Devices int
	Updated time.Time

	Device UUID // of this member; zero in version 0.90
	Role   int  // position in the array, or RoleSpare, RoleFaulty or RoleJournal
	Events uint64

	DataOffset int64 // start of its data, in bytes
	DataSize   int64 // space for data, in bytes
	Used       int64 // how much of that the array uses; 0: all (linear, raid0)

	Clean       bool  // the array was stopped or idle; otherwise copies or parity may differ in places
	Recovered   int64 // how many bytes of this member's data are rebuilt; -1: all
	Reshape     bool
	Journal     bool // a journal may have newer data
	Bitmap      bool
	Replacement bool  // it is being rebuilt to replace another member
	Bad         []Bad // what this member has lost

	created uint64
	number  int   // number of the device; index in roles
	roles   []int // of all devices, by number
}

// Bad is a range of a member, from its start, with invalid content.
type Bad struct{ Offset, Size int64 }

// LevelName returns mdadm's name for the level.
func (s *Superblock) LevelName() string {
	switch s.Level {
	case levelLinear:
		return "linear"
	case -4:
		return "multipath"
	case -5:
		return "faulty"
	}
	return fmt.Sprintf("raid%d", s.Level)
}

// State describes in a word how the array was left.
func (s *Superblock) State() string {
	switch {
	case s.Reshape:
		return "reshaping"
	case s.Clean:
		return "clean"
	}
	return "active"
}

// A format is a version of the superblock.
type format struct {
	version string
	at      func(size int64) int64
	decode  func(b []byte, at int64) (*Superblock, error)
}

// formats lists the versions, and the position of the superblock on a disk of some size.
var formats = []format{
	{"1.2", func(int64) int64 { return 4096 }, decode1},
	{"1.1", func(int64) int64 { return 0 }, decode1},
	{"1.0", func(size int64) int64 { return (size/sector - 16) &^ 7 * sector }, decode1},
	{"0.90", func(size int64) int64 { return size&^(64<<10-1) - 64<<10 }, decode0},
}

// superSize is the maximum size of a superblock.
const superSize = 4096

// errNone means that a decoder found no superblock.
var errNone = errors.New("no superblock")

// Recognise returns the superblock of a disk, or nil if there is none. If there are several, the
// one of the array created last counts; the others are left over. It returns an error if a
// superblock is unreadable or belongs to other software.
func Recognise(r io.ReaderAt, size int64) (*Superblock, error) {
	var found *Superblock
	var first error
	for _, f := range formats {
		s, err := f.read(r, size)
		switch {
		case err == nil && (found == nil || s.created > found.created):
			found = s
		case err != nil && err != errNone && first == nil:
			first = err
		}
	}
	switch {
	case found != nil:
		return found, nil
	case first != nil:
		return nil, first
	}
	return nil, external(r, size)
}

// read reads the superblock of a version.
func (f format) read(r io.ReaderAt, size int64) (*Superblock, error) {
	at := f.at(size)
	if at < 0 || at+superSize > size {
		return nil, errNone
	}
	b := make([]byte, superSize)
	err := readFull(r, b, at)
	var s *Superblock
	if err == nil {
		s, err = f.decode(b, at)
	}
	if err == nil {
		s.Version = f.version
		err = s.readBad(r, b, at)
	}
	switch {
	case err == errNone:
		return nil, errNone
	case err != nil:
		return nil, fmt.Errorf("md superblock %s at byte %d: %w", f.version, at, err)
	}
	return s, nil
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%d bytes at byte %d: %w", len(p), off, err)
}

// external looks for firmware metadata in the last sectors, of 512 or 4096 bytes.
func external(r io.ReaderAt, size int64) error {
	for _, sector := range []int64{512, 4096} {
		if size < 2*sector {
			return nil
		}
		b := make([]byte, 2*sector)
		if err := readFull(r, b, size-2*sector); err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(b, []byte("Intel Raid ISM Cfg Sig. ")):
			return errors.New("it is a member of an Intel firmware RAID (IMSM), which is not supported")
		case binary.BigEndian.Uint32(b[sector:]) == 0xde11de11:
			return errors.New("it is a member of a firmware RAID in DDF, which is not supported")
		}
	}
	return nil
}
