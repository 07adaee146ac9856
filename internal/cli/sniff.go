package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// sniffed is how much of the start of an input is looked at: up to where btrfs
// has its magic.
const sniffed = 0x10040 + 8

// A signature is how something that is no thin metadata gives itself away.
type signature struct {
	offset int
	magic  string
	what   string
	advice string
}

const (
	adviseTmeta   = "look for the pool's metadata (_tmeta), not its data or a volume"
	adviseRestore = "thin_restore makes metadata of it"
	adviseUnpack  = "decompress it first"
	advisePack    = "thin_metadata_unpack makes metadata of it"
	adviseLVM     = "activate the pool's metadata volume and give that: lvchange -ay VG/POOL_tmeta"
	adviseCache   = "use cache_check and its family"
	adviseEra     = "use era_check and its family"
)

func le64(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }

const offMagic = 32 // in the superblocks of thin, cache and era metadata

var signatures = []signature{
	{0, "<superblock", "a dump as XML", adviseRestore},
	{0, "<?xml", "XML", adviseRestore},
	{0, "<!DOCTYPE", "XML", adviseRestore},
	{0, `{"type":"superblock"`, "a dump as JSON", adviseRestore},
	{0, "\x1f\x8b", "compressed with gzip", adviseUnpack},
	{0, "\x28\xb5\x2f\xfd", "compressed with zstd", adviseUnpack},
	{0, "\xfd7zXZ\x00", "compressed with xz", adviseUnpack},
	{0, "BZh", "compressed with bzip2", adviseUnpack},
	{0, le64(0xa537a0aa6309ef77), "packed metadata", advisePack},
	{offMagic, le64(6142003), "metadata of dm-cache", adviseCache},
	{offMagic, le64(2126579579), "metadata of dm-era", adviseEra},
	{0, "LUKS\xba\xbe", "an encrypted volume (LUKS)", "open it with cryptsetup, then " + adviseTmeta},
	{0, "LABELONE", "an LVM physical volume", adviseLVM},
	{512, "LABELONE", "an LVM physical volume", adviseLVM},
	{1024, "LABELONE", "an LVM physical volume", adviseLVM},
	{1536, "LABELONE", "an LVM physical volume", adviseLVM},
	{512, "EFI PART", "a disk with partitions (GPT)", adviseLVM},
	{0, "XFSB", "an XFS file system", adviseTmeta},
	{1024 + 56, "\x53\xef", "an ext2, ext3 or ext4 file system", adviseTmeta},
	{0x10040, "_BHRfS_M", "a btrfs file system", adviseTmeta},
	{4086, "SWAPSPACE2", "swap space", adviseTmeta},
	{3, "NTFS    ", "an NTFS file system", adviseTmeta},
	{0x52, "FAT32   ", "a FAT file system", adviseTmeta},
	{0x36, "FAT1", "a FAT file system", adviseTmeta},
	{0, "QFI\xfb", "a qcow2 image", "convert it with qemu-img convert -O raw"},
	{0, "\x7fELF", "a program", adviseTmeta},
}

// foreign says what start is, if it is recognised and no thin metadata.
func foreign(start []byte) error {
	if has(start, offMagic, le64(metadata.Magic)) {
		return nil
	}
	text := bytes.TrimLeft(start, " \t\r\n\ufeff")
	for _, s := range signatures {
		if has(start, s.offset, s.magic) || s.offset == 0 && s.magic[0] == '<' && bytes.HasPrefix(text, []byte(s.magic)) {
			return fmt.Errorf("this is %s, not thin metadata: %s", s.what, s.advice)
		}
	}
	if has(start, 510, "\x55\xaa") {
		return fmt.Errorf("this is a boot sector or a disk with partitions, not thin metadata: %s", adviseLVM)
	}
	return nil
}

func has(p []byte, at int, magic string) bool {
	return len(p) >= at+len(magic) && string(p[at:at+len(magic)]) == magic
}

// errTooSmall has the words that scripts look for.
//
//lint:ignore ST1005 the words are a contract
var errTooSmall = errors.New("Metadata device/file too small.  Is this binary metadata?")

// OpenMetadata opens a metadata device or file for reading. What is something
// else is named in the error. shared leaves out the exclusive open.
func OpenMetadata(path string, shared bool) (block.Device, error) {
	dev, err := openDevice(path, block.Options{Shared: shared})
	if err != nil {
		return nil, err
	}
	if err := recognise(dev); err != nil {
		dev.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return dev, nil
}

// OpenOutput opens a metadata device or file for writing. It must exist.
func OpenOutput(path string) (block.Device, error) {
	return openDevice(path, block.Options{Write: true})
}

func openDevice(path string, opt block.Options) (block.Device, error) {
	dev, err := block.Open(path, opt)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: no such file or device", path)
	case errors.Is(err, block.ErrNotBlocks):
		//lint:ignore ST1005 scripts know these words
		return nil, fmt.Errorf("Not a block device or regular file '%s'.", path)
	case errors.Is(err, block.ErrBusy):
		return nil, busyError(path, err)
	}
	return dev, err
}

// busyError tells how to read the metadata of a pool that is in use.
func busyError(path string, err error) error {
	pool := "POOL"
	if base := filepath.Base(path); strings.HasSuffix(base, "_tmeta") {
		pool = strings.TrimSuffix(base, "_tmeta") + "-tpool"
	}
	return fmt.Errorf(`%w: a pool may be using it. Deactivate it, or read a metadata snapshot of it:
  dmsetup message %[2]s 0 reserve_metadata_snap
  (this command again, with -m)
  dmsetup message %[2]s 0 release_metadata_snap`, err, pool)
}

func recognise(dev block.Device) error {
	if dev.Size() < block.Size {
		start := make([]byte, dev.Size())
		_, _ = dev.ReadAt(start, 0)
		if err := foreign(start); err != nil {
			return err
		}
		return errTooSmall
	}
	// Whole blocks, as direct I/O demands.
	buf := block.Buffer(min(int(block.Blocks(dev)), (sniffed+block.Size-1)/block.Size))
	n, err := dev.ReadAt(block.Bytes(buf), 0)
	if n == 0 && err != nil && err != io.EOF {
		return err
	}
	return foreign(block.Bytes(buf)[:n])
}

// Hint adds to an error about a superblock what the device may be instead.
func Hint(err error) error {
	if wrong, ok := errors.AsType[*block.ChecksumError](err); ok && wrong.Block == 0 && wrong.Is == block.UnknownKind {
		return fmt.Errorf("%w (is this the pool's metadata, _tmeta, or by mistake its data, _tdata?)", err)
	}
	return err
}

// SameFile reports whether two paths lead to one file or device.
func SameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
