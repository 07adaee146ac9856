package source

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"thinpool/internal/cli"
	"thinpool/metadata/block"
)

// A Target is the output for a whole device: a block device, or a file that appears only after
// Commit.
type Target struct {
	block.Device
	Zero bool // reads as zeros

	out *Output // nil: a block device
}

// CreateTarget opens the block device at path, or creates a file of size bytes for content of the
// files at from. Without force it refuses a target that is [Occupied].
func CreateTarget(env *cli.Env, path string, size int64, force bool, from ...string) (*Target, error) {
	if !force {
		if err := occupiedAt(path); err != nil {
			return nil, err
		}
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.Mode()&os.ModeType == os.ModeDevice:
		dev, err := openDevice(path, block.Options{Write: true}, sys.busyOtherwise)
		if err != nil {
			return nil, err
		}
		return &Target{Device: dev}, nil
	case err == nil && !info.Mode().IsRegular():
		return nil, cli.Accessf("Not a block device or regular file '%s'.", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	out, err := CreateOutput(env, path, "none", from...)
	if err != nil {
		return nil, err
	}
	dev, err := out.device(size)
	if err != nil {
		out.Discard()
		return nil, err
	}
	return &Target{Device: dev, Zero: true, out: out}, nil
}

// device returns the new file as a device of size zero bytes.
func (o *Output) device(size int64) (block.Device, error) {
	if err := o.new.Truncate(size); err != nil {
		return nil, err
	}
	return block.NewFile(o.new.File.File)
}

// Commit finishes writing and puts a file in place.
func (t *Target) Commit(ctx context.Context) error {
	if t.out == nil {
		return t.Device.Close()
	}
	return t.out.Commit(ctx)
}

// Discard discards the target. After Commit it does nothing.
func (t *Target) Discard() {
	if t.out == nil {
		t.Device.Close()
		return
	}
	t.out.Discard()
}
