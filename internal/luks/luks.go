// Package luks reads LUKS1 and LUKS2 disks without the kernel or cryptsetup. It never writes.
//
// A header has key slots. Each has a copy of the volume key, encrypted with a key that is derived
// from a passphrase by a deliberately slow function. [Open] reads the header and reports what it
// needs, [Header.Unlock] tries a key on the slots, and a [Volume] decrypts what is read from it.
//
// Wrongly decrypted data would look like damage. So anything not fully understood is refused by
// name: re-encryption in progress, integrity tags, several segments, other ciphers.
package luks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// Magics of headers. LUKS2 keeps a second header after the first, with a magic of its own.
const (
	magic       = "LUKS\xba\xbe"
	secondMagic = "SKUL\xba\xbe"
	// In the days of LUKS1, cryptsetup-reencrypt replaced the magic with this one while it worked.
	busyMagic = "LUKS\xde\xad"
)

// Probe is how many bytes from the start of a disk Recognise needs.
const Probe = 32 << 10

// sector is the unit of offsets and initial vectors, whatever the size of encrypted sectors.
const sector = 512

// ErrWrongKey means that a key opens none of the slots.
var ErrWrongKey = errors.New("no key slot opens with this key")

// A Header is what a LUKS disk says about itself.
type Header struct {
	Version    int // 1 or 2
	UUID       string
	Label      string
	Cipher     string // such as aes-xts-plain64
	SectorSize int
	Offset     int64 // of the encrypted data, in bytes
	Size       int64 // of the encrypted data, as far as it is on the disk
	Slots      []Slot
	Notes      []string // what is wrong, although the disk can be read

	r        io.ReaderAt
	firstIV  uint64 // number of the first sector
	diskSize int64
}

// A Slot is one key slot.
type Slot struct {
	Number     int
	KDF        string // pbkdf2, argon2i, argon2id
	Hash       string // of pbkdf2
	Iterations uint32 // argon2: passes over the memory
	Memory     int64  // in bytes; 0 for pbkdf2
	Threads    int    // of argon2
	Err        error  // why it is unusable

	priority int
	salt     []byte
	area     area
	digest   digest
}

// An area has a slot's copy of the volume key, split and encrypted.
type area struct {
	offset, size int64
	cipher       string
	areaKey      int // size in bytes of the key that encrypts the area
	key          int // size in bytes of the volume key
	stripes      int
	hash         string // of the splitter
}

// A digest verifies a volume key.
type digest struct {
	hash       string
	iterations uint32
	salt, sum  []byte
}

// Recognise reports whether a disk that starts with these bytes is a LUKS disk. An all-zero first
// header counts if the second header follows.
func Recognise(start []byte) bool {
	if bytes.HasPrefix(start, []byte(magic)) || bytes.HasPrefix(start, []byte(busyMagic)) {
		return true
	}
	return len(start) >= binarySize && zero(start[:binarySize]) && secondOffset(start) > 0
}

// secondOffset returns the offset of a second header; 0 if none is visible.
func secondOffset(start []byte) int64 {
	for _, at := range headerSizes {
		if int64(len(start)) > at && bytes.HasPrefix(start[at:], []byte(secondMagic)) {
			return at
		}
	}
	return 0
}

func zero(p []byte) bool { return len(bytes.TrimLeft(p, "\x00")) == 0 }

// Open reads the header of a disk of this size. The error says what cannot be read and why.
func Open(ctx context.Context, r io.ReaderAt, size int64) (*Header, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	start := make([]byte, min(binarySize, max(size, 0)))
	if _, err := readFull(r, start, 0); err != nil {
		return nil, fmt.Errorf("LUKS header: %w", err)
	}
	h := &Header{r: r, diskSize: size}
	var err error
	switch {
	case bytes.HasPrefix(start, []byte(busyMagic)):
		return nil, errors.New("LUKS1 header: re-encryption by cryptsetup-reencrypt is in progress or was interrupted: finish it first")
	case bytes.HasPrefix(start, []byte(magic+"\x00\x01")):
		h.Version = 1
		err = h.decode1(start)
	default:
		h.Version = 2
		err = h.decode2(ctx)
	}
	if err == nil {
		err = h.check()
	}
	if err != nil {
		return nil, fmt.Errorf("LUKS%d header: %w", h.Version, err)
	}
	return h, nil
}

// check validates headers of either version.
func (h *Header) check() error {
	switch {
	case h.Offset == 0:
		return errors.New("the data starts at byte 0: this is a detached header, which is not supported")
	case h.Offset < 0 || h.Offset >= h.diskSize:
		return fmt.Errorf("the data starts at byte %d, but there are only %d bytes: is this a header backup, or part of a disk?", h.Offset, h.diskSize)
	case h.SectorSize < sector || h.SectorSize > 4096 || h.SectorSize&(h.SectorSize-1) != 0:
		return fmt.Errorf("sectors of %d bytes are not supported", h.SectorSize)
	}
	if err := cipherKnown(h.Cipher); err != nil {
		return err
	}
	rest := h.diskSize - h.Offset
	if h.Size > rest {
		h.note("the data should have %d bytes, but only %d are there", h.Size, rest)
	}
	if h.Size < 0 || h.Size > rest {
		h.Size = rest
	}
	h.Size -= h.Size % int64(h.SectorSize)
	if h.Size == 0 {
		return errors.New("there is no data after it")
	}
	for i := range h.Slots {
		s := &h.Slots[i]
		if s.Err == nil {
			s.Err = s.check(h)
		}
	}
	return nil
}

func (h *Header) note(format string, args ...any) {
	h.Notes = append(h.Notes, fmt.Sprintf(format, args...))
}

// Memory returns the maximum amount of memory that a key slot needs, in bytes.
func (h *Header) Memory() int64 {
	var most int64
	for _, s := range h.Slots {
		if s.Err == nil {
			most = max(most, s.Memory)
		}
	}
	return most
}

// readFull fills p and returns the number of bytes read. The error includes the position.
func readFull(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return n, nil
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("%d bytes at byte %d: %w", len(p), off, err)
}
