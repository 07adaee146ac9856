package command

import (
	"errors"
	"fmt"
	"strconv"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// blockOf returns the block that -m names; 0 if it names none.
func blockOf(o cli.Optional) (block.Nr, error) {
	if o.Value == "" {
		return 0, nil
	}
	nr, err := strconv.ParseUint(o.Value, 10, 64)
	if err != nil {
		return 0, cli.Usagef("metadata snapshot %q: want a block number", o.Value)
	}
	return block.Nr(nr), nil
}

// poolIn opens the metadata in dev, which was opened from path.
func poolIn(env *cli.Env, dev block.Device, path string, snap cli.Optional) (*metadata.Pool, error) {
	nr, err := blockOf(snap)
	if err != nil {
		return nil, err
	}
	pool, err := metadata.Open(dev, metadata.Options{Snapshot: snap.Set, SnapshotBlock: nr})
	if errors.Is(err, metadata.ErrNoSnapshot) {
		return nil, fmt.Errorf("%s: %w; %s", path, err, source.SnapshotAdvice(path))
	}
	if errors.Is(err, metadata.ErrUnformatted) {
		return nil, fmt.Errorf("%w, or wiped (run thin_check for details)", err)
	}
	if err != nil {
		return nil, damaged(source.Hint(err))
	}
	if snap.Set {
		env.Log.Info("metadata snapshot", "block", uint64(pool.Superblock.Block))
	}
	return pool, nil
}

// damaged adds to an error about the metadata where to read more about it.
func damaged(err error) error {
	if errors.Is(err, block.ErrCorrupt) {
		return fmt.Errorf("metadata contains errors (run thin_check for details): %w", err)
	}
	return err
}
