// Package packfmt, whose API may change, reads and writes packed metadata: the valid blocks of a
// device in a compressed file, in the format of thin_metadata_pack.
//
//	 0   8  magic                  24   8  number of blocks of the device
//	 8   8  version, 3             32      frames until the end of the file
//	16   8  block size, 4096
//
// A frame is a length of 8 bytes and as many bytes of one zlib stream, which holds records: the
// number of a block in 8 bytes, and instructions that build its 4096 bytes from words of 8 bytes.
// Frames and records come in any order, each block at most once; missing blocks are zero. All
// integers are little-endian.
//
// An instruction is a byte, with its tag in the high half and n in the low half, followed by what
// the tag requires. It changes a register, base, and emits it. base is 0 at the start of a record.
// The tags are described with their names.
//
// The format has no end mark. Packs written by this package have one: the first frame is [mark],
// which has no records and says that the last frame is also a mark, so a reader notices missing
// frames. In addition, a frame may have a second zlib stream, with the records of blocks that are
// not valid as any kind. Other readers ignore both.
//
// Tools that only read accept a pack in place of a device: [Reader.Load] returns a block.Device in
// memory. Everything is checked while it is loaded, so later reads cannot fail. Memory is never
// allocated just because a pack claims a size: frames are inflated through a window of 64 KiB, a
// block never has more than 4096 bytes whatever its instructions say, and the records of a pack
// are limited to 1 GiB in total.
package packfmt

import (
	"encoding/binary"
	"fmt"

	"thinpool/metadata/block"
)

// Magic is at the start of every pack.
const Magic = 0xa537a0aa6309ef77

// version is the only version that other implementations ever wrote.
const version = 3

// Offsets in the header.
const (
	offMagic     = 0
	offVersion   = 8
	offBlockSize = 16
	offNrBlocks  = 24
	headerSize   = 32
)

const (
	lengthSize = 8 // length field of a frame
	nrSize     = 8 // block number at the start of a record
	wordSize   = 8
	blockWords = block.Size / wordSize
)

// MaxBlocks is the maximum number of blocks of a packed device: 256 GiB, while the kernel uses at
// most 16 GiB. It limits what a hostile header can ask for.
const MaxBlocks = 1 << 26

// mark is a frame without records, in a form that no compressor would write: a stored block of no
// bytes.
const mark = "\x0b\x00\x00\x00\x00\x00\x00\x00" + "\x78\x01" + "\x01\x00\x00\xff\xff" + "\x00\x00\x00\x01"

// frameBlocks is the number of device blocks in a frame. Other implementations accept at most this
// many.
const frameBlocks = 1024

// A tag says what an instruction does. W is a number of n bytes: 1, 2, 4 or 8.
type tag byte

const (
	set         tag = iota // W value: base is value; emit
	pos                    // base rises by n; emit
	posWide                // W delta: base rises by delta; emit
	neg                    // base falls by n; emit
	negWide                // W delta: base falls by delta; emit
	constant               // emit base n times
	constWide              // a byte c: emit base n*256+c times
	count                  // repeat the next instruction, from set to negWide, n times
	countWide              // a byte c: repeat the next instruction n*256+c times
	literal                // n bytes: copy them
	literalWide            // W length, bytes: copy them
	shiftedRun             // a byte c: n*256+c words of two parts; see [shift]
)

// shift separates the two parts of the words in a shifted run, which are the values of a mapping
// leaf: first come all upper parts (data blocks), then all lower ones (times).
const (
	shift   = 24
	lowMask = 1<<shift - 1
)

var le = binary.LittleEndian

// salts are the kinds of block that are packed, by their checksum salts. Like other
// implementations, we also pack the blocks of dm-cache and dm-era.
var salts = map[uint32]string{
	160774:    "superblock",
	9031977:   "dm-cache superblock",
	146538381: "dm-era superblock",
	121107:    "btree node",
	240779:    "bitmap",
	160478:    "index block",
	595846735: "array block",
}

const nodeSalt = 121107

// Is reports whether a file that begins with start is a pack.
func Is(start []byte) bool { return len(start) >= 8 && le.Uint64(start) == Magic }

// Superblock names the target if b is a superblock of any target; "" if it is not a superblock.
func Superblock(b *block.Data) string {
	switch salt := block.Salt(b); salt {
	case 160774, 9031977, 146538381:
		return salts[salt]
	}
	return ""
}

// An Error says what is wrong with a pack, and where.
type Error struct {
	Frame int   // from 0 on; negative: the header
	At    int64 // offset of the frame in the file
	Block int64 // the block being decoded; negative: none
	Err   error
}

func (e *Error) Error() string {
	switch {
	case e.Frame < 0:
		return fmt.Sprintf("packed metadata: header: %v", e.Err)
	case e.Block < 0:
		return fmt.Sprintf("packed metadata: frame %d at byte %d: %v", e.Frame, e.At, e.Err)
	}
	return fmt.Sprintf("packed metadata: frame %d at byte %d: block %d: %v", e.Frame, e.At, e.Block, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
