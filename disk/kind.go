package disk

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/h2non/filetype"
)

// A Kind is content that its first bytes identify, but that no layer can open.
type Kind struct {
	Name   string // with an article
	Advice string // what to do with it; empty: nothing

	at    int
	magic string
	sure  func(start []byte) bool // further check for a short magic; nil: not needed
}

// KindProbe is how many bytes from the start of a disk identify every kind.
const KindProbe = 0x10040 + 8

const (
	extSuperblock  = 1024
	f2fsSuperblock = 1024
	opticalMagic   = 16*2048 + 1
	bcacheMagic    = 4096 + 24
	stratisMagic   = sector + 4
	zfsVersion     = 16<<10 + 20 // length and name of the first pair in the label
)

var kinds = []Kind{
	{"a VDO volume", "start it with LVM or vdo, and use the device it creates", 0, "dmvdo001", nil},
	{"part of bcache or bcachefs", "attach it to its cache, which may have newer data, and use the kernel's device (/dev/bcache0)", bcacheMagic, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", nil},
	{"part of a Stratis pool", "start it with stratisd, and use its metadata device (stratis-1-...-flex-thinmeta)", stratisMagic, "!Stra0tis\x86\xff\x02^\x41rh", nil},
	{"part of a ZFS pool", "import it with zpool, and use one of its volumes (/dev/zvol)", zfsVersion, "\x00\x00\x00\x07version", nil},
	{"an XFS file system", "", 0, "XFSB", nil},
	{"an ext2, ext3 or ext4 file system", "", extSuperblock + 56, "\x53\xef", sureExt},
	{"a btrfs file system", "", 0x10040, "_BHRfS_M", nil},
	{"swap space", "", 4086, "SWAPSPACE2", nil},
	{"an NTFS file system", "", 3, "NTFS    ", nil},
	{"a FAT file system", "", 0x52, "FAT32   ", nil},
	{"a FAT file system", "", 0x36, "FAT1", nil},
	{"an exFAT file system", "", 3, "EXFAT   ", nil},
	{"an encrypted volume (BitLocker)", "", 3, "-FVE-FS-", nil},
	{"an F2FS file system", "", f2fsSuperblock, "\x10\x20\xf5\xf2\x01\x00", nil}, // with the version
	{"a CD or DVD (ISO 9660)", "", opticalMagic, "CD001", nil},
	{"a CD or DVD (UDF)", "", opticalMagic, "BEA01", nil},
	{"a program", "", 0, "\x7fELF", nil},
}

// sureExt checks the block size and revision of an ext2 superblock.
func sureExt(p []byte) bool {
	const offLogBlockSize, offRevision = extSuperblock + 24, extSuperblock + 76
	return len(p) > offRevision+4 &&
		binary.LittleEndian.Uint32(p[offLogBlockSize:]) <= 6 && binary.LittleEndian.Uint32(p[offRevision:]) <= 1
}

// KindOf returns the kind of a disk that starts with these bytes; nil: unknown.
func KindOf(start []byte) *Kind {
	for i := range kinds {
		k := &kinds[i]
		if len(start) >= k.at+len(k.magic) && string(start[k.at:][:len(k.magic)]) == k.magic && (k.sure == nil || k.sure(start)) {
			return k
		}
	}
	return fileKind(start)
}

// KindIn returns the kind of a disk by its bytes from off on, which may be anywhere; nil: unknown.
func KindIn(p []byte, off int) *Kind {
	for i := range kinds {
		k := &kinds[i]
		if at := k.at - off; at >= 0 && len(p) >= at+len(k.magic) && string(p[at:][:len(k.magic)]) == k.magic {
			return k
		}
	}
	return nil
}

// certain lists files, by their usual extensions, whose first bytes leave no doubt: block 0 of
// damaged metadata may start with any four bytes.
var certain = []string{
	"png", "jpg", "gif", "webp", "tif", "psd", "jxr", "heif", "mp4", "m4v", "mkv", "webm", "mov", "avi", "wmv", "flv",
	"mid", "ogg", "flac", "m4a", "wav", "epub", "zip", "tar", "rar", "7z", "pdf", "rtf", "sqlite", "deb", "rpm", "cab", "ar",
	"doc", "docx", "xls", "xlsx", "ppt", "pptx", "woff", "woff2", "wasm", "dcm", "iso", "crx", "dey", "dex",
}

// fileKind returns the kind of file that starts with these bytes; nil: unknown.
func fileKind(start []byte) *Kind {
	const least = 262 // end of the magic of tar
	if len(start) < least || slices.Equal(start[:4], make([]byte, 4)) && string(start[257:262]) != "ustar" {
		return nil
	}
	k, err := filetype.Match(start)
	if err != nil || !slices.Contains(certain, k.Extension) {
		return nil
	}
	return &Kind{Name: fmt.Sprintf("a file of another kind (%s)", k.MIME.Value)}
}

// named records the kind of a part of a medium that no layer can open.
func (m *Medium) named(d *Disk) {
	start := make([]byte, min(KindProbe, d.size))
	n, _ := d.ReadAt(start, 0)
	switch k := KindOf(start[:n]); {
	case k == nil:
	case k.Advice == "":
		m.look("%v is %s", d, k.Name)
	default:
		m.look("%v is %s: %s", d, k.Name, k.Advice)
	}
}
