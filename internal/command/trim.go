package command

import (
	"errors"
	"fmt"
	"io/fs"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/trim"
)

// Trim is thin_trim.
type Trim struct {
	cli.Common
	MetadataDev  string `help:"Metadata device or file." placeholder:"FILE" name:"metadata-dev" required:""`
	DataDev      string `help:"Data device, or an image of it. Not needed with --dry-run." placeholder:"FILE" name:"data-dev"`
	DryRun       bool   `help:"Report what would be done; write nothing."`
	Format       string `help:"Output format of --dry-run." default:"text" enum:"text,json" placeholder:"text|json"`
	PoolInactive bool   `help:"Ignored." hidden:""`
}

// Details implements cli.Detailer.
func (t *Trim) Details() string {
	return `Discards the free blocks of the data device; in a file, it punches holes. A block is free if
its reference count is 0 and nothing maps it. The metadata is checked first and never
written; with fatal faults, nothing is discarded.

--dry-run lists lines such as "free 5..45 bytes 327680..2949120". Both ranges exclude
their end.`
}

// Examples implements cli.Exampler.
func (t *Trim) Examples() string {
	return `# List what would be discarded
thin_trim --dry-run --metadata-dev /dev/mapper/vg-pool_tmeta
# Punch holes into the image of a data device
thin_trim --metadata-dev pool.meta --data-dev pool.data`
}

// Rules implements cli.Ruler.
func (t *Trim) Rules() []cli.Rule {
	return []cli.Rule{{Needs: []string{"data-dev"}, Unless: []string{"dry-run"}}}
}

// Run implements cli.Command.
func (t *Trim) Run(env *cli.Env) error {
	if t.DataDev != "" && source.SameFile(t.MetadataDev, t.DataDev) {
		return cli.Usagef("metadata and data are the same file: %s", t.DataDev)
	}
	// Keep both open, and thus claimed, until the end, so that no pool can be activated meanwhile.
	dev, err := source.Open(env, source.Spec{Path: t.MetadataDev, Access: source.ReadIdle})
	if err != nil {
		return inUse(err)
	}
	defer dev.Close()
	data, err := t.openData(env)
	if err != nil {
		return err
	}
	if data != nil {
		defer data.Close()
	}
	if err := refuseFaults(env, dev, "nothing is discarded"); err != nil {
		return fmt.Errorf("%s: %w", t.MetadataDev, err)
	}
	pool, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		return source.Damaged(err)
	}
	sb := pool.Live
	// The check has validated the block size.
	if blocks := sb.DataSpaceMap.NrBlocks; data != nil && uint64(data.Size())/view.BlockBytes(sb) < blocks {
		return fmt.Errorf("%s: %w: it has %d bytes, but the pool has %d blocks of %d bytes", t.DataDev, trim.ErrTooSmall, data.Size(), blocks, view.BlockBytes(sb))
	}
	opt := trim.Options{Progress: env.Progress}
	free, err := trim.Free(env, dev, opt)
	if err != nil {
		return fmt.Errorf("%s: nothing is discarded: %w", t.MetadataDev, source.Damaged(err))
	}
	if t.DryRun {
		return view.Free(env.Stdout, free, view.BlockBytes(sb), t.Format == "json")
	}
	return trim.Discard(env, data, sb.DataBlockSize, free, opt)
}

// openData opens the data device; nil if none is given.
func (t *Trim) openData(env *cli.Env) (trim.Data, error) {
	if t.DataDev == "" {
		return nil, nil
	}
	image, at, err := source.WritablePlace(env, t.DataDev)
	if err != nil {
		return nil, err
	}
	data, err := trim.OpenData(image, at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, cli.Accessf("%s: no such file or device", t.DataDev)
	case errors.Is(err, block.ErrBusy):
		return nil, inUse(source.Busy(t.DataDev, err))
	}
	return data, err
}

// inUse adds to an error about a busy device how to discard in a pool in use. thin_trim cannot do
// that, not even with a metadata snapshot.
func inUse(err error) error {
	if errors.Is(err, block.ErrBusy) {
		return fmt.Errorf("%w; for a pool in use, run fstrim on its file systems instead", err)
	}
	return err
}
