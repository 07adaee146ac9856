// Package block is the lowest layer of dm-thin metadata: fixed-size blocks with checksums, and the
// devices that hold them.
//
// Everything on a metadata device is a block of 4096 bytes. All blocks in use start with the same
// header (the kernel's dm-block-manager and its users):
//
//	 0  4  checksum: CRC-32C of bytes 4..4095, mixed with the salt of its Kind
//	 4  4  flags (superblock, node) or unused
//	 8  8  number of the block this copy belongs to
//	16     content
//
// All integers are little-endian.
//
// Every single-bit error in a block changes the CRC in a different way, so [Correct] can find the
// wrong bit. It also finds damage within one byte of the checksum field. In both cases, the self
// reference must fit as well.
package block

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Size is the size of a metadata block in bytes.
const Size = 4096

// SectorSize is the size in bytes that a disk writes atomically. A power cut can tear a block at
// sector boundaries.
const SectorSize = 512

// Nr is the number of a metadata block: its byte offset divided by [Size].
type Nr uint64

// Data is the content of one block.
type Data [Size]byte

// Offsets common to all kinds of block.
const (
	offChecksum = 0
	offBlocknr  = 8
)

var le = binary.LittleEndian

// SelfReference returns the block number stored in b.
func SelfReference(b *Data) Nr { return Nr(le.Uint64(b[offBlocknr:])) }

// ErrCorrupt is wrapped by every error about the content of the metadata. Other errors mean that
// the device failed.
var ErrCorrupt = errors.New("metadata damaged")

// A FormatError says which field of a block has an impossible value.
type FormatError struct {
	Block     Nr
	Offset    int    // of the field in the block, in bytes
	Field     string // its name in the kernel's structures
	Got, Want uint64 // its value; the right value or the maximum
	Most      bool   // Want is an upper bound
}

func (e *FormatError) Error() string {
	most := ""
	if e.Most {
		most = "at most "
	}
	text := fmt.Sprintf("block %d, byte %#x: %s is %d, want %s%d", e.Block, e.Offset, e.Field, e.Got, most, e.Want)
	if e.Offset == offBlocknr { // only checked after the checksum
		text += fmt.Sprintf("; it holds block %d, with a valid checksum", e.Got)
	}
	return text
}

// Unwrap makes a FormatError an [ErrCorrupt].
func (e *FormatError) Unwrap() error { return ErrCorrupt }

// Bad returns a [FormatError]: field at offset off of block loc is got but should be want.
func Bad[G, W ~uint32 | ~uint64 | ~int](loc Nr, off int, field string, got G, want W) error {
	return &FormatError{Block: loc, Offset: off, Field: field, Got: uint64(got), Want: uint64(want)}
}

// TooBig returns a [FormatError]: field at offset off of block loc is got but should be at most
// most.
func TooBig[G, W ~uint32 | ~uint64 | ~int](loc Nr, off int, field string, got G, most W) error {
	return &FormatError{Block: loc, Offset: off, Field: field, Got: uint64(got), Want: uint64(most), Most: true}
}
