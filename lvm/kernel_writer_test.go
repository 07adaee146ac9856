package lvm_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/fixtures"
	"thinpool/lvm"
	"thinpool/metadata/block"
)

// laidOut returns the disk of the case "one-pv" with another layout of the metadata volume, its
// image opened for reading, the group and the volume.
func laidOut(t *testing.T, layout string) (path string, img *disk.Disk, g *lvm.Group, v *lvm.Volume) {
	t.Helper()
	paths, _ := fixtures.Disks(t, "one-pv")
	backup, err := lvm.ParseBackup([]byte(fixtures.Layout(t, paths[0], layout)))
	if err != nil {
		t.Fatal(err)
	}
	img = openWith(t, disk.Options{Claim: true}, paths[0])[0]
	set, err := lvm.Scan(t.Context(), lvm.Options{Backup: backup}, img)
	if err != nil || len(set.Groups) != 1 {
		t.Fatalf("%d groups, %v", len(set.Groups), err)
	}
	g = set.Groups[0]
	return paths[0], img, g, g.Volume("pool_tmeta")
}

// filler is a block that does not occur on any disk.
func filler() []byte { return bytes.Repeat([]byte{0x5a}, block.Size) }

// After Flush, data written to a volume is in all its copies and nowhere else. Before
// OpenForWriting, nothing can be written.
func TestWriter(t *testing.T) {
	const at = 7 * block.Size
	for layout, copies := range map[string][]int{
		"linear": {fixtures.MetadataStart},
		"mirror": {fixtures.MetadataStart, fixtures.SpareStart},
		"raid1":  {fixtures.MetadataStart, fixtures.SpareStart},
	} {
		t.Run(layout, func(t *testing.T) {
			path, img, g, v := laidOut(t, layout)
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.OpenWritable(v); !errors.Is(err, block.ErrReadOnly) {
				t.Errorf("opened for writing what is open for reading: %v", err)
			}
			imgs, err := g.Writable(v)
			if err != nil || len(imgs) != 1 || imgs[0] != img {
				t.Fatalf("%v, %v", imgs, err)
			}
			for range 2 { // the second call does nothing
				if err := img.OpenForWriting(); err != nil {
					t.Fatal(err)
				}
			}
			w, err := g.OpenWritable(v)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.WriteAt(filler(), at); err != nil {
				t.Fatal(err)
			}
			if _, err := w.WriteAt(filler(), w.Size()-block.Size+1); err == nil {
				t.Error("written beyond the end")
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			for _, start := range copies {
				copy(want[start+at:], filler())
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the disk is not what it should be (%v)", err)
			}
		})
	}
}

// Volumes that cannot be written safely are refused before any disk is opened for writing.
func TestWritableRefuses(t *testing.T) {
	for layout, want := range map[string]string{
		"read-only":     "it is read-only",
		"raid1-rebuild": "not all of its images are in sync",
		"raid5":         "only [striped linear",
	} {
		_, _, g, v := laidOut(t, layout)
		if _, err := g.Writable(v); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "vg1/pool_tmeta cannot be written") {
			t.Errorf("%s: error %v, want %q", layout, err, want)
		}
	}
	_, _, g, _ := laidOut(t, "mirror")
	if _, err := g.Writable(g.Volume("pool_tmeta_mimage_0")); err == nil || !strings.Contains(err.Error(), "pool_tmeta depends on it") {
		t.Errorf("one leg of a mirror: %v", err)
	}
}

// Differing copies are detected if all are read, and any copy can be selected.
func TestReadSame(t *testing.T) {
	for _, layout := range []string{"mirror", "raid1"} {
		path, _, g, v := laidOut(t, layout)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		const at = 9 * block.Size
		if _, err := f.WriteAt(filler(), fixtures.SpareStart+at); err != nil {
			t.Fatal(err)
		}
		f.Close()
		read := func(opt lvm.ReadOptions, off int64) ([]byte, error) {
			r, err := g.Open(v, opt)
			if err != nil {
				t.Fatal(err)
			}
			p := make([]byte, block.Size)
			_, err = r.ReadAt(p, off)
			return p, err
		}
		if _, err := read(lvm.ReadOptions{Same: true}, at); !errors.Is(err, lvm.ErrDiffer) || !strings.Contains(err.Error(), "vg1/pool_tmeta, byte 36864") {
			t.Errorf("%s: error %v, want %v", layout, err, lvm.ErrDiffer)
		}
		if _, err := read(lvm.ReadOptions{Same: true}, 0); err != nil {
			t.Errorf("%s: where copies are the same: %v", layout, err)
		}
		first, err := read(lvm.ReadOptions{}, at)
		if err != nil || bytes.Equal(first, filler()) {
			t.Errorf("%s: the first copy is not read (%v)", layout, err)
		}
		if second, err := read(lvm.ReadOptions{Leg: 2}, at); err != nil || !bytes.Equal(second, filler()) {
			t.Errorf("%s: the second copy is not read (%v)", layout, err)
		}
	}
}

// An image locked by another process, such as a virtual machine, cannot be claimed. Images that are
// not claimed cannot be opened for writing.
func TestOpenForWritingRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	claim := disk.Options{Claim: true}
	first := openWith(t, claim, path)[0]
	if _, err := disk.Open(path, claim); !errors.Is(err, block.ErrBusy) {
		t.Errorf("a second time: %v, want %v", err, block.ErrBusy)
	}
	if err := open(t, path)[0].OpenForWriting(); !errors.Is(err, block.ErrReadOnly) {
		t.Errorf("without a claim: %v, want %v", err, block.ErrReadOnly)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openWith(t, claim, path)[0].OpenForWriting(); err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
	inner := disk.New("inner", bytes.NewReader(make([]byte, 512)), 512)
	if err := inner.OpenForWriting(); !errors.Is(err, block.ErrReadOnly) {
		t.Errorf("no file: %v, want %v", err, block.ErrReadOnly)
	}
}
