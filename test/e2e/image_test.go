package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"thinpool/fixtures"
	"thinpool/lvm"
)

// imageArgs returns the arguments to read a group on several disks.
func imageArgs(paths []string) []string {
	args := []string{paths[0]}
	for _, path := range paths[1:] {
		args = append(args, "--pv", path)
	}
	return args
}

// exported returns the SHA-256 of a volume as thin_export writes it to a file.
func exported(t *testing.T, paths []string, volume string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	ours(t, "thin_export", append(imageArgs(paths), "--lv", volume, "-o", out)...)
	return fmt.Sprintf("%x", sha256.Sum256(must(os.ReadFile(out))))
}

// thin_export reads from images what the kernel read from the volumes.
func TestExportImages(t *testing.T) {
	t.Parallel()
	many(t)
	for _, name := range []string{"one-pv", "two-pvs"} {
		paths, volumes := fixtures.Disks(t, name)
		g := scanDisks(t, paths...)
		thin := 0
		for _, v := range volumes {
			if g.Volume(v.Name).Type() != "thin" {
				continue
			}
			thin++
			if got := exported(t, paths, v.Group+"/"+v.Name); got != v.SHA256 {
				t.Errorf("%s, %s: sum %s, want %s", name, v.Name, got, v.SHA256)
			}
		}
		if thin == 0 {
			t.Errorf("%s: no thin volume", name)
		}
	}
}

// The same for pools of every layout, including snapshots and external origins.
func TestExportLayouts(t *testing.T) {
	t.Parallel()
	many(t)
	paths, sums := layoutDisks(t)
	g := scanDisks(t, paths...)
	thin := 0
	for name, want := range sums {
		if g.Volume(name).Type() != "thin" {
			continue
		}
		thin++
		if got := exported(t, paths, g.Name+"/"+name); got != want {
			t.Errorf("%s: sum %s, want %s", name, got, want)
		}
	}
	if thin != 4 {
		t.Errorf("%d thin volumes", thin)
	}
}

// The tools print the same for an image as for the metadata alone.
func TestToolsOnImages(t *testing.T) {
	t.Parallel()
	many(t)
	for _, name := range []string{"one-pv", "two-pvs"} {
		paths, _ := fixtures.Disks(t, name)
		g := scanDisks(t, paths...)
		r := must(g.Open(g.Volume("pool_tmeta"), lvm.ReadOptions{}))
		content := make([]byte, r.Size())
		if _, err := r.ReadAt(content, 0); err != nil {
			t.Fatal(err)
		}
		meta := filepath.Join(t.TempDir(), "tmeta")
		if err := os.WriteFile(meta, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"thin_check"},
			{"thin_check", "--format", "json"},
			{"thin_dump"},
			{"thin_dump", "--style", "0.9"},
			{"thin_ls", "-o", "DEV,MAPPED_BLOCKS,EXCLUSIVE_BYTES,HIGHEST_SECTOR,TRANSACTION,CREATE_TIME,SNAP_TIME"},
			{"thin_rmap", "--region", "0..-1"},
			{"thin_stat"},
			{"thin_delta", "--thin1", "1", "--thin2", "2"},
		} {
			alone := ours(t, args[0], append(args[1:], meta)...)
			if inside := ours(t, args[0], append(args[1:], imageArgs(paths)...)...); inside != alone {
				t.Errorf("%s, %v:\n%.500s\nand alone\n%.500s", name, args, inside, alone)
			}
		}
		var dumps []string
		for _, input := range [][]string{{meta}, imageArgs(paths)} {
			out := filepath.Join(t.TempDir(), "out")
			empty(t, out, r.Size())
			ours(t, "thin_repair", append([]string{"-q", "-o", out, "-i"}, input...)...)
			dumps = append(dumps, ours(t, "thin_dump", out))
		}
		if dumps[0] != dumps[1] || dumps[0] != ours(t, "thin_dump", meta) {
			t.Errorf("%s: what thin_repair makes of the image is something else", name)
		}
	}
}
