package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"thinpool/metadata"
)

// OpenText opens a text input: a file, a pipe, or standard input for "-". What is
// compressed with gzip or zstd is decompressed. Reading ends when e does, even if
// nobody writes to the pipe.
func (e *Env) OpenText(path string) (io.ReadCloser, error) {
	source := io.NopCloser(e.Stdin)
	if path != "-" {
		// Opening a named pipe waits for somebody to write to it.
		f, err := await(e, func() (*os.File, error) { return os.Open(path) })
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err == nil && info.IsDir() {
			f.Close()
			return nil, fmt.Errorf("%s: is a directory", path)
		}
		source = f
	}
	in, err := e.decompress(source)
	if err != nil {
		source.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return in, nil
}

func (e *Env) decompress(source io.ReadCloser) (io.ReadCloser, error) {
	const bufferSize = 1 << 16
	var patient io.Reader = &patientReader{ctx: e, r: source, buf: make([]byte, bufferSize)}
	if f, ok := source.(*os.File); ok && !maybeStuck(f) {
		patient = f
	}
	r := bufio.NewReaderSize(patient, bufferSize)
	start, err := r.Peek(offMagic + 8)
	switch {
	case has(start, 0, "\x1f\x8b"):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		return &decompressor{z, source}, nil
	case has(start, 0, "\x28\xb5\x2f\xfd"), len(start) > 4 && start[0]&0xf0 == 0x50 && has(start, 1, "\x2a\x4d\x18"): // skippable
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(zstdMemory))
		if err != nil {
			return nil, err
		}
		return &decompressor{z.IOReadCloser(), source}, nil
	case has(start, 0, "\xfd7zXZ\x00"):
		return nil, errors.New("this is compressed with xz, which is not read here: use xz -dc FILE | ... -i -")
	case has(start, 0, le64(packMagic)):
		return nil, errors.New("this is packed metadata, not a dump: " + advisePack)
	case has(start, offMagic, le64(metadata.Magic)):
		return nil, errors.New("this is metadata, not a dump: thin_dump makes a dump of it")
	case err != nil && err != io.EOF: // a short text is no error; a broken disk, or the end of e, is
		return nil, err
	}
	return &decompressor{io.NopCloser(r), source}, nil
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
	ctx      context.Context
	compress io.Closer // nil: not compressed
	file     *os.File  // nil: standard output
	path     string    // where file goes in the end; "": it is there
}

// zstdWindow is how far back dumps are compressed against what came before, in bytes.
const zstdWindow = 64 << 10

// CreateOutput creates the output at path, "" or "-" being standard output. It is
// compressed with how, "gzip" or "zstd", or as the name of the file says.
func (e *Env) CreateOutput(path, how string) (*Output, error) {
	o := &Output{Writer: e.Product, ctx: e}
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
		// On all processors. Lines repeat what is near: looking farther back takes longer,
		// and longer distances take more room.
		z, err := zstd.NewWriter(o.Writer, zstd.WithConcurrentBlocks(true),
			zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow))
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
	if err == nil && info.Mode().Type() == os.ModeDevice {
		return fmt.Errorf("%s is a block device, where text would destroy what is on it: thin_restore writes metadata to devices", path)
	}
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
	err := o.ctx.Err() // who interrupts does not want the file
	if err == nil && o.compress != nil {
		err = o.compress.Close()
	}
	if o.file == nil {
		return err
	}
	if err == nil && o.path != "" {
		// Metadata may be overwritten next, trusting in this file.
		err = o.file.Sync()
	}
	err = errors.Join(err, o.file.Close())
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
