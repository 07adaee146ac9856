package e2e

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"thinpool/fixtures"
	"thinpool/test/shared"
)

// layerCases are disks with layers around and inside pools, and what is needed to open them.
var layerCases = []struct {
	name   string
	disks  int
	key    string // content of the key file; "@NAME": the content of that file
	vm     string // the volume that contains the guests' groups
	guests []string
	fewer  bool // any one disk may be missing
}{
	{name: "luks2-pv", disks: 1, key: "correct horse"},
	{name: "luks1-pv", disks: 1, key: "@luks1-pv.key"},
	{name: "md-raid1", disks: 2, fewer: true},
	{name: "md-raid1-stale", disks: 2},
	{name: "md-raid1-10", disks: 2, fewer: true},
	{name: "md-raid1-090", disks: 2, fewer: true},
	{name: "md-raid5", disks: 3, fewer: true},
	{name: "md-raid10-far", disks: 2, fewer: true},
	{name: "nested", disks: 1, vm: "vghost/vmdisk", guests: []string{"vgguest"}},
}

// A layerSum is the kernel's checksum of a volume.
type layerSum struct {
	size      int64
	sum, name string
}

func readSums(t *testing.T, path string) []layerSum {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var sums []layerSum
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var s layerSum
		if _, err := fmt.Sscan(lines.Text(), &s.size, &s.sum, &s.name); err != nil {
			t.Fatal(err)
		}
		sums = append(sums, s)
	}
	if len(sums) == 0 {
		t.Fatalf("%s is empty", path)
	}
	return sums
}

// unpackLayers unpacks the disks of a case.
func unpackLayers(t *testing.T, folder, name string, disks int) []string {
	t.Helper()
	var paths []string
	for i := range disks {
		file := name
		if disks > 1 {
			file = fmt.Sprintf("%s.%d", name, i+1)
		}
		packed, err := os.Open(filepath.Join(folder, file+".img.zst"))
		if err != nil {
			t.Fatal(err)
		}
		defer packed.Close()
		z, err := zstd.NewReader(packed, zstd.WithDecoderMaxWindow(1<<27))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		path := filepath.Join(t.TempDir(), file+".img")
		out, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, z); err != nil || out.Close() != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// onDisks returns the arguments for disks: the first by name, the others with --pv.
func onDisks(paths []string) []string {
	args := []string{paths[0]}
	for _, p := range paths[1:] {
		args = append(args, "--pv", p)
	}
	return args
}

// exportSum returns the checksum and size of what thin_export writes.
func exportSum(t *testing.T, args ...string) (string, int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(tools, "thin_export"), append([]string{"-o", "-"}, args...)...)
	h := sha256.New()
	n := int64(0)
	cmd.Stdout = writerFunc(func(p []byte) (int, error) { n += int64(len(p)); return h.Write(p) })
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("thin_export %q: %v\n%s", args, err, stderr.String())
	}
	return fmt.Sprintf("%x", h.Sum(nil)), n
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// All volumes read as from the kernel, through any layers. The metadata of all pools is sound, and
// nothing is written.
func TestLayers(t *testing.T) {
	folder := shared.Path(t, "kernel", "layer-images")
	for _, c := range layerCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			paths := unpackLayers(t, folder, c.name, c.disks)
			var key []string
			if c.key != "" {
				content := []byte(c.key)
				if from, ok := strings.CutPrefix(c.key, "@"); ok {
					var err error
					if content, err = os.ReadFile(filepath.Join(folder, from)); err != nil {
						t.Fatal(err)
					}
				}
				file := filepath.Join(t.TempDir(), "key")
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
				key = []string{"--key-file", file}
			}
			sums := readSums(t, filepath.Join(folder, c.name+".sums"))
			check := func(paths []string) {
				for _, want := range sums {
					args := append(layerArgs(want.name, c.vm, c.guests), append(key, onDisks(paths)...)...)
					if sum, n := exportSum(t, args...); sum != want.sum || n != want.size {
						t.Errorf("%q: %d bytes with sum %s, want %d with %s", args, n, sum, want.size, want.sum)
					}
					if strings.HasSuffix(want.name, "_tmeta") {
						ours(t, "thin_check", args...)
						ours(t, "thin_dump", args...)
					}
				}
			}
			check(paths)
			if c.fewer {
				for i := range paths {
					check(append(append([]string(nil), paths[:i]...), paths[i+1:]...))
				}
			}
			refusesInPlace(t, c.vm, key, paths)
		})
	}
}

// layerArgs returns the options for a volume: VG/LV, or VG/LV#N for a partition.
func layerArgs(name, vm string, guests []string) []string {
	lv, partition, ok := strings.Cut(name, "#")
	group, _, _ := strings.Cut(lv, "/")
	switch {
	case ok:
		return []string{"--lv", lv, "--inside", partition}
	case len(guests) > 0 && group == guests[0]:
		return []string{"--lv", vm, "--inside", lv}
	}
	return []string{"--lv", lv}
}

// refusesInPlace checks that writing in place fails and leaves every disk unchanged.
func refusesInPlace(t *testing.T, vm string, key, paths []string) {
	t.Helper()
	var before []string
	for _, p := range paths {
		before = append(before, fileSum(t, p))
	}
	args := append([]string{"--in-place", "--undo", filepath.Join(t.TempDir(), "undo"), "--auto-repair"}, key...)
	if vm != "" {
		args = append(args, "--lv", vm, "--inside", "2")
	}
	for _, on := range [][]string{onDisks(paths), paths[:1]} {
		if r := run(t, filepath.Join(tools, "thin_check"), append(args[:len(args):len(args)], on...)...); r.code == 0 ||
			!strings.Contains(r.stderr, "is read-only") && !strings.Contains(r.stderr, "refusing to write") && !strings.Contains(r.stderr, "missing") {
			t.Errorf("%q: exit code %d, %s", on, r.code, r.stderr)
		}
	}
	for i, p := range paths {
		if fileSum(t, p) != before[i] {
			t.Errorf("%s has changed", p)
		}
	}
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// If the second leg of a mirror is stale, the first is read, unless the second is requested or is
// the only one.
func TestLayersStaleLeg(t *testing.T) {
	folder := shared.Path(t, "kernel", "layer-images")
	paths := unpackLayers(t, folder, "md-raid1-stale", 2)
	for _, want := range readSums(t, filepath.Join(folder, "md-raid1-stale.old.sums")) {
		for _, on := range [][]string{append(onDisks(paths), "--leg", "2"), paths[1:]} {
			args := append([]string{"--lv", want.name}, on...)
			if sum, n := exportSum(t, args...); sum != want.sum || n != want.size {
				t.Errorf("%q: %d bytes with sum %s, want %d with %s", args, n, sum, want.size, want.sum)
			}
		}
	}
}

// A split image is read as a whole, wherever its parts end.
func TestLayersSplit(t *testing.T) {
	disks, volumes := fixtures.Disks(t, "one-pv")
	for _, size := range []int64{64 << 20, 70000128, 70000001} {
		dir := t.TempDir()
		for i, at := 0, int64(0); ; i, at = i+1, at+size {
			n := copyRange(t, disks[0], filepath.Join(dir, fmt.Sprintf("disk.%02d", i)), at, size)
			if n < size {
				break
			}
		}
		for _, want := range volumes {
			args := []string{"--lv", want.Group + "/" + want.Name, filepath.Join(dir, "disk.00")}
			if sum, n := exportSum(t, args...); sum != want.SHA256 || n != want.Size {
				t.Errorf("parts of %d bytes: %s: %d bytes with sum %s, want %d with %s", size, want.Name, n, sum, want.Size, want.SHA256)
			}
		}
		ours(t, "thin_check", filepath.Join(dir, "disk.00"))
	}
}

// copyRange copies at most size bytes of a file, starting at at.
func copyRange(t *testing.T, from, to string, at, size int64) int64 {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(out, io.NewSectionReader(in, at, size))
	if err != nil || out.Close() != nil {
		t.Fatal(err)
	}
	return n
}
