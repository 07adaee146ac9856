package md_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"thinpool/internal/md"
)

// Reads of an array over files, complete and with a missing member, and of one of its files
// directly.
func BenchmarkReadAt(b *testing.B) {
	const chunks = 4096 // per member
	a := array{level: 5, layout: 2, devices: 3, drawn: "01P-1P0-P01", used: chunks * chunk}
	made, _ := a.make()
	var members []md.Member
	for i, m := range made {
		f, err := os.Create(filepath.Join(b.TempDir(), "disk"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(image(m)); err != nil {
			b.Fatal(err)
		}
		members = append(members, md.Member{Name: fmt.Sprint(i), R: f, Size: m.Size, Super: m.Super})
	}
	run := func(name string, r io.ReaderAt, size int64) {
		b.Run(name, func(b *testing.B) {
			p := make([]byte, 1<<20)
			b.SetBytes(int64(len(p)))
			off := int64(0)
			for b.Loop() {
				if _, err := r.ReadAt(p, off); err != nil {
					b.Fatal(err)
				}
				if off += int64(len(p)); off+int64(len(p)) > size {
					off = 0
				}
			}
		})
	}
	run("file", members[0].R, members[0].Size)
	for name, ms := range map[string][]md.Member{"raid5": members, "raid5 degraded": members[1:]} {
		arr, err := md.Assemble(ms, md.Options{})
		if err != nil {
			b.Fatal(err)
		}
		run(name, arr, arr.Size())
	}
}
