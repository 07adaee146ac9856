package cli

import (
	"fmt"
	"io"
	"os"
)

// OpenFile opens a file or a pipe for reading. It waits for the writer of a named pipe, but not
// beyond the end of e.
func (e *Env) OpenFile(path string) (*os.File, error) {
	f, err := await(e, func() (*os.File, error) { return os.Open(path) })
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, Accessf("%s: is a directory", path)
	}
	return f, nil
}

// ReadFile reads a file or a pipe of at most most bytes. It stops when e ends.
func (e *Env) ReadFile(path string, most int64) ([]byte, error) {
	f, err := e.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(e.Patient(f), most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s: has more than %d bytes", path, most)
	}
	return text, err
}

// OpenPipe opens something for writing that is neither a file nor a block device, such as a named
// pipe. Opening and writing stop when e ends, even without a reader.
func (e *Env) OpenPipe(path string) (io.WriteCloser, error) {
	f, err := await(e, func() (*os.File, error) { return os.OpenFile(path, os.O_WRONLY, 0) })
	if err != nil {
		return nil, err
	}
	return &pipe{newStdout(e, f), f}, nil
}

type pipe struct {
	*stdout
	io.Closer
}

const bufferSize = 1 << 16

// Patient returns a reader of r that stops when e ends.
func (e *Env) Patient(r io.Reader) io.Reader {
	if f, ok := r.(*os.File); ok && !maybeStuck(f) {
		return f
	}
	return &patientReader{ctx: e, r: r, buf: make([]byte, bufferSize)}
}
