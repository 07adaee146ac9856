package block

import (
	"fmt"
	"hash/crc32"
)

// A Kind is one of the four kinds of block. Each has a salt that is mixed into its checksum, so a
// block of one kind never passes as another.
type Kind uint8

// The kinds of block.
const (
	UnknownKind Kind = iota
	Superblock       // block 0, and its copy in a metadata snapshot
	Node             // of a b-tree
	Bitmap           // of a space map
	Index            // of the metadata space map
)

// salts are the values the kernel mixes into the checksums.
var salts = [...]uint32{Superblock: 160774, Node: 121107, Bitmap: 240779, Index: 160478}

var kindNames = [...]string{"unknown block", "superblock", "btree node", "bitmap", "index block"}

func (k Kind) String() string { return kindNames[k] }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// register returns the CRC-32C register after bytes 4..4095. It starts with all ones and, unlike
// the usual CRC-32C, is not inverted at the end.
func register(b *Data) uint32 { return ^crc32.Checksum(b[4:], castagnoli) }

// KindOf tells the kind of a block from its checksum alone. It returns UnknownKind if none fits,
// as for a block that is damaged or was never written.
func KindOf(b *Data) Kind {
	salt := Salt(b)
	for k := Superblock; k <= Index; k++ {
		if salts[k] == salt {
			return k
		}
	}
	return UnknownKind
}

// Salt returns the salt in the checksum of b, if b is a valid block of any kind. This includes
// blocks of dm-cache and dm-era, which have the same layout.
func Salt(b *Data) uint32 { return register(b) ^ le.Uint32(b[offChecksum:]) }

// A ChecksumError says that a block is not a valid block of the wanted kind.
type ChecksumError struct {
	Block     Nr
	Got, Want uint32
	Is, Kind  Kind // the kind its checksum fits, if any; the expected kind
	Zero      bool // all 4096 bytes are zero
	// Correction is the change that makes the block valid, if Correctable.
	Correction  Correction
	Correctable bool
}

func (e *ChecksumError) Error() string {
	switch {
	case e.Zero:
		return fmt.Sprintf("block %d: all zero, want a %v", e.Block, e.Kind)
	case e.Is != UnknownKind:
		return fmt.Sprintf("block %d: holds a %v, want a %v", e.Block, e.Is, e.Kind)
	case e.Correctable:
		return fmt.Sprintf("block %d: bad checksum in %v: only %v; thin_repair corrects that", e.Block, e.Kind, e.Correction)
	}
	return fmt.Sprintf("block %d: bad checksum in %v: stored %#08x, computed %#08x", e.Block, e.Kind, e.Got, e.Want)
}

// Unwrap makes a ChecksumError an [ErrCorrupt].
func (e *ChecksumError) Unwrap() error { return ErrCorrupt }

// Verify checks that b is a block of the given kind that belongs at loc: its checksum and its self
// reference. The error is a [ChecksumError] or a [FormatError].
func Verify(loc Nr, b *Data, kind Kind) error {
	want := register(b) ^ salts[kind]
	if got := le.Uint32(b[offChecksum:]); got != want {
		err := &ChecksumError{Block: loc, Got: got, Want: want, Is: KindOf(b), Kind: kind, Zero: *b == Data{}}
		if err.Is == UnknownKind && !err.Zero {
			corrected := *b
			err.Correction, err.Correctable = Correct(loc, &corrected)
			err.Correctable = err.Correctable && err.Correction.Kind == kind
		}
		return err
	}
	if nr := le.Uint64(b[offBlocknr:]); nr != uint64(loc) {
		return Bad(loc, offBlocknr, "blocknr", nr, loc)
	}
	return nil
}

// Seal makes b a valid block of the given kind at loc: it writes the self reference and the
// checksum.
func Seal(loc Nr, b *Data, kind Kind) {
	le.PutUint64(b[offBlocknr:], uint64(loc))
	Reseal(b, kind)
}

// Reseal writes only the checksum and leaves the self reference unchanged.
func Reseal(b *Data, kind Kind) {
	le.PutUint32(b[offChecksum:], register(b)^salts[kind])
}

// Invalidate changes the checksum of b so that b is not valid as any kind, and not all zero.
func Invalidate(b *Data) {
	// The register alone is the checksum of a kind with salt 0, which does not exist. That of a
	// block of zeros is not 0.
	le.PutUint32(b[offChecksum:], register(b))
}
