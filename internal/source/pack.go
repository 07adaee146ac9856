package source

import (
	"errors"
	"fmt"
	"io"
	"os"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/packfmt"
)

// OpenPack opens a file of packed metadata.
func OpenPack(path string) (*os.File, *packfmt.Reader, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil, cli.Accessf("%s: no such file or device", path)
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular() && info.Mode()&os.ModeType != os.ModeDevice:
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
	size, err := f.Seek(0, io.SeekEnd) // works for block devices, too; Stat reports no size for them
	if err != nil {
		return nil, err
	}
	pack, err := packfmt.NewReader(f, size)
	if errors.Is(err, packfmt.ErrNotPacked) {
		return nil, NotPacked(f, err)
	}
	return pack, err
}

// packMemory limits the memory for a pack that a tool reads.
const packMemory = 1 << 30

func loadPack(env *cli.Env, path string) (block.Device, error) {
	f, pack, err := OpenPack(path)
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

// IsMetadata reports whether a file begins with a superblock or is packed metadata.
func IsMetadata(path string) bool {
	if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeType&^os.ModeDevice != 0 {
		return false // a pipe can be read only once
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var b block.Data
	n, _ := f.Read(b[:])
	if packfmt.Is(b[:n]) {
		return true
	}
	if n < len(b) {
		return false
	}
	_, err = metadata.DecodeSuperblock(metadata.SuperblockLocation, &b)
	return err == nil
}

// HoldsMetadata reports whether block 0 at path is a superblock.
func HoldsMetadata(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() && info.Mode()&os.ModeType != os.ModeDevice {
		return false, nil // any problem shows when it is created
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var b block.Data
	switch _, err := io.ReadFull(f, b[:]); {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return false, nil
	case err != nil:
		return false, err
	}
	return packfmt.Superblock(&b) != "", nil
}
