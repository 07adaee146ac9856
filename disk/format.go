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
