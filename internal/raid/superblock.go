package raid

import "encoding/binary"

// Offsets in the dm-raid superblock, at the start of each metadata device. Little-endian.
const (
	offMagic    = 0
	offDevices  = 8
	offPosition = 12
	offEvents   = 16
	offFailed   = 24
	offRecovery = 32
	offResync   = 40
	offLevel    = 48
	offLayout   = 52
	offChunk    = 56

	// SuperblockSize is how much of a metadata device to read.
	SuperblockSize = 512
)

// magic is "DmRd".
const magic = 0x64526d44

// Done is the value of Recovery and Resync when nothing is left to do.
const Done = ^uint64(0)

// A Superblock is what one device of a set knows about itself and the others.
type Superblock struct {
	Devices, Position uint32
	Events            uint64 // the highest in a set is the freshest
	Failed            uint64 // one bit per device
	Recovery          uint64 // sectors of this device that are rebuilt, or Done
	Resync            uint64 // sectors of every device that are in sync, or Done
	Level, Layout     int32
	ChunkSectors      uint32
}

var le = binary.LittleEndian

// Decode decodes a superblock from the first 512 bytes of a metadata device. It returns false
// without the magic: a device that was never active is all zero.
func Decode(b *[SuperblockSize]byte) (Superblock, bool) {
	return Superblock{
		Devices: le.Uint32(b[offDevices:]), Position: le.Uint32(b[offPosition:]),
		Events: le.Uint64(b[offEvents:]), Failed: le.Uint64(b[offFailed:]),
		Recovery: le.Uint64(b[offRecovery:]), Resync: le.Uint64(b[offResync:]),
		Level: int32(le.Uint32(b[offLevel:])), Layout: int32(le.Uint32(b[offLayout:])),
		ChunkSectors: le.Uint32(b[offChunk:]),
	}, le.Uint32(b[offMagic:]) == magic
}
