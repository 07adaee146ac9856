// Package packfmt, whose API may change, reads and writes packed metadata: the valid blocks of a device
// in a compressed file, as thin_metadata_pack makes it.
//
//	 0   8  magic                  24   8  number of blocks of the device
//	 8   8  version, 3             32      frames until the end of the file
//	16   8  block size, 4096
//
// A frame is a length of 8 bytes and so many bytes of one zlib stream, which holds
// records: the number of a block in 8 bytes, and instructions that make its 4096
// bytes of words of 8 bytes. Frames and records come in any order, a block at most
// once; blocks that are not there are zero. All integers are little-endian.
//
// An instruction is a byte, its tag in the high half and n in the low one, and what
// the tag asks for. It moves a register, base, which is 0 when a record begins, and
// emits it. The tags are listed beside their names.
//
// The format has no end mark. Packs of this package have one: the first frame is
// [mark], which has no records and says that it is the last one as well, so a reader
// sees when frames are missing. And a second zlib stream may follow in a frame, with
// the records of blocks that are valid as no kind. Other readers pass over both.
//
// Tools that only read take a pack where they take a device: [Reader.Load] returns a block.Device in memory.
// Everything is checked while it is loaded, so reading cannot fail later. Nothing is allocated because
// a pack claims it: frames are inflated through a window of 64 KiB, a block has at most 4096 bytes
// whatever its instructions say, and the records of a pack add up to 1 GiB at most.
package packfmt

import (
	"encoding/binary"
	"fmt"

	"thinpool/metadata/block"
)

// Magic is at the start of every pack.
const Magic = 0xa537a0aa6309ef77

// version is the only one that other implementations ever wrote.
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
	lengthSize = 8 // of a frame's length
	nrSize     = 8 // of the block number that begins a record
	wordSize   = 8
	blockWords = block.Size / wordSize
)

// MaxBlocks is the most blocks that a packed device may have: 256 GiB, where the
// kernel makes use of 16 GiB. It bounds what a hostile header can ask for.
const MaxBlocks = 1 << 26

// mark is a frame without records, and not as any compressor would write it: a
// stored block of no bytes.
const mark = "\x0b\x00\x00\x00\x00\x00\x00\x00" + "\x78\x01" + "\x01\x00\x00\xff\xff" + "\x00\x00\x00\x01"

// frameBlocks is how many blocks of the device go into a frame: other
// implementations want at most so many.
const frameBlocks = 1024

// A tag is what an instruction does. W is a number of n bytes: 1, 2, 4 or 8.
type tag byte

const (
	set         tag = iota // W value: base is value; emit
	pos                    // base rises by n; emit
	posWide                // W delta: base rises by delta; emit
	neg                    // base falls by n; emit
	negWide                // W delta: base falls by delta; emit
	constant               // emit n times
	constWide              // a byte c: emit n*256+c times
	count                  // do the next instruction, one of those from set to negWide, n times
	countWide              // a byte c: do the next one n*256+c times
	literal                // n bytes: copy them
	literalWide            // W length, bytes: copy them
	shiftedRun             // a byte c: words of two parts, n*256+c of them; see [shift]
)

// shift parts the words of a shifted run, which are what a mapping leaf has for
// values: all upper parts (data blocks) come first, then all lower ones (times).
const (
	shift   = 24
	lowMask = 1<<shift - 1
)

var le = binary.LittleEndian

// The kinds of block that are packed, by the salts of their checksums. Those of
// dm-cache and dm-era are packed as well, as other implementations do.
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

// Superblock names the superblock that b is, of whatever target; "" if it is none.
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
	Block int64 // being made when it happened; negative: none
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

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }
