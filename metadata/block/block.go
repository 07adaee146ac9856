// Package block is the lowest layer of dm-thin metadata: fixed-size blocks
// with checksums, and the devices they lie on.
//
// Everything on a metadata device is a block of 4096 bytes. Every block in
// use begins alike (the kernel's dm-block-manager and its users):
//
//	 0  4  checksum: CRC-32C of bytes 4..4095, mixed with the salt of its Kind
//	 4  4  flags (superblock, node) or unused
//	 8  8  number of the block this copy belongs to
//	16     content
//
// All integers are little-endian.
//
// A CRC tells all single-bit errors of a block apart, so [Correct] finds which bit is wrong. It also finds
// damage within one byte of the checksum field. The self reference must then fit as well.
package block

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Size is the size of a metadata block in bytes.
const Size = 4096

// SectorSize is what a disk writes in one piece, in bytes: a power cut tears blocks there.
const SectorSize = 512

// Nr is the number of a metadata block: its byte offset divided by [Size].
type Nr uint64

// Data is the content of one block.
type Data [Size]byte

// Offsets that all kinds of block share.
const (
	offChecksum = 0
	offBlocknr  = 8
)

var le = binary.LittleEndian

// SelfReference is the number of the block that b says to be.
func SelfReference(b *Data) Nr { return Nr(le.Uint64(b[offBlocknr:])) }

// ErrCorrupt is wrapped by every error that describes the content of the
// metadata. An error that does not wrap it means that the device failed.
var ErrCorrupt = errors.New("metadata damaged")

// A FormatError says which field of a block holds something impossible.
type FormatError struct {
	Block     Nr
	Offset    int    // of the field in the block, in bytes
	Field     string // its name in the kernel's structures
	Got, Want uint64 // what it holds; what it should hold, or the most it may hold
	Most      bool   // Want is an upper bound
}

func (e *FormatError) Error() string {
	most := ""
	if e.Most {
		most = "at most "
	}
	text := fmt.Sprintf("block %d, byte %#x: %s is %d, want %s%d", e.Block, e.Offset, e.Field, e.Got, most, e.Want)
	if e.Offset == offBlocknr { // tested after the checksum only
		text += fmt.Sprintf("; it holds block %d, with a valid checksum", e.Got)
	}
	return text
}

// Unwrap makes a FormatError an [ErrCorrupt].
func (e *FormatError) Unwrap() error { return ErrCorrupt }

// Bad returns a [FormatError]: field at offset off of block loc is got and
// should be want.
func Bad[G, W ~uint32 | ~uint64 | ~int](loc Nr, off int, field string, got G, want W) error {
	return &FormatError{Block: loc, Offset: off, Field: field, Got: uint64(got), Want: uint64(want)}
}

// TooBig returns a [FormatError]: field at offset off of block loc is got and
// should be at most most.
func TooBig[G, W ~uint32 | ~uint64 | ~int](loc Nr, off int, field string, got G, most W) error {
	return &FormatError{Block: loc, Offset: off, Field: field, Got: uint64(got), Want: uint64(most), Most: true}
}
