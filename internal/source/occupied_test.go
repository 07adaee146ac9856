package source

import (
	"slices"
	"strings"
	"testing"

	"thinpool/metadata/block"
)

// occupiedAs is what Occupied says about a file with content.
func occupiedAs(t *testing.T, content []byte) error {
	t.Helper()
	path := file(t, content)
	dev, err := block.Open(path, block.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	return Occupied(path, dev)
}

// What somebody may miss is not overwritten; what may be the remains of metadata is.
func TestOccupied(t *testing.T) {
	for want, content := range map[string][]byte{
		"an ext2, ext3 or ext4 file system": image(map[int]string{1024 + 24: "\x02", 1024 + 56: "\x53\xef\x01"}),
		"an XFS file system":                image(map[int]string{0: "XFSB"}),
		"a btrfs file system":               image(map[int]string{0x10040: "_BHRfS_M"}),
		"an NTFS file system":               image(map[int]string{3: "NTFS    "}),
		"a FAT file system":                 image(map[int]string{0x36: "FAT16   "}),
		"an exFAT file system":              image(map[int]string{3: "EXFAT   "}),
		"an F2FS file system":               image(map[int]string{1024: "\x10\x20\xf5\xf2\x01\x00"}),
		"a CD or DVD (ISO 9660)":            image(map[int]string{0x8001: "CD001"}),
		"swap space":                        image(map[int]string{4086: "SWAPSPACE2"}),
		"an encrypted volume (LUKS)":        image(map[int]string{0: "LUKS\xba\xbe"}),
		"an encrypted volume (BitLocker)":   image(map[int]string{3: "-FVE-FS-"}),
		"an LVM physical volume":            image(map[int]string{512: "LABELONE"}),
		"a disk with partitions (GPT)":      image(map[int]string{510: "\x55\xaa", 512: "EFI PART"}),
		"a disk with partitions (MBR)":      image(map[int]string{446: "\x80\x01\x01\x00\x83", 510: "\x55\xaa"}),
		"packed metadata":                   image(map[int]string{0: le64(packMagic)}),
		"a VDO volume":                      image(map[int]string{0: "dmvdo001"}),
		"a qcow2 image":                     image(map[int]string{0: "QFI\xfb"}),
	} {
		err := occupiedAs(t, content)
		if err == nil || !strings.Contains(err.Error(), ": this is "+want+": nothing was written. Use --force to overwrite it") {
			t.Errorf("%s: %v", want, err)
		}
	}
	metadata := superblock()
	copy(metadata[1024+56:], "\x53\xef\x01")
	for name, content := range map[string][]byte{
		"metadata": metadata, "zeroes": image(nil), "any bytes": slices.Repeat([]byte("any bytes"), 10000), "nothing": nil, "a few bytes": []byte("XF"),
		"metadata of dm-cache": image(map[int]string{32: le64(cacheMagic)}),
		"a dump":               []byte("<superblock"),
		"ext magic alone":      image(map[int]string{1024 + 24: "\xff", 1024 + 56: "\x53\xef"}),
		"ext, too far on":      image(map[int]string{2048 + 24: "\x02", 2048 + 56: "\x53\xef\x01"}),
	} {
		if err := occupiedAs(t, content); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// LVM's volumes for metadata may hold what the disk held before; lvconvert --repair writes to one.
func TestOccupiedSpare(t *testing.T) {
	s := makeSysfs(t, map[string]shown{
		"dm-0": {dm: "vg-lvol0_pmspare", uuid: "LVM-x"},
		"dm-1": {dm: "vg-pool_tmeta", uuid: "LVM-x-tmeta"},
		"dm-2": {dm: "vg-data", uuid: "LVM-x"},
		"dm-3": {dm: "my_tmeta", uuid: "CRYPT-x"},
		"sda":  {},
	})
	for name, want := range map[string]bool{"dm-0": true, "dm-1": true, "dm-2": false, "dm-3": false, "sda": false, "no device": false} {
		if got := s.isForMetadata("/dev/" + name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
