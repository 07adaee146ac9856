package trim_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/trim"
)

const blockBytes = 128 * 512

// content creates a data device with every block filled with its own number.
func content(tb testing.TB, blocks int) (path string, whole []byte) {
	tb.Helper()
	for b := range blocks {
		whole = append(whole, bytes.Repeat([]byte{byte(b%255) + 1}, blockBytes)...)
	}
	path = filepath.Join(tb.TempDir(), "data")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path, whole
}

// holes returns the holes of a file.
func holes(tb testing.TB, path string) []trim.Range {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		tb.Fatal(err)
	}
	var found []trim.Range
	for at := int64(0); at < size; {
		hole, err := f.Seek(at, unix.SEEK_HOLE)
		if err != nil {
			tb.Fatal(err)
		}
		if at, err = f.Seek(hole, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
			at = size
		} else if err != nil {
			tb.Fatal(err)
		}
		if hole < at {
			found = append(found, trim.Range{Begin: metadata.DataBlock(hole / blockBytes), End: metadata.DataBlock(at / blockBytes)})
		}
	}
	return found
}

// Free blocks become holes, and all others keep every byte. A second run changes nothing.
func TestFile(t *testing.T) {
	path, want := content(t, 301) // one block more than the pool
	free, err := trim.Free(t.Context(), small(t), trim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range free {
		clear(want[r.Begin*blockBytes : r.End*blockBytes])
	}
	for range 2 {
		d, err := trim.OpenData(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = trim.Discard(t.Context(), d, 128, free, trim.Options{})
		if errors.Is(err, trim.ErrNoDiscard) {
			t.Skipf("the file system of %s has no holes", path)
		}
		if err := errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
		compare(t, path, want)
		got := holes(t, path)
		if len(got) != len(smallFree) {
			t.Fatalf("holes %v, want %v", got, smallFree)
		}
		for i := range got {
			if got[i] != smallFree[i] {
				t.Errorf("holes %v, want %v", got, smallFree)
			}
		}
	}
}

func compare(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for b := range len(want) / blockBytes {
		if at := b * blockBytes; !bytes.Equal(got[at:at+blockBytes], want[at:at+blockBytes]) {
			t.Fatalf("block %d is not what it should be", b)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// The same with a block device. No other process may have it open for writing.
func TestBlockDevice(t *testing.T) {
	path, want := content(t, 300)
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device can be had: %v %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", loop).Run() })
	d, err := trim.OpenData(loop, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := trim.OpenData(loop, 0); !errors.Is(err, block.ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	if d.Size() != 300*blockBytes {
		t.Errorf("size %d", d.Size())
	}
	err = trim.Discard(t.Context(), d, 128, smallFree, trim.Options{})
	if errors.Is(err, trim.ErrNoDiscard) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range smallFree {
		clear(want[r.Begin*blockBytes : r.End*blockBytes])
	}
	compare(t, path, want)
}

func TestOpenData(t *testing.T) {
	if _, err := trim.OpenData("/dev/null", 0); !errors.Is(err, block.ErrNotBlocks) {
		t.Errorf("/dev/null: %v", err)
	}
	if _, err := trim.OpenData(t.TempDir(), 0); !errors.Is(err, block.ErrNotBlocks) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := trim.OpenData(filepath.Join(t.TempDir(), "missing"), 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
