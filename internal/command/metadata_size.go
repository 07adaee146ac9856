package command

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"thinpool/internal/cli"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/packfmt"
	"thinpool/tool/dump"
	"thinpool/tool/size"
)

// MetadataSize is thin_metadata_size.
type MetadataSize struct {
	cli.Common
	BlockSize   *cli.Size    `help:"Size of a data block." short:"b" placeholder:"SIZE"`
	PoolSize    *cli.Size    `help:"Size of the data device." short:"s" placeholder:"SIZE"`
	MaxThins    *uint64      `help:"Number of devices and snapshots." short:"m" placeholder:"N"`
	Unit        string       `help:"Unit of the output: b, s, k, m, g, ... or its name." short:"u" default:"s" placeholder:"UNIT"`
	NumericOnly cli.Optional `help:"Print the number only; with short or long, its unit too." short:"n" placeholder:"short|long"`
	Rule        string       `help:"tree, kernel, lvm or packed." default:"tree" enum:"tree,kernel,lvm,packed" placeholder:"RULE"`
	Snapshots   uint64       `help:"Rule tree: count this many snapshots of a full device." placeholder:"N"`
	Divergence  float64      `help:"Rule tree: percentage of its mappings that each snapshot has alone." placeholder:"PERCENT"`
	ExtentSize  cli.Size     `help:"Rule lvm: extent size of the volume group." default:"4m" placeholder:"SIZE"`
	Explain     bool         `help:"Print what every rule says, and why."`
	From        string       `help:"Metadata, or a dump: print exactly what restoring it takes." placeholder:"FILE"`
	Snapshot    cli.Optional `help:"With --from: read the metadata snapshot; the pool may be in use." name:"metadata-snap" placeholder:"BLOCK" number:""`
	Format      string       `help:"text or json." default:"text" enum:"text,json" placeholder:"text|json"`
	volumes
}

// Details implements cli.Detailer.
func (m *MetadataSize) Details() string {
	return `A SIZE is digits and a unit: b, s (sectors of 512 bytes, the default), k m g t p e for
powers of 1024, K M G T P E for powers of 1000, or the name of a unit.

Rules: tree counts half full trees and a block a device; kernel is the kernel document's
48 bytes a data block, 2 MiB to 16 GiB; lvm is what lvcreate allocates; packed is the least.

  thin_metadata_size -b64k -s1t -m1000 -u m
  thin_metadata_size -b64k -s1t -m10 --explain`
}

// Run implements cli.Command.
func (m *MetadataSize) Run(env *cli.Env) error {
	unit, err := cli.ParseUnit(m.Unit)
	if err != nil {
		return cli.Usagef("%w", err)
	}
	switch {
	case m.From != "":
		return m.from(env, unit)
	case m.Snapshot.Set || m.given():
		return cli.Usagef("--metadata-snap goes with --from, and so do --lv, --pv, --leg and --lvm-metadata")
	}
	pool, err := m.pool()
	if err != nil {
		return err
	}
	e := pool.Estimate(size.Rule(m.Rule))
	switch {
	case m.Explain:
		return m.explain(env.Stdout, pool)
	case m.Format == "json":
		return newEncoder(env.Stdout).Encode(estimateRecord{string(e.Rule), e.Bytes, e.Bytes / cli.SectorSize, e.Bound})
	case m.NumericOnly.Set:
		return m.number(env.Stdout, e.Bytes, unit)
	}
	echo := fmt.Sprintf("--block-size=%v --pool-size=%v", m.BlockSize, m.PoolSize)
	if m.MaxThins != nil {
		echo += fmt.Sprintf(" --max-thins=%d", *m.MaxThins)
	}
	_, err = fmt.Fprintf(env.Stdout, "thin_metadata_size - %s %s estimated metadata area size for \"%s\"\n",
		size.Number(e.Bytes, unit.Bytes), unit.Name, echo)
	return err
}

// estimateRecord is an estimate in JSON.
type estimateRecord struct {
	Rule    string `json:"rule"`
	Bytes   uint64 `json:"bytes"`
	Sectors uint64 `json:"sectors"`
	Bound   string `json:"bound,omitempty"` // the bound that decided
}

// pool checks the options that describe a pool.
func (m *MetadataSize) pool() (size.Pool, error) {
	byDevices := m.Rule == string(size.Tree) || m.Rule == string(size.Packed)
	switch {
	case m.BlockSize == nil:
		return size.Pool{}, cli.Usagef("--block-size is needed")
	case m.PoolSize == nil:
		return size.Pool{}, cli.Usagef("--pool-size is needed")
	case m.MaxThins == nil && byDevices:
		return size.Pool{}, cli.Usagef("--max-thins is needed")
	}
	p := size.Pool{
		BlockSize: m.BlockSize.Bytes, Size: m.PoolSize.Bytes,
		Snapshots: m.Snapshots, Divergence: m.Divergence, ExtentSize: m.ExtentSize.Bytes,
	}
	if m.MaxThins != nil {
		p.Thins = *m.MaxThins
	}
	if err := p.Check(); err != nil {
		return p, cli.Usagef("%w", err)
	}
	return p, nil
}

// number prints the number alone, with the unit that -n asks for.
func (m *MetadataSize) number(w io.Writer, bytes uint64, unit cli.Unit) error {
	suffix := ""
	switch how := m.NumericOnly.Value; {
	case how == "":
	case strings.HasPrefix("short", how):
		suffix = unit.Letter
	case strings.HasPrefix("long", how):
		suffix = unit.Name
	default:
		return cli.Usagef("--numeric-only=%s: want short or long", how)
	}
	_, err := fmt.Fprintf(w, "%s%s\n", size.Number(bytes, unit.Bytes), suffix)
	return err
}

// explain prints all rules and what they mean for the pool.
func (m *MetadataSize) explain(w io.Writer, p size.Pool) error {
	fmt.Fprintf(w, "A pool of %v with blocks of %v: %d data blocks, %d devices.\n\n", m.PoolSize, m.BlockSize, p.Blocks(), p.Thins)
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "rule\tbytes\tsize\tbound\twhat it counts")
	meaning := map[size.Rule]string{
		size.Tree:   "half full trees, one block a device",
		size.Kernel: "48 bytes a data block (the kernel's document)",
		size.LVM:    "64 bytes a data block (what lvcreate allocates)",
		size.Packed: "full trees: the least, right after thin_restore",
	}
	for _, rule := range size.Rules {
		e := p.Estimate(rule)
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\n", rule, e.Bytes, cli.HumanSize(e.Bytes), e.Bound, meaning[rule])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nNo pool can use more than 15.875 GiB (17045913600 bytes) of metadata.")
	if fit := p.FittingBlockSize(); fit > p.BlockSize {
		fmt.Fprintf(w, "With blocks of this size it may not be enough. Blocks of %s or more fit.\n", cli.HumanSize(fit))
	}
	fmt.Fprintln(w, "Snapshots cost nothing at first; --snapshots and --divergence count what they cost as they change.")
	const mib = 1 << 20
	lvm := p.Estimate(size.LVM)
	_, err := fmt.Fprintf(w, "To be safe:  lvcreate --poolmetadatasize %dm ...   (LVM wants as much again for its spare copy)\n", (lvm.Bytes+mib-1)/mib)
	return err
}

// exactRecord is what --from finds, in JSON.
type exactRecord struct {
	Bytes       uint64  `json:"bytes"`
	Blocks      uint64  `json:"blocks"`
	UsedBlocks  *uint64 `json:"used_blocks,omitempty"`
	TotalBlocks *uint64 `json:"total_blocks,omitempty"`
}

// from prints exactly what restoring a dump, or the metadata itself, takes.
func (m *MetadataSize) from(env *cli.Env, unit cli.Unit) error {
	b := write.New(write.Options{Progress: env.Progress})
	used, err := m.readFrom(env, b)
	if err != nil {
		return err
	}
	r := exactRecord{Bytes: uint64(b.Least()) * block.Size, Blocks: uint64(b.Least())}
	if used != nil {
		r.UsedBlocks, r.TotalBlocks = &used.NrAllocated, &used.NrBlocks
	}
	switch {
	case m.Format == "json":
		return newEncoder(env.Stdout).Encode(r)
	case m.NumericOnly.Set:
		return m.number(env.Stdout, r.Bytes, unit)
	}
	fmt.Fprintf(env.Stdout, "restoring %s takes %s %s (%d blocks) at least\n", m.From, size.Number(r.Bytes, unit.Bytes), unit.Name, r.Blocks)
	if used != nil {
		fmt.Fprintf(env.Stdout, "now %d of %d blocks are used: nodes are %.0f %% as full as they can be\n",
			used.NrAllocated, used.NrBlocks, 100*min(1, float64(r.Blocks)/float64(max(used.NrAllocated, 1))))
	}
	return nil
}

// spaceMap is what metadata says of its own use.
type spaceMap = struct{ NrAllocated, NrBlocks uint64 }

// readFrom reads metadata or a dump into v. The space map is nil for a dump.
func (m *MetadataSize) readFrom(env *cli.Env, v metadata.Visitor) (*spaceMap, error) {
	if m.given() || isMetadata(m.From) || cli.IsDisk(m.From) {
		pool, dev, err := m.openPool(env, m.From, m.Snapshot)
		if err != nil {
			return nil, err
		}
		defer dev.Close()
		if err := dump.Run(env, pool, dump.Options{LiveSize: true, Progress: env.Progress}, v); err != nil {
			return nil, damaged(err)
		}
		if m.Snapshot.Set {
			return nil, pool.CheckSnapshotHeld() // what is used now is not the snapshot's alone
		}
		sm := pool.Live.MetadataSpaceMap
		return &spaceMap{sm.NrAllocated, sm.NrBlocks}, nil
	}
	if m.Snapshot.Set {
		return nil, cli.Usagef("--metadata-snap: %s is no metadata", m.From)
	}
	in, err := env.OpenText(m.From)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if err := readText(env, in, v, metadata.Overrides{}, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", m.From, err)
	}
	return nil, nil
}

// isMetadata reports whether a file begins with a superblock or is packed metadata.
func isMetadata(path string) bool {
	if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeType&^os.ModeDevice != 0 {
		return false // what a pipe gives can be read only once
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
