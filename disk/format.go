package disk

import (
	"fmt"
	"io"
	"slices"

	"thinpool/internal/printable"
)

// The image formats that can be read.
const (
	rawFormat   = "raw"
	qcow2Format = "qcow2"
)

// A magic identifies something other than a raw disk by its first bytes.
type magic struct {
	at     int
	bytes  string
	format string
	advise func(path string) string // what to do if the format is unsupported; nil: it is supported
}

func (m *magic) in(start []byte) bool {
	return len(start) >= m.at+len(m.bytes) && string(start[m.at:][:len(m.bytes)]) == m.bytes
}

// images lists image formats, packed compression and archive formats.
var images = []magic{
	{0, "QFI\xfb", qcow2Format, nil},
	{0, "KDMV", "vmdk", serve},
	{0, "COWD", "vmdk", serve},
	{0, "# Disk DescriptorFile", "vmdk", serve},
	{64, "\x7f\x10\xda\xbe", "vdi", serve},
	{0, "vhdxfile", "vhdx", serve},
	{0, "conectix", "vhd", serve},
	{0, "WithoutFreeSpace", "parallels", serve},
	{0, "WithouFreSpacExt", "parallels", serve},
	{0, "QED\x00", "qed", serve},
	{0, "EVF\x09\x0d\x0a\xff\x00", "EWF (E01)", mountEWF},
	{0, "EVF2\x0d\x0a\x81\x00", "EWF (Ex01)", mountEWF},
}

var packed = []magic{
	{0, "\x1f\x8b", "gzip", unpack},
	{0, "\x28\xb5\x2f\xfd", "zstd", unpack},
	{0, "\xfd7zXZ\x00", "xz", unpack},
	{0, "BZh", "bzip2", unpack},
}

const convert = "convert it with qemu-img convert -O raw"

// serve says how to access an image through QEMU.
func serve(path string) string {
	const socket = "/tmp/nbd.sock"
	return fmt.Sprintf("serve it with QEMU, and use %s%s instead (add -t to run more than one command):\n  qemu-nbd -r -k %[2]s %s", nbdScheme, socket, printable.Shell(path))
}

func mountEWF(path string) string {
	return fmt.Sprintf("mount it, and use the raw image DIR/ewf1 instead:\n  ewfmount %s DIR", printable.Shell(path))
}

func unpack(string) string { return "unpack it first" }

// sniff returns the format of the image at path: qcow2 or raw. The error names an unsupported
// format and says what to do.
func sniff(r io.ReaderAt, path string) (string, error) {
	var head [sector]byte
	if _, err := r.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return "", err
	}
	for _, m := range slices.Concat(images, packed) {
		switch {
		case !m.in(head[:]):
		case m.advise == nil:
			return m.format, nil
		default:
			return "", fmt.Errorf("the image is in %s format, which is not supported: %s", m.format, m.advise(path))
		}
	}
	return rawFormat, nil
}

// FormatOf returns the format of an image that starts with these bytes; empty: raw.
func FormatOf(start []byte) string {
	for _, m := range images {
		if m.in(start) {
			return m.format
		}
	}
	return ""
}
