package textenc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"thinpool/metadata"
)

func plain(dst []byte, runs []metadata.Run) []byte {
	for _, r := range runs {
		dst = fmt.Appendf(dst, "%d+%d\n", r.Thin, r.Len)
	}
	return dst
}

// Runs that continue each other are joined, however they arrive; text separates them.
func TestJoin(t *testing.T) {
	const n = 50_000
	var got bytes.Buffer
	w := New(&got, plain)
	var want strings.Builder
	for i := range uint64(n) {
		// Two halves that belong together, then a gap.
		err := errors.Join(w.Runs([]metadata.Run{{Thin: metadata.ThinBlock(10 * i), Len: 2}}),
			w.Runs([]metadata.Run{{Thin: metadata.ThinBlock(10*i + 2), Data: 2, Len: 1}}))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "%d+3\n", 10*i)
	}
	if held := want.Len() - got.Len(); held > 2*textLimit {
		t.Errorf("%d bytes of %d are held back", held, want.Len())
	}
	next := metadata.Run{Thin: 10*(n-1) + 3, Data: 3, Len: 1}
	if err := errors.Join(w.Text([]byte("--\n")), w.Runs([]metadata.Run{next}), w.Flush()); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&want, "--\n%d+1\n", next.Thin)
	if got.String() != want.String() {
		t.Error("the text is not what came in, in order")
	}
}

// Lines are joined with the runs before and after; the text between stays as it is.
func TestFormatted(t *testing.T) {
	run := func(thin, length uint64) metadata.Run {
		return metadata.Run{Thin: metadata.ThinBlock(thin), Data: metadata.DataBlock(thin), Len: length}
	}
	var got bytes.Buffer
	w := New(&got, plain)
	between := []byte("between\n")
	err := errors.Join(
		w.Runs([]metadata.Run{run(1, 2)}),
		w.Formatted(run(3, 2), nil, run(10, 1)),
		w.Formatted(run(11, 1), between, run(20, 1)),
	)
	clear(between) // the caller may reuse it
	err = errors.Join(
		err,
		w.Runs([]metadata.Run{run(21, 1)}),
		w.Text([]byte("--\n")),
		w.Formatted(run(22, 1), nil, run(30, 1)),
		w.Flush(),
	)
	if want := "1+4\n10+2\nbetween\n20+2\n--\n22+1\n30+1\n"; err != nil || got.String() != want {
		t.Errorf("%q, %v; want %q", got.String(), err, want)
	}
}

// Write errors are reported.
func TestFails(t *testing.T) {
	r, out := io.Pipe()
	r.Close()
	w := New(out, plain)
	runs := make([]metadata.Run, 100_000)
	for i := range runs {
		runs[i] = metadata.Run{Thin: metadata.ThinBlock(2 * i), Len: 1}
	}
	err := errors.Join(w.Runs(runs), w.Flush())
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("err %v", err)
	}
}
