package command

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata"
	"thinpool/tool/rmap"
)

// Rmap is thin_rmap.
type Rmap struct {
	cli.Common
	Regions      []region     `help:"Data blocks A to B-1, or offsets such as 1m..2m; repeatable. B may be -1, the end." name:"region" placeholder:"A..B" required:"" sep:"none"`
	MetadataSnap cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	Format       string       `help:"Output format." default:"text" enum:"text,json" placeholder:"text|json"`
	Input        string       `arg:"" help:"Metadata device or file."`
	volumes
}

// Details implements cli.Detailer.
func (r *Rmap) Details() string {
	return `The line "data 5..45 -> thin(1) 100..140" means that data blocks 5 to 44 are blocks 100 to
139 of thin device 1. Every device that maps a block is listed. Offsets are those in the
data device (_tdata); every block that they touch is included. If some mappings cannot be
read, all others are listed, and the exit code is 1.`
}

// Examples implements cli.Exampler.
func (r *Rmap) Examples() string {
	return `# Which devices use data blocks 100 to 199
thin_rmap --region 100..200 /dev/mapper/vg-pool_tmeta
# Which devices use a bad sector of the data device
thin_rmap --region 123456s..123457s /dev/mapper/vg-pool_tmeta`
}

// A region is the argument of --region: blocks, or bytes if it has units.
type region struct {
	begin, end uint64 // end is math.MaxUint64 for -1
	bytes      bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *region) UnmarshalText(text []byte) error {
	first, last, ok := strings.Cut(string(text), "..")
	if !ok {
		return fmt.Errorf("region %q: want A..B, as 5..45", text)
	}
	begin, beginUnit, err := regionBound(first)
	if err != nil {
		return fmt.Errorf("region %q: %w", text, err)
	}
	end, endUnit := uint64(math.MaxUint64), beginUnit
	if last != "-1" {
		if end, endUnit, err = regionBound(last); err != nil {
			return fmt.Errorf("region %q: %w", text, err)
		}
	}
	switch {
	case beginUnit != endUnit:
		return fmt.Errorf("region %q: give a unit to both ends, or to neither", text)
	case end <= begin:
		return fmt.Errorf("region %q: the end must be greater than the start", text)
	}
	*r = region{begin, end, beginUnit}
	return nil
}

// regionBound parses a block number, or an offset with a unit, which it converts to bytes.
func regionBound(s string) (n uint64, unit bool, err error) {
	number := strings.TrimPrefix(s, "+")
	if n, err := strconv.ParseUint(number, 10, 64); err == nil && number[0] != '+' {
		return n, false, nil
	}
	var size cli.Size
	err = size.UnmarshalText([]byte(number))
	return size.Bytes, true, err
}

// blocks returns the data blocks that r touches.
func (r region) blocks(blockSize uint32) rmap.Region {
	if !r.bytes {
		return rmap.Region{Begin: metadata.DataBlock(r.begin), End: metadata.DataBlock(r.end)}
	}
	size := uint64(blockSize) * cli.SectorSize
	return rmap.Region{Begin: metadata.DataBlock(r.begin / size), End: metadata.DataBlock((r.end-1)/size + 1)}
}

// Run implements cli.Command.
func (r *Rmap) Run(env *cli.Env) (err error) {
	pool, dev, err := source.OpenPool(env, source.Spec{Path: r.Input, Snapshot: r.MetadataSnap, Packs: true, Disk: r.disk()})
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	if pool.Superblock.DataBlockSize == 0 && slices.ContainsFunc(r.Regions, func(r region) bool { return r.bytes }) {
		return errors.New("the data block size is 0, so offsets cannot be converted: give block numbers")
	}
	opt := rmap.Options{Progress: env.Progress}
	for _, region := range r.Regions {
		opt.Regions = append(opt.Regions, region.blocks(pool.Superblock.DataBlockSize))
	}
	line := view.RmapLine
	objects := view.RmapObjects{Name: dev.Name}
	if r.Format == "json" {
		line = objects.Append
	}
	if err := rmap.Text(env, pool, opt, env.Stdout, line); err != nil {
		return source.Damaged(err)
	}
	if err := pool.CheckSnapshotHeld(); err != nil {
		return err
	}
	if err := beyond(opt.Regions, &pool.Superblock); err != nil || r.Format != "json" {
		return err
	}
	return view.NewEncoder(env.Stdout).Encode(objects.Summary())
}

// beyond refuses regions that begin beyond the data device: most likely an offset in another device was
// given. Those that only end there are common, and so are those of scripts that do not know its size.
func beyond(regions []rmap.Region, sb *metadata.Superblock) error {
	size := metadata.DataBlock(sb.DataSpaceMap.NrBlocks)
	for _, r := range regions {
		if size > 0 && r.Begin >= size { // a metadata snapshot does not know it
			return fmt.Errorf("region %d..%d: the data device ends before it, and has %d blocks of %d sectors: is that an offset in another device?",
				r.Begin, r.End, size, sb.DataBlockSize)
		}
	}
	return nil
}
