// Package metadata reads the metadata of a dm-thin pool: it tells where on the data device each
// block of each thin device is.
//
// Everything starts at the superblock, block 0 (the kernel's struct thin_disk_superblock). It
// names the roots of two trees, the device details and the mapping tree, and of two space maps.
// [Open] reads it and returns a [Pool]. internal/write writes new metadata, and tool/check finds
// faults in it.
//
// Whether a mapping may be written in place depends on the device that holds it. [LeafSharing]
// passes the lowest snapshot time, and whether there is more than one device, down from the roots,
// once for each node. So a check for writable shared blocks costs nothing per snapshot.
package metadata

import (
	"encoding/binary"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata/block"
)

// Offsets in the superblock. All fields are little-endian.
const (
	offFlags             = 4 // after the checksum
	offUUID              = 16
	offMagic             = 32
	offVersion           = 40
	offTime              = 44
	offTransactionID     = 48
	offHeldRoot          = 56
	offDataSpaceMap      = 64
	offMetadataSpaceMap  = 192
	offMappingRoot       = 320
	offDetailsRoot       = 328
	offDataBlockSize     = 336
	offMetadataBlockSize = 340
	offMetadataNrBlocks  = 344
	offCompatFlags       = 352
	offCompatROFlags     = 356
	offIncompatFlags     = 360
	superblockEnd        = 364 // zero from here on
)

// Constants of the superblock.
const (
	Magic              = 27022010
	Version            = 2 // written by current kernels; version 1 has the same layout
	SuperblockLocation = block.Nr(0)
	MetadataBlockSize  = block.Size / block.SectorSize // sectors
)

// NeedsCheck is the flag the kernel sets when it could not write metadata. The pool stays
// read-only until a check clears it.
const NeedsCheck = 1

var le = binary.LittleEndian

// A Superblock is the root of a pool's metadata, or of its metadata snapshot.
type Superblock struct {
	Block             block.Nr // its location: 0 or the snapshot's block
	Flags             uint32
	UUID              [16]byte
	Magic             uint64
	Version           uint32
	Time              uint32 // snapshot clock: raised by each snapshot
	TransactionID     uint64
	HeldRoot          block.Nr // block of the metadata snapshot; 0: none
	DataSpaceMap      SpaceMapRoot
	MetadataSpaceMap  SpaceMapRoot
	MappingRoot       block.Nr
	DetailsRoot       block.Nr
	DataBlockSize     uint32 // sectors
	MetadataBlockSize uint32 // sectors; unused
	MetadataNrBlocks  uint64 // when the pool was created; the space map has the current number
	CompatFlags       uint32
	CompatROFlags     uint32
	IncompatFlags     uint32
}

// DecodeSuperblock reads the superblock at loc. It checks the checksum, the self reference and the
// magic; everything else is up to the caller. If the error is a [block.ErrCorrupt], the fields are
// still set, for use in repairs.
func DecodeSuperblock(loc block.Nr, b *block.Data) (Superblock, error) {
	sb := Superblock{
		Block:             loc,
		Flags:             le.Uint32(b[offFlags:]),
		UUID:              [16]byte(b[offUUID:]),
		Magic:             le.Uint64(b[offMagic:]),
		Version:           le.Uint32(b[offVersion:]),
		Time:              le.Uint32(b[offTime:]),
		TransactionID:     le.Uint64(b[offTransactionID:]),
		HeldRoot:          block.Nr(le.Uint64(b[offHeldRoot:])),
		DataSpaceMap:      spacemap.DecodeRoot(b[offDataSpaceMap:]),
		MetadataSpaceMap:  spacemap.DecodeRoot(b[offMetadataSpaceMap:]),
		MappingRoot:       block.Nr(le.Uint64(b[offMappingRoot:])),
		DetailsRoot:       block.Nr(le.Uint64(b[offDetailsRoot:])),
		DataBlockSize:     le.Uint32(b[offDataBlockSize:]),
		MetadataBlockSize: le.Uint32(b[offMetadataBlockSize:]),
		MetadataNrBlocks:  le.Uint64(b[offMetadataNrBlocks:]),
		CompatFlags:       le.Uint32(b[offCompatFlags:]),
		CompatROFlags:     le.Uint32(b[offCompatROFlags:]),
		IncompatFlags:     le.Uint32(b[offIncompatFlags:]),
	}
	if err := block.Verify(loc, b, block.Superblock); err != nil {
		return sb, err
	}
	if sb.Magic != Magic {
		return sb, block.Bad(loc, offMagic, "magic", sb.Magic, uint64(Magic))
	}
	return sb, nil
}

// Encode writes sb into b, including the checksum. Unused bytes become zero.
func (sb *Superblock) Encode(b *block.Data) {
	*b = block.Data{}
	le.PutUint32(b[offFlags:], sb.Flags)
	copy(b[offUUID:], sb.UUID[:])
	le.PutUint64(b[offMagic:], sb.Magic)
	le.PutUint32(b[offVersion:], sb.Version)
	le.PutUint32(b[offTime:], sb.Time)
	le.PutUint64(b[offTransactionID:], sb.TransactionID)
	le.PutUint64(b[offHeldRoot:], uint64(sb.HeldRoot))
	sb.DataSpaceMap.Encode(b[offDataSpaceMap:])
	sb.MetadataSpaceMap.Encode(b[offMetadataSpaceMap:])
	le.PutUint64(b[offMappingRoot:], uint64(sb.MappingRoot))
	le.PutUint64(b[offDetailsRoot:], uint64(sb.DetailsRoot))
	le.PutUint32(b[offDataBlockSize:], sb.DataBlockSize)
	le.PutUint32(b[offMetadataBlockSize:], sb.MetadataBlockSize)
	le.PutUint64(b[offMetadataNrBlocks:], sb.MetadataNrBlocks)
	le.PutUint32(b[offCompatFlags:], sb.CompatFlags)
	le.PutUint32(b[offCompatROFlags:], sb.CompatROFlags)
	le.PutUint32(b[offIncompatFlags:], sb.IncompatFlags)
	block.Seal(sb.Block, b, block.Superblock)
}

// Amend returns the encoded superblock b with the flags, the time, the device details root and the
// space maps of sb. All other bytes stay the same. All changes are in the first sector, so a power
// cut during the write leaves either b or the result.
func (sb *Superblock) Amend(b block.Data) block.Data {
	le.PutUint32(b[offFlags:], sb.Flags)
	le.PutUint32(b[offTime:], sb.Time)
	le.PutUint64(b[offDetailsRoot:], uint64(sb.DetailsRoot))
	sb.DataSpaceMap.Amend(b[offDataSpaceMap:])
	sb.MetadataSpaceMap.Amend(b[offMetadataSpaceMap:])
	block.Reseal(&b, block.Superblock)
	return b
}

// NonZeroTail returns the offset of the first non-zero byte in the unused parts of a superblock;
// -1 if there is none.
func NonZeroTail(b *block.Data) int {
	for _, unused := range [...][2]int{
		{offUUID, offMagic},
		{offDataSpaceMap + spacemap.RootUsed, offMetadataSpaceMap},
		{offMetadataSpaceMap + spacemap.RootUsed, offMappingRoot},
		{superblockEnd, block.Size},
	} {
		for at := unused[0]; at < unused[1]; at++ {
			if b[at] != 0 {
				return at
			}
		}
	}
	return -1
}

// Header returns the pool's header for a dump.
func (sb *Superblock) Header() Header {
	return Header{
		UUID:          sb.UUID,
		Time:          sb.Time,
		TransactionID: sb.TransactionID,
		Flags:         sb.Flags,
		Version:       sb.Version,
		DataBlockSize: sb.DataBlockSize,
		NrDataBlocks:  sb.DataSpaceMap.NrBlocks,
	}
}

// FreeMetadataBlocks returns the number of free metadata blocks, by the space map's counters.
func (sb *Superblock) FreeMetadataBlocks() uint64 {
	sm := sb.MetadataSpaceMap
	return sm.NrBlocks - min(sm.NrAllocated, sm.NrBlocks)
}

// The kernel reserves some metadata blocks for commits and deletes. A pool that has only these
// left gets no new blocks. The reserve is one block in ten, at most 4096 (16 MiB)
// (__set_metadata_reserve in drivers/md/dm-thin-metadata.c); `dmsetup status` counts it as used.
const (
	ReservePart = 10
	MostReserve = 4096
)

// Reserve returns how many of the given metadata blocks the kernel reserves.
func Reserve(blocks uint64) uint64 { return min(blocks/ReservePart, MostReserve) }

// Sizes of the values in the leaves of the trees.
const (
	DetailsSize = 24 // device details: mapped_blocks, transaction_id, two times
	MappingSize = 8  // mapping: data block << 24 | time
	RootSize    = 8  // top level of the mapping tree: root of the device's tree
)

const timeBits = 24

// DecodeDetails reads device details from their [DetailsSize] bytes.
func DecodeDetails(p []byte) Details {
	return Details{le.Uint64(p), le.Uint64(p[8:]), le.Uint32(p[16:]), le.Uint32(p[20:])}
}

// Encode writes d into [DetailsSize] bytes.
func (d Details) Encode(p []byte) {
	le.PutUint64(p, d.MappedBlocks)
	le.PutUint64(p[8:], d.TransactionID)
	le.PutUint32(p[16:], d.CreationTime)
	le.PutUint32(p[20:], d.SnapshottedTime)
}

// UnpackMapping splits the value of a mapping.
func UnpackMapping(v uint64) (DataBlock, uint32) {
	return DataBlock(v >> timeBits), uint32(v & MaxTime)
}

// PackMapping returns the value of a mapping.
func PackMapping(b DataBlock, time uint32) uint64 { return uint64(b)<<timeBits | uint64(time) }
