package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"thinpool/disk"
)

// splitInto writes content to files of n bytes each; the last may be shorter.
func splitInto(t *testing.T, content []byte, n int, name func(i int) string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for part := range slices.Chunk(content, n) {
		path := filepath.Join(dir, name(len(paths)))
		if err := os.WriteFile(path, part, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// Parts are found by name and read as one, wherever they end.
func TestParts(t *testing.T) {
	content := text16(100000)
	for name, suffix := range map[string]func(i int) string{
		"from 1":  func(i int) string { return fmt.Sprintf("disk[1].%03d", i+1) },
		"from 0":  func(i int) string { return fmt.Sprintf("disk.img.%02d", i) },
		"letters": func(i int) string { return "disk." + string([]byte{'a' + byte(i/26), 'a' + byte(i%26)}) },
	} {
		for _, n := range []int{1001, 4096, 70000, 99999} {
			paths := splitInto(t, content, n, suffix)
			if got := disk.Sisters(paths[0]); !slices.Equal(got, paths[1:]) {
				t.Errorf("%s, parts of %d bytes: %q follow, want %q", name, n, got, paths[1:])
			}
			same(t, paths[0], content)
		}
	}
	for _, path := range []string{"disk.002", "disk.1", "disk", "disk.img", "disk.ab", "disk.0a", "disk.100", ""} {
		if err := os.WriteFile(filepath.Join(t.TempDir(), "disk.003"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := disk.Sisters(path); got != nil {
			t.Errorf("%q: %q follow", path, got)
		}
	}
}

// Reads work at any offset.
func TestPartsAnywhere(t *testing.T) {
	content := text16(10000)
	paths := splitInto(t, content, 777, func(i int) string { return fmt.Sprintf("disk.%03d", i) })
	d, err := disk.Open(paths[0], disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rapid.Check(t, func(t *rapid.T) {
		off, n := rapid.IntRange(0, 10050).Draw(t, "off"), rapid.IntRange(0, 3000).Draw(t, "n")
		p := make([]byte, n)
		got, err := d.ReadAt(p, int64(off))
		want := content[min(off, len(content)):min(off+n, len(content))]
		if !bytes.Equal(p[:got], want) || err != nil && err != io.EOF || got < n && err == nil {
			t.Fatalf("%d bytes, %v", got, err)
		}
	})
	if err := d.Writable(); err == nil || !strings.Contains(err.Error(), "is split into 13 files, so it is read-only") {
		t.Errorf("to be written: %v", err)
	}
}

// Data in a missing part is unreadable, and the error says which bytes.
func TestMissingPart(t *testing.T) {
	content := text16(10000)
	paths := splitInto(t, content, 3001, func(i int) string { return fmt.Sprintf("disk.%02d", i) })
	if err := os.Remove(paths[1]); err != nil {
		t.Fatal(err)
	}
	d, err := disk.Open(paths[0], disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p := make([]byte, 10000)
	if n, err := d.ReadAt(p, 0); n != 3001 || err == nil || !strings.Contains(err.Error(), "disk.01 is missing: it has bytes 3001..6001") {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := d.ReadAt(p, 6002); n != len(content)-6002 || err != io.EOF || !bytes.Equal(p[:n], content[6002:]) {
		t.Errorf("behind it: %d bytes, %v", n, err)
	}
	// Parts named by the caller may have any name and must exist.
	if _, err := disk.Open(paths[0], disk.Options{Parts: paths[1:]}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
	d, err = disk.Open(paths[2], disk.Options{Parts: []string{paths[0], paths[3]}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	n, err := d.ReadAt(p, 0)
	if want := slices.Concat(content[6002:9003], content[:3001], content[9003:]); err != io.EOF || !bytes.Equal(p[:n], want) {
		t.Errorf("by hand: %d bytes of %d, %v", n, len(want), err)
	}
}
