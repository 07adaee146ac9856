package command_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"thinpool/metadata/block"
)

// Disks are large and mostly empty: scripts process them in pieces and keep the holes.
const piece = 64 * block.Size

var noBytes [piece]byte

// clone FILE COPY is cp for disks.
func clone(ts *testscript.TestScript, _ bool, args []string) {
	in, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer in.Close()
	info, err := in.Stat()
	ts.Check(err)
	out, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	defer out.Close()
	ts.Check(out.Truncate(info.Size()))
	buf := make([]byte, piece)
	for at := int64(0); ; at += piece {
		n, err := in.ReadAt(buf, at)
		if !bytes.Equal(buf[:n], noBytes[:n]) {
			_, err := out.WriteAt(buf[:n], at)
			ts.Check(err)
		}
		if err == io.EOF {
			break
		}
		ts.Check(err)
	}
	ts.Check(out.Close())
}

// same A B is cmp for disks.
func same(ts *testscript.TestScript, _ bool, args []string) { within(ts, false, args) }

// within A B RANGE... fails unless two files of the same size differ in each of the block ranges
// FIRST..END, and nowhere else.
func within(ts *testscript.TestScript, _ bool, args []string) {
	differ := differences(ts, args[0], args[1])
	for _, arg := range args[2:] {
		var first, end int64
		_, err := fmt.Sscanf(arg, "%d..%d", &first, &end)
		ts.Check(err)
		found := false
		for nr := first; nr < end; nr++ {
			found = found || differ[nr]
			delete(differ, nr)
		}
		if !found {
			ts.Fatalf("nothing differs in %s", arg)
		}
	}
	for nr := range differ {
		ts.Fatalf("%s and %s differ in block %d", args[0], args[1], nr)
	}
}

// differences returns the blocks in which two files of the same size differ.
func differences(ts *testscript.TestScript, a, b string) map[int64]bool {
	var files [2]*os.File
	var buf [2][]byte
	var size [2]int64
	for i, name := range []string{a, b} {
		f, err := os.Open(ts.MkAbs(name))
		ts.Check(err)
		defer f.Close()
		info, err := f.Stat()
		ts.Check(err)
		files[i], buf[i], size[i] = f, make([]byte, piece), info.Size()
	}
	if size[0] != size[1] {
		ts.Fatalf("%d and %d bytes", size[0], size[1])
	}
	differ := map[int64]bool{}
	for at := int64(0); at < size[0]; at += piece {
		n := int(min(piece, size[0]-at))
		for i, f := range files {
			if _, err := f.ReadAt(buf[i][:n], at); err != nil && !errors.Is(err, io.EOF) {
				ts.Check(err)
			}
		}
		if bytes.Equal(buf[0][:n], buf[1][:n]) {
			continue
		}
		for off := 0; off < n; off += block.Size {
			end := min(off+block.Size, n)
			if !bytes.Equal(buf[0][off:end], buf[1][off:end]) {
				differ[(at+int64(off))/block.Size] = true
			}
		}
	}
	return differ
}
