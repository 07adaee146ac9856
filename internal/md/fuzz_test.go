package md_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"thinpool/internal/md"
)

// For any superblocks, reading terminates, and an assembled array returns data or errors. The input
// is two superblocks, each laid over a disk. Their checksums are corrected; otherwise nothing would
// pass.
func FuzzSuperblock(f *testing.F) {
	const room = 512
	seeds := []array{{level: 1, devices: 2}, {level: 0, layout: 2, devices: 2, sizes: []int{chunk, 2 * chunk}}}
	for _, a := range arrays {
		seeds = append(seeds, a.array)
	}
	for _, a := range seeds {
		a.version = "1.2"
		members, _ := a.make()
		last := members[len(members)-1]
		f.Add(image(members[0])[4096:][:room], image(last)[4096:][:room], false)
	}
	for _, big := range []bool{false, true} {
		a := array{version: "0.90", big: big, level: 1, devices: 2}.sane()
		b := a.image(0, make([]byte, a.used))
		f.Add(b[a.used:][:4096], b[a.used:][:4096], true)
	}
	f.Fuzz(func(t *testing.T, first, second []byte, old bool) {
		var members []md.Member
		for i, super := range [][]byte{first, second} {
			b := make([]byte, 4096)
			copy(b, super)
			disk := make([]byte, 192*kib)
			if old {
				a := array{big: binary.BigEndian.Uint32(b) == magic}
				a.seal0(b)
				copy(disk[128*kib:], b)
			} else {
				seal1(b)
				copy(disk[4096:], b)
			}
			s, err := md.Recognise(bytes.NewReader(disk), int64(len(disk)))
			if err != nil || s == nil {
				continue
			}
			_, _ = s.LevelName(), s.State()
			members = append(members, md.Member{Name: string(rune('a' + i)), R: bytes.NewReader(disk), Size: int64(len(disk)), Super: s})
		}
		for _, opt := range []md.Options{{}, {Stale: true}} {
			a, err := md.Assemble(members, opt)
			if err != nil {
				continue
			}
			if a.Size() <= 0 {
				t.Fatalf("%d bytes: %+v", a.Size(), a.Super)
			}
			p := make([]byte, 70*kib)
			for _, off := range []int64{0, a.Size() / 2, max(a.Size()-int64(len(p)), 0), a.Size() - 1} {
				n, err := a.ReadAt(p, off)
				if n < len(p) && err == nil || n > len(p) || err == io.EOF && off+int64(n) != a.Size() {
					t.Fatalf("%d bytes at %d of %d: %v", n, off, a.Size(), err)
				}
			}
		}
	})
}
