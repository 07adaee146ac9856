package lvm_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/fixtures"
	"thinpool/lvm"
)

// A leg of a software RAID with its superblock at the end looks like a physical volume. It can be
// read, but is never written.
func TestLegIsNotWritten(t *testing.T) {
	made := disks(1, vg{lvs: lv("x", 2, linear("pv0", 3))})[0]
	leg := fixtures.Leg{Level: 1, Devices: 2, Role: 1, Events: 7}.Make(made)
	dir := t.TempDir()
	for name, prefix := range map[string]string{"whole": "", "in a partition": string(mbr(len(leg)))} {
		path := filepath.Join(dir, name)
		before := append([]byte(prefix), leg...)
		if err := os.WriteFile(path, before, 0o600); err != nil {
			t.Fatal(err)
		}
		img := openWith(t, disk.Options{Claim: true}, path)[0]
		set, err := lvm.Scan(t.Context(), lvm.Options{}, img)
		if err != nil {
			t.Fatal(err)
		}
		g := one(t, set)
		if got, err := read(g, "x"); err != nil || !bytes.HasPrefix(got, []byte("disk 0 0001c000")) {
			t.Errorf("%s: %.20q, %v", name, got, err)
		}
		if !has(set.Problems, "member 1 of 2 is missing") || !strings.HasSuffix(set.Disks[0].String(), " > md raid1") {
			t.Errorf("%s: %v, problems %v", name, set.Disks[0], set.Problems)
		}
		if _, err := g.Writable(g.Volume("x")); err == nil || !strings.Contains(err.Error(), "md raid1 is read-only") {
			t.Errorf("%s: to be written: %v", name, err)
		}
		if err := set.Disks[0].On.OpenForWriting(); err == nil || set.Disks[0].On.WriteFull(make([]byte, 512), 0) == nil {
			t.Errorf("%s: opened for writing: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: not as it was: %v", name, err)
		}
	}
}

// mbr returns the first 63 sectors of a disk, with one partition of size bytes after them.
func mbr(size int) []byte {
	p := make([]byte, 63*512)
	copy(p[446:], "\x00\x00\x00\x00\x83\x00\x00\x00\x3f\x00\x00\x00")
	le.PutUint32(p[446+12:], uint32(size/512))
	p[510], p[511] = 0x55, 0xaa
	return p
}

// Physical volumes in partitions, at an offset, and next to a leftover partition table.
func TestPlaces(t *testing.T) {
	inner := disks(1, vg{lvs: lv("x", 2, linear("pv0", 3))})[0]
	want, err := read(one(t, scan(t, inner)), "x")
	if err != nil {
		t.Fatal(err)
	}
	const at = 63 * 512
	outer := make([]byte, at+diskSize)
	copy(outer[at:], inner)
	set := scan(t, outer)
	if len(set.Groups) != 0 || !has(set.Problems, "no LVM label in disk0") {
		t.Errorf("%d groups, problems %v", len(set.Groups), set.Problems)
	}
	paths, _ := files(t, outer)
	img, err := disk.Open(paths[0], disk.Options{Offset: at})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	set, err = lvm.Scan(t.Context(), lvm.Options{}, img)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(one(t, set), "x"); err != nil || !bytes.Equal(got, want) || set.Disks[0].String() != fmt.Sprintf("%s@%d", paths[0], at) {
		t.Errorf("at an offset: %v, %v", set.Disks[0], err)
	}
	copy(outer[446:], "\x00\x00\x00\x00\x83\x00\x00\x00\x3f\x00\x00\x00\x00\x04\x00\x00")
	outer[510], outer[511] = 0x55, 0xaa
	set = scan(t, outer)
	if got, err := read(one(t, set), "x"); err != nil || !bytes.Equal(got, want) || set.Disks[0].On.Partition != "partition 1" || len(set.Problems) > 0 {
		t.Errorf("in a partition: %v, %v, problems %v", set.Disks[0], err, set.Problems)
	}
	pv{id: id('z'), sector: 1}.put(outer[:at])
	if set = scan(t, outer); !has(set.Problems, fmt.Sprintf("one of them is a leftover; disk0 > partition 1 has a label, too: @%d", at)) || len(set.Disks) != 2 {
		t.Errorf("%d disks, problems %v", len(set.Disks), set.Problems)
	}
	if _, err := disk.Open(paths[0], disk.Options{Offset: at + diskSize + 1}); err == nil {
		t.Error("an offset beyond the end: no error")
	}
}
