package command

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata/block"
	"thinpool/tool/export"
)

type plainTool struct{ t *testing.T }

func (x plainTool) run(args ...string) (int, string, string) {
	return runTool(x.t, ExportTool, args...)
}

// A volume outside any pool becomes a file with holes where the volume has zeros.
func TestExportPlainHoles(t *testing.T) {
	dir := t.TempDir()
	const start, size, run = 25856 * block.Size, 4 << 20, 16 * block.Size
	paths, _ := fixtures.Disks(t, "one-pv")
	out := filepath.Join(dir, "out")
	must(t, plainTool{t}, paths[0], "--lv", "vg1/pool_tmeta", "-o", out, "--verify")
	disk, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	want := disk[start:][:size]
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy is wrong (%v)", err)
	}
	empty, err := export.CreateFile(filepath.Join(dir, "empty"), size, false, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if empty.NextData(0) == 0 {
		t.Skip("no holes on this file system")
	}
	f, err := export.ReopenFile(out, size)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zeros, data := 0, 0
	for at := 0; at < size; at += run {
		next := f.NextData(int64(at))
		switch zero := bytes.Equal(want[at:][:run], make([]byte, run)); {
		case zero && next < int64(at)+run:
			t.Errorf("no hole at %d", at)
		case zero:
			zeros++
		default:
			data++
		}
	}
	if zeros == 0 || data == 0 {
		t.Errorf("%d stretches of zeros, %d of data", zeros, data)
	}
}
