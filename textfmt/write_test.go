package textfmt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/metadata"
)

const golden = `begin superblock: "", 1, 2, 1, 2, 128, 16384
def: 19
    (0..2) -> (5..7), 0

def: 20

device: 1
mapped_blocks: 4
transaction: 6
creation time: 7
snap time: 8
    ref: 19
    (3..4) -> (8..9), 0
    ref: 20
    (5..5) -> (10..10), 0
    (6..6) -> (11..11), 3
    (18446744073709551615..18446744073709551615) -> (0..0), 3

device: 2
mapped_blocks: 0
transaction: 0
creation time: 0
snap time: 0

end superblock
`

// Runs become one where they can, but never across a def or ref.
func TestWrite(t *testing.T) {
	var got bytes.Buffer
	w := NewWriter(&got)
	first := w.Begin(metadata.Header{UUID: [16]byte{'x'}, Time: 1, TransactionID: 2, Flags: 1, Version: 2, DataBlockSize: 128, NrDataBlocks: 16384})
	if want := "begin superblock: \"\", 1, 2, 1, 2, 128, 16384\n"; got.String() != want {
		t.Errorf("after Begin: %q, want %q", got.String(), want)
	}
	run := func(thin metadata.ThinBlock, data metadata.DataBlock, length uint64, time uint32) error {
		return w.Runs([]metadata.Run{{Thin: thin, Data: data, Len: length, Time: time}})
	}
	err := errors.Join(first,
		w.BeginDef("19"), run(0, 5, 2, 0), w.Runs(nil), run(2, 7, 1, 0), w.EndDef(),
		w.BeginDef("20"), w.EndDef(),
		w.BeginDevice(1, metadata.Details{MappedBlocks: 4, TransactionID: 6, CreationTime: 7, SnapshottedTime: 8}), w.Ref("19"),
		run(3, 8, 1, 0), run(4, 9, 1, 0), w.Ref("20"), run(5, 10, 1, 0), run(6, 11, 1, 3), run(1<<64-1, 0, 1, 3), w.EndDevice(),
		w.BeginDevice(2, metadata.Details{}), w.EndDevice(), w.End())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// However the calls cut the runs, the text is the same.
func TestJoins(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var want strings.Builder
		var got bytes.Buffer
		w := NewWriter(&got)
		at := uint64(0)
		for range rapid.IntRange(0, 3000).Draw(rt, "runs") {
			at += rapid.Uint64Range(1, 100).Draw(rt, "gap")
			n := rapid.Uint64Range(1, 4).Draw(rt, "length")
			fmt.Fprintf(&want, "    (%d..%d) -> (%d..%d), 7\n", at, at+n-1, at/2, at/2+n-1)
			first := metadata.Run{Thin: metadata.ThinBlock(at), Data: metadata.DataBlock(at / 2), Len: 1, Time: 7}
			runs := []metadata.Run{first}
			if n > 1 {
				runs = append(runs, metadata.Run{Thin: first.Thin + 1, Data: first.Data + 1, Len: n - 1, Time: 7})
			}
			cut := rapid.IntRange(0, len(runs)).Draw(rt, "cut")
			if err := errors.Join(w.Runs(runs[:cut]), w.Runs(runs[cut:])); err != nil {
				rt.Fatal(err)
			}
			at += n
		}
		want.WriteString("end superblock\n")
		if err := w.End(); err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			rt.Errorf("(-want +got):\n%s", diff)
		}
	})
}

var errBroken = errors.New("no space left")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteFails(t *testing.T) {
	w := NewWriter(brokenWriter{})
	if err := w.Begin(metadata.Header{}); err != errBroken {
		t.Errorf("Begin: %v, want %v", err, errBroken)
	}
	if err := w.End(); err != errBroken {
		t.Errorf("End: %v, want %v", err, errBroken)
	}
}

func BenchmarkWrite(b *testing.B) {
	runs, size := make([]metadata.Run, 4096), 0
	for i := range runs {
		runs[i] = metadata.Run{Thin: metadata.ThinBlock(1000000 + 2*i), Data: metadata.DataBlock(30000000 + i*7919%50000000), Len: 1, Time: 1}
		size += len(appendRun(nil, runs[i]))
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	w := NewWriter(io.Discard)
	for b.Loop() {
		if err := w.Runs(runs); err != nil {
			b.Fatal(err)
		}
	}
}
