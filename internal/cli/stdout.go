package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
)

// closedOutput stands in for a standard output that was closed when the process started.
type closedOutput struct{}

func (closedOutput) Write([]byte) (int, error) {
	return 0, Accessf("cannot write to standard output: it is closed")
}

// stdout is standard output. It remembers the first error, so that a command that ignores write
// errors still fails when the disk is full.
type stdout struct {
	ctx   context.Context
	w     io.Writer
	stuck bool // w may block indefinitely

	mu  sync.Mutex
	err error
}

func newStdout(ctx context.Context, w io.Writer) *stdout {
	return &stdout{ctx: ctx, w: w, stuck: maybeStuck(w)}
}

func (s *stdout) Write(p []byte) (int, error) {
	if err := s.failed(); err != nil {
		return 0, err
	}
	write := func() (int, error) { return s.w.Write(p) }
	var n int
	var err error
	if s.stuck {
		n, err = await(s.ctx, write)
	} else {
		n, err = write()
	}
	if errors.Is(err, syscall.EPIPE) {
		err = errPipeClosed
	}
	if err != nil {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

func (s *stdout) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// await waits for f, but not beyond the end of ctx. After an error of ctx, f may still be running,
// so do not use what it uses.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// maybeStuck reports whether f is a file that may block, such as a pipe or a terminal.
func maybeStuck(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err != nil || !info.Mode().IsRegular()
}

// A patientReader reads from something that may block, until ctx ends.
type patientReader struct {
	ctx  context.Context
	r    io.Reader
	buf  []byte // in use by r during a read; ours afterwards
	rest []byte
	err  error
}

func (p *patientReader) Read(b []byte) (int, error) {
	if len(p.rest) == 0 && p.err == nil {
		n, err := await(p.ctx, func() (int, error) { return p.r.Read(p.buf) })
		p.rest, p.err = p.buf[:n], err
	}
	if len(p.rest) == 0 {
		return 0, p.err
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
