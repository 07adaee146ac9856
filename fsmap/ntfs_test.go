package fsmap_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"thinpool/fsmap"
)

// Every cluster that ntfscluster assigns to an inode is found with its inode and path. No other
// cluster is.
func TestNTFS(t *testing.T) {
	const cluster = 1024
	image := fixture(t, "ntfs")
	res := find(t, image, fsmap.Options{}, whole(image))
	if res.FileSystem != "NTFS" || res.BlockSize != cluster || !res.Complete() {
		t.Errorf("%s, %d, %+v", res.FileSystem, res.BlockSize, res.Problems)
	}
	got := map[int64]fsmap.Piece{}
	for _, p := range res.Pieces {
		if p.Inode == 0 || p.Kind == fsmap.Inode {
			continue
		}
		for at := p.Begin; at < p.End(); at += cluster {
			got[at/cluster] = p
		}
	}
	compared := 0
	for line := range strings.Lines(string(read(t, "testdata/ntfs.runs"))) {
		var at, n int64
		var inode uint64
		words := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
		if _, err := fmt.Sscan(strings.Join(words[:3], " "), &at, &n, &inode); err != nil {
			t.Fatal(err)
		}
		path := words[3]
		if path == "." {
			path = "/"
		}
		for ; n > 0; at, n, compared = at+1, n-1, compared+1 {
			if p := got[at]; p.Inode != inode || !slices.Contains(p.Paths, path) {
				t.Errorf("cluster %d: found %s, want inode %d, %s", at, pieces([]fsmap.Piece{p}), inode, path)
			}
			delete(got, at)
		}
	}
	if len(got) > 0 || compared < 500 {
		t.Errorf("%d clusters are right, %d are not in the truth", compared, len(got))
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Pieces in the order of their offsets make up the file.
func TestNTFSOffsets(t *testing.T) {
	image := fixture(t, "ntfs")
	var want []byte
	for i := range 61 {
		line := fmt.Sprintf("%d\n", i)
		want = append(want, strings.Repeat(line, 2048)[:2048]...)
	}
	content, n := make([]byte, len(want)), 0
	for _, p := range find(t, image, fsmap.Options{}, whole(image)).Pieces {
		if p.Kind == fsmap.Data && slices.Contains(p.Paths, "docs/pieces") {
			copy(content[p.Offset:], image[p.Begin:p.End()])
			n++
		}
	}
	if n < 10 || string(content) != string(want) {
		t.Errorf("%d pieces, which are not the file", n)
	}
}

// Directories give the names of lost records. Lost records and boot sectors are reported.
func TestNTFSLost(t *testing.T) {
	image := fixture(t, "ntfs")
	all := find(t, image, fsmap.Options{}, whole(image)).Pieces
	for _, path := range []string{"docs/large", "many/a-file-with-a-long-name-7"} {
		lost := pieceOf(t, all, fsmap.Inode, path)
		res := find(t, image, fsmap.Options{Lost: []fsmap.Range{lost.Range}}, lost.Range)
		if p := pieceOf(t, res.Pieces, fsmap.Inode, path); p.Inode != lost.Inode || len(res.Problems) != 1 || res.Problems[0].First != lost.Inode || res.Problems[0].Last != lost.Inode {
			t.Errorf("%s: %s, %+v", path, pieces([]fsmap.Piece{p}), res.Problems)
		}
	}
	res := find(t, image, fsmap.Options{Lost: []fsmap.Range{{Len: 512}}}, whole(image))
	if content(res.Pieces) != content(all) || len(res.Problems) != 1 {
		t.Errorf("without the boot sector: %+v", res.Problems)
	}
	mft := pieceOf(t, all, fsmap.InodeTable, "")
	lost := fsmap.Range{Begin: mft.Begin, Len: 1024}
	res = find(t, image, fsmap.Options{Lost: []fsmap.Range{lost}}, whole(image))
	if content(res.Pieces) != content(all) || res.Complete() {
		t.Errorf("without the first record: %+v, %q", res.Problems, res.Notes)
	}
}

func FuzzNTFS(f *testing.F) { fuzz(f, "ntfs") }
