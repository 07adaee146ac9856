package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// newDisk creates disk.img, with the LVM group vg1, and vg1.text, the text of the group.
func newDisk(t *testing.T, dir string) string {
	t.Helper()
	disk := filepath.Join(dir, "disk.img")
	if err := fixtures.WriteDisk("one-pv", disk); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "vg1.text"), []byte(ours(t, "thin_volumes", "--text", disk)))
	return disk
}

// encryptedDisk encrypts disk.img and checks the content of a volume at the end.
func encryptedDisk(t *testing.T, dir string) func() {
	disk := newDisk(t, dir)
	sound := volumeOf(t, dir, disk)
	encrypt(t, dir, disk)
	return func() { wantSameFile(t, filepath.Join(dir, "trimmed.img"), sound) }
}

func encrypt(t *testing.T, dir, disk string) {
	t.Helper()
	write(t, filepath.Join(dir, "key"), []byte("correct horse"))
	write(t, disk, must(fixtures.LUKS1(must(os.ReadFile(disk)), "correct horse")))
}

// volumeOf exports a volume from a disk and returns the path.
func volumeOf(t *testing.T, dir, disk string) string {
	t.Helper()
	path := filepath.Join(dir, "sound")
	ours(t, "thin_export", disk, "--lv", "vg1/trimmed", "-o", path)
	return path
}

// A docMapping is a mapping of one block.
type docMapping struct{ dev, thin, data, time uint64 }

var docElement = regexp.MustCompile(`<(device) dev_id="(\d+)"|<single_mapping origin_block="(\d+)" data_block="(\d+)" time="(\d+)"|` +
	`<range_mapping origin_begin="(\d+)" data_begin="(\d+)" length="(\d+)" time="(\d+)"`)

// mappingsOf returns all mappings in a dump of metadata.
func mappingsOf(t *testing.T, path string) map[docMapping]bool {
	t.Helper()
	all := map[docMapping]bool{}
	number := func(s string) uint64 { return must(strconv.ParseUint("0"+s, 10, 64)) }
	dev := uint64(0)
	for _, m := range docElement.FindAllStringSubmatch(dumpOf(t, path), -1) {
		switch {
		case m[1] != "":
			dev = number(m[2])
		case m[8] == "":
			all[docMapping{dev, number(m[3]), number(m[4]), number(m[5])}] = true
		default:
			for i := range number(m[8]) {
				all[docMapping{dev, number(m[6]) + i, number(m[7]) + i, number(m[9])}] = true
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s: no mappings", path)
	}
	return all
}

func dumpOf(t *testing.T, path string) string {
	t.Helper()
	return ours(t, "thin_dump", "--style", "0.9", path)
}

// lostMappings returns the mappings that only sound has.
func lostMappings(t *testing.T, sound, repaired map[docMapping]bool) map[docMapping]bool {
	t.Helper()
	lost := maps.Clone(sound)
	maps.DeleteFunc(lost, func(m docMapping, _ bool) bool { return repaired[m] })
	return lost
}

// wantLost checks that repaired has exactly the mappings of sound except the lost ones, and passes
// thin_check.
func wantLost(t *testing.T, sound, repaired string, isLost func(docMapping) bool) {
	t.Helper()
	ours(t, "thin_check", repaired)
	was, now := mappingsOf(t, sound), mappingsOf(t, repaired)
	for m := range lostMappings(t, was, now) {
		if !isLost(m) {
			t.Fatalf("%s: %+v is lost", repaired, m)
		}
	}
	for m := range now {
		if !was[m] || isLost(m) {
			t.Fatalf("%s: %+v should not be there", repaired, m)
		}
	}
	first := func(path string) string { line, _, _ := strings.Cut(dumpOf(t, path), "\n"); return line }
	flags := regexp.MustCompile(` flags="\d"| transaction="\d+"`)
	if a, b := flags.ReplaceAllString(first(sound), ""), flags.ReplaceAllString(first(repaired), ""); a != b {
		t.Errorf("%s: %s, want %s", repaired, b, a)
	}
}

// dataFile creates a data device with a mark in each mapped block. size is the block size in
// sectors.
func dataFile(t *testing.T, path string, size uint64, mappings map[docMapping]bool) {
	t.Helper()
	end := uint64(0)
	write(t, path, nil)
	for m := range mappings {
		writeAt(t, path, int64(m.data*size*512), dataMark(m.data))
		end = max(end, m.data+1)
	}
	if err := os.Truncate(path, int64(end*size*512)); err != nil {
		t.Fatal(err)
	}
}

func dataMark(nr uint64) []byte { return fmt.Appendf(nil, "data block %d.", nr) }

// wantContent checks that a file has the blocks of a device from dataFile, each in its place.
func wantContent(t *testing.T, path string, size uint64, mappings map[docMapping]bool, dev uint64) {
	t.Helper()
	content := must(os.ReadFile(path))
	blocks := 0
	for m := range mappings {
		if m.dev != dev {
			continue
		}
		blocks++
		want := string(dataMark(m.data))
		if at := m.thin * size * 512; at+uint64(len(want)) > uint64(len(content)) || string(content[at:at+uint64(len(want))]) != want {
			t.Fatalf("%s: block %d is not %q", path, m.thin, want)
		}
	}
	if blocks == 0 {
		t.Errorf("device %d has no blocks", dev)
	}
}

func wipeBlocks(t *testing.T, path string, blocks ...int64) {
	t.Helper()
	for _, nr := range blocks {
		writeAt(t, path, nr*block.Size, make([]byte, block.Size))
	}
}

func writeAt(t *testing.T, path string, at int64, content []byte) {
	t.Helper()
	f := must(os.OpenFile(path, os.O_RDWR, 0))
	defer f.Close()
	if _, err := f.WriteAt(content, at); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantSameFile(t *testing.T, a, b string) {
	t.Helper()
	if sumOf(t, a) != sumOf(t, b) {
		t.Errorf("%s and %s differ", a, b)
	}
}

// lostFiles creates a pool with a file system on its only device, and loses the leaf that maps part
// of a file.
func lostFiles(t *testing.T, dir string) func() {
	image := unpackFileSystem(t, "ext4-inline")
	f := fixtures.NewForge(t, 64, 1000)
	leaves := []block.Nr{
		f.Leaf(metadata.Run{Thin: 0, Data: 100, Len: 18}),
		f.Leaf(metadata.Run{Thin: 18, Data: 300, Len: 5}),
		f.Leaf(metadata.Run{Thin: 23, Data: 200, Len: 41}),
	}
	f.Device(1, f.Inner(leaves...))
	meta := f.Finish()
	if err := block.Write(meta, leaves[1], new(block.Data)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "pool.meta"), meta.Contents())
	data := make([]byte, 1000<<16)
	copy(data[100<<16:], image[:18<<16])
	copy(data[300<<16:], image[18<<16:23<<16])
	copy(data[200<<16:], image[23<<16:])
	write(t, filepath.Join(dir, "data"), data)
	return func() {}
}
