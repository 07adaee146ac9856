package textpipe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"thinpool/metadata"
)

func plain(dst []byte, r metadata.Run) []byte { return fmt.Appendf(dst, "%d+%d\n", r.Thin, r.Len) }

// Runs that continue each other become one, wherever batches end; text parts them.
func TestJoin(t *testing.T) {
	const n = 5*batchRuns + 17
	var got bytes.Buffer
	w := New(&got, plain)
	defer w.Close()
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
	next := metadata.Run{Thin: 10*(n-1) + 3, Data: 3, Len: 1}
	if err := errors.Join(w.Text([]byte("--\n")), w.Runs([]metadata.Run{next}), w.Flush()); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&want, "--\n%d+1\n", next.Thin)
	if got.String() != want.String() {
		t.Error("the text is not what came in, in order")
	}
}

// A write that fails is reported, and the Writer can be closed all the same.
func TestFails(t *testing.T) {
	r, out := io.Pipe()
	r.Close()
	w := New(out, plain)
	runs := make([]metadata.Run, 10*batchRuns)
	for i := range runs {
		runs[i] = metadata.Run{Thin: metadata.ThinBlock(2 * i), Len: 1}
	}
	err := errors.Join(w.Runs(runs), w.Flush())
	w.Close()
	w.Close()
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("err %v", err)
	}
}
