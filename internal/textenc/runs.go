// Package textenc writes runs and numbers as text. All dump formats share it: each provides one
// function that formats a run.
//
// Most of a dump is mappings inside leaves, which do not depend on anything around them. So a
// [Formatter] formats each leaf as soon as it is read, on all processors. Only the first and the
// last run of a leaf may continue in other leaves, and wait for their turn.
package textenc

import (
	"io"

	"thinpool/metadata"
)

// textLimit is how many bytes of text to collect before writing: each write to a pipe may wait for
// the reader.
const textLimit = 1 << 17

// A Format appends the text of runs to dst.
type Format func(dst []byte, runs []metadata.Run) []byte

// A Writer writes text and runs in order. It joins runs that continue each other unless there is
// text between them. After a write error, all calls return that error.
type Writer struct {
	w      io.Writer
	format Format
	text   []byte
	last   [1]metadata.Run // may still grow; length 0 if there is none
	err    error
}

// New returns a Writer to w.
func New(w io.Writer, format Format) *Writer { return &Writer{w: w, format: format} }

// Text writes p.
func (t *Writer) Text(p []byte) error {
	t.endRun()
	t.text = append(t.text, p...)
	return t.flush(textLimit)
}

// Runs writes runs. The caller may reuse the slice.
func (t *Writer) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		if t.last[0].Len > 0 && r.Continues(t.last[0]) {
			t.last[0].Len += r.Len
			continue
		}
		t.endRun()
		t.last[0] = r
		if err := t.flush(textLimit); err != nil {
			return err
		}
	}
	return t.err
}

// Formatted writes runs. between is the text of those between the first and the last, in this
// Writer's format. The caller may reuse it.
func (t *Writer) Formatted(first metadata.Run, between []byte, last metadata.Run) error {
	t.Runs([]metadata.Run{first})
	t.endRun()
	t.text = append(t.text, between...)
	t.last[0] = last
	return t.flush(textLimit)
}

// Flush writes everything so far.
func (t *Writer) Flush() error {
	t.endRun()
	return t.flush(1)
}

// endRun formats the last run.
func (t *Writer) endRun() {
	if t.last[0].Len > 0 {
		t.text = t.format(t.text, t.last[:])
		t.last[0].Len = 0
	}
}

// flush writes the text if it has at least least bytes.
func (t *Writer) flush(least int) error {
	if len(t.text) >= least {
		t.write(t.text)
		t.text = t.text[:0]
	}
	return t.err
}

// write writes p, unless a write failed before.
func (t *Writer) write(p []byte) {
	if t.err == nil {
		_, t.err = t.w.Write(p)
	}
}
