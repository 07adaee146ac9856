package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// OpenPool opens metadata and its pool. The caller must close the source.
func OpenPool(env *cli.Env, spec Spec) (*metadata.Pool, *Source, error) {
	s, err := Open(env, spec)
	if err != nil {
		return nil, nil, err
	}
	pool, err := s.Pool(env)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return pool, s, nil
}

// Pool opens the pool: the live one, or the metadata snapshot if the Spec has one.
func (s *Source) Pool(env *cli.Env) (*metadata.Pool, error) { return s.PoolIn(env, s) }

// PoolIn is like Pool, for the result of repairing s.
func (s *Source) PoolIn(env *cli.Env, dev block.Device) (*metadata.Pool, error) {
	pool, err := metadata.Open(dev, metadata.Options{Snapshot: s.snapshot.Set, SnapshotBlock: SnapshotBlock(s.snapshot)})
	if errors.Is(err, metadata.ErrNoSnapshot) {
		return nil, NoSnapshot(s.Path, err)
	}
	if errors.Is(err, metadata.ErrUnformatted) {
		return nil, unformatted(env, dev, err)
	}
	if err != nil {
		return nil, Damaged(Hint(err))
	}
	if s.snapshot.Set {
		env.Log.Info("metadata snapshot", "block", uint64(pool.Superblock.Block))
	}
	return pool, nil
}

// NoSnapshot adds to [metadata.ErrNoSnapshot] how to reserve a metadata snapshot in the pool that uses
// the device at path.
func NoSnapshot(path string, err error) error {
	return fmt.Errorf("%s: %w; %s", path, err, SnapshotAdvice(path))
}

// unformatted returns the error for a device whose block 0 is zero. Only if everything is zero, it
// was never formatted.
func unformatted(ctx context.Context, dev block.Device, err error) error {
	buf := block.Buffer(zeroBlocks)
	for at := int64(0); at < dev.Size(); at += int64(len(buf)) * block.Size {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p := block.Bytes(buf)
		n, _ := dev.ReadAt(p[:min(int64(len(p)), (dev.Size()-at)&^(block.Size-1))], at)
		if len(bytes.TrimLeft(p[:n], "\x00")) > 0 {
			return errors.New("block 0 is all zero, but the device is not: it was wiped, or is not metadata (run thin_check for details)")
		}
	}
	return err
}

// zeroBlocks is how many blocks to read at a time.
const zeroBlocks = 256

// SnapshotBlock returns the block number given with -m; 0 if there is none.
func SnapshotBlock(o cli.Optional) block.Nr {
	nr, err := strconv.ParseUint(o.Value, 10, 64)
	if err != nil { // the option accepts only numbers
		return 0
	}
	return block.Nr(nr)
}

// Damaged adds to an error about the metadata how to learn more.
func Damaged(err error) error {
	if errors.Is(err, block.ErrCorrupt) {
		return fmt.Errorf("metadata contains errors (run thin_check for details): %w", err)
	}
	return err
}
