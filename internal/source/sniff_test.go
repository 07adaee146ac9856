package source

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// file returns the path of a new file with content.
func file(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// image returns 128 KiB of zeros with pieces of text.
func image(pieces map[int]string) []byte {
	p := make([]byte, 32*block.Size)
	for at, text := range pieces {
		copy(p[at:], text)
	}
	return p
}

func superblock() []byte {
	var b block.Data
	sb := metadata.Superblock{Magic: metadata.Magic, Version: 2, DataBlockSize: 128}
	sb.Encode(&b)
	return append(b[:], make([]byte, 9*block.Size)...)
}

func TestOpenNamesForeign(t *testing.T) {
	for want, content := range map[string][]byte{
		"a dump as XML":             []byte(`<superblock uuid="">`),
		"XML":                       image(map[int]string{0: "\ufeff\n <?xml version=\"1.0\"?>"}),
		"a dump as JSON":            image(map[int]string{0: `{"type":"superblock"`}),
		"compressed with gzip":      {0x1f, 0x8b, 8, 0},
		"compressed with zstd":      image(map[int]string{0: "\x28\xb5\x2f\xfd"}),
		"compressed with xz":        image(map[int]string{0: "\xfd7zXZ\x00"}),
		"compressed with bzip2":     image(map[int]string{0: "BZh91AY&SY"}),
		"packed metadata":           image(map[int]string{0: "\x77\xef\x09\x63\xaa\xa0\x37\xa5"}),
		"metadata of dm-cache":      image(map[int]string{32: "\x03\xc4\x18\x00\x00\x00\x00\x00"}), // as written by cache_restore
		"metadata of dm-era":        image(map[int]string{32: "\x7b\x07\xc1\x7e\x00\x00\x00\x00"}), // as written by era_restore
		"an LVM physical volume":    image(map[int]string{512: "LABELONE"}),
		"a VMDK image":              image(map[int]string{0: "KDMV"}),
		"a VDI image":               image(map[int]string{0x40: "\x7f\x10\xda\xbe"}),
		"a VHDX image":              image(map[int]string{0: "vhdxfile"}),
		"a VHD image":               image(map[int]string{0: "conectix"}),
		"an encrypted volume":       image(map[int]string{0: "LUKS\xba\xbe"}),
		"part of a RAID array":      image(map[int]string{4096: "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"}),
		"part of bcache":            image(map[int]string{4096 + 24: "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"}),
		"an ext2, ext3 or ext4":     image(map[int]string{1024 + 24: "\x02", 1024 + 56: "\x53\xef\x01"}),
		"an XFS file system":        image(map[int]string{0: "XFSB"}),
		"a btrfs file system":       image(map[int]string{0x10040: "_BHRfS_M"}),
		"swap space":                image(map[int]string{4086: "SWAPSPACE2"}),
		"an NTFS file system":       image(map[int]string{3: "NTFS    ", 510: "\x55\xaa"}),
		"a FAT file system":         image(map[int]string{0x52: "FAT32   ", 510: "\x55\xaa"}),
		"a disk with partitions (G": image(map[int]string{446 + 4: "\xee", 510: "\x55\xaa", 512: "EFI PART"}),
		"a disk with partitions (M": image(map[int]string{446: "\x80\x01\x01\x00\x83", 510: "\x55\xaa"}),
		"a boot sector":             image(map[int]string{0: "\xeb\x58\x90", 446: "\x01", 510: "\x55\xaa"}),
		"a qcow2 image":             image(map[int]string{0: "QFI\xfb"}),
		"a program":                 image(map[int]string{0: "\x7fELF"}),
	} {
		path := file(t, content)
		dev, err := Open(&cli.Env{Context: t.Context()}, Spec{Path: path})
		if err == nil {
			dev.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), path+": this is "+want) || !strings.Contains(err.Error(), "not thin metadata: ") {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

// Possibly damaged metadata is left to the tools.
func TestOpenTakes(t *testing.T) {
	spoiled := func(at int, text string) []byte {
		p := superblock()
		copy(p[at:], text)
		return p
	}
	for name, content := range map[string][]byte{
		"metadata":               superblock(),
		"bad checksum":           spoiled(0, "\x00\x00\x00\x00"),
		"bad magic":              spoiled(32, "\x00\x00\x00\x00"),
		"ends like an ext magic": spoiled(1024+56, "\x53\xef\xff\xff"),
		"ext magic, good magic":  spoiled(1024+56, "\x53\xef\x00\x00"),
		"odd boot magic":         spoiled(510, "\x55\xaa"),
		"all zero":               image(nil),
		"short btrfs":            image(map[int]string{0x10040 - 1: "_BHRfS_M"}),
		"one block":              make([]byte, block.Size),
		"ragged":                 make([]byte, block.Size+1),
	} {
		dev, err := Open(&cli.Env{Context: t.Context()}, Spec{Path: file(t, content)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if dev.Size() != int64(len(content)) {
			t.Errorf("%s: size %d, want %d", name, dev.Size(), len(content))
		}
		dev.Close()
	}
}

func TestHint(t *testing.T) {
	var b block.Data
	b[100] = 1
	err := block.Verify(0, &b, block.Superblock)
	if got := Hint(err); !errors.Is(got, block.ErrCorrupt) || !strings.Contains(got.Error(), "_tdata") {
		t.Errorf("Hint: %v", got)
	}
	for _, err := range []error{fs.ErrNotExist, block.Verify(3, &b, block.Node)} {
		if got := Hint(err); got != err {
			t.Errorf("Hint(%v) = %v", err, got)
		}
	}
}

func FuzzForeign(f *testing.F) {
	f.Add([]byte("<superblock"))
	f.Add(image(map[int]string{510: "\x55\xaa", 1024 + 56: "\x53\xef"})[:2048])
	f.Fuzz(func(t *testing.T, p []byte) { _ = foreign(p) }) // must not go out of range
}

// The start of a dump is told apart from metadata, whatever its content, and from things that are
// not files.
func TestIsDump(t *testing.T) {
	for content, want := range map[string]bool{
		"<superblock uuid=":       true,
		"\ufeff\n <?xml version=": true,
		`{"type":"superblock"`:    true,
		"\x1f\x8b\x08":            true,
		"\x28\xb5\x2f\xfd":        true,
		"":                        false,
		string(superblock()):      false,
		string(image(nil)):        false,
		string(image(map[int]string{0: "<", offMagic: le64(metadata.Magic)})): false, // part of the checksum
	} {
		if got := IsDump(file(t, []byte(content))); got != want {
			t.Errorf("%.20q: %v, want %v", content, got, want)
		}
	}
	if dir := t.TempDir(); IsDump(dir) || IsDump(filepath.Join(dir, "missing")) {
		t.Error("something that is not a file is a dump")
	}
}
