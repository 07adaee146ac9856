package luks_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"thinpool/internal/luks"
)

// Whatever a header says, opening it ends, and if it can be unlocked its content can be read.
// The checksum of LUKS2 is made right, else nothing would get past it.
func FuzzHeader(f *testing.F) {
	for _, d := range []disk{
		{size: 4096}, {version: 1, size: 4096}, {kdf: "argon2id", size: 4096, sectorSize: 4096},
		{version: 1, size: 4096, cipher: "aes-cbc-essiv:sha256", keySize: 32},
	} {
		image, _ := d.make()
		f.Add(image[:areaOf(1)], uint32(dataAt+4096))
	}
	f.Fuzz(func(t *testing.T, start []byte, size uint32) {
		image := make([]byte, max(len(start), int(size%(1<<20))))
		copy(image, start)
		for at := 0; at+headerSize <= min(len(image), 2*headerSize); at += headerSize {
			if b := image[at:][:headerSize]; binary.BigEndian.Uint64(b[8:]) == headerSize {
				seal(b)
			}
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
			if s.Work() > 10000 {
				return // takes long
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
