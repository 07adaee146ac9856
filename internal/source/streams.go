// Package source opens what the tools work on: metadata on a device, in a file, packed, or in a
// volume on a disk; data devices; dumps; and outputs. It recognises other things, and says who uses
// a busy device.
//
// A tool describes in a [Spec] what it opens and what it accepts: packs, a volume on a disk, a pool
// in use. [Open] returns a [Source]: a device, a pack, or a logical volume of package lvm, which is
// a block.Device like any other. So no tool below the commands depends on LVM.
//
// Other writers are kept out from the first read of the metadata on: a block device is opened
// exclusively, a file is locked. A source becomes writable later, when the work is done, the undo
// file is on stable storage, and there is something to write.
package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"thinpool/internal/cli"
	"thinpool/metadata"
)

// OpenText opens a text input: a file, a pipe, or standard input for "-". It decompresses gzip and
// zstd. Reading stops when env ends, even if nothing writes to the pipe.
func OpenText(env *cli.Env, path string) (io.ReadCloser, error) {
	source := io.NopCloser(env.Stdin)
	if path != "-" {
		f, err := env.OpenFile(path)
		if err != nil {
			return nil, err
		}
		source = f
	}
	in, err := decompress(env, source)
	if err != nil {
		source.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return in, nil
}

const bufferSize = 1 << 16

func decompress(env *cli.Env, source io.ReadCloser) (io.ReadCloser, error) {
	r := bufio.NewReaderSize(env.Patient(source), bufferSize)
	start, err := r.Peek(offMagic + 8)
	switch {
	case has(start, 0, "\x1f\x8b"):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		return &decompressor{z, source}, nil
	case has(start, 0, "\x28\xb5\x2f\xfd"), len(start) > 4 && start[0]&0xf0 == 0x50 && has(start, 1, "\x2a\x4d\x18"): // skippable frame
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(zstdMemory))
		if err != nil {
			return nil, err
		}
		return &decompressor{z.IOReadCloser(), source}, nil
	case has(start, 0, "\xfd7zXZ\x00"):
		return nil, errors.New("this is compressed with xz, which is not supported: use xz -dc FILE | ... -i -")
	case has(start, 0, le64(packMagic)):
		return nil, errors.New("this is packed metadata, not a dump: " + advisePack)
	case has(start, offMagic, le64(metadata.Magic)):
		return nil, errors.New("this is metadata, not a dump: use thin_dump to dump it")
	case err != nil && err != io.EOF: // a short text is fine; a read error or the end of env is not
		return nil, err
	}
	return &decompressor{io.NopCloser(r), source}, nil
}

// zstdMemory limits what a hostile zstd file can make us allocate.
const zstdMemory = 256 << 20

type decompressor struct {
	io.ReadCloser
	file io.Closer
}

func (d *decompressor) Close() error {
	d.ReadCloser.Close()
	return d.file.Close()
}

// An Output is a text output. A file appears only with Commit: a command that fails creates no file
// and leaves an old one unchanged.
type Output struct {
	io.Writer
	compress io.Closer // nil: not compressed
	pipe     io.Closer // not a regular file, written directly; nil: none
	new      *newFile  // nil: none
}

// zstdWindow is the size in bytes of the compression window for dumps.
const zstdWindow = 64 << 10

// CreateOutput creates the output at path; "" or "-" means standard output. how selects the
// compression, "gzip" or "zstd"; if empty, the file name decides. from are the inputs: a new file
// is readable only by those who can read them.
func CreateOutput(env *cli.Env, path, how string, from ...string) (*Output, error) {
	o := &Output{Writer: env.Product}
	if path != "" && path != "-" {
		if err := o.open(env, path, ModeLike(from...)); err != nil {
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
		// Use all processors. Lines repeat nearby text: a larger window takes longer, and longer
		// distances take more space.
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

// open creates a file that will appear at path, or opens path itself if it exists and is not a
// regular file: /dev/null, a pipe.
func (o *Output) open(env *cli.Env, path string, mode os.FileMode) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Type() == os.ModeDevice {
		return fmt.Errorf("%s is a block device, and a dump would overwrite it: use thin_restore to write metadata to a device", path)
	}
	if err == nil && !info.Mode().IsRegular() {
		f, err := env.OpenPipe(path)
		if err == nil {
			o.Writer, o.pipe = f, f
		}
		return err
	}
	if o.new, err = replaceFile(path, mode); err != nil {
		return err
	}
	o.Writer = o.new
	return nil
}

// Commit finishes the output and puts the file in place. If ctx has ended, it does not: after an
// interruption, the user does not want the file.
func (o *Output) Commit(ctx context.Context) error {
	err := ctx.Err()
	if err == nil && o.compress != nil {
		err = o.compress.Close()
	}
	switch {
	case o.pipe != nil:
		return errors.Join(err, o.pipe.Close())
	case o.new == nil:
		return err
	case err != nil:
		o.new.Discard()
		return err
	}
	// The next step may overwrite metadata and rely on this file.
	return o.new.commit()
}

// Discard discards the output. After Commit it does nothing.
func (o *Output) Discard() {
	if o.pipe != nil {
		o.pipe.Close()
	}
	if o.new != nil {
		o.new.Discard()
	}
}
