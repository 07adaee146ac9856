package command

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/fixtures"
)

// filesText runs thin_files, checks its exit code, and returns the lines of its table without
// padding.
func filesText(t *testing.T, code int, args ...string) (lines []string, stderr string) {
	t.Helper()
	got, stdout, stderr := runTool(t, FilesTool, args...)
	if got != code {
		t.Fatalf("thin_files %q: exit code %d, want %d: %s", args, got, code, stderr)
	}
	for line := range strings.Lines(stdout) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines, stderr
}

// saved writes content to a file in a new folder.
func saved(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// largeLines is the output for bytes 1179648 to 1507327 of "ext4-inline".
var largeLines = []string{"BEGIN LENGTH KIND INODE OFFSET PATH", "1179648 327680 data 17 22528 docs/large"}

func wantFilesLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// All ways to give a range yield the same result.
func TestFilesSources(t *testing.T) {
	image := saved(t, fileSystem(t, "ext4-inline"))
	list := `{"type":"data","begin":0,"length":1179648}` + "\n" + `{"type":"lost","begin":1179648,"length":327680}` + "\n"
	end := `{"type":"summary","size":4194304,"data":3866624,"zero":0,"lost":327680}` + "\n"
	report := `{"type":"repair","data_block_size":128}` + "\n" + `{"type":"device","dev_id":3,"holes":[{"begin":0,"length":1}]}` + "\n" +
		`{"type":"device","dev_id":7,"holes":[{"begin":18,"length":2},{"begin":20,"length":3}]}` + "\n"
	mapfile := "# Mapfile\n# current_pos\n0x120000 ? 1\n0x0 0x120000 +\n0x120000 0x10000 -\n0x130000 0x10000 /\n0x140000 0x20000 *\n0x160000 65536 ?\n0x170000 0x290000 +\n"
	for what, args := range map[string][]string{
		"bytes":    {"--range", "1179648..1507328"},
		"units":    {"--range", "1152k..1280k", "--range", "2560s..2944s"},
		"ranges":   {"--ranges", saved(t, []byte(list+end))},
		"report":   {"--report", saved(t, []byte(report)), "--dev-id", "7"},
		"mapfile":  {"--mapfile", saved(t, []byte(mapfile))},
		"together": {"--mapfile", saved(t, []byte(mapfile)), "--ranges", saved(t, []byte(list+end))},
	} {
		got, stderr := filesText(t, 0, append(args, image)...)
		wantFilesLines(t, what, got, largeLines)
		if stderr != "" {
			t.Errorf("%s: stderr %q", what, stderr)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--ranges", saved(t, []byte(list))}, 1, "not a complete list"},
		{[]string{"--ranges", saved(t, []byte("lost\n"))}, 1, "line 1: not a list"},
		{[]string{"--report", saved(t, []byte(report)), "--dev-id", "8"}, 1, "no device 8"},
		{[]string{"--report", saved(t, []byte(report))}, 2, "--dev-id"},
		{[]string{"--mapfile", saved(t, []byte("0 ? 1\n0 5\n"))}, 1, "line 2: not a block of a ddrescue mapfile"},
		{[]string{"--mapfile", saved(t, nil)}, 1, "empty"},
		{[]string{"--mapfile", "/nowhere/map"}, 3, "no such file"},
		{[]string{"--range", "5..5"}, 2, "greater"},
		{[]string{"--range", "5"}, 2, "want A..B"},
		{[]string{}, 2, "is missing"},
		{[]string{"--lost"}, 2, "--lv"},
		{[]string{"--inside", "x/y", "--range", "0..1"}, 2, "number of a partition"},
	} {
		if _, stderr := filesText(t, c.code, append(c.args, image)...); !strings.Contains(stderr, c.want) {
			t.Errorf("%q: stderr %q, want %q", c.args, stderr, c.want)
		}
	}
}

// A lost inode table is reported, and so is the uncertainty about the rest.
func TestFilesMissing(t *testing.T) {
	content := fileSystem(t, "ext4-inline")
	all, _ := filesText(t, 0, "--range", "0..-1", saved(t, content))
	var begin, length int64
	for _, line := range all {
		if strings.Contains(line, "inode table") {
			if _, err := fmt.Sscan(line, &begin, &length); err != nil {
				t.Fatal(err)
			}
		}
	}
	mapfile := saved(t, fmt.Appendf(nil, "0 ? 1\n%d 1024 -\n", begin+1024))
	got, stderr := filesText(t, 1, "--range", "0..-1", "--mapfile", mapfile, saved(t, content))
	// Each block has four inodes of 256 bytes. The second has 5 to 8, and 8 is the journal.
	if want := fmt.Sprintf("missing: bytes %d..%d: inodes cannot be read; inodes 5..8 may be unknown\n", begin+1024, begin+2047); !strings.HasPrefix(stderr, want) {
		t.Errorf("stderr %q, want %q", stderr, want)
	}
	text := strings.Join(got, "\n")
	if strings.Contains(text, " journal ") || !strings.Contains(text, " unknown") || strings.Contains(text, " free") || !strings.Contains(text, "docs/large") {
		t.Errorf("without the inode of the journal: %s", text)
	}
}

// The file system is found in the only partition, or in the one named.
func TestFilesPartitions(t *testing.T) {
	fs := fileSystem(t, "ext4-inline")
	disk := make([]byte, 16<<20)
	entry := func(i int, start, size int64) {
		e := disk[446+16*i:]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], uint32(start/512))
		binary.LittleEndian.PutUint32(e[12:], uint32(size/512))
		copy(disk[start:], fs)
	}
	disk[510], disk[511] = 0x55, 0xaa
	entry(0, 1<<20, 4<<20)
	got, _ := filesText(t, 0, "--range", "1179648..1507328", saved(t, disk))
	wantFilesLines(t, "one partition", got, largeLines)
	entry(1, 8<<20, 4<<20)
	if _, stderr := filesText(t, 1, "--range", "1179648..1507328", saved(t, disk)); !strings.Contains(stderr, "--inside N") {
		t.Errorf("two partitions: stderr %q", stderr)
	}
	got, _ = filesText(t, 0, "--inside", "2", "--range", "1179648..1507328", saved(t, disk))
	wantFilesLines(t, "the second partition", got, largeLines)
}

// Ranges that changed between a snapshot and its origin contain what the file system has there.
func TestFilesChangedSince(t *testing.T) {
	disks, _ := fixtures.Disks(t, "one-pv")
	fs := fileSystem(t, "ext4-inline")
	_, table, _ := runTool(t, ExportTool, "--lv", "vg1/snap", "--map", "dmsetup", "--data", "x", disks[0])
	f, err := os.OpenFile(disks[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	written := int64(0)
	for line := range strings.Lines(table) {
		var start, n, at int64
		if _, err := fmt.Sscanf(line, "%d %d linear x %d", &start, &n, &at); err != nil || start*512 >= int64(len(fs)) {
			continue
		}
		const data = 5 << 20 // on the disk
		part := fs[start*512 : min((start+n)*512, int64(len(fs)))]
		if _, err := f.WriteAt(part, data+at*512); err != nil {
			t.Fatal(err)
		}
		written += int64(len(part))
	}
	if written != int64(len(fs)) {
		t.Fatalf("%d bytes of the file system were written", written)
	}
	got, _ := filesText(t, 0, "--lv", "vg1/snap", "--changed-since", "vg1/base", disks[0])
	want, _ := filesText(t, 0, "--range", "1m..3m", saved(t, fs))
	want = append(want, "5242880 1048576 free", "11534336 262144 free", "62914560 65536 free")
	wantFilesLines(t, "changed", got, want)
	if !strings.Contains(strings.Join(got, "\n"), "docs/deep/again = docs/note") {
		t.Errorf("a file with two names is not among %q", got)
	}
	if _, stderr := filesText(t, 2, "--lv", "vg1/pool_tdata", "--lost", disks[0]); !strings.Contains(stderr, "not a thin volume") {
		t.Errorf("of a volume in no pool: %s", stderr)
	}
	if _, stderr := filesText(t, 1, "--range", "0..1", disks[0]); !strings.Contains(stderr, "--lv VG/LV") {
		t.Errorf("without a volume: %s", stderr)
	}
}
