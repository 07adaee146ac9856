// Package streamfmt, whose API may change, reads and writes the stream that thin_send creates from
// a pool: its description, and the content of its data blocks. docs/stream.md describes the format.
//
// A stream starts with 16 bytes, magic and version, followed by frames. A frame has a head of 32
// bytes and at most [MostContent] bytes of content, compressed or not:
//
//	0   1  type                      8   8  position
//	1   1  encoding: 0 none, 1 zstd  16   8  length of the content
//	2   2  zero                     24   4  zero
//	4   4  length of the payload    28   4  CRC-32C of the preceding 28 bytes and of the payload
//
// All integers are little-endian. Consecutive frames of one type form a section. Sections come in
// the order of their types. Positions in the data are bytes of the data device; in other sections,
// frames are numbered from 0.
//
// There are two checksums. CRC-32C, which processors compute faster than memory delivers, detects a
// damaged frame at once, before its content is used. SHA-256 of everything before the last frame
// shows at the end that nothing is missing, repeated or exchanged. Neither protects against
// deliberate changes.
//
// A reader does not allocate memory because a stream claims to need it: a frame takes at most 2
// MiB, even if its head claims more.
package streamfmt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Magic starts a stream.
const Magic = "thinstrm"

// Version is the version of the format.
const Version = 1

const (
	prefixSize = 16
	headSize   = 32
)

// MostContent is the maximum number of content bytes in a frame.
const MostContent = 1 << 20

// mostPayload is larger than any output of zstd for MostContent bytes.
const mostPayload = MostContent + 1<<16

// A Type is the type of a frame.
type Type byte

// Types of frames.
const (
	Head        Type = iota + 1 // [Header] as JSON
	Layout                      // [Range]s: the used data blocks
	Description                 // devices and mappings
	Volumes                     // []Volume as JSON; only if LVM knows the pool
	LVMText                     // LVM's text of the group; only if LVM knows the pool
	Frozen                      // in an index: [FrozenRun]s
	Data                        // content of the data device
	Zero                        // Length bytes of the data device are zero; no content
	End                         // [Summary] as JSON
)

func (t Type) String() string {
	names := [...]string{"?", "header", "layout", "description", "volumes", "LVM text", "frozen blocks", "data", "zeros", "end"}
	if int(t) >= len(names) {
		return fmt.Sprintf("type %d", byte(t))
	}
	return names[t]
}

const (
	plain = iota
	zstandard
)

// Errors of a [Reader]. Do not trust a stream after any error.
var (
	ErrNotStream = errors.New("not a stream of thin_send")
	ErrCut       = errors.New("the stream is incomplete")
	ErrDamaged   = errors.New("the stream is damaged")
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// A Frame is a part of a stream.
type Frame struct {
	Type     Type
	Position uint64
	Length   uint64 // length of the content; for a Zero frame, the number of zero bytes
	Payload  []byte // the encoded content
	encoding byte
}

// head returns the head of f, including the checksum, which covers the payload.
func (f *Frame) head() (h [headSize]byte) {
	h[0], h[1] = byte(f.Type), f.encoding
	le.PutUint32(h[4:], uint32(len(f.Payload)))
	le.PutUint64(h[8:], f.Position)
	le.PutUint64(h[16:], f.Length)
	sum := crc32.Update(crc32.Checksum(h[:headSize-4], castagnoli), castagnoli, f.Payload)
	le.PutUint32(h[headSize-4:], sum)
	return h
}

// check validates a frame.
func (f *Frame) check() error {
	switch {
	case f.Type < Head || f.Type > End:
		return fmt.Errorf("unknown frame type %d", byte(f.Type))
	case f.encoding > zstandard:
		return fmt.Errorf("unknown encoding %d", f.encoding)
	case f.Type == Zero && len(f.Payload) > 0:
		return errors.New("zeros with content")
	case f.Type != Zero && f.Length > MostContent:
		return fmt.Errorf("a frame of %d bytes, want at most %d", f.Length, MostContent)
	case f.encoding == plain && f.Type != Zero && f.Length != uint64(len(f.Payload)):
		return fmt.Errorf("a frame of %d bytes has %d", f.Length, len(f.Payload))
	}
	return nil
}

// A Header describes a stream. It is JSON; readers ignore unknown fields.
type Header struct {
	Kind          string `json:"kind"`              // "pool", or "index" for the file of --index
	Pool          string `json:"pool,omitempty"`    // LVM's name for the pool
	PoolID        string `json:"pool_id,omitempty"` // LVM's id of the pool
	UUID          string `json:"uuid"`              // in the superblock, in hexadecimal
	Time          uint32 `json:"time"`
	TransactionID uint64 `json:"transaction_id"`
	Flags         uint32 `json:"flags"`
	Version       uint32 `json:"version"`
	DataBlockSize uint32 `json:"data_block_size"` // sectors
	DataBlocks    uint64 `json:"data_blocks"`     // size of the data device
	Used          uint64 `json:"used_blocks"`     // data blocks in the layout
	Sent          uint64 `json:"sent_blocks"`     // of these, blocks with content in the whole stream
	Start         uint64 `json:"start_at"`        // data before this byte of the data device is not sent
	Base          *Base  `json:"base,omitempty"`  // the base of an increment or an index
}

// A Base is the state of a pool, independent of the location of its data blocks.
type Base struct {
	State     string    `json:"state"` // SHA-256: see docs/stream.md
	Witnesses []Witness `json:"witnesses"`
	Devices   []Device  `json:"devices,omitempty"` // in an index
}

// A Witness is the start of a data block, used to tell pools apart.
type Witness struct {
	Ordinal uint64 `json:"ordinal"`
	SHA256  string `json:"sha256"` // of the first [WitnessBytes] of the block
}

// WitnessBytes is the number of bytes of a data block that a witness covers.
const WitnessBytes = 1 << 16

// A Device holds the facts that tell whether a device in a later state is the same.
type Device struct {
	ID            uint64 `json:"dev_id"`
	TransactionID uint64 `json:"transaction_id"`
	CreationTime  uint32 `json:"creation_time"`
}

// A Volume is what LVM knows about a device.
type Volume struct {
	DevID          uint64 `json:"dev_id"`
	Name           string `json:"name"`
	Bytes          int64  `json:"bytes"`
	Origin         string `json:"origin,omitempty"`
	ExternalOrigin string `json:"external_origin,omitempty"`
	ReadOnly       bool   `json:"read_only,omitempty"`
}

// A Summary ends a stream.
type Summary struct {
	DataBytes uint64 `json:"data_bytes"` // in this stream
	ZeroBytes uint64 `json:"zero_bytes"`
	SHA256    string `json:"sha256"` // of the magic and all frames before
}
