package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// OpenText opens a text input: a file, a pipe, or standard input for "-". What is
// compressed with gzip or zstd is decompressed.
func (e *Env) OpenText(path string) (io.ReadCloser, error) {
	file := io.NopCloser(e.Stdin)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err == nil && info.IsDir() {
			f.Close()
			return nil, fmt.Errorf("%s: is a directory", path)
		}
		file = f
	}
	const bufferSize = 1 << 16
	r := bufio.NewReaderSize(file, bufferSize)
	start, _ := r.Peek(4)
	switch {
	case has(start, 0, "\x1f\x8b"):
		z, err := gzip.NewReader(r)
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return &decompressor{z, file}, nil
	case has(start, 0, "\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(zstdMemory))
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return &decompressor{z.IOReadCloser(), file}, nil
	}
	return &decompressor{io.NopCloser(r), file}, nil
}

// zstdMemory bounds what a hostile zstd file can make us allocate.
const zstdMemory = 256 << 20

type decompressor struct {
	io.ReadCloser
	file io.Closer
}

func (d *decompressor) Close() error {
	d.ReadCloser.Close()
	return d.file.Close()
}

// An Output is a text output. What goes to a file appears there only with
// Commit: a command that fails leaves no file, and an old one as it was.
type Output struct {
	io.Writer
	compress io.Closer // nil: not compressed
	file     *os.File  // nil: standard output
	path     string    // where file goes in the end; "": it is there
}

// CreateOutput creates the output at path, "" or "-" being standard output. It is
// compressed with how, "gzip" or "zstd", or as the name of the file says.
func (e *Env) CreateOutput(path, how string) (*Output, error) {
	o := &Output{Writer: e.Stdout}
	if path != "" && path != "-" {
		if err := o.open(path); err != nil {
			return nil, err
		}
	}
	switch {
	case how != "":
	case strings.HasSuffix(path, ".gz"):
		how = "gzip"
	case strings.HasSuffix(path, ".zst"):
		how = "zstd"
	}
	switch how {
	case "gzip":
		z := gzip.NewWriter(o.Writer)
		o.Writer, o.compress = z, z
	case "zstd":
		z, err := zstd.NewWriter(o.Writer)
		if err != nil {
			o.Discard()
			return nil, err
		}
		o.Writer, o.compress = z, z
	}
	return o, nil
}

// open opens a temporary file beside path, or path itself if that is there and no
// regular file: /dev/null, a pipe.
func (o *Output) open(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		o.file, err = os.OpenFile(path, os.O_WRONLY, 0)
		o.Writer = o.file
		return err
	}
	mode := os.FileMode(0o666)
	if err == nil {
		mode = info.Mode().Perm()
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real // replace the file, not the link to it
		}
	}
	o.file, err = createBeside(path, mode)
	o.Writer, o.path = o.file, path
	return err
}

// createBeside creates a file that no other has, in the folder of path.
func createBeside(path string, mode os.FileMode) (*os.File, error) {
	for i := 0; ; i++ {
		f, err := os.OpenFile(fmt.Sprintf("%s.%d.%d.tmp", path, os.Getpid(), i), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if !os.IsExist(err) {
			return f, err
		}
	}
}

// Commit finishes the output and puts the file in its place.
func (o *Output) Commit() error {
	if o.compress != nil {
		if err := o.compress.Close(); err != nil {
			o.Discard()
			return err
		}
	}
	if o.file == nil {
		return nil
	}
	err := o.file.Close()
	if err == nil && o.path != "" {
		err = os.Rename(o.file.Name(), o.path)
	}
	if err != nil {
		o.remove()
	}
	return err
}

// Discard gives the output up. After Commit it does nothing.
func (o *Output) Discard() {
	if o.file != nil && o.file.Close() == nil {
		o.remove()
	}
}

func (o *Output) remove() {
	if o.path != "" {
		os.Remove(o.file.Name())
	}
}
