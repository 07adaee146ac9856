package command

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/undo"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// An undo file is refused for anything but the metadata it was made for, even if it claims that the
// device had the same content then.
func TestApplyUndoToSomethingElse(t *testing.T) {
	const size = 64 * block.Size
	dir := t.TempDir()
	for what, at := range map[string]struct {
		offset int
		text   string
	}{
		"an ext2, ext3 or ext4 file system": {1024 + 56, "\x53\xef\x01"},
		"an XFS file system":                {0, "XFSB"},
		"a btrfs file system":               {0x10040, "_BHRfS_M"},
		"an LVM physical volume":            {512, "LABELONE"},
		"an encrypted volume (LUKS)":        {0, "LUKS\xba\xbe"},
		"part of a RAID array (md)":         {4096, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"},
		"part of bcache or bcachefs":        {4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
		"swap space":                        {4086, "SWAPSPACE2"},
		"a disk with partitions (GPT)":      {512, "EFI PART"},
		"a disk with partitions (MBR)":      {446, "\x80\x00\x00\x00\x83" + strings.Repeat("\x00", 59) + "\x55\xaa"},
		"a FAT file system":                 {0x52, "FAT32   "},
	} {
		device := make([]byte, size)
		copy(device[at.offset:], at.text)
		path, file := filepath.Join(dir, "device"), filepath.Join(dir, "undo")
		for name, content := range undoFiles(t, device) {
			writeFile(t, path, device)
			writeFile(t, file, content)
			for _, args := range [][]string{{path}, {"--in-place", path}} {
				code, stdout, stderr := runTool(t, CheckTool, append([]string{"--apply-undo", file}, args...)...)
				said := []string{what, "block 0 is as it was before the repair, but block 2 is not", "the superblock that the repair wrote: block 0"}
				if args[0] == "--in-place" {
					// With --in-place the input may be a disk, so a volume is looked for.
					said = append(said, "no LVM label", "is encrypted (LUKS) and cannot be read")
				}
				if code != 1 || stdout != "" || !containsOne(stderr, said) {
					t.Errorf("%s, %s: exit code %d, stdout %q, stderr %q", what, name, code, stdout, stderr)
				}
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, device) {
				t.Errorf("%s, %s: the device has changed (%v)", what, name, err)
			}
		}
	}
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// undoFiles returns undo files for a device of that size: from a repair of metadata, from a repair
// that left the device as it is, and one that records wrongly what the repair wrote.
func undoFiles(t *testing.T, device []byte) map[string][]byte {
	t.Helper()
	sb := metadata.Superblock{Magic: metadata.Magic, Version: metadata.Version, DataBlockSize: 128}
	var block0 block.Data
	sb.Encode(&block0)
	old := slices.Clone(device)
	copy(old, block0[:])
	all := block.Nr(len(device) / block.Size)
	change := undo.Change{All: all, Block0: &block0}
	before := undoFile(t, device, change)
	copy(before[(2+2)*block.Size:], "what comes to block 2")
	return map[string][]byte{
		"remade":              undoFile(t, old, change),
		"fixed":               undoFile(t, old, undo.Change{Written: []block.Nr{1, 16}, Block0: &block0}),
		"remade, as before":   resum(before),
		"remade, now the new": undoFile(t, device, undo.Change{All: all, Block0: (*block.Data)(device)}),
		"a real one":          undoFile(t, fixtures.Leaky(t).Contents()[:len(device)], change),
	}
}

func undoFile(t *testing.T, device []byte, change undo.Change) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := undo.Write(t.Context(), &file, blocktest.NewMemFrom(slices.Clone(device)), change); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func resum(file []byte) []byte {
	body := file[:len(file)-sha256.Size]
	sum := sha256.Sum256(body)
	return append(slices.Clone(body), sum[:]...)
}
