package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFilesNTFSLarge creates an NTFS volume with ten thousand files, many of them fragmented, and compares
// the owners of random clusters with ntfscluster.
func TestFilesNTFSLarge(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("asks ntfscluster hundreds of times")
	}
	for _, program := range []string{"mkntfs", "ntfs-3g", "ntfscluster"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v", err)
		}
	}
	const size, cluster, files, asked = 160 << 20, 4096, 10000, 320
	image := filepath.Join(t.TempDir(), "image")
	empty(t, image, size)
	if r := run(t, "mkntfs", "-F", "-Q", "-q", "-c", strconv.Itoa(cluster), image); r.code != 0 {
		t.Fatal(r.stderr)
	}
	fillNTFS(t, image, files)
	random := rand.New(rand.NewPCG(1, 2))
	var clusters []int64
	var args []string
	for range asked {
		clusters = append(clusters, random.Int64N(size/cluster))
	}
	slices.Sort(clusters)
	clusters = slices.Compact(clusters)
	for _, c := range clusters {
		args = append(args, "--range", fmt.Sprintf("%d..%d", c*cluster, (c+1)*cluster))
	}
	found := map[int64][]string{} // by cluster: inodes and paths
	for _, p := range filesOf(t, 0, append(args, image)...) {
		if p.Inode == 0 {
			continue
		}
		for at := p.Begin / cluster; at <= (p.Begin+p.Length-1)/cluster; at++ {
			found[at] = append(found[at], fmt.Sprint(p.Inode, " /", strings.TrimPrefix(p.Path, "/")))
		}
	}
	whose := regexp.MustCompile(`(?m)^Inode (\d+) (/.*)/\$[A-Z_]+(?:\(.*\))?$`)
	compared, hits, names := 0, 0, map[string]bool{}
	for _, c := range clusters {
		out, _ := exec.Command("ntfscluster", "-f", "-c", fmt.Sprintf("%d-%d", c, c), image).Output()
		var want []string
		for _, m := range whose.FindAllStringSubmatch(string(out), -1) {
			want = append(want, m[1]+" "+strings.ReplaceAll(m[2], "/./", "/"))
			names[m[2]] = true
		}
		if len(want) == 0 && !bytes.Contains(out, []byte("no inode found")) {
			t.Fatalf("ntfscluster says: %s", out)
		}
		if len(want) > 0 && strings.HasPrefix(want[0], "0 ") {
			continue // $MFT: thin_files names the owners of these records
		}
		compared++
		got := found[c]
		if len(want) > 0 {
			hits++
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(slices.Compact(got), slices.Compact(want)) {
			t.Errorf("cluster %d: found %q, want %q", c, got, want)
		}
	}
	t.Logf("%d clusters compared, %d of them in use, by %d files", compared, hits, len(names))
	if hits < 200 {
		t.Errorf("only %d clusters are in use", hits)
	}
}

// fillNTFS writes files through ntfs-3g. It deletes every seventh, and fills the gaps with later ones.
func fillNTFS(t *testing.T, image string, files int) {
	t.Helper()
	mounted := t.TempDir()
	if out, err := exec.Command("ntfs-3g", image, mounted).CombinedOutput(); err != nil {
		t.Skipf("ntfs-3g cannot mount: %v %s", err, out)
	}
	write := func(name string, n int) error {
		path := filepath.Join(mounted, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		return os.WriteFile(path, bytes.Repeat([]byte(name), n/len(name)+1), 0o600)
	}
	fill := func() error {
		for i := range files {
			if err := write(fmt.Sprintf("dir%d/sub%d/file%d", i%7, i%31, i), 2000+i%5*3000); err != nil {
				return err
			}
		}
		for i := 0; i < files; i += 7 {
			if err := os.Remove(filepath.Join(mounted, fmt.Sprintf("dir%d/sub%d/file%d", i%7, i%31, i))); err != nil {
				return err
			}
		}
		for i := range files / 7 {
			if err := write(fmt.Sprintf("later/file%d", i), 20000); err != nil {
				return err
			}
		}
		return nil
	}
	err := fill()
	for try := 0; ; try++ {
		out, failed := exec.Command("umount", mounted).CombinedOutput()
		if failed == nil {
			break
		}
		if try == 100 {
			t.Fatalf("umount: %v %s", failed, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
	for try := 0; try < 100 && exec.Command("ntfscluster", "-c", "0-0", image).Run() != nil; try++ {
		time.Sleep(100 * time.Millisecond) // ntfs-3g is still writing
	}
	if err != nil {
		t.Fatal(err)
	}
}
