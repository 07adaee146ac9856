package export_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"thinpool/metadata/block"
	"thinpool/tool/export"
)

// In a sparse file whole blocks of zeros are holes, and all else is as it was written, in whatever pieces.
func TestSparseFile(t *testing.T) {
	const blocks = 64
	want := make([]byte, blocks*block.Size+100)
	r := rand.New(rand.NewPCG(1, 2))
	for nr := range blocks {
		if nr%8 < 3 { // of every eight blocks, three have data: all of it, the first and the last byte alone
			p := want[nr*block.Size:][:block.Size]
			switch nr % 8 {
			case 0:
				for i := range p {
					p[i] = byte(r.Uint32())
				}
			case 1:
				p[0] = 1
			case 2:
				p[block.Size-1] = 1
			}
		}
	}
	path := filepath.Join(t.TempDir(), "out")
	write := func(f *export.File, most uint32) { // bytes at a time; 0: all
		to := export.SparseFile{File: f}
		for at := 0; at < len(want); {
			n := len(want)
			if most > 0 {
				n = min(1+int(r.Uint32N(most)), len(want)-at)
			}
			if done, err := to.WriteAt(want[at:at+n], int64(at)); done != n || err != nil {
				t.Fatal(done, err)
			}
			at += n
		}
		if err := to.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the file is wrong (%v)", err)
		}
	}
	f, err := export.CreateFile(path, int64(len(want)), false, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	hasHoles := f.NextData(0) > 0
	write(f, 0)
	check()
	for nr := int64(0); hasHoles && nr < blocks; nr += 8 {
		if data, next := f.NextData(nr*block.Size), f.NextData((nr+3)*block.Size); data != nr*block.Size || next < (nr+8)*block.Size {
			t.Errorf("from block %d on: data at %d, and then at %d", nr, data, next)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	// What is left of an interrupted export may have anything there.
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, len(want)), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err = export.ReopenFile(path, int64(len(want))); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(f, 5*block.Size)
	check()
}
