package source

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/dump"
)

// mirrored returns a disk whose metadata is on a mirror, with copies that differ in block 0, and a
// file with LVM's text.
func mirrored(t *testing.T) (disk, text string) {
	t.Helper()
	paths, _ := fixtures.Disks(t, "one-pv")
	text = filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(fixtures.Layout(t, paths[0], "mirror")), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(paths[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b block.Data
	if _, err := f.ReadAt(b[:], fixtures.MetadataStart); err != nil {
		t.Fatal(err)
	}
	sb, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, &b)
	if err != nil {
		t.Fatal(err)
	}
	sb.Flags = metadata.NeedsCheck
	b = sb.Amend(b)
	if _, err := f.WriteAt(b[:], fixtures.MetadataStart); err != nil {
		t.Fatal(err)
	}
	return paths[0], text
}

// copies returns the content of both copies on a mirrored disk.
func copies(t *testing.T, disk string) (first, second []byte) {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first, second = make([]byte, fixtures.MetadataSize), make([]byte, fixtures.MetadataSize)
	for off, p := range map[int64][]byte{fixtures.MetadataStart: first, fixtures.SpareStart: second} {
		if _, err := f.ReadAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	return first, second
}

// The second copy replaces both. If this is interrupted after block 0 became invalid, the undo file
// still matches the device.
func TestReplaceInterrupted(t *testing.T) {
	disk, text := mirrored(t)
	_, want := copies(t, disk)
	env := testEnv(t)
	spec := Spec{Path: disk, Access: Claim, Disk: &Disk{Images: Images{Leg: 2, Text: text}}}
	s, err := Open(env, spec)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := metadata.Open(s, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	writing, interrupt := context.WithCancel(t.Context())
	b := write.New(write.Options{Progress: func(phase string, _, _ uint64) {
		if phase == "writing" {
			interrupt()
		}
	}})
	if err := dump.Run(env, pool, dump.Options{}, b); err != nil {
		t.Fatal(err)
	}
	undoFile := filepath.Join(t.TempDir(), "undo")
	env.Context, env.Stderr = writing, io.Discard
	if err := s.Replace(env, b, undoFile); err == nil {
		t.Fatal("it was not interrupted")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	env = testEnv(t)
	file, in, err := OpenUndo(env, undoFile)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	spec.Disk.Leg = 0
	if s, err = Open(env, spec); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	to, err := s.Writable()
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Apply(env, to, nil); err != nil {
		t.Fatal(err)
	}
	if first, second := copies(t, disk); !bytes.Equal(first, want) || !bytes.Equal(second, want) {
		t.Error("the copies are not what the undo file has")
	}
}
