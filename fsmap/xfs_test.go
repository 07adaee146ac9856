package fsmap_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"thinpool/fsmap"
)

// pieceOf returns the first piece of a kind with a path.
func pieceOf(t *testing.T, all []fsmap.Piece, kind fsmap.Kind, path string) fsmap.Piece {
	t.Helper()
	i := slices.IndexFunc(all, func(p fsmap.Piece) bool { return p.Kind == kind && (path == "" || slices.Contains(p.Paths, path)) })
	if i < 0 {
		t.Fatalf("no %s of %s", kind, path)
	}
	return all[i]
}

// Extents in tree blocks are found like those in the inode. A lost tree is reported and stops
// nothing else.
func TestXFSExtentTree(t *testing.T) {
	image := fixture(t, "xfs-v5")
	all := find(t, image, fsmap.Options{}, whole(image)).Pieces
	data := pieceOf(t, all, fsmap.Data, "docs/large")
	record := image[pieceOf(t, all, fsmap.Inode, "docs/large").Begin:]
	free := pieceOf(t, all, fsmap.Free, "")
	leaf, node := free.Begin/4096+1, free.Begin/4096+2 // both in group 0
	if agBlocks := int64(binary.BigEndian.Uint32(image[84:])); node >= agBlocks {
		t.Fatalf("block %d is not in the first of groups of %d blocks", node, agBlocks)
	}
	extents := bytes.Clone(record[176:192])
	head := func(at int64, level, n uint16) []byte {
		p := image[at*4096:]
		copy(p, "BMA3")
		binary.BigEndian.PutUint16(p[4:], level)
		binary.BigEndian.PutUint16(p[6:], n)
		return p[72:]
	}
	copy(head(leaf, 0, 1), extents)
	most := (4096 - 72) / 16
	binary.BigEndian.PutUint64(head(node, 1, 1)[8*most:], uint64(leaf))
	fork := record[176:512]
	if forkoff := int(record[82]) * 8; forkoff > 0 {
		fork = fork[:forkoff]
	}
	clear(fork)
	record[5] = 3
	binary.BigEndian.PutUint16(fork, 2)
	binary.BigEndian.PutUint16(fork[2:], 1)
	binary.BigEndian.PutUint64(fork[4+8*((len(fork)-4)/16):], uint64(node))
	got := find(t, image, fsmap.Options{}, whole(image))
	if p := pieceOf(t, got.Pieces, fsmap.Data, "docs/large"); p.Range != data.Range || p.Offset != data.Offset || !got.Complete() {
		t.Errorf("found %s, want %s; %+v", pieces([]fsmap.Piece{p}), pieces([]fsmap.Piece{data}), got.Problems)
	}
	if p := pieceOf(t, got.Pieces, fsmap.ExtentTree, "docs/large"); p.Begin != leaf*4096 || p.Len != 2*4096 {
		t.Errorf("the tree is in %v", p.Range)
	}
	lost := fsmap.Range{Begin: leaf * 4096, Len: 4096}
	got = find(t, image, fsmap.Options{Lost: []fsmap.Range{lost}}, whole(image))
	if got.Complete() || !strings.Contains(got.Problems[0].Text, "extent tree of inode") || got.Problems[0].Range != lost {
		t.Errorf("without the leaf: %+v", got.Problems)
	}
	pieceOf(t, got.Pieces, fsmap.Data, "docs/note")
	// The search of a tree with a loop ends.
	binary.BigEndian.PutUint64(head(node, 1, 1)[8*most:], uint64(node))
	if got := find(t, image, fsmap.Options{}, whole(image)); got.Complete() {
		t.Error("a loop is complete")
	}
}

// Without the headers of the first group, a copy of the superblock and the names still lead to all
// files.
func TestXFSCopies(t *testing.T) {
	for _, c := range images {
		if c.fileSystem != "XFS" {
			continue
		}
		image := fixture(t, c.name)
		want := content(find(t, image, fsmap.Options{}, whole(image)).Pieces)
		lost := fsmap.Range{Len: 4096}
		res := find(t, image, fsmap.Options{Lost: []fsmap.Range{lost}}, whole(image))
		if got := content(res.Pieces); got != want || res.Complete() {
			t.Errorf("%s: %+v, %s\nwant %s", c.name, res.Problems, got, want)
		}
	}
}

// content formats the content pieces for messages.
func content(all []fsmap.Piece) string {
	return pieces(slices.DeleteFunc(slices.Clone(all), func(p fsmap.Piece) bool { return p.Kind != fsmap.Data && p.Kind != fsmap.Directory }))
}
