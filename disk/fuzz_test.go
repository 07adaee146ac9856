package disk_test

import (
	"bytes"
	"context"
	"testing"

	"thinpool/disk"
	"thinpool/fixtures"
)

// FuzzSearch overwrites a disk with all kinds of layers: partitions, a leg of a mirror, encryption.
func FuzzSearch(f *testing.F) {
	encrypted, err := fixtures.LUKS1(text16(16<<10), "secret")
	if err != nil {
		f.Fatal(err)
	}
	leg := fixtures.Leg{Level: 1, Devices: 2, Events: 1}.Make(encrypted)
	good := append(mbr(len(leg)), leg...)
	f.Add(uint32(446), good[446:512], uint32(63*512), leg[:600])
	f.Add(uint32(len(good)-8192), leg[len(leg)-8192:][:300], uint32(0), []byte{})
	f.Add(uint32(4096), leg[len(leg)-8192:][:300], uint32(512), []byte("LABELONE"))
	f.Fuzz(func(t *testing.T, at uint32, a []byte, then uint32, b []byte) {
		p := bytes.Clone(good)
		copy(p[min(int(at), len(p)):], a)
		copy(p[min(int(then), len(p)):], b)
		key := func(_ context.Context, lock disk.Lock) ([]byte, error) {
			header := make([]byte, 4096)
			if lock.Disk.ReadFull(header, 0) != nil || !bytes.Equal(header, encrypted[:len(header)]) || lock.Tries > 0 {
				return nil, disk.ErrNoKey // any other header may require minutes of work
			}
			return []byte("secret"), nil
		}
		how := disk.How{Key: key, KeyMemory: 1 << 20}
		found, err := disk.Search(t.Context(), how, disk.New("image", bytes.NewReader(p), int64(len(p))))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range found.Media {
			for _, d := range m.Plain {
				start := make([]byte, 100)
				if _, err := d.ReadAt(start, 0); d.Size() < 0 || err == nil && d.Size() < 100 {
					t.Errorf("%v has %d bytes, %v", d, d.Size(), err)
				}
				if d.Writable() == nil {
					t.Errorf("%v can be written", d)
				}
			}
		}
	})
}
