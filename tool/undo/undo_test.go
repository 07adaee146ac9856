package undo_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata/block"
	"thinpool/tool/check"
	"thinpool/tool/undo"
)

// repair is a repair of an image, not yet carried out.
func repair(t testing.TB, image []byte) *check.Repair {
	t.Helper()
	_, r, err := check.Prepare(t.Context(), block.NewMemFrom(slices.Clone(image)), check.Options{}, func(check.Fault) {})
	if err != nil || r == nil || !r.Needed() {
		t.Fatalf("nothing to repair: %v", err)
	}
	return r
}

func change(r *check.Repair) undo.Change {
	return undo.Change{Released: r.Released(), Written: r.Blocks(), Block0: r.Block0()}
}

// saved returns the undo file for r.
func saved(t testing.TB, image []byte, r *check.Repair) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := undo.Write(t.Context(), &file, block.NewMemFrom(slices.Clone(image)), change(r)); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// apply applies an undo file to dev.
func apply(t testing.TB, file []byte, dev block.Device) error {
	t.Helper()
	f, err := undo.Open(t.Context(), bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return err
	}
	return f.Apply(t.Context(), dev)
}

func images(t testing.TB) map[string][]byte {
	t.Helper()
	return map[string][]byte{
		"leaky":       fixtures.Leaky(t).Contents(),
		"needs-check": fixtures.Mem(t, "needs-check").Contents(),
		"powercut":    fixtures.Mem(t, "powercut").Contents(),
	}
}

// faults are those of dev, as text.
func faults(t testing.TB, dev block.Device) string {
	t.Helper()
	var s strings.Builder
	if _, err := check.Run(t.Context(), dev, check.Options{}, func(f check.Fault) { s.WriteString(f.String() + "\n") }); err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// Wherever the repair is interrupted, applying the undo file gives the original
// back, byte for byte; wherever that is interrupted, the metadata is the old or the
// new, and applying it again ends it.
func TestApply(t *testing.T) {
	for name, image := range images(t) {
		t.Run(name, func(t *testing.T) {
			r := repair(t, image)
			file := saved(t, image, r)
			dev := block.NewMemFrom(slices.Clone(image))
			old := faults(t, dev)
			if err := r.Write(t.Context(), dev); err != nil {
				t.Fatal(err)
			}
			repaired, ops := dev.Contents(), dev.Ops()
			for n := range ops {
				dev := block.NewMemFrom(slices.Clone(image))
				dev.FailWritesAfter(n)
				_ = r.Write(t.Context(), dev)
				restored(t, file, dev.Crash(n), image)
			}
			restored(t, file, block.NewMemFrom(slices.Clone(repaired)), image)
			for n := 0; ; n++ {
				dev := block.NewMemFrom(slices.Clone(repaired))
				dev.FailWritesAfter(n)
				if apply(t, file, dev) == nil {
					break
				}
				for seed := range 5 {
					cut := dev.Crash(seed)
					if got := faults(t, cut); got != "" && got != old {
						t.Errorf("interrupted at %d, seed %d:\n%s", n, seed, got)
					}
					restored(t, file, cut, image)
				}
			}
		})
	}
}

func restored(t testing.TB, file []byte, dev *block.Mem, want []byte) {
	t.Helper()
	for range 2 { // the second time changes nothing
		if err := apply(t, file, dev); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(dev.Contents(), want) {
			t.Error("the device is not what it was")
		}
	}
}

// Blocks that the repair released come back even if the pool has overwritten them
// since, in a transaction that it did not commit.
func TestReleasedOverwritten(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	r := repair(t, image)
	file, dev := saved(t, image, r), block.NewMemFrom(slices.Clone(image))
	if err := r.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	if len(r.Released()) == 0 {
		t.Fatal("nothing was released")
	}
	for _, nr := range r.Released() {
		if err := block.Write(dev, nr, new(block.Data)); err != nil {
			t.Fatal(err)
		}
	}
	restored(t, file, dev, image)
}

// What is not the device that the file is for, or not a whole file, is refused, and
// nothing is written.
func TestRefused(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	r := repair(t, image)
	file, dev := saved(t, image, r), block.NewMemFrom(slices.Clone(image))
	if err := r.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	repaired := dev.Contents()
	used := slices.Clone(repaired)
	used[48]++ // its transaction id
	for name, tc := range map[string]struct{ file, dev []byte }{
		"used since":    {file, used},
		"other device":  {file, fixtures.Mem(t, "empty").Contents()},
		"larger device": {file, append(slices.Clone(repaired), make([]byte, block.Size)...)},
		"cut":           {file[:len(file)-1], repaired},
		"longer":        {append(slices.Clone(file), 0), repaired},
		"empty":         {nil, repaired},
		"no undo file":  {image, repaired},
	} {
		refused(t, name, tc.file, tc.dev)
	}
	for at := 0; at < len(file); at += 509 { // any byte that is wrong
		spoiled := slices.Clone(file)
		spoiled[at] ^= 1
		refused(t, "spoiled file", spoiled, repaired)
	}
}

func refused(t testing.TB, name string, file, image []byte) {
	t.Helper()
	dev := block.NewMemFrom(slices.Clone(image))
	if err := apply(t, file, dev); err == nil || !bytes.Equal(dev.Contents(), image) {
		t.Errorf("%s: error %v, written: %v", name, err, !bytes.Equal(dev.Contents(), image))
	}
}

// A failed Create leaves no file, and one that is there stays.
func TestCreate(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	r, path := repair(t, image), filepath.Join(t.TempDir(), "undo")
	dev := block.NewMemFrom(slices.Clone(image))
	dev.FailReads(r.Blocks()[0])
	if err := undo.Create(t.Context(), path, dev, change(r)); !errors.Is(err, block.ErrFailed) {
		t.Errorf("error %v, want that of the device", err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("an unfinished file was left")
	}
	dev = block.NewMemFrom(image)
	if err := undo.Create(t.Context(), path, dev, change(r)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, saved(t, image, r)) {
		t.Errorf("the file differs: %v", err)
	}
	if err := undo.Create(t.Context(), path, dev, change(r)); !errors.Is(err, undo.ErrExists) {
		t.Errorf("error %v, want %v", err, undo.ErrExists)
	}
}

// Whatever the file is, Open does not panic, and what it takes fits.
func FuzzOpen(f *testing.F) {
	image := fixtures.Leaky(f).Contents()
	f.Add(saved(f, image, repair(f, image)))
	f.Fuzz(func(t *testing.T, p []byte) {
		_ = apply(t, p, block.NewMemFrom(slices.Clone(image)))
	})
}
