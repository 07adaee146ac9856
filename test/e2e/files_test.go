package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"thinpool/test/shared"
)

// unpackFileSystem returns an image from the test data of package fsmap.
func unpackFileSystem(t *testing.T, name string) []byte {
	t.Helper()
	return shared.Unpack(t, filepath.Join("..", "..", "fsmap", "testdata", name+".img.zst"))
}

// A filesPiece is a line of thin_files.
type filesPiece struct {
	Type, Kind, Path    string
	Begin, Length       int64
	Inode               uint64
	Offset              *int64
	First               uint64   `json:"first_inode"`
	Last                uint64   `json:"last_inode"`
	Others              []string `json:"other_paths"`
	Pieces, Files, Size int64
}

// filesOf runs thin_files and checks the exit code.
func filesOf(t *testing.T, code int, args ...string) []filesPiece {
	t.Helper()
	r := run(t, filepath.Join(tools, "thin_files"), append([]string{"--format", "json"}, args...)...)
	if r.code != code {
		t.Fatalf("thin_files %q: exit code %d, want %d: %s", args, r.code, code, r.stderr)
	}
	var all []filesPiece
	for line := range strings.Lines(r.out) {
		var p filesPiece
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// table parses a table of the truth: lines of fields.
func table(t *testing.T, path string) [][]string {
	t.Helper()
	var rows [][]string
	for line := range strings.Lines(string(must(os.ReadFile(path)))) {
		if line[0] != '#' {
			rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
		}
	}
	return rows
}

// A filesTruth is what the kernel reported about a file system.
type filesTruth struct {
	inodes map[string]uint64 // by path
	lost   map[string]string // what is lost, by path
	blocks map[int64]string  // content: kind, inode and offset, by inode if there are several
	rows   [][]string        // table of what is lost
}

const filesBlock = 4096

func number(text string) int64 { return must(strconv.ParseInt(text, 0, 64)) }

func readFilesTruth(t *testing.T, prefix string) *filesTruth {
	x := &filesTruth{inodes: map[string]uint64{}, lost: map[string]string{}, blocks: map[int64]string{}}
	for _, row := range table(t, prefix+".files.tsv") {
		x.inodes[row[7]], x.lost[row[7]] = uint64(number(row[1])), row[6]
	}
	for _, row := range table(t, prefix+".extents.tsv") {
		kind := "data"
		if number(row[3])&0x800 != 0 {
			kind = "unwritten"
		}
		for at := int64(0); at < number(row[2]); at += filesBlock {
			x.blocks[(number(row[1])+at)/filesBlock] = fmt.Sprintf("%s of %d at %d", kind, x.inodes[row[4]], number(row[0])+at)
		}
	}
	x.rows = table(t, prefix+".lost.tsv")
	if len(x.blocks) < 1000 || len(x.rows) < 20 {
		t.Fatalf("the truth has %d blocks and %d rows", len(x.blocks), len(x.rows))
	}
	return x
}

// contentOf returns the content blocks among pieces.
func contentOf(pieces []filesPiece) map[int64]string {
	blocks := map[int64]string{}
	for _, p := range pieces {
		if p.Kind != "data" && p.Kind != "unwritten" {
			continue
		}
		for at := int64(0); at < p.Length; at += filesBlock {
			blocks[(p.Begin+at)/filesBlock] = fmt.Sprintf("%s of %d at %d", p.Kind, p.Inode, *p.Offset+at)
		}
	}
	return blocks
}

// filesKinds maps the truth's words for metadata to ours.
var filesKinds = map[string]string{
	"superblock": "superblock", "group-descriptors": "descriptors", "reserved-gdt": "reserved descriptors", "inode-table": "inode table",
	"block-bitmap": "block bitmap", "inode-bitmap": "inode bitmap", "journal": "journal", "sb": "superblock", "log": "journal", "inode": "inode",
	"directory": "directory", "symlink": "symlink", "inode-chunk": "inode table", "freelist": "free list", "btbno": "free space tree", "btcnt": "free space tree",
	"btino": "inode tree", "btfino": "inode tree", "btrefcnt": "reference tree",
}

// The kernel listed all files of these volumes before a mapping leaf was lost. What is found in the
// lost range matches, as far as the remaining metadata shows it.
func TestFilesOfLostRange(t *testing.T) {
	folder := shared.Path(t, "kernel", "layer-images")
	for _, c := range []struct{ name, lv string }{{"files-ext4", "vgf/data"}, {"files-xfs", "vgx/data"}} {
		t.Run(c.name, func(t *testing.T) {
			disk := unpackLayers(t, folder, c.name, 1)[0]
			truth := readFilesTruth(t, filepath.Join(folder, c.name))
			begin, end := number(truth.rows[0][1]), number(truth.rows[0][1])+number(truth.rows[0][2])
			// With everything a repair finds, the file system is complete, and every content block
			// is known.
			got := contentOf(filesOf(t, 0, "--lv", c.lv, "--lost", "--range", "0..-1", disk))
			for b, want := range truth.blocks {
				if got[b] != want {
					t.Errorf("block %d: %q, want %q", b, got[b], want)
				}
			}
			if len(got) != len(truth.blocks) {
				t.Errorf("%d blocks of content, want %d", len(got), len(truth.blocks))
			}
			// Without the repair, the whole range is lost.
			found := filesOf(t, 1, "--lv", c.lv, "--range", fmt.Sprintf("%d..%d", begin, end), disk)
			truth.compareContent(t, contentOf(found), begin, end)
			truth.compareMetadata(t, found, c.name == "files-xfs")
		})
	}
}

// compareContent checks the content of all files whose inode is left.
func (x *filesTruth) compareContent(t *testing.T, got map[int64]string, begin, end int64) {
	gone := map[uint64]bool{}
	for path, lost := range x.lost {
		gone[x.inodes[path]] = strings.Contains(lost, "inode")
	}
	compared := 0
	for b, want := range x.blocks {
		var inode uint64
		_, of, _ := strings.Cut(want, " of ")
		fmt.Sscan(of, &inode)
		if b*filesBlock < begin || b*filesBlock >= end || gone[inode] {
			want = ""
		}
		if got[b] != want {
			t.Errorf("block %d: %q, want %q", b, got[b], want)
		}
		if want != "" {
			compared++
		}
	}
	t.Logf("%d lost blocks of content have the right file", compared)
	if compared < 500 {
		t.Errorf("only %d blocks of content", compared)
	}
}

// compareMetadata checks the lost metadata and the paths of inodes.
func (x *filesTruth) compareMetadata(t *testing.T, found []filesPiece, xfs bool) {
	key := func(kind string, inode uint64, at int64) string { return fmt.Sprintf("%s %d at %d", kind, inode, at) }
	got, want := map[string]bool{}, map[string]bool{}
	for _, p := range found {
		if p.Type == "piece" && p.Offset == nil && p.Kind != "unknown" || p.Kind == "journal" {
			inode := p.Inode
			if p.Kind == "journal" {
				inode = 0
			}
			for at := p.Begin; at < p.Begin+p.Length; at += filesBlock {
				if x.mapped(at) {
					got[key(p.Kind, inode, at)] = true
				}
			}
		}
		if p.Inode > 100 && x.inodes[p.Path] != p.Inode && !strings.Contains(p.Path, "<") {
			t.Errorf("%q is inode %d, want %d", p.Path, p.Inode, x.inodes[p.Path])
		}
	}
	known := 0
	for _, row := range x.rows {
		kind, path := filesKinds[row[0]], row[4]
		if _, second, ok := strings.Cut(path, " = "); ok {
			path = second
		}
		inode, ok := x.inodes[path]
		lost := x.lost[path]
		switch {
		case kind == "":
			continue
		case ok && kind == "inode" && strings.Contains(lost, "path"), ok && kind != "inode" && strings.Contains(lost, "inode"):
			continue // nothing left to tell from
		case xfs && !ok && kind != "superblock" && kind != "journal":
			continue // the header of the group is lost
		}
		for at := number(row[1]); at < number(row[1])+number(row[2]); at += filesBlock {
			want[key(kind, inode, at)] = true
		}
		known++
	}
	for k := range want {
		if !got[k] {
			t.Errorf("%s is not found", k)
		}
	}
	for k := range got {
		if !want[k] && !x.has(k) {
			t.Errorf("%s is found, and not lost", k)
		}
	}
	t.Logf("%d rows of metadata", known)
}

// mapped reports whether a byte of the lost range was mapped: the truth covers only those.
func (x *filesTruth) mapped(at int64) bool {
	return slices.ContainsFunc(x.rows, func(row []string) bool {
		return row[0] == "mapped" && number(row[1]) <= at && at < number(row[1])+number(row[2])
	})
}

// has reports whether an inode record that was found is in the truth.
func (x *filesTruth) has(k string) bool {
	for _, row := range x.rows {
		if _, second, ok := strings.Cut(row[4], " = "); ok {
			row[4] = second
		}
		if row[0] == "inode" && k == fmt.Sprintf("inode %d at %s", x.inodes[row[4]], row[1]) {
			return true
		}
	}
	return false
}
