package fsmap_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/fsmap"
	"thinpool/test/shared"
)

// images lists the images in testdata, created by testdata/make, with their block sizes.
var images = []struct {
	name       string
	fileSystem string
	blockSize  int64
}{
	{"ext2", "ext2", 1024},
	{"ext3", "ext3", 1024},
	{"ext4", "ext4", 1024},
	{"ext4-inline", "ext4", 1024},
	{"ntfs", "NTFS", 1024},
	{"xfs-v4", "XFS", 1024},
	{"xfs-v5", "XFS", 4096},
}

// fixture returns an image.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	return shared.Unpack(t, filepath.Join("testdata", name+".img.zst"))
}

// find searches an image.
func find(t testing.TB, image []byte, opt fsmap.Options, ranges ...fsmap.Range) *fsmap.Result {
	t.Helper()
	res, err := fsmap.Find(t.Context(), bytes.NewReader(image), int64(len(image)), ranges, opt)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func whole(image []byte) fsmap.Range { return fsmap.Range{Len: int64(len(image))} }

// Every block of an inode is found with the inode and all its names. No other block has an owner.
func TestFixtures(t *testing.T) {
	for _, c := range images {
		if c.fileSystem == "NTFS" {
			continue // TestNTFS
		}
		t.Run(c.name, func(t *testing.T) {
			image := fixture(t, c.name)
			res := find(t, image, fsmap.Options{}, whole(image))
			if res.FileSystem != c.fileSystem || res.BlockSize != c.blockSize || !res.Complete() || res.Unnamed != nil {
				t.Errorf("%s, %d, %+v, %+v", res.FileSystem, res.BlockSize, res.Problems, res.Unnamed)
			}
			got := map[int64]string{}
			for _, p := range res.Pieces {
				inode, paths := p.Inode, strings.Join(p.Paths, " = ")
				switch {
				case p.Kind == fsmap.ReservedDescriptors: // they belong to the resize inode
					inode = 7
				case inode == 0 || p.Kind == fsmap.Inode || p.Kind == fsmap.Quota:
					continue
				}
				if strings.HasPrefix(paths, "<") || paths == "/" {
					paths = ""
				}
				for b := p.Begin / c.blockSize; b*c.blockSize < p.End(); b++ {
					got[b] = fmt.Sprintf("%d\t%s", inode, paths)
				}
			}
			truth, err := os.ReadFile(filepath.Join("testdata", c.name+".blocks"))
			if err != nil {
				t.Fatal(err)
			}
			compared := 0
			for line := range strings.Lines(string(truth)) {
				var b, n int64
				words := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
				if _, err := fmt.Sscan(words[0]+" "+words[1], &b, &n); err != nil {
					t.Fatal(err)
				}
				for ; n > 0; b, n, compared = b+1, n-1, compared+1 {
					if got[b] != words[2] {
						t.Errorf("block %d: found %q, want %q", b, got[b], words[2])
					}
					delete(got, b)
				}
			}
			if len(got) > 0 {
				t.Errorf("found and not in the truth: %v", got)
			}
			if compared < 250 {
				t.Errorf("only %d blocks", compared)
			}
		})
	}
}

// The pieces of a range are in order, cover it completely, and have the right file offsets.
func TestPieces(t *testing.T) {
	for _, c := range images {
		image := fixture(t, c.name)
		var large []fsmap.Piece
		at := int64(0)
		for _, p := range find(t, image, fsmap.Options{}, whole(image)).Pieces {
			if p.Begin > at {
				t.Errorf("%s: bytes %d..%d are missing", c.name, at, p.Begin-1)
			}
			at = max(at, p.End())
			if p.Kind == fsmap.Data && slices.Contains(p.Paths, "docs/large") {
				large = append(large, p)
			}
		}
		if at != int64(len(image)) {
			t.Errorf("%s: the pieces end at %d", c.name, at)
		}
		slices.SortFunc(large, func(a, b fsmap.Piece) int { return int(a.Offset - b.Offset) })
		var content []byte
		for _, p := range large {
			if p.Offset != int64(len(content)) {
				t.Fatalf("%s: %v of docs/large is at %d, want %d", c.name, p.Range, p.Offset, len(content))
			}
			content = append(content, image[p.Begin:p.End()]...)
		}
		if want := strings.Repeat("more text\n", 40000); string(content[:min(len(content), len(want))]) != want {
			t.Errorf("%s: docs/large is not put together from its pieces", c.name)
		}
	}
}

// A range within a block is cut to the byte. Offsets are those of its first byte.
func TestRangeWithinBlock(t *testing.T) {
	image := fixture(t, "ext4")
	for _, p := range find(t, image, fsmap.Options{}, whole(image)).Pieces {
		if !slices.Contains(p.Paths, "docs/large") || p.Kind != fsmap.Data {
			continue
		}
		got := find(t, image, fsmap.Options{}, fsmap.Range{Begin: p.Begin + 1001, Len: 7}, fsmap.Range{Begin: p.Begin + 1005, Len: 10}, fsmap.Range{Begin: 1 << 40, Len: 5}).Pieces
		if len(got) != 1 || got[0].Begin != p.Begin+1001 || got[0].Len != 14 || got[0].Offset != p.Offset+1001 {
			t.Errorf("got %s", pieces(got))
		}
		return
	}
	t.Fatal("docs/large has no data")
}

// Lost metadata, such as an inode table or a directory, is not read but reported.
func TestLost(t *testing.T) {
	for _, name := range []string{"ext2", "ext4", "xfs-v5"} {
		image := fixture(t, name)
		all := find(t, image, fsmap.Options{}, whole(image)).Pieces
		for _, kind := range []fsmap.Kind{fsmap.Directory, fsmap.InodeTable} {
			var lost []fsmap.Range
			damaged := slices.Clone(image)
			for _, p := range all {
				if p.Kind != kind || kind == fsmap.Directory && p.Paths[0] != "many" {
					continue
				}
				lost = append(lost, p.Range)
				for b := range damaged[p.Begin:p.End()] {
					damaged[p.Begin:][b] = 0x5a // must not be read
				}
			}
			res := find(t, damaged, fsmap.Options{Lost: lost}, lost...)
			if lost == nil || res.Complete() {
				t.Errorf("%s without %s: complete", name, kind)
			}
			for _, p := range res.Problems {
				if kind == fsmap.InodeTable && p.Last == 0 && strings.Contains(p.Text, "inodes") {
					t.Errorf("%s: which inodes? %+v", name, p)
				}
			}
			if kind == fsmap.Directory && len(res.Unnamed) != 150 {
				t.Errorf("%s: %d inodes have no name, want those of 150 files: %+v", name, len(res.Unnamed), res.Unnamed)
			}
		}
	}
}

// Copies replace a lost superblock and descriptors at the start.
func TestExtCopies(t *testing.T) {
	image := make([]byte, 16<<20)
	copy(image, fixture(t, "ext2")) // it has one group, so add copies here: group 1 starts at 8193
	small := bytes.Clone(image)
	lost := fsmap.Range{Begin: 0, Len: 3072}
	_, err := fsmap.Find(t.Context(), bytes.NewReader(small), int64(len(small)), []fsmap.Range{lost}, fsmap.Options{Lost: []fsmap.Range{lost}})
	if err == nil || !strings.Contains(err.Error(), "is lost") {
		t.Errorf("without any superblock: %v", err)
	}
	binary.LittleEndian.PutUint32(image[1024+4:], 16384) // blocks
	binary.LittleEndian.PutUint32(image[1024:], 2*binary.LittleEndian.Uint32(image[1024+40:]))
	for i, at := range []int{0, 4, 8} { // a second descriptor
		binary.LittleEndian.PutUint32(image[2048+32+at:], uint32(9000+100*i))
	}
	copy(image[8193*1024:], image[1024:3072])
	binary.LittleEndian.PutUint16(image[8193*1024+90:], 1)
	want := find(t, image, fsmap.Options{}, whole(image))
	res := find(t, image, fsmap.Options{Lost: []fsmap.Range{lost}}, whole(image))
	if pieces(res.Pieces) != strings.ReplaceAll(pieces(want.Pieces), ": free ", ": unknown ") {
		t.Errorf("with copies: %s\nwant %s", pieces(res.Pieces), pieces(want.Pieces))
	}
	if len(res.Problems) != 1 || len(res.Notes) != 1 {
		t.Errorf("problems %+v, notes %q", res.Problems, res.Notes)
	}
}

// Data without a file system is an error. Systems known only by name are named.
func TestOthers(t *testing.T) {
	for _, c := range []struct {
		at            int
		magic, system string
	}{{0, "", ""}, {0x10040, "_BHRfS_M", "btrfs"}, {3, "EXFAT   ", "exFAT"}} {
		image := make([]byte, 1<<20)
		copy(image[c.at:], c.magic)
		res, err := fsmap.Find(t.Context(), bytes.NewReader(image), int64(len(image)), []fsmap.Range{{Begin: 5, Len: 10}}, fsmap.Options{})
		switch {
		case c.system == "" && err == nil:
			t.Errorf("zeros are %s", res.FileSystem)
		case c.system == "":
		case err != nil || res.FileSystem != c.system || res.Complete() || len(res.Pieces) != 1 || res.Pieces[0].Kind != fsmap.Unknown || res.Pieces[0].Len != 10:
			t.Errorf("%s: %+v, %v", c.system, res, err)
		}
		if got := fsmap.Recognise(bytes.NewReader(image), int64(len(image))); got != c.system {
			t.Errorf("recognised as %q, want %q", got, c.system)
		}
	}
}

// A search ends with its context.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range images {
		image := fixture(t, c.name)
		if _, err := fsmap.Find(ctx, bytes.NewReader(image), int64(len(image)), []fsmap.Range{whole(image)}, fsmap.Options{}); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}

// A spy records reads and modifies some of the data.
type spy struct {
	image []byte
	edits map[int64]byte
	read  int64
	seen  []fsmap.Range
}

func (s *spy) ReadAt(p []byte, off int64) (int, error) {
	n, err := bytes.NewReader(s.image).ReadAt(p, off)
	for at, v := range s.edits {
		if i := at - off; i >= 0 && i < int64(n) {
			p[i] = v
		}
	}
	s.read += int64(n)
	s.seen = append(s.seen, fsmap.Range{Begin: off, Len: int64(n)})
	return n, err
}

// Only metadata is read, not the content of files.
func TestReadsOnlyMetadata(t *testing.T) {
	for _, c := range images {
		image := fixture(t, c.name)
		s := &spy{image: image}
		res, err := fsmap.Find(t.Context(), s, int64(len(image)), []fsmap.Range{whole(image)}, fsmap.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range res.Pieces {
			if p.Kind != fsmap.Data || p.Begin < 0x10048 { // the names of other file systems are up to there
				continue
			}
			for _, r := range s.seen {
				if r.Begin < p.End() && p.Begin < r.End() {
					t.Errorf("%s: %v of %q is read", c.name, r, p.Paths)
				}
			}
		}
	}
}

// fuzz searches an image after changing some of the bytes that the search reads.
func fuzz(f *testing.F, system string) {
	type subject struct {
		image []byte
		seen  []fsmap.Range
		total int64
	}
	var subjects []subject
	for _, c := range images {
		if !strings.HasPrefix(c.name, system) {
			continue
		}
		s := &spy{image: fixture(f, c.name)}
		if _, err := fsmap.Find(context.Background(), s, int64(len(s.image)), []fsmap.Range{whole(s.image)}, fsmap.Options{}); err != nil {
			f.Fatal(err)
		}
		x := subject{s.image, s.seen, 0}
		for _, r := range s.seen {
			x.total += r.Len
		}
		subjects = append(subjects, x)
	}
	f.Add(uint8(0), []byte{})
	f.Add(uint8(1), []byte{0, 0, 4, 56, 0, 0, 0, 5, 0, 255})
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		x := subjects[int(which)%len(subjects)]
		s := &spy{image: x.image, edits: map[int64]byte{}}
		for ; len(edits) >= 5 && len(s.edits) < 1000; edits = edits[5:] {
			at := int64(binary.BigEndian.Uint32(edits)) % x.total
			for _, r := range x.seen {
				if at < r.Len {
					s.edits[r.Begin+at] = edits[4]
					break
				}
				at -= r.Len
			}
		}
		size := int64(len(x.image))
		res, err := fsmap.Find(t.Context(), s, size, []fsmap.Range{{Len: size / 2}, {Begin: size/2 + 5, Len: size}}, fsmap.Options{})
		if s.read > 2*size+1<<23 {
			t.Errorf("%d bytes are read of %d", s.read, size)
		}
		if err != nil {
			return
		}
		at := int64(0)
		for _, p := range res.Pieces {
			if p.Len <= 0 || p.Begin < 0 || p.End() > size || p.Begin > at && p.Begin != size/2+5 {
				t.Fatalf("%s after byte %d", pieces([]fsmap.Piece{p}), at)
			}
			at = max(at, p.End())
			if p.Inode != 0 && len(p.Paths) == 0 {
				t.Fatalf("inode %d has no path", p.Inode)
			}
		}
		if at != size {
			t.Fatalf("the pieces end at byte %d of %d", at, size)
		}
	})
}

func FuzzExt(f *testing.F) { fuzz(f, "ext") }

func FuzzXFS(f *testing.F) { fuzz(f, "xfs") }

var _ io.ReaderAt = new(spy)
