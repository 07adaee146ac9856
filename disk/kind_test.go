package disk_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/test/shared"
)

// with returns 1 MiB of zeros with pieces of text.
func with(pieces map[int]string) []byte {
	p := make([]byte, 1<<20)
	for at, text := range pieces {
		copy(p[at:], text)
	}
	return p
}

// Content that cannot be opened is named, with advice. It may still contain a label.
func TestKinds(t *testing.T) {
	for want, p := range map[string][]byte{
		"a VDO volume: start it":                   with(map[int]string{0: "dmvdo001"}),
		"part of bcache or bcachefs: attach it":    with(map[int]string{4096 + 24: "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"}),
		"part of a Stratis pool: start it":         with(map[int]string{516: "!Stra0tis\x86\xff\x02^\x41rh"}),
		"part of a ZFS pool: import it":            with(map[int]string{16 << 10: "\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x24\x00\x00\x00\x20\x00\x00\x00\x07version"}),
		"a btrfs file system":                      with(map[int]string{0x10040: "_BHRfS_M"}),
		"an XFS file system":                       with(map[int]string{0: "XFSB"}),
		"an ext2, ext3 or ext4 file system":        with(map[int]string{1024 + 24: "\x02", 1024 + 56: "\x53\xef\x01"}),
		"a file of another kind (image/jpeg)":      with(map[int]string{0: "\xff\xd8\xff\xe0"}),
		"a file of another kind (application/zip)": with(map[int]string{0: "PK\x03\x04"}),
		"a file of another kind (application/x-ta": with(map[int]string{0: "name", 257: "ustar"}),
		"a file of another kind (application/pdf)": with(map[int]string{0: "%PDF-1.7"}),
	} {
		m := search(t, disk.How{}, p).Media[0]
		if len(m.Looks) != 1 || !strings.HasPrefix(m.Looks[0], "image is "+want) || len(m.Plain) != 1 {
			t.Errorf("%s: %q", want, m.Looks)
		}
	}
	for name, p := range map[string][]byte{
		"zeroes": with(nil), "any bytes": text16(1 << 20), "short": []byte("abc"), "nothing": nil,
		"a short magic": with(map[int]string{0: "MZ"}), "half an ext magic": with(map[int]string{1024 + 24: "\xff", 1024 + 56: "\x53\xef"}),
	} {
		if m := search(t, disk.How{}, p).Media[0]; len(m.Looks) > 0 {
			t.Errorf("%s: %q", name, m.Looks)
		}
	}
}

// Real headers written by other programs are recognised. See testdata/README.md.
func TestRealKinds(t *testing.T) {
	for file, want := range map[string]string{
		"bcache": "part of bcache or bcachefs", "zfs": "part of a ZFS pool", "btrfs": "a btrfs file system",
		"f2fs": "an F2FS file system", "exfat": "an exFAT file system", "fat": "a FAT file system",
	} {
		if k := disk.KindOf(shared.Unpack(t, filepath.Join("testdata", file+".zst"))); k == nil || k.Name != want {
			t.Errorf("%s: %+v", file, k)
		}
	}
}

// A disk replicated by DRBD is read directly and not written.
func TestDRBD(t *testing.T) {
	for _, magic := range []string{"\x83\x74\x02\x6b", "\x83\x74\x02\x6c", "\x83\x74\x02\x6d"} {
		p := with(map[int]string{1<<20 - 4096 + 60: magic})
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, p, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := disk.Open(path, disk.Options{Claim: true})
		if err != nil {
			t.Fatal(err)
		}
		found, err := disk.Search(t.Context(), disk.How{}, d)
		if err != nil {
			t.Fatal(err)
		}
		const want = "is replicated by DRBD"
		if m := found.Media[0]; len(m.Plain) != 1 || !said(found, want) || d.OpenForWriting() == nil || !strings.Contains(disk.Refuse(d).Error(), want) {
			t.Errorf("%+v, problems %v", m, found.Problems)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, p) {
			t.Error("it has changed")
		}
	}
}

func FuzzKind(f *testing.F) {
	f.Add([]byte("XFSB"), 0)
	f.Add(with(map[int]string{1024 + 56: "\x53\xef"})[:2048], 512)
	f.Fuzz(func(_ *testing.T, p []byte, off int) { disk.KindOf(p); disk.KindIn(p, off); disk.FormatOf(p) }) // must not go out of range
}
