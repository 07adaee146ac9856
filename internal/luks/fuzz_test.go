package luks_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"thinpool/internal/luks"
)

// For any header, opening terminates, and if the disk can be unlocked, its content is readable. The
// input is the start of a binary header and the JSON of LUKS2, laid over a valid disk with one
// slot. The LUKS2 checksum is corrected; otherwise nothing would pass.
func FuzzHeader(f *testing.F) {
	const size = dataAt + 4096
	const begin, end = 600, 4096 + 2048 // end of the LUKS1 header, end of the JSON
	sound, _ := disk{size: 4096}.make()
	add := func(image []byte) {
		f.Add(image[:begin], bytes.TrimRight(image[4096:end], "\x00"), uint32(size))
	}
	add(sound) // it can be unlocked
	for _, d := range []disk{
		{version: 1, size: 4096},
		{kdf: "argon2id", size: 4096, sectorSize: 4096},
		{version: 1, size: 4096, cipher: "aes-cbc-essiv:sha256", keySize: 32},
	} {
		image, _ := d.make()
		add(image)
	}
	f.Fuzz(func(t *testing.T, head, text []byte, cut uint32) {
		image := bytes.Clone(sound)
		copy(image[:4096], head)
		copy(image[4096:headerSize], append(bytes.Clone(text), 0))
		image = image[:min(cut, size)]
		if len(image) >= headerSize && binary.BigEndian.Uint64(image[8:]) == headerSize {
			seal(image[:headerSize])
		}
		luks.Recognise(image)
		h, err := luks.Open(t.Context(), bytes.NewReader(image), int64(len(image)))
		if err != nil {
			return
		}
		if h.Offset <= 0 || h.Size <= 0 || h.Offset+h.Size > int64(len(image)) {
			t.Fatalf("data from %d on, %d bytes, of %d", h.Offset, h.Size, len(image))
		}
		for _, s := range h.Slots {
			if s.Work() > 1000 {
				return // too slow
			}
		}
		v, err := h.Unlock(t.Context(), []byte("secret"), 1<<20)
		if err != nil {
			return
		}
		if n, err := v.ReadAt(make([]byte, v.Size()), 0); int64(n) != v.Size() || err != nil {
			t.Fatalf("%d of %d bytes: %v", n, v.Size(), err)
		}
	})
}
