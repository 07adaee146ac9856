package command

import (
	"errors"
	"fmt"
	"io"
	"os"

	"thinpool/internal/cli"
	"thinpool/metadata/block"
	"thinpool/packfmt"
)

// openPack opens a file of packed metadata.
func openPack(path string) (*os.File, *packfmt.Reader, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil, cli.Accessf("%s: no such file or device", path)
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular() && info.Mode()&os.ModeType != os.ModeDevice:
		//lint:ignore ST1005 scripts know these words
		return nil, nil, cli.Accessf("Not a block device or regular file '%s'.", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	pack, err := readPack(f)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, pack, nil
}

func readPack(f *os.File) (*packfmt.Reader, error) {
	size, err := f.Seek(0, io.SeekEnd) // also of a block device, of which stat knows none
	if err != nil {
		return nil, err
	}
	pack, err := packfmt.NewReader(f, size)
	if errors.Is(err, packfmt.ErrNotPacked) {
		return nil, cli.NotPacked(f, err)
	}
	return pack, err
}

// packMemory is how much of a pack a tool that reads it takes into memory.
const packMemory = 1 << 30

// openMetadata is [cli.OpenMetadata] for tools that only read: they take packed
// metadata as well.
func openMetadata(env *cli.Env, path string, snapshot bool) (block.Device, error) {
	dev, err := cli.OpenMetadata(path, snapshot)
	if errors.Is(err, cli.ErrPacked) {
		return loadPack(env, path)
	}
	return dev, err
}

// openInactive is [cli.OpenInactive], and takes packed metadata as well.
func openInactive(env *cli.Env, path string) (block.Device, error) {
	dev, err := cli.OpenInactive(path)
	if errors.Is(err, cli.ErrPacked) {
		return loadPack(env, path)
	}
	return dev, err
}

// openDamaged is [cli.OpenDamaged], and takes packed metadata as well.
func openDamaged(env *cli.Env, path string, snapshot bool) (dev block.Device, doubt, err error) {
	dev, doubt, err = cli.OpenDamaged(path, snapshot)
	if errors.Is(err, cli.ErrPacked) {
		dev, err = loadPack(env, path)
	}
	return dev, doubt, err
}

func loadPack(env *cli.Env, path string) (block.Device, error) {
	f, pack, err := openPack(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dev, err := pack.Load(env, packMemory, packfmt.Options{Progress: env.Progress})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return dev, nil
}
