package disk

import (
	"bytes"
	"fmt"
	"io"
)

// magics tell formats that are no raw disks by their first bytes.
var magics = []struct {
	at     int
	magic  string
	format string
	advice string
}{
	{0, "QFI\xfb", qcow2Format, ""},
	{0, "KDMV", "vmdk", convert},
	{0, "COWD", "vmdk", convert},
	{0, "# Disk DescriptorFile", "vmdk", convert},
	{64, "\x7f\x10\xda\xbe", "vdi", convert},
	{0, "vhdxfile", "vhdx", convert},
	{0, "conectix", "vhd", convert},
	{0, "WithoutFreeSpace", "parallels", convert},
	{0, "WithouFreSpacExt", "parallels", convert},
	{0, "QED\x00", "qed", convert},
	{0, "\x1f\x8b", "gzip", unpack},
	{0, "\x28\xb5\x2f\xfd", "zstd", unpack},
	{0, "\xfd7zXZ\x00", "xz", unpack},
	{0, "BZh", "bzip2", unpack},
}

// The formats of images that are read.
const (
	rawFormat   = "raw"
	qcow2Format = "qcow2"
)

const (
	convert = "convert it with qemu-img convert -O raw"
	unpack  = "unpack it first"
)

// sniff tells the format of an image: qcow2 or raw. The error names a format that cannot be
// read, and says what to do.
func sniff(r io.ReaderAt) (string, error) {
	var head [sector]byte
	if _, err := r.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return "", err
	}
	for _, m := range magics {
		switch {
		case !bytes.HasPrefix(head[m.at:], []byte(m.magic)):
		case m.advice == "":
			return m.format, nil
		default:
			return "", fmt.Errorf("the image is in %s format, which is not supported: %s", m.format, m.advice)
		}
	}
	return rawFormat, nil
}

// wrapped says what lies between d and a physical volume in it, if it is something
// known: encryption, a software RAID. Only what can be read counts.
func wrapped(d *Disk) string {
	var b [sector]byte
	if d.ReadFull(b[:], 0) == nil && bytes.HasPrefix(b[:], []byte("LUKS\xba\xbe")) {
		return "looks like LUKS: open it first"
	}
	return mdMember(d)
}

// Superblocks of md: where they are depends on the version.
const (
	mdMagic      = 0xa92b4efc
	mdLevel      = 72
	mdDataOffset = 128
	mdReserved   = 64 << 10
	mdOldLevel   = 28 // in version 0.90
)

// mdMember describes a member of a software RAID.
func mdMember(d *Disk) string {
	const atEnd = 8 << 10
	for _, v := range []struct {
		version string
		at      int64
	}{
		{"1.2", 4096},
		{"1.1", 0},
		{"1.0", (d.size - atEnd) &^ 4095},
		{"0.90", d.size&^(mdReserved-1) - mdReserved},
	} {
		var b [sector]byte
		if v.at < 0 || d.ReadFull(b[:], v.at) != nil || le.Uint32(b[:]) != mdMagic {
			continue
		}
		data, level := int64(0), le.Uint32(b[mdOldLevel:])
		if v.version != "0.90" {
			data, level = int64(min(le.Uint64(b[mdDataOffset:]), 1<<50))*sector, le.Uint32(b[mdLevel:])
		}
		text := fmt.Sprintf("looks like a member of a software RAID (md %s, level %d)", v.version, int32(level))
		if level == 1 {
			return fmt.Sprintf("%s: its data begins at @%d", text, d.Start()+data)
		}
		return text + ": assemble it first"
	}
	return ""
}
