package fsmap_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"thinpool/fsmap"
)

// makeXFS creates a file system with the files in top. It skips the test if this mkfs.xfs cannot do
// that.
func makeXFS(t testing.TB, top, args, size string) string {
	t.Helper()
	dir := t.TempDir()
	var proto strings.Builder
	proto.WriteString("/nothing\n0 0\n")
	var add func(dir, indent string)
	add = func(dir, indent string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch name := e.Name(); {
			case strings.Contains(name, " ") || name == "sparse": // quotes and holes are impossible
			case e.IsDir():
				fmt.Fprintf(&proto, "%s%s d--755 0 0\n", indent, name)
				add(path, indent+" ")
				fmt.Fprintf(&proto, "%s$\n", indent)
			case e.Type().IsRegular():
				fmt.Fprintf(&proto, "%s%s ---644 0 0 %s\n", indent, name, path)
			default:
				target, err := os.Readlink(path)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&proto, "%s%s l--777 0 0 %s\n", indent, name, target)
			}
		}
	}
	proto.WriteString("d--755 0 0\n")
	add(top, "")
	proto.WriteString("$\n")
	file, image := filepath.Join(dir, "proto"), filepath.Join(dir, "image")
	if err := os.WriteFile(file, []byte(proto.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	all := append(strings.Fields(args), "-q", "-f", "-p", file, "-d", "file,name="+image+",size="+size)
	output(t, "", tool(t, "mkfs.xfs"), all...)
	return image
}

var xfsImages = []struct {
	name string
	args string
}{
	{"v5", "-i sparse=1 -m reflink=1,rmapbt=1"},
	{"v4", "-m crc=0 -n ftype=0"},
	{"v4-512", "-m crc=0 -b size=1024"},
	{"dirs-of-16k", "-n size=16k -b size=1024"},
	{"v5-16k", "-b size=16384"},
}

// xfsKinds maps the words of xfs_db to kinds.
var xfsKinds = map[string]fsmap.Kind{
	"data": fsmap.Data, "dir": fsmap.Directory, "inode": fsmap.InodeTable, "log": fsmap.Journal, "sb": fsmap.Superblock,
	"freelist": fsmap.FreeList, "btbno": fsmap.FreeSpaceTree, "btcnt": fsmap.FreeSpaceTree, "btino": fsmap.InodeTree, "btfino": fsmap.InodeTree,
	"btrmap": fsmap.ReverseMapTree, "btrefcnt": fsmap.ReferenceTree, "btbmapd": fsmap.ExtentTree, "symlink": fsmap.Symlink, "attr": fsmap.Attributes,
	"rtbitmap": fsmap.Other, "rtsum": fsmap.Other, "free1": fsmap.Free, "free2": fsmap.Free,
}

// For random blocks, the result matches xfs_db.
func TestXFSAgainstDB(t *testing.T) {
	db := tool(t, "xfs_db")
	files, most := 10000, len(xfsImages)
	if testing.Short() {
		files, most = 500, 2
	}
	top := manyFiles(t, files)
	for _, c := range xfsImages[:most] {
		t.Run(c.name, func(t *testing.T) {
			image := makeXFS(t, top, c.args, "500m")
			field := func(name string) int64 {
				_, value, _ := strings.Cut(output(t, "", db, "-f", "-r", "-c", "sb 0", "-c", "print "+name, image), "=")
				n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			bs, perGroup, agLog := field("blocksize"), field("agblocks"), field("agblklog")
			var chosen []int64
			each := (field("dblocks") - field("fdblocks") - field("logblocks")) / 4 // of four groups
			for _, b := range randomBlocks(200, 4*each, 4*each) {
				chosen = append(chosen, b/each*perGroup+b%each)
			}
			var asked strings.Builder
			asked.WriteString("blockget -n\n")
			for _, b := range chosen {
				fmt.Fprintf(&asked, "fsblock %d\nblockuse -n\n", b/perGroup<<agLog|b%perGroup)
			}
			lines := strings.Split(strings.TrimSpace(output(t, asked.String(), db, "-f", "-r", image)), "\n")
			got := search(t, image, bs, chosen)
			i, owned := 0, 0
			for _, line := range lines {
				_, line, ok := strings.Cut(line, "block ")
				if !ok {
					continue
				}
				b := chosen[i]
				i++
				words := strings.Fields(line) // block 12 (0/12) type data inode 131 a/b
				kind, ok := xfsKinds[words[3]]
				if !ok {
					t.Errorf("block %d: xfs_db says %s", b, line)
					continue
				}
				inode, path := uint64(0), ""
				if len(words) > 5 {
					inode, _ = strconv.ParseUint(words[5], 10, 64)
				}
				if len(words) > 6 {
					path = words[6]
				}
				if inode > 0 {
					owned++
				}
				right := slices.ContainsFunc(got[b], func(p fsmap.Piece) bool {
					return p.Kind == kind && (inode == 0 || p.Inode == inode) && (path == "" || len(p.Paths) > 0 && p.Paths[0] == path)
				})
				if !right {
					t.Errorf("block %d: found %s, xfs_db says %s", b, pieces(got[b]), line)
				}
			}
			if i != len(chosen) || owned < 20 {
				t.Errorf("xfs_db spoke of %d blocks, %d of them in files", i, owned)
			}
			t.Logf("%d blocks, %d of inodes", i, owned)
		})
	}
}
