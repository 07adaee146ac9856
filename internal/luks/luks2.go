package luks

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
)

// Offsets in the binary header of LUKS2, which is followed by JSON. Numbers are big-endian.
const (
	offVersion  = 6
	offSize     = 8
	offSequence = 16
	offLabel    = 24
	offSumHash  = 72
	offUUID2    = 168
	offSelf     = 256
	offSum      = 448

	labelSize   = 48
	sumHashSize = 32
	uuidSize    = 40
	sumSize     = 64
	binarySize  = 4096
)

// headerSizes are the allowed header sizes, including the JSON. The second header starts there.
var headerSizes = []int64{16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20}

// A copy2 is one of the two copies of a LUKS2 header.
type copy2 struct {
	bin  []byte
	meta *metadata
}

// decode2 reads both copies of the header and uses the newer valid one.
func (h *Header) decode2(ctx context.Context) error {
	first, err1 := h.copyAt(0, magic)
	// The second copy follows the first one. If the first is bad, it may be at any of these.
	places := headerSizes
	if err1 == nil {
		places = []int64{int64(be.Uint64(first.bin[offSize:]))}
	}
	var second *copy2
	err2 := errors.New("it is not there")
	for _, at := range places {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, err := h.copyAt(at, secondMagic)
		if err == nil {
			second, err2 = c, nil
			break
		}
		if !errors.Is(err, errNoMagic) {
			err2 = err
		}
	}
	switch {
	case err1 != nil && err2 != nil:
		return fmt.Errorf("both copies are damaged: first: %w; second: %w", err1, err2)
	case err1 != nil:
		h.note("the first copy of the header is damaged (%v): the second one is used", err1)
		first = second
	case err2 != nil:
		h.note("the second copy of the header is damaged (%v): the first one is used", err2)
	case sequence(second) > sequence(first):
		h.note("the second copy of the header is newer than the first: it is used")
		first = second
	}
	h.UUID = text(first.bin[offUUID2 : offUUID2+uuidSize])
	h.Label = text(first.bin[offLabel : offLabel+labelSize])
	return h.apply(first.meta)
}

func sequence(c *copy2) uint64 { return be.Uint64(c.bin[offSequence:]) }

var errNoMagic = errors.New("no LUKS magic")

// copyAt reads and verifies the copy at an offset.
func (h *Header) copyAt(at int64, magic string) (*copy2, error) {
	bin := make([]byte, binarySize)
	if at+binarySize > h.diskSize {
		return nil, errNoMagic
	}
	if _, err := readFull(h.r, bin, at); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(bin, []byte(magic)) {
		return nil, errNoMagic
	}
	size := be.Uint64(bin[offSize:])
	switch {
	case be.Uint16(bin[offVersion:]) != 2:
		return nil, fmt.Errorf("version %d", be.Uint16(bin[offVersion:]))
	case be.Uint64(bin[offSelf:]) != uint64(at):
		return nil, fmt.Errorf("it says it is at byte %d", be.Uint64(bin[offSelf:]))
	case !isHeaderSize(size):
		return nil, fmt.Errorf("a size of %d bytes", size)
	}
	all := make([]byte, size)
	if _, err := readFull(h.r, all, at); err != nil {
		return nil, err
	}
	if err := verify(all); err != nil {
		return nil, err
	}
	// If the JSON is invalid despite a correct checksum, it was written like that.
	meta, err := parse(all[binarySize:])
	if err != nil {
		return nil, err
	}
	return &copy2{all[:binarySize], meta}, nil
}

func isHeaderSize(size uint64) bool {
	for _, s := range headerSizes {
		if size == uint64(s) {
			return true
		}
	}
	return false
}

// verify compares the checksum of a header with its content. It modifies all.
func verify(all []byte) error {
	name := text(all[offSumHash : offSumHash+sumHashSize])
	newHash, err := hashOf(name)
	if err != nil {
		return fmt.Errorf("its checksum: %w", err)
	}
	sum := bytes.Clone(all[offSum : offSum+sumSize])
	clear(all[offSum : offSum+sumSize])
	hash := newHash()
	hash.Write(all)
	if got := hash.Sum(nil); subtle.ConstantTimeCompare(got, sum[:len(got)]) == 0 {
		return errors.New("its checksum is wrong")
	}
	return nil
}
