package luks

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Offsets in the LUKS1 header. Numbers are big-endian; offsets in it are in sectors.
const (
	offCipher     = 8
	offMode       = 40
	offHash       = 72
	offPayload    = 104
	offKeyBytes   = 108
	offDigest     = 112
	offDigestSalt = 132
	offDigestIter = 164
	offUUID1      = 168
	offSlots      = 208

	slotSize   = 48
	offEnabled = 0
	offIter    = 4
	offSalt    = 8
	offArea    = 40
	offStripes = 44

	slots1     = 8
	header1    = offSlots + slots1*slotSize
	enabled    = 0x00ac71f3
	digestSize = 20
	saltSize   = 32
)

var be = binary.BigEndian

// decode1 decodes a LUKS1 header.
func (h *Header) decode1(b []byte) error {
	if len(b) < header1 {
		return fmt.Errorf("it has only %d bytes", len(b))
	}
	h.Cipher = text(b[offCipher:offMode]) + "-" + text(b[offMode:offHash])
	h.UUID = text(b[offUUID1:offSlots])
	h.SectorSize = sector
	h.Offset = int64(be.Uint32(b[offPayload:])) * sector
	h.Size = -1
	hash := text(b[offHash:offPayload])
	sum := digest{
		hash:       hash,
		iterations: be.Uint32(b[offDigestIter:]),
		salt:       bytes.Clone(b[offDigestSalt : offDigestSalt+saltSize]),
		sum:        bytes.Clone(b[offDigest : offDigest+digestSize]),
	}
	keySize := int64(be.Uint32(b[offKeyBytes:]))
	if keySize > maxKey {
		return fmt.Errorf("a key of %d bytes", keySize)
	}
	for i := range slots1 {
		s := b[offSlots+i*slotSize:][:slotSize]
		if be.Uint32(s[offEnabled:]) != enabled {
			continue
		}
		stripes := int64(be.Uint32(s[offStripes:]))
		h.Slots = append(h.Slots, Slot{
			Number: i, KDF: "pbkdf2", Hash: hash, Iterations: be.Uint32(s[offIter:]),
			salt:   bytes.Clone(s[offSalt : offSalt+saltSize]),
			digest: sum,
			area: area{
				offset: int64(be.Uint32(s[offArea:])) * sector, size: roundUp(stripes*keySize, sector),
				cipher: h.Cipher, areaKey: int(keySize), key: int(keySize),
				stripes: int(stripes), hash: hash,
			},
		})
	}
	return nil
}

// text decodes a zero-terminated string.
func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
