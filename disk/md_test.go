package disk_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/fixtures"
	"thinpool/test/shared"
)

// searchAll searches disks named disk0, disk1, ...; nil skips one.
func searchAll(t *testing.T, how disk.How, all ...[]byte) *disk.Found {
	t.Helper()
	var disks []*disk.Disk
	for i, p := range all {
		if p != nil {
			disks = append(disks, disk.New("disk"+string(rune('0'+i)), bytes.NewReader(p), int64(len(p))))
		}
	}
	found, err := disk.Search(t.Context(), how, disks...)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func said(found *disk.Found, text string) bool {
	for _, p := range found.Problems {
		if strings.Contains(p.Text, text) {
			return !p.Note
		}
	}
	return false
}

// holds checks the name and content of the last medium.
func holds(t *testing.T, found *disk.Found, name string, content []byte) {
	t.Helper()
	last := found.Media[len(found.Media)-1]
	got := make([]byte, len(content))
	if err := last.ReadFull(got, 0); err != nil || last.String() != name || last.Size() != int64(len(content)) || !bytes.Equal(got, content) {
		t.Errorf("%v of %d bytes, want %s of %d; %v; problems %v", last, last.Size(), name, len(content), err, found.Problems)
	}
	if last.Writable() == nil || last.OpenForWriting() == nil {
		t.Error("it can be written")
	}
}

// Members form an array. A missing one is reported, and a stale one is only read on request.
func TestMirror(t *testing.T) {
	content, older := text16(64<<10), bytes.ToUpper(text16(64<<10))
	leg := func(role int, events uint64, data []byte) []byte {
		return fixtures.Leg{Level: 1, Devices: 2, Role: role, Events: events}.Make(data)
	}
	a, b, stale := leg(0, 9, content), leg(1, 9, content), leg(1, 3, older)
	found := searchAll(t, disk.How{}, a, b)
	holds(t, found, "disk0 + disk1 > md raid1", content)
	if len(found.Problems) > 0 {
		t.Errorf("problems %v", found.Problems)
	}
	found = searchAll(t, disk.How{}, nil, b)
	holds(t, found, "disk1 > md raid1", content)
	if !said(found, "array host:array (raid1): member 1 of 2 is missing: add --pv IMAGE") {
		t.Errorf("problems %v", found.Problems)
	}
	found = searchAll(t, disk.How{}, stale, a)
	holds(t, found, "disk0 + disk1 > md raid1", content)
	if !said(found, "disk0 is not used: it is out of date") {
		t.Errorf("problems %v", found.Problems)
	}
	holds(t, searchAll(t, disk.How{Leg: 2}, a, stale), "disk0 + disk1 > md raid1", older)
	if found = searchAll(t, disk.How{Leg: 3}, a, b); !said(found, "no leg 3 here: disk0 is leg 1 of 2, disk1 is leg 2 of 2") || len(found.Media) != 2 {
		t.Errorf("leg 3: problems %v", found.Problems)
	}
	for _, m := range found.Media {
		if len(m.Plain) > 0 || m.Opened != 1 {
			t.Errorf("%v is taken for what it holds: %+v", m, m)
		}
	}
}

// An array with too few members is not opened.
func TestTooFewMembers(t *testing.T) {
	member := fixtures.Leg{Level: 5, Devices: 3, Role: 1, Events: 5, Chunk: 4096}.Make(text16(64 << 10))
	found := searchAll(t, disk.How{}, member)
	if len(found.Media) != 1 || !said(found, "array host:array (raid5): members 1, 3 of 3 are missing: add --pv IMAGE for each") {
		t.Errorf("%d media, problems %v", len(found.Media), found.Problems)
	}
}

// An array may be encrypted, and may be in partitions of disks with other content.
func TestMirrorOfPartitionsEncrypted(t *testing.T) {
	content := text16(64 << 10)
	encrypted, err := fixtures.LUKS1(content, "secret")
	if err != nil {
		t.Fatal(err)
	}
	var disks [][]byte
	for role := range 2 {
		leg := fixtures.Leg{Level: 1, Devices: 2, Role: role, Events: 1}.Make(encrypted)
		disks = append(disks, append(mbr(len(leg)), leg...))
	}
	var locks []disk.Lock
	found := searchAll(t, disk.How{Key: answers(&locks, "secret"), KeyMemory: 1 << 20}, disks...)
	holds(t, found, "disk0 > partition 1 + disk1 > partition 1 > md raid1 > LUKS1", content)
	last := found.Media[len(found.Media)-1]
	if got := strings.Join(last.Layers(), ", "); got != "partition 1, md raid1, LUKS1" || len(last.Array().Members) != 2 || last.Image().Name != "disk0" {
		t.Errorf("layers %s of %v", got, last.Image())
	}
}

// A doubtful superblock only prevents writing.
func TestDoubtfulMember(t *testing.T) {
	member := fixtures.Leg{Level: 1, Devices: 2, Events: 1}.Make(make([]byte, 64<<10))
	member[64<<10+8<<10+40] ^= 1 // its name
	found := searchAll(t, disk.How{}, member)
	if m := found.Media[0]; len(m.Plain) != 1 || m.Writable() == nil || !strings.Contains(m.Writable().Error(), "cannot tell whether it is a member of a software RAID") {
		t.Errorf("%+v, %v", m, m.Writable())
	}
}

// An offset in a member cannot be written either.
func TestPlaceInMember(t *testing.T) {
	leg := fixtures.Leg{Level: 1, Devices: 2, Events: 1}.Make(text16(64 << 10))
	for name, p := range map[string][]byte{"whole": leg, "partition": append(mbr(len(leg)), leg...)} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, p, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{512 * 63, 512 * 64} {
			d, err := disk.Open(path, disk.Options{Claim: true, Offset: at})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.OpenForWriting(); err == nil || !strings.Contains(err.Error(), "is a member of a software RAID") {
				t.Errorf("%v: %v", d, err)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// mbr returns the first 63 sectors of a disk, with one partition of size bytes after them.
func mbr(size int) []byte {
	p := make([]byte, 63*512)
	copy(p[446:], "\x00\x00\x00\x00\x83\x00\x00\x00\x3f\x00\x00\x00")
	for i := range 4 {
		p[446+12+i] = byte(size / 512 >> (8 * i))
	}
	p[510], p[511] = 0x55, 0xaa
	return p
}

// A superblock of version 0.90 lies at the same place for a disk and for its last partition. It is taken for
// that of the partition if the array fits in there, as libblkid does.
func TestWholeOrPartition(t *testing.T) {
	for file, tc := range map[string]struct {
		name, sum string // of the array, as the kernel read it
		size      int64
		said      bool
	}{
		"md-0.90-partition":    {"disk0 > partition 2 > md raid1", "d6947a1d980c18a500857af8ca3f99835585b51d45ebdddbbd4c74d7745d0941", 5177344, false},
		"md-0.90-partition-4m": {"disk0 > partition 2 > md raid1", "dd66c0c07bb424704a72a586fba9eec3ed1c4a39ce8f6e4f8e694f4d38a38e5b", 4194304, true},
		"md-0.90-disk":         {"disk0 > md raid1", "053dfa68d2102e7a3428336a3b77e0c9e5e26912f950b35352e32f1972174f2a", 8323072, false},
		"md-0.90-disk-4m":      {"disk0 > md raid1", "7414cd00b5bba287140cf48dec89fe28b23659c583401cc8859ccd79a3d70369", 4194304, false},
	} {
		image := shared.Unpack(t, filepath.Join("testdata", file+".zst"))
		found := searchAll(t, disk.How{}, image)
		last := found.Media[len(found.Media)-1]
		content := make([]byte, last.Size())
		if err := last.ReadFull(content, 0); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(content))
		if last.String() != tc.name || last.Size() != tc.size || sum != tc.sum {
			t.Errorf("%s: %v of %d bytes, %s; problems %v", file, last, last.Size(), sum, found.Problems)
		}
		if got := said(found, "does not say whether it is that of the disk or of partition 2"); got != tc.said {
			t.Errorf("%s: problems %v", file, found.Problems)
		}
		whole := disk.New("disk0", bytes.NewReader(image), int64(len(image)))
		part, err := whole.Part(2)
		if strings.Contains(file, "partition") {
			if err != nil || disk.IsMember(whole) || disk.Refuse(whole) != nil || !disk.IsMember(part) || disk.Refuse(part) == nil {
				t.Errorf("%s: the partition is not the member (%v)", file, err)
			}
		} else if !disk.IsMember(whole) || disk.Refuse(whole) == nil {
			t.Errorf("%s: the disk is not the member", file)
		}
	}
}

// A partition that reaches beyond the disk is one of an array that is larger.
func TestPartitionBeyond(t *testing.T) {
	image := shared.Unpack(t, filepath.Join("testdata", "md-0.90-partition.zst"))
	image[446+16+13]++ // 128 KiB more
	whole := disk.New("disk0", bytes.NewReader(image), int64(len(image)))
	if !disk.IsMember(whole) {
		t.Error("the disk is not the member")
	}
}
