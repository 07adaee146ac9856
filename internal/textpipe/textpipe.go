// Package textpipe turns runs into text on all processors. The formats that
// dumps are written in share it: each says how a run looks, in one function.
// Numbers have one of their own, AppendUint.
package textpipe

import (
	"io"
	"runtime"
	"sync"

	"thinpool/metadata"
)

// batchRuns is how many runs are formatted at a time: about 100 KiB of text.
const batchRuns = 1024

// textLimit is how much text is collected before it is written.
const textLimit = 1 << 16

// A Writer writes text and runs in the order they come. Runs that continue each
// other, with no text between them, become one. An error of the underlying writer
// is returned by the next call that can, and by all after it.
type Writer struct {
	w      io.Writer
	format func(dst []byte, r metadata.Run) []byte
	batch  *batch // being collected
	pool   sync.Pool

	order chan *batch // to the goroutine that writes, in order; nil: not started
	work  chan *batch // to those that format
	done  chan struct{}

	mu  sync.Mutex
	err error
}

// A batch is text, then runs to be formatted and appended to it.
type batch struct {
	text  []byte
	runs  []metadata.Run
	ready chan struct{} // closed once all is text; nil while it is being collected
}

// New returns a Writer to w. Close frees what it holds.
func New(w io.Writer, format func(dst []byte, r metadata.Run) []byte) *Writer {
	t := &Writer{w: w, format: format}
	t.pool.New = func() any { return new(batch) }
	t.batch = t.pool.Get().(*batch)
	return t
}

// Text writes p.
func (t *Writer) Text(p []byte) error {
	b := t.batch
	for _, r := range b.runs { // few, as a rule: what the text follows
		b.text = t.format(b.text, r)
	}
	b.runs = b.runs[:0]
	b.text = append(b.text, p...)
	if len(b.text) > textLimit {
		return t.send()
	}
	return nil
}

// Runs writes runs. The slice is free again when it returns.
func (t *Writer) Runs(runs []metadata.Run) error {
	for len(runs) > 0 {
		b := t.batch
		n := len(b.runs)
		if n > 0 && runs[0].Continues(b.runs[n-1]) {
			b.runs[n-1].Len += runs[0].Len
			runs = runs[1:]
			continue
		}
		if n < batchRuns {
			b.runs = append(b.runs, runs[0])
			runs = runs[1:]
			continue
		}
		// The last run stays behind, as it may go on.
		last := b.runs[n-1]
		b.runs = b.runs[:n-1]
		if err := t.send(); err != nil {
			return err
		}
		t.batch.runs = append(t.batch.runs, last)
	}
	return nil
}

// Flush writes all that came so far.
func (t *Writer) Flush() error {
	if err := t.send(); err != nil {
		return err
	}
	t.Close()
	return t.failed()
}

// Close waits until the goroutines have nothing left, and ends them. What was
// not flushed may be lost.
func (t *Writer) Close() {
	if t.order == nil {
		return
	}
	close(t.order)
	close(t.work)
	<-t.done
	t.order, t.work, t.done = nil, nil, nil
}

func (t *Writer) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// send hands the collected batch over. The first goes out from here: what is
// small, and the first line of anything, needs no goroutines.
func (t *Writer) send() error {
	b := t.batch
	if err := t.failed(); err != nil {
		return err
	}
	if len(b.runs) < batchRuns/2 && t.order == nil {
		t.finish(b)
		t.write(b)
		return t.failed()
	}
	if t.order == nil {
		t.start()
	}
	b.ready = make(chan struct{})
	t.order <- b
	t.work <- b
	t.batch = t.pool.Get().(*batch)
	return nil
}

func (t *Writer) start() {
	workers := runtime.GOMAXPROCS(0)
	t.order, t.work, t.done = make(chan *batch, 2*workers), make(chan *batch, 2*workers), make(chan struct{})
	for range workers {
		go func(work chan *batch) {
			for b := range work {
				t.finish(b)
				close(b.ready)
			}
		}(t.work)
	}
	go func(order chan *batch, done chan struct{}) {
		defer close(done)
		for b := range order {
			<-b.ready
			t.write(b)
			t.pool.Put(b)
		}
	}(t.order, t.done)
}

// finish makes text of the runs of b.
func (t *Writer) finish(b *batch) {
	for _, r := range b.runs {
		b.text = t.format(b.text, r)
	}
	b.runs = b.runs[:0]
}

// write writes the text of b, unless a write failed before.
func (t *Writer) write(b *batch) {
	if len(b.text) > 0 && t.failed() == nil {
		if _, err := t.w.Write(b.text); err != nil {
			t.mu.Lock()
			t.err = err
			t.mu.Unlock()
		}
	}
	b.text = b.text[:0]
}
