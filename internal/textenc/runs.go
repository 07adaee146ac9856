// Package textenc writes runs and numbers as text. The formats that dumps are written in share
// it: each says how a run looks, in one function.
//
// Most of a dump is the mappings inside leaves, which nothing around them changes. So a [Formatter]
// makes the text of each leaf as soon as it is read, on all processors. Only the first and the last
// run of a leaf, which may continue in others, wait for their turn.
package textenc

import (
	"io"

	"thinpool/metadata"
)

// textLimit is how much text is collected before it is written: each write to a pipe may
// wait for whoever reads it.
const textLimit = 1 << 17

// A Format appends the text of runs to dst.
type Format func(dst []byte, runs []metadata.Run) []byte

// A Writer writes text and runs in the order they come. Runs that continue each
// other, with no text between them, become one. An error of the underlying writer
// is returned by all calls after it.
type Writer struct {
	w      io.Writer
	format Format
	text   []byte
	last   [1]metadata.Run // may go on; its length is 0 if there is none
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

// Runs writes runs. The slice is free again when it returns.
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

// Lines writes runs whose text was made by the format of this Writer, as [StreamLines]
// does. They are free again when it returns.
func (t *Writer) Lines(l *Lines) error {
	if l.Runs == 0 {
		return t.err
	}
	t.Runs([]metadata.Run{l.First})
	if len(l.Between) > 0 {
		t.endRun()
		t.text = append(t.text, l.Between...)
	}
	if l.Runs > 1 {
		t.endRun()
		t.last[0] = l.Last
	}
	return t.flush(textLimit)
}

// Flush writes all that came so far.
func (t *Writer) Flush() error {
	t.endRun()
	return t.flush(1)
}

// endRun makes text of the last run.
func (t *Writer) endRun() {
	if t.last[0].Len > 0 {
		t.text = t.format(t.text, t.last[:])
		t.last[0].Len = 0
	}
}

// flush writes the text if there are at least least bytes of it.
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
