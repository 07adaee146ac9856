package source

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"thinpool/disk"
	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// sniffed is the number of bytes examined at the start of an input.
const sniffed = disk.KindProbe

// A signature identifies something that is not thin metadata.
type signature struct {
	offset int
	magic  string
	what   string
	advice string
	// sure checks further if the magic is so short that a damaged superblock could contain it by
	// chance; nil: not needed.
	sure func(start []byte) bool
}

const (
	adviseTmeta   = "use the pool's metadata volume (_tmeta), not its data or a volume in it"
	adviseRestore = "use thin_restore to turn it into metadata"
	adviseUnpack  = "decompress it first"
	advisePack    = "use thin_metadata_unpack to turn it into metadata"
	adviseLVM     = "activate the pool's metadata volume and use that: lvchange -ay VG/POOL_tmeta"
	adviseImage   = "convert it with qemu-img convert -O raw"
	adviseCache   = "use cache_check and the other cache tools"
	adviseEra     = "use era_check and the other era tools"
	adviseRAID    = "assemble the array, then use the pool's metadata volume (_tmeta) in it"
	adviseLUKS    = "open it with cryptsetup, then " + adviseTmeta
)

func le64(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }

const packMagic = 0xa537a0aa6309ef77 // at the start of packed metadata

// Magics at offset 32, as in the superblock of thin metadata.
const (
	offMagic   = 32
	cacheMagic = 0o6142003 // octal in the kernel
	eraMagic   = 2126579579
)

var signatures = []signature{
	{0, le64(packMagic), "packed metadata", advisePack, nil},
	{0, "<superblock", "a dump as XML", adviseRestore, nil},
	{0, "<?xml", "XML", adviseRestore, nil},
	{0, "<!DOCTYPE", "XML", adviseRestore, nil},
	{0, `{"type":"superblock"`, "a dump as JSON", adviseRestore, nil},
	{0, "\x1f\x8b\x08", "compressed with gzip", adviseUnpack, nil},
	{0, "\x28\xb5\x2f\xfd", "compressed with zstd", adviseUnpack, nil},
	{0, "\xfd7zXZ\x00", "compressed with xz", adviseUnpack, nil},
	{0, "BZh", "compressed with bzip2", adviseUnpack, func(p []byte) bool { return has(p, 4, "1AY&SY") }},
	{offMagic, le64(cacheMagic), "metadata of dm-cache", adviseCache, nil},
	{offMagic, le64(eraMagic), "metadata of dm-era", adviseEra, nil},
	{0, "LUKS\xba\xbe", "an encrypted volume (LUKS)", adviseLUKS, nil},
	{0, "LABELONE", "an LVM physical volume", adviseLVM, nil},
	{512, "LABELONE", "an LVM physical volume", adviseLVM, nil},
	{1024, "LABELONE", "an LVM physical volume", adviseLVM, nil},
	{1536, "LABELONE", "an LVM physical volume", adviseLVM, nil},
	{512, "EFI PART", "a disk with partitions (GPT)", adviseLVM, nil},
	{4096, "EFI PART", "a disk with partitions (GPT)", adviseLVM, nil},
	{0, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", "part of a RAID array (md)", adviseRAID, nil},
	{4096, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", "part of a RAID array (md)", adviseRAID, nil},
}

// boot lists signatures in boot sectors. Many file systems have one, too.
var boot = []signature{
	{510, "\x55\xaa", "a disk with partitions (MBR)", adviseLVM, surePartitions},
	{510, "\x55\xaa", "a boot sector", adviseLVM, func(p []byte) bool { return p[0] == 0xeb || p[0] == 0xe9 }},
}

// surePartitions checks that a boot sector has a partition table: at least one entry, and none with
// invalid flags.
func surePartitions(p []byte) bool {
	const table, entry, entries, offType = 446, 16, 4, 4
	found := false
	for e := p[table : table+entries*entry]; len(e) > 0; e = e[entry:] {
		if e[0]&^0x80 != 0 {
			return false
		}
		found = found || e[offType] != 0
	}
	return found
}

// ErrPacked means that an input is packed metadata. Commands that only read may unpack it into
// memory.
var ErrPacked = errors.New("this is packed metadata, not thin metadata: " + advisePack)

// ErrDisk means that an input is a disk or a disk image, which may contain metadata. Commands that
// only read look for it there.
var ErrDisk = errors.New("this is a disk, not thin metadata")

// A diskError is an [ErrDisk] with details.
type diskError struct{ error }

func (diskError) Is(target error) bool { return target == ErrDisk }

// foreign returns an error if start is recognised as something other than thin metadata. Anything
// else may be damaged metadata and passes.
func foreign(start []byte) error {
	switch s := identify(start); {
	case s == nil:
		return nil
	case s.advice == advisePack:
		return ErrPacked
	default:
		return s.err()
	}
}

// identify returns the signature of start; nil for thin metadata and for anything unknown.
func identify(start []byte) *signature {
	if has(start, offMagic, le64(metadata.Magic)) {
		return nil
	}
	text := bytes.TrimLeft(start, " \t\r\n\ufeff")
	for _, s := range signatures {
		if s.in(start) || s.magic[0] == '<' && bytes.HasPrefix(text, []byte(s.magic)) {
			return &s
		}
	}
	if s := ofDisk(start); s != nil {
		return s
	}
	for _, s := range boot {
		if s.in(start) {
			return &s
		}
	}
	return nil
}

func (s *signature) in(start []byte) bool {
	return has(start, s.offset, s.magic) && (s.sure == nil || s.sure(start))
}

// ofDisk returns the signature of an image, a file system, or some other file that package disk
// recognises in start; nil if none.
func ofDisk(start []byte) *signature {
	if format := disk.FormatOf(start); format != "" {
		return &signature{what: imageOf(format), advice: adviseImage}
	}
	return ofKind(disk.KindOf(start))
}

func ofKind(k *disk.Kind) *signature {
	if k == nil {
		return nil
	}
	return &signature{what: k.Name, advice: cmp.Or(k.Advice, adviseTmeta)}
}

// imageOf returns the description of an image of a format.
func imageOf(format string) string {
	const acronym = 4 // maximum length in characters
	switch {
	case format[0] == 'E':
		return "an " + format + " image"
	case len(format) <= acronym:
		return "a " + strings.ToUpper(format) + " image"
	}
	return "a " + format + " image"
}

func (s *signature) err() error {
	err := fmt.Errorf("this is %s, not thin metadata: %s", s.what, s.advice)
	if s.isDisk() {
		return diskError{err}
	}
	return err
}

// isDisk reports whether there may be metadata inside.
func (s *signature) isDisk() bool {
	switch s.advice {
	case adviseLVM, adviseImage, adviseLUKS, adviseRAID:
		return true
	}
	return false
}

// ForeignBlock says what b, which is block nr and not block 0, is the beginning of: something
// that leaves block 0 as it was when it is made.
func ForeignBlock(nr block.Nr, b *block.Data) error {
	off := int(min(nr, disk.KindProbe)) * block.Size
	for _, s := range signatures {
		if at := s.offset - off; at >= 0 && has(b[:], at, s.magic) {
			return s.err()
		}
	}
	if s := ofKind(disk.KindIn(b[:], off)); s != nil {
		return s.err()
	}
	return nil
}

func has(p []byte, at int, magic string) bool {
	return len(p) >= at+len(magic) && string(p[at:at+len(magic)]) == magic
}

// errTooSmall has the text that scripts look for.
//
//lint:ignore ST1005 the words are a contract
var errTooSmall = errors.New("Metadata device/file too small.  Is this binary metadata?")

// openDevice opens a device. busy returns the error for one that is in use.
func openDevice(path string, opt block.Options, busy func(path string, err error) error) (block.Device, error) {
	dev, err := block.Open(path, opt)
	return dev, openError(path, err, busy)
}

// openError converts an error from opening to the wording of all tools.
func openError(path string, err error, busy func(path string, err error) error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return cli.Accessf("%s: no such file or device", path)
	case errors.Is(err, block.ErrNotBlocks):
		return cli.Accessf("Not a block device or regular file '%s'.", path)
	case errors.Is(err, block.ErrBusy):
		return busy(path, err)
	}
	return err
}

// IsDisk reports whether path is a disk or a disk image.
func IsDisk(path string) bool {
	dev, err := block.Open(path, block.Options{Shared: true})
	if err != nil {
		return false
	}
	defer dev.Close()
	return errors.Is(Recognise(dev), ErrDisk)
}

// IsDump reports whether a file starts like a dump: XML or JSON, plain or compressed. It returns
// false for unreadable files.
func IsDump(path string) bool {
	if !regular(path) {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	start := make([]byte, block.Size)
	n, _ := f.ReadAt(start, 0)
	start = start[:n]
	text := bytes.TrimLeft(start, " \t\r\n\ufeff")
	switch {
	case has(start, offMagic, le64(metadata.Magic)):
		return false
	case has(start, 0, "\x1f\x8b"), has(start, 0, "\x28\xb5\x2f\xfd"):
		return true
	}
	return has(text, 0, "<") || has(text, 0, "{")
}

// Recognise returns an error if dev is recognised as something other than thin metadata.
func Recognise(dev block.Device) error {
	start, err := readStart(dev)
	if err != nil {
		return err
	}
	err = foreign(start)
	if err == nil && dev.Size() < block.Size {
		return errTooSmall
	}
	return err
}

// readStart reads the start of dev, up to the first error.
func readStart(dev block.Device) ([]byte, error) {
	if dev.Size() < block.Size {
		start := make([]byte, dev.Size())
		n, _ := dev.ReadAt(start, 0)
		return start[:n], nil
	}
	// Whole blocks, as direct I/O requires.
	buf := block.Buffer(min(int(block.Blocks(dev)), (sniffed+block.Size-1)/block.Size))
	n, err := dev.ReadAt(block.Bytes(buf), 0)
	if n == 0 && err != nil && err != io.EOF {
		return nil, err
	}
	return block.Bytes(buf)[:n], nil
}

// NotPacked returns an error that names the kind of f if it is not packed metadata; else err.
func NotPacked(f io.ReaderAt, err error) error {
	start := make([]byte, sniffed)
	n, _ := f.ReadAt(start, 0)
	if has(start[:n], offMagic, le64(metadata.Magic)) {
		return errors.New("this is unpacked metadata: use thin_metadata_pack to pack it")
	}
	for _, s := range signatures {
		if s.in(start[:n]) {
			return fmt.Errorf("this is %s, not packed metadata", s.what)
		}
	}
	if s := ofDisk(start[:n]); s != nil {
		return fmt.Errorf("this is %s, not packed metadata", s.what)
	}
	return err
}

// Hint adds a guess at what the device may be to an error about its superblock.
func Hint(err error) error {
	if wrong, ok := errors.AsType[*block.ChecksumError](err); ok && wrong.Block == 0 && wrong.Is == block.UnknownKind {
		return fmt.Errorf("%w (is this the pool's metadata, _tmeta, and not its data, _tdata?)", err)
	}
	return err
}

// SameFile reports whether two paths refer to the same file or device, or to positions in it.
func SameFile(a, b string) bool {
	a, _ = splitOffset(a)
	b, _ = splitOffset(b)
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// regular reports whether path is a regular file.
func regular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
