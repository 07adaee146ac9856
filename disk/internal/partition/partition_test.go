package partition_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"thinpool/disk/internal/partition"
)

var le = binary.LittleEndian

// record writes a boot record to a sector of a disk.
func record(disk []byte, at int, entries ...[3]uint32) {
	b := disk[at*512:]
	for i, e := range entries {
		p := b[446+16*i:]
		p[4] = byte(e[0])
		le.PutUint32(p[8:], e[1])
		le.PutUint32(p[12:], e[2])
	}
	b[510], b[511] = 0x55, 0xaa
}

// gpt writes header, table and their copies at the end, for a sector size.
func gpt(disk []byte, sector int, entries map[int][2]uint64) {
	const number, size = 128, 128
	record(disk, 0, [3]uint32{0xee, 1, uint32(len(disk)/512 - 1)})
	table := make([]byte, number*size)
	for i, e := range entries {
		p := table[i*size:]
		copy(p, "\x79\xd3\xd6\xe6\x07\xf5\xc2\x44\xa2\x3c\x23\x8f\x2a\x3d\xf9\x28")
		le.PutUint64(p[32:], e[0])
		le.PutUint64(p[40:], e[1])
		for j, u := range utf16.Encode([]rune("disk é")) {
			le.PutUint16(p[56+2*j:], u)
		}
	}
	last := len(disk)/sector - 1
	for _, at := range [][2]int{{1, 2}, {last, last - len(table)/sector}} {
		h := disk[at[0]*sector:]
		copy(h, "EFI PART")
		le.PutUint32(h[12:], 92)
		le.PutUint64(h[24:], uint64(at[0]))
		le.PutUint64(h[72:], uint64(at[1]))
		le.PutUint32(h[80:], number)
		le.PutUint32(h[84:], size)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(table))
		le.PutUint32(h[16:], 0)
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		copy(disk[at[1]*sector:], table)
	}
}

func read(t *testing.T, disk []byte) partition.Table {
	t.Helper()
	table, err := partition.Read(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

const size = 1 << 20 // 2048 sectors of 512

func TestMBR(t *testing.T) {
	disk := make([]byte, size)
	record(disk, 0, [3]uint32{0x8e, 64, 100}, [3]uint32{0x0f, 200, 1000}, [3]uint32{}, [3]uint32{0x83, 1300, 100})
	record(disk, 200, [3]uint32{0x83, 10, 20}, [3]uint32{0x05, 100, 50})
	record(disk, 300, [3]uint32{0x8e, 5, 40}, [3]uint32{0x05, 400, 50})
	record(disk, 600, [3]uint32{0x83, 1, 2})
	want := partition.Table{Scheme: "mbr", Partitions: []partition.Partition{
		{Number: 1, Type: "8e", Start: 64 * 512, Size: 100 * 512},
		{Number: 5, Type: "83", Start: 210 * 512, Size: 20 * 512},
		{Number: 6, Type: "8e", Start: 305 * 512, Size: 40 * 512},
		{Number: 7, Type: "83", Start: 601 * 512, Size: 2 * 512},
		{Number: 4, Type: "83", Start: 1300 * 512, Size: 100 * 512},
	}}
	for i := range want.Partitions {
		want.Partitions[i].Scheme = "mbr"
	}
	if diff := cmp.Diff(want, read(t, disk)); diff != "" {
		t.Error(diff)
	}
}

// Endless chains, missing records, and partitions beyond the end.
func TestMBRProblems(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil   func(disk []byte)
		problem string
	}{
		"cycle": {func(d []byte) {
			record(d, 200, [3]uint32{0x83, 10, 20}, [3]uint32{0x05, 100, 50})
			record(d, 300, [3]uint32{0x83, 10, 20}, [3]uint32{0x05, 100, 50})
		}, "is endless"},
		"far":       {func(d []byte) { record(d, 200, [3]uint32{}, [3]uint32{0x05, 0xffffffff, 50}) }, "beyond the end"},
		"unsigned":  {func(d []byte) { record(d, 200, [3]uint32{}, [3]uint32{0x05, 100, 50}) }, "no signature"},
		"long":      {func(d []byte) { record(d, 0, [3]uint32{0x8e, 64, 4000}); record(d, 200) }, "partition 1 ends"},
		"elsewhere": {func(d []byte) { record(d, 0, [3]uint32{0x8e, 4000, 1}); record(d, 200) }, "partition 1 starts"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := make([]byte, size)
			record(disk, 0, [3]uint32{0x8e, 64, 100}, [3]uint32{0x0f, 200, 1000})
			tc.spoil(disk)
			table := read(t, disk)
			if len(table.Problems) != 1 || !strings.Contains(table.Problems[0], tc.problem) {
				t.Errorf("problems %q, want %q", table.Problems, tc.problem)
			}
			for _, p := range table.Partitions {
				if p.Start < 0 || p.Size <= 0 || p.Start+p.Size > size {
					t.Errorf("%+v is not within the disk", p)
				}
			}
		})
	}
}

func TestGPT(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		disk := make([]byte, size)
		gpt(disk, sector, map[int][2]uint64{0: {40, 50}, 2: {60, 99}, 5: {100, 1 << 40}, 6: {9, 8}})
		table := read(t, disk)
		want := []partition.Partition{
			{Number: 1, Start: int64(40 * sector), Size: int64(11 * sector)},
			{Number: 3, Start: int64(60 * sector), Size: int64(40 * sector)},
			{Number: 6, Start: int64(100 * sector), Size: int64(size - 100*sector)},
		}
		for i := range want {
			want[i].Scheme, want[i].Type, want[i].Name = "gpt", "E6D6D379-F507-44C2-A23C-238F2A3DF928", "disk é"
		}
		if diff := cmp.Diff(want, table.Partitions); diff != "" || len(table.Problems) != 2 {
			t.Errorf("sectors of %d, problems %q\n%s", sector, table.Problems, diff)
		}
		for name, tc := range map[string]struct {
			spoil func(disk []byte)
			copy  bool // then the copy is read
		}{
			"header": {func(d []byte) { d[sector+30]++ }, true},
			"table":  {func(d []byte) { d[2*sector+5]++ }, true},
			"MBR":    {func(d []byte) { clear(d[:512]) }, false},
		} {
			spoilt := bytes.Clone(disk)
			tc.spoil(spoilt)
			table := read(t, spoilt)
			last := table.Problems[len(table.Problems)-1]
			if diff := cmp.Diff(want, table.Partitions); diff != "" || strings.Contains(last, "backup") != tc.copy {
				t.Errorf("sectors of %d, bad %s: problems %q\n%s", sector, name, table.Problems, diff)
			}
		}
		disk[sector+30]++
		disk[len(disk)/sector*sector-sector+30]++
		record(disk, 0, [3]uint32{0xee, 1, 100}, [3]uint32{0x8e, 64, 100})
		table = read(t, disk)
		if len(table.Partitions) != 1 || table.Scheme != "mbr" || len(table.Problems) != 1 {
			t.Errorf("without any GPT: %+v", table)
		}
	}
}

// A disk without a table, or with a file system's boot sector, has no partitions.
func TestNone(t *testing.T) {
	fat := make([]byte, size)
	record(fat, 0)
	for i := 62; i < 510; i++ {
		fat[i] = byte(i)
	}
	signed := make([]byte, size)
	record(signed, 0)
	for name, disk := range map[string][]byte{"zero": make([]byte, size), "tiny": make([]byte, 700), "fat": fat, "signed": signed} {
		if table := read(t, disk); !cmp.Equal(table, partition.Table{}) {
			t.Errorf("%s: %+v", name, table)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, sector := range []int{512, 4096} {
		disk := make([]byte, 64<<10)
		gpt(disk, sector, map[int][2]uint64{0: {6, 7}})
		f.Add(disk)
	}
	disk := make([]byte, 8<<10)
	record(disk, 0, [3]uint32{0x8e, 1, 2}, [3]uint32{0x05, 4, 10})
	record(disk, 4, [3]uint32{0x83, 1, 2}, [3]uint32{0x05, 6, 50})
	f.Add(disk)
	f.Fuzz(func(t *testing.T, disk []byte) {
		table, err := partition.Read(bytes.NewReader(disk), int64(len(disk)))
		if err != nil {
			t.Fatalf("a disk in memory cannot be read: %v", err)
		}
		for _, p := range table.Partitions {
			if p.Start < 0 || p.Size <= 0 || p.Start >= int64(len(disk)) || p.Size > int64(len(disk))-p.Start {
				t.Errorf("%+v is not within %d bytes", p, len(disk))
			}
		}
	})
}
