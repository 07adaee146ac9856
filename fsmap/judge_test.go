package fsmap_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"thinpool/fsmap"
)

// tool finds a system program, including those in sbin.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/sbin", "/usr/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// output runs a program.
func output(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr.String())
	}
	return string(out)
}

// manyFiles creates a folder with about n files: small, large, sparse and empty ones, hard and
// symbolic links.
func manyFiles(t testing.TB, n int) string {
	t.Helper()
	top := filepath.Join(t.TempDir(), "top")
	rnd := rand.New(rand.NewPCG(uint64(n), 7))
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(rnd.Uint32())
	}
	var dirs []string
	for i := range max(n/100, 3) {
		dir := filepath.Join(top, fmt.Sprintf("dir-%d", i))
		if i > 2 && i%3 == 0 {
			dir = filepath.Join(dirs[rnd.IntN(len(dirs))], fmt.Sprintf("deeper %d", i))
		}
		must(os.MkdirAll(dir, 0o700))
		dirs = append(dirs, dir)
	}
	for i := range n {
		dir := dirs[rnd.IntN(len(dirs))]
		if i%2 == 0 {
			dir = dirs[0] // a large folder
		}
		path := filepath.Join(dir, fmt.Sprintf("file-%d", i))
		must(os.WriteFile(path, content[:rnd.IntN(2)*rnd.IntN(6000)], 0o600))
		switch {
		case i%500 == 1:
			must(os.Link(path, filepath.Join(dirs[1], fmt.Sprintf("again-%d", i))))
		case i%500 == 2:
			must(os.Symlink(strings.Repeat("long/", 40), path+".link"))
		case i%500 == 3:
			must(os.Symlink("short", path+".link"))
		}
	}
	must(os.WriteFile(filepath.Join(top, "large"), content, 0o600))
	must(os.WriteFile(filepath.Join(top, "Ünïcödé ファイル"), content[:100000], 0o600))
	sparse, err := os.Create(filepath.Join(top, "sparse"))
	must(err)
	for _, at := range []int64{0, 50000, 300000, 4 << 20, 5000000, 70 << 20, 300 << 20} {
		_, err := sparse.WriteAt(content[:9000], at)
		must(err)
	}
	must(sparse.Close())
	return top
}

// open opens an image.
func open(t testing.TB, path string) (*os.File, int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return f, info.Size()
}

// A judged block is what another program says about a block.
type judged struct {
	inodes []uint64
	paths  []string
	inUse  bool
}

// randomBlocks returns n random blocks, most of them in the used part.
func randomBlocks(n int, blocks, used int64) []int64 {
	rnd := rand.New(rand.NewPCG(uint64(blocks), 3))
	var all []int64
	for len(all) < n {
		within := blocks
		if len(all)%4 > 0 {
			within = used
		}
		if b := rnd.Int64N(within-1) + 1; !slices.Contains(all, b) {
			all = append(all, b)
		}
	}
	slices.Sort(all)
	return all
}

// search finds what is in blocks.
func search(t testing.TB, image string, bs int64, blocks []int64) map[int64][]fsmap.Piece {
	t.Helper()
	f, size := open(t, image)
	var ranges []fsmap.Range
	for _, b := range blocks {
		ranges = append(ranges, fsmap.Range{Begin: b * bs, Len: bs})
	}
	res, err := fsmap.Find(t.Context(), f, size, ranges, fsmap.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Complete() {
		t.Fatalf("not complete: %+v", res.Problems)
	}
	found := map[int64][]fsmap.Piece{}
	for _, p := range res.Pieces {
		for b := p.Begin / bs; b*bs < p.End(); b++ {
			found[b] = append(found[b], p)
		}
	}
	return found
}

// extImages lists file systems to create: name and mke2fs options.
var extImages = []struct {
	name string
	args string
}{
	{"ext2-1k", "-t ext2 -b 1024"},
	{"ext2-4k", "-t ext2 -b 4096 -O ^sparse_super,^resize_inode"},
	{"ext3-2k", "-t ext3 -b 2048"},
	{"ext4-1k", "-t ext4 -b 1024"},
	{"ext4-4k", "-t ext4 -b 4096 -g 2048"},
	{"ext4-meta-bg", "-t ext4 -b 1024 -O meta_bg,^resize_inode,metadata_csum -g 1024"},
	{"ext4-inline", "-t ext4 -b 2048 -O inline_data,^64bit -I 256"},
	{"ext4-sparse2", "-t ext4 -b 1024 -O sparse_super2,^flex_bg,mmp"},
	{"ext4-bigalloc", "-t ext4 -b 1024 -C 8192 -O bigalloc"},
}

// makeExt creates a file system with the files in top.
func makeExt(t testing.TB, top, args string, size int64) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	all := append(strings.Fields(args), "-q", "-F", "-N", "14000", "-d", top, image, strconv.FormatInt(size>>10, 10)+"k")
	output(t, "", tool(t, "mke2fs"), all...)
	return image
}

// For random blocks, the owners and their names match debugfs.
func TestExtAgainstDebugfs(t *testing.T) {
	debugfs := tool(t, "debugfs")
	files, most := 10000, len(extImages)
	if testing.Short() {
		files, most = 500, 4
	}
	top := manyFiles(t, files)
	for _, c := range extImages[:most] {
		t.Run(c.name, func(t *testing.T) {
			image := makeExt(t, top, c.args, 256<<20)
			bs := statOf(t, debugfs, image, "Block size")
			blocks, free := statOf(t, debugfs, image, "Block count"), statOf(t, debugfs, image, "Free blocks")
			chosen := randomBlocks(200, blocks, blocks-free)
			want := debugfsSays(t, debugfs, image, chosen)
			got := search(t, image, bs, chosen)
			owned, metadata := 0, 0
			for _, b := range chosen {
				var j judged
				for _, p := range got[b] {
					j.inUse = j.inUse || p.Kind != fsmap.Free
					switch {
					case p.Kind == fsmap.Inode || p.Kind == fsmap.Free:
					case p.Kind == fsmap.ReservedDescriptors: // debugfs assigns them to the resize inode
						j.inodes = append(j.inodes, 7)
					case p.Inode != 0:
						j.inodes, j.paths = append(j.inodes, p.Inode), append(j.paths, p.Paths...)
					default:
						metadata++
					}
				}
				w := want[b]
				slices.Sort(j.paths)
				slices.Sort(w.paths)
				if !slices.Equal(j.inodes, w.inodes) || j.inUse != w.inUse && !strings.Contains(c.args, "bigalloc") || w.paths != nil && !slices.Equal(j.paths, w.paths) {
					t.Errorf("block %d: found %s, debugfs says %+v", b, pieces(got[b]), w)
				}
				owned += len(w.inodes)
			}
			if owned < 10 {
				t.Errorf("only %d blocks are in files", owned)
			}
			t.Logf("%d blocks, %d of inodes, %d of other metadata", len(chosen), owned, metadata)
		})
	}
}

// statOf returns a number from debugfs' statistics of a file system.
func statOf(t testing.TB, debugfs, image, name string) int64 {
	t.Helper()
	for line := range strings.Lines(output(t, "", debugfs, "-R", "stats -h", image)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("debugfs does not tell the %s", name)
	return 0
}

// debugfsSays asks debugfs for the owners of blocks and their names.
func debugfsSays(t testing.TB, debugfs, image string, blocks []int64) map[int64]judged {
	t.Helper()
	all := strings.Trim(fmt.Sprint(blocks), "[]")
	owners := map[int64]uint64{}
	inodes := map[uint64][]string{}
	for line := range strings.Lines(output(t, "", debugfs, "-R", "icheck "+all, image)) {
		var b int64
		var inode uint64
		if n, _ := fmt.Sscan(line, &b, &inode); n == 2 {
			owners[b], inodes[inode] = inode, nil
		}
	}
	var list []string
	for n := range inodes {
		list = append(list, strconv.FormatUint(n, 10))
	}
	for line := range strings.Lines(output(t, "", debugfs, "-R", "ncheck "+strings.Join(list, " "), image)) {
		nr, path, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if n, err := strconv.ParseUint(nr, 10, 64); err == nil {
			inodes[n] = append(inodes[n], cmp.Or(strings.TrimLeft(path, "/"), "/"))
		}
	}
	var asked strings.Builder
	for _, b := range blocks {
		fmt.Fprintf(&asked, "testb %d\n", b)
	}
	inUse := map[int64]bool{}
	for line := range strings.Lines(output(t, asked.String(), debugfs, image)) {
		var b int64
		if n, _ := fmt.Sscanf(line, "Block %d marked", &b); n == 1 && strings.Contains(line, "marked in use") {
			inUse[b] = true
		}
	}
	says := map[int64]judged{}
	for _, b := range blocks {
		j := judged{inUse: inUse[b]}
		if n, ok := owners[b]; ok {
			j.inodes, j.paths = []uint64{n}, inodes[n]
		}
		says[b] = j
	}
	return says
}

// pieces formats pieces for messages.
func pieces(all []fsmap.Piece) string {
	var s []string
	for _, p := range all {
		s = append(s, fmt.Sprintf("%v: %s inode %d offset %d group %d %q", p.Range, p.Kind, p.Inode, p.Offset, p.Group, p.Paths))
	}
	return strings.Join(s, "; ")
}
