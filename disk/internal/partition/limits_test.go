package partition_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/disk/internal/partition"
)

// Any of the four entries may be the protective one. A boot flag is 0 or 0x80.
func TestMBREntries(t *testing.T) {
	none, data := [3]uint32{}, [3]uint32{0x83, 64, 100}
	for name, tc := range map[string]struct {
		entries  [][3]uint32
		status   byte
		number   int // the only partition; 0: none
		problems int
	}{
		"first":                 {[][3]uint32{data}, 0, 1, 0},
		"last":                  {[][3]uint32{none, none, none, data}, 0, 4, 0},
		"boot":                  {[][3]uint32{data}, 0x80, 1, 0},
		"status 1":              {[][3]uint32{data}, 1, 0, 0},
		"status 0x40":           {[][3]uint32{data}, 0x40, 0, 0},
		"status 0x81":           {[][3]uint32{data}, 0x81, 0, 0},
		"last is protective":    {[][3]uint32{data, none, none, {0xee, 1, 10}}, 0, 1, 1},
		"without a type":        {[][3]uint32{{0, 64, 100}, data}, 0, 2, 0},
		"without sectors":       {[][3]uint32{{0x83, 64, 0}, data}, 0, 2, 0},
		"at sector 0":           {[][3]uint32{{0x83, 0, 100}, data}, 0, 2, 0},
		"extended, as DOS does": {[][3]uint32{{0x05, 200, 10}}, 0, 5, 0},
		"extended, with LBA":    {[][3]uint32{{0x0f, 200, 10}}, 0, 5, 0},
		"extended, of Linux":    {[][3]uint32{{0x85, 200, 10}}, 0, 5, 0},
	} {
		disk := make([]byte, size)
		record(disk, 0, tc.entries...)
		record(disk, 200, [3]uint32{0x83, 1, 2})
		disk[446] = tc.status
		table := read(t, disk)
		var numbers, want []int
		for _, p := range table.Partitions {
			numbers = append(numbers, p.Number)
		}
		if tc.number > 0 {
			want = []int{tc.number}
		}
		if !slices.Equal(numbers, want) || len(table.Problems) != tc.problems {
			t.Errorf("%s: %+v, want partition %d", name, table, tc.number)
		}
	}
}

// The status of each of the four entries counts.
func TestStatus(t *testing.T) {
	for i := range 4 {
		disk := make([]byte, size)
		record(disk, 0, [3]uint32{0x83, 64, 100}, [3]uint32{0x83, 264, 100}, [3]uint32{0x83, 464, 100}, [3]uint32{0x83, 664, 100})
		disk[446+16*i] = 0x80
		if table := read(t, disk); len(table.Partitions) != 4 {
			t.Errorf("partition %d boots: %+v", i+1, table)
		}
		disk[446+16*i] = 0x10
		if table := read(t, disk); !cmp.Equal(table, partition.Table{}) {
			t.Errorf("the status of entry %d is wrong: %+v", i, table)
		}
	}
}

// Partitions at the end of the disk: up to the last sector, one sector longer, and one sector
// beyond.
func TestEnds(t *testing.T) {
	const sectors = size / 512
	for _, tc := range []struct {
		first, count uint32
		want         int64 // size; 0: no partition
		problem      string
	}{
		{sectors - 3, 3, 3 * 512, ""},
		{sectors - 3, 4, 3 * 512, "partition 1 ends 512 bytes beyond the end of the image"},
		{sectors - 1, 1, 512, ""},
		{sectors, 1, 0, "partition 1 starts at byte 1048576, beyond the end of the image"},
	} {
		disk := make([]byte, size)
		record(disk, 0, [3]uint32{0x8e, tc.first, tc.count})
		want := partition.Table{Scheme: "mbr", Beyond: tc.problem != ""}
		if tc.want > 0 {
			want.Partitions = []partition.Partition{{Number: 1, Scheme: "mbr", Type: "8e", Start: int64(tc.first) * 512, Size: tc.want}}
		}
		if tc.problem != "" {
			want.Problems = []string{tc.problem}
		}
		if diff := cmp.Diff(want, read(t, disk)); diff != "" {
			t.Errorf("%d sectors from %d on (-want +got):\n%s", tc.count, tc.first, diff)
		}
	}
	disk := make([]byte, size) // the boot record of the logical partition is in the last sector
	record(disk, 0, [3]uint32{0x05, sectors - 1, 1})
	record(disk, sectors-1)
	if table := read(t, disk); len(table.Problems) != 0 {
		t.Errorf("problems %q", table.Problems)
	}
	least := make([]byte, 1024)
	record(least, 0, [3]uint32{0x8e, 1, 1})
	if table := read(t, least); len(table.Partitions) != 1 {
		t.Errorf("a disk of two sectors: %+v", table)
	}
	if table := read(t, least[:1023]); table.Scheme != "" {
		t.Errorf("a disk of less: %+v", table)
	}
}

// A chain has at most 128 boot records.
func TestLongChain(t *testing.T) {
	for records, problems := range map[int]int{128: 0, 129: 1} {
		disk := make([]byte, size)
		record(disk, 0, [3]uint32{0x05, 100, 1000})
		for i := range records {
			next := [3]uint32{0x05, uint32(3 * (i + 1)), 3}
			if i == records-1 {
				next = [3]uint32{}
			}
			record(disk, 100+3*i, [3]uint32{0x83, 1, 1}, next)
		}
		table := read(t, disk)
		if len(table.Partitions) != 128 || len(table.Problems) != problems || table.Partitions[127].Number != 132 {
			t.Errorf("%d records: %d partitions, problems %q", records, len(table.Partitions), table.Problems)
		}
	}
}

// edited returns a disk with one partition and only the first GPT, changed by edit and with right
// checksums.
func edited(sector int, edit func(disk, header []byte)) []byte {
	disk := make([]byte, size)
	gpt(disk, sector, map[int][2]uint64{0: {200, 200}})
	h := disk[sector : 2*sector]
	clear(disk[len(disk)-sector:])
	edit(disk, h)
	if from, n := le.Uint64(h[72:])*uint64(sector), le.Uint32(h[80:])*le.Uint32(h[84:]); from < size && uint64(n) <= size-from {
		le.PutUint32(h[88:], crc32.ChecksumIEEE(disk[from:from+uint64(n)]))
	}
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:min(le.Uint32(h[12:]), uint32(sector))]))
	return disk
}

// Valid and invalid GPT headers.
func TestGPTHeader(t *testing.T) {
	put := func(at int, v uint32) func(_, h []byte) {
		return func(_, h []byte) { le.PutUint32(h[at:], v) }
	}
	for name, tc := range map[string]struct {
		edit func(disk, header []byte)
		ok   bool
	}{
		"nothing":              {func(_, _ []byte) {}, true},
		"magic":                {func(_, h []byte) { h[7] = 'X' }, false},
		"short header":         {put(12, 91), false},
		"header of a sector":   {put(12, 512), true},
		"longer header":        {put(12, 513), false},
		"another sector":       {put(24, 2), false},
		"most entries":         {put(80, 1024), true},
		"too many entries":     {put(80, 1025), false},
		"small entries":        {put(84, 127), false},
		"larger entries":       {put(84, 256), true},
		"largest entries":      {func(_, h []byte) { le.PutUint32(h[80:], 3); le.PutUint32(h[84:], 4096) }, true},
		"too large entries":    {func(_, h []byte) { le.PutUint32(h[80:], 3); le.PutUint32(h[84:], 4097) }, false},
		"far table":            {put(72, 1<<20), false},
		"table on another one": {put(76, 1<<31), false}, // sector 2^63 + 2
		"table at the end": {func(d, h []byte) {
			copy(d[size-128*128:], d[2*512:][:128*128])
			le.PutUint32(h[72:], size/512-32)
		}, true},
		"table beyond the end": {put(72, size/512-31), false},
	} {
		table := read(t, edited(512, tc.edit))
		want := []partition.Partition(nil)
		if tc.ok {
			want = []partition.Partition{{Number: 1, Scheme: "gpt", Type: "E6D6D379-F507-44C2-A23C-238F2A3DF928", Name: "disk é", Start: 200 * 512, Size: 512}}
		}
		if diff := cmp.Diff(want, table.Partitions); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if wantProblems := map[bool]int{true: 0, false: 1}[tc.ok]; len(table.Problems) != wantProblems {
			t.Errorf("%s: problems %q", name, table.Problems)
		}
	}
}

// One checksum covers the whole header, and another the whole table.
func TestGPTChecksums(t *testing.T) {
	for _, at := range []int{512, 512 + 60, 512 + 91, 2 * 512, 2*512 + 128*128 - 1} {
		disk := edited(512, func(_, _ []byte) {})
		disk[at]++
		if table := read(t, disk); len(table.Partitions) != 0 || len(table.Problems) != 1 {
			t.Errorf("byte %d is wrong: %+v", at, table)
		}
	}
}

// Entries beyond the end of any disk are problems.
func TestGPTEntries(t *testing.T) {
	for _, tc := range []struct {
		first, last uint64
		problem     string
	}{
		{200, 200, ""},
		{0, 200, "partition 1 has sectors 0..200"},
		{200, 199, "partition 1 has sectors 200..199"},
		{200, 1 << 50, "partition 1 ends"},
		{200, 1<<50 + 1, "partition 1 has sectors 200.."},
	} {
		disk := make([]byte, size)
		gpt(disk, 512, map[int][2]uint64{0: {tc.first, tc.last}, 127: {300, 301}})
		table := read(t, disk)
		last := table.Partitions[len(table.Partitions)-1]
		if last.Number != 128 || last.Start != 300*512 || last.Size != 1024 {
			t.Errorf("sectors %d..%d: the last partition is %+v", tc.first, tc.last, last)
		}
		if tc.problem == "" && len(table.Problems) > 0 || tc.problem != "" && (len(table.Problems) != 1 || !strings.HasPrefix(table.Problems[0], tc.problem)) {
			t.Errorf("sectors %d..%d: problems %q, want %q", tc.first, tc.last, table.Problems, tc.problem)
		}
	}
	bad := map[int][2]uint64{}
	for i := range 60 {
		bad[i] = [2]uint64{9, 8}
	}
	disk := make([]byte, size)
	if gpt(disk, 512, bad); len(read(t, disk).Problems) != 50 {
		t.Errorf("%d problems, want the first 50", len(read(t, disk).Problems))
	}
}

// A failing disk has an unreadable sector.
type failing struct {
	*bytes.Reader
	bad int64
}

var errBad = errors.New("bad sector")

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off <= f.bad*512 && f.bad*512 < off+int64(len(p)) {
		return 0, errBad
	}
	return f.Reader.ReadAt(p, off)
}

// An unreadable table gives an error with its place, not a disk without partitions.
func TestUnreadable(t *testing.T) {
	mbr, table := make([]byte, size), make([]byte, size)
	record(mbr, 0, [3]uint32{0x05, 200, 1000})
	record(mbr, 200, [3]uint32{0x83, 10, 20}, [3]uint32{0x05, 100, 50})
	record(mbr, 300, [3]uint32{0x83, 10, 20})
	gpt(table, 512, map[int][2]uint64{0: {200, 200}})
	for name, tc := range map[string]struct {
		disk []byte
		bad  int64
	}{
		"MBR": {mbr, 0}, "first boot record": {mbr, 200}, "second boot record": {mbr, 300}, "GPT header": {table, 1}, "GPT table": {table, 2},
	} {
		_, err := partition.Read(failing{bytes.NewReader(tc.disk), tc.bad}, size)
		if want := fmt.Sprintf("partition table at byte %d: bad sector", 512*tc.bad); !errors.Is(err, errBad) || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if _, err := partition.Read(bytes.NewReader(mbr[:250*512]), size); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a disk shorter than it says: %v", err)
	}
}
