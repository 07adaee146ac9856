// Package check finds faults in the metadata of a pool.
//
// It walks everything the superblock reaches, each block once, and counts the references to every
// metadata block and every data block on the way. Then it compares the counts with the space maps.
// A damaged part only costs itself: the check continues and reports every fault it can reach, in
// an order that depends on the metadata alone.
//
// A fault is fatal (the kernel refuses the pool, or data is lost or in danger), non-fatal (waste,
// or harm later) or a note. A pool that worked yesterday must not stay down because of notes:
// leaks from a power cut, wrong counters left by thin_restore 0.9, needs_check.
package check

import (
	"context"
	"fmt"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Options say what to check.
type Options struct {
	Snapshot       bool // only the metadata snapshot; do not compare space maps
	SuperblockOnly bool
	SkipMappings   bool // only the devices, not their mappings or the space maps
	// MappingRoot and DetailsRoot, if not 0, replace the superblock's roots. The space maps cannot be
	// compared then.
	MappingRoot, DetailsRoot block.Nr
	Parallel                 int // reads in flight; 0: one per processor
	// FlagAlone makes [PlanFix] clear needs_check even if there is no room to fix leaks and counters.
	FlagAlone bool
	// Superblock, if not nil, is called once with the live superblock as soon as it is known to be
	// readable, before any fault is reported.
	Superblock func(metadata.Superblock)
	// Mapped, if not nil, is called once after the mappings of all devices were checked. An error from
	// it ends the check. It is not called if the mappings are skipped or cannot be reached.
	Mapped   func(context.Context, Mapped) error
	Progress func(phase string, done, total uint64)
}

// Mapped is the mappings of a pool as read by the check, so that they can be measured without
// reading everything again. None of it may be changed.
type Mapped struct {
	Reader  *block.Reader
	Devices []metadata.Device
	Forest  *metadata.Forest // their mapping trees; the leaves are read
	Counts  Counts
}

// Counts tell how many leaves map each of Len data blocks.
type Counts interface {
	Len() uint64
	Get(dataBlock uint64) uint32
	// Mapped puts the counts of data blocks that are mapped into counts, which is as long.
	Mapped(dataBlocks []uint64, counts []uint32)
}

// A Summary sums up the result of a check.
type Summary struct {
	Fatal, NonFatal, Notes uint64 // faults
	DataLeaks              uint64 // counted but unused data blocks
	MetadataLeaks          uint64
	Devices                uint64
	Mappings               uint64 // of all devices
	DistinctLeaves         uint64 // of all mapping trees
	MetadataBlocks         uint64 // in use
}

// A checker is the state shared by the passes.
type checker struct {
	opt    Options
	out    func(Fault)
	sum    Summary
	r      *block.Reader
	block0 block.Data
	around *surroundings // nil: not read yet
	live   metadata.Superblock
	limit  block.Nr // of usable block numbers

	top, details *btree.Forest
	topRoots     map[int][]btree.Child   // by leaf of top: devices and roots
	detailsOf    map[int][]deviceDetails // by leaf of details
	maps         *btree.Forest           // mapping trees of all devices
	timeLimit    uint32                  // for mappings
	data         *spacemap.Counter       // references to data blocks
	refs         *spacemap.Counter       // references to metadata blocks
	dataMap      *spacemap.Map
	metadataMap  *spacemap.Map
	dataDiff     *spacemap.Comparison // of dataMap with data
	metadataDiff *spacemap.Comparison // of metadataMap with refs
	fixable      []Fixed
	hazard       hazard
	late         []Fault // times above the superblock's, which a later one may cover
	compared     bool    // the space maps were compared with the counts
	damaged      bool    // a tree is damaged: counts are lower bounds
}

// Run checks everything dev's superblock reaches. It calls report for each fault, from one
// goroutine, in the order of trees and keys. An error means that the check could not continue; it
// never describes the metadata.
func Run(ctx context.Context, dev block.Device, opt Options, report func(Fault)) (Summary, error) {
	c := newChecker(dev, opt, report)
	err := c.run(ctx, dev)
	return c.sum, err
}

func newChecker(dev block.Device, opt Options, report func(Fault)) *checker {
	return &checker{opt: opt, out: report, r: block.NewReader(dev, opt.Parallel)}
}

// report counts and reports a fault.
func (c *checker) report(f Fault) {
	c.count(f)
	c.out(f)
}

func (c *checker) count(f Fault) {
	switch {
	case f.Fixable():
		c.noteFixable(f)
	case f.newest > 0:
		c.late = append(c.late, f)
	}
	switch f.Severity {
	case Fatal:
		c.sum.Fatal++
	case NonFatal:
		c.sum.NonFatal++
	default:
		c.sum.Notes++
	}
	switch f.Code {
	case DataLeak:
		c.sum.DataLeaks += f.Counts.N
	case MetadataLeak:
		c.sum.MetadataLeaks += f.Counts.N
	}
}

// A view is the pool as seen by one superblock, and where its faults are reported.
type view struct {
	name   string // "" for the checked pool; otherwise included in its faults
	report func(Fault)
}

// part names a part of the pool.
func (v view) part(name string) string {
	if v.name == "" {
		return name
	}
	return v.name + ", " + name
}

// run runs the passes in order. Each leaves facts for the later ones.
func (c *checker) run(ctx context.Context, dev block.Device) error {
	sb, ok, err := c.checkSuperblock(ctx, dev)
	if err != nil || !ok || c.opt.SuperblockOnly {
		return err
	}
	v := view{report: c.report}
	if c.opt.Snapshot {
		if sb, ok = c.snapshotSuperblock(v); !ok {
			return nil
		}
		return c.checkAsked(ctx, sb, v)
	}
	var late []Fault // report a bad snapshot after everything else
	defer func() {
		for _, f := range late {
			c.report(f)
		}
	}()
	held := view{"metadata snapshot", func(f Fault) { late = append(late, f) }}
	snap, hasSnapshot := c.snapshotSuperblock(held)
	if err := c.checkAsked(ctx, sb, v); err != nil {
		return err
	}
	if c.opt.SkipMappings || c.opt.MappingRoot != 0 || c.opt.DetailsRoot != 0 {
		return nil
	}
	if hasSnapshot {
		if err := c.checkPool(ctx, snap, held); err != nil {
			return err
		}
	}
	return c.checkSpaceMaps(ctx)
}

// checkAsked checks the pool of sb with the roots from the options.
func (c *checker) checkAsked(ctx context.Context, sb metadata.Superblock, v view) error {
	c.timeLimit = min(sb.Time, metadata.MaxTime)
	if c.opt.MappingRoot != 0 {
		sb.MappingRoot = c.opt.MappingRoot
	}
	if c.opt.DetailsRoot != 0 {
		sb.DetailsRoot = c.opt.DetailsRoot
	}
	return c.checkPool(ctx, sb, v)
}

// checkSuperblock checks block 0. It returns false if nothing else can be checked.
func (c *checker) checkSuperblock(ctx context.Context, dev block.Device) (metadata.Superblock, bool, error) {
	b := &c.block0
	if err := c.r.Read(metadata.SuperblockLocation, b); err != nil {
		return c.live, false, fmt.Errorf("superblock: %w", err)
	}
	if *b == (block.Data{}) {
		return c.live, false, c.badBlock0(ctx, nil)
	}
	sb, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, b)
	c.live = sb
	if err != nil {
		return sb, false, c.badBlock0(ctx, err)
	}
	if c.opt.Superblock != nil && !(c.opt.Snapshot && !c.snapshotUsable()) {
		c.opt.Superblock(sb)
	}
	c.checkHeader(&sb, b, c.report)
	nr := sb.MetadataSpaceMap.NrBlocks
	if nr == 0 || nr > spacemap.MaxMetadata {
		c.report(superblockFault(sb.Block, SuperblockDamaged, Fatal, "metadata nr_blocks is %d, want 1..%d", nr, spacemap.MaxMetadata))
		return sb, false, nil
	}
	if have := c.r.Blocks(); nr > uint64(have) {
		severity := Fatal
		if c.opt.SuperblockOnly { // the superblock is fine, and only that was asked for
			severity = Note
		}
		c.report(superblockFault(sb.Block, DeviceTooSmall, severity, "the metadata covers %d blocks, but the device has only %d", nr, have))
	}
	if dev.Size()%block.Size != 0 {
		c.report(superblockFault(sb.Block, RaggedEnd, Note, "the device has %d bytes, which is not a multiple of %d", dev.Size(), block.Size))
	}
	if sb.MetadataNrBlocks > nr {
		c.report(superblockFault(sb.Block, SizeOdd, Note, "metadata_nr_blocks is %d, but the space map covers only %d", sb.MetadataNrBlocks, nr))
	}
	c.limit = min(block.Nr(nr), c.r.Blocks())
	return sb, true, nil
}

// checkHeader checks the fields of any superblock, including the snapshot's.
func (c *checker) checkHeader(sb *metadata.Superblock, b *block.Data, report func(Fault)) {
	fault := func(code Code, s Severity, format string, args ...any) {
		report(superblockFault(sb.Block, code, s, format, args...))
	}
	if sb.Version != 1 && sb.Version != 2 {
		fault(VersionUnknown, NonFatal, "version is %d, want 1 or 2", sb.Version)
	}
	if sb.IncompatFlags != 0 {
		fault(FeaturesUnknown, Fatal, "unknown incompatible features %#x", sb.IncompatFlags)
	}
	if sb.CompatROFlags != 0 {
		fault(FeaturesUnknown, Fatal, "unknown read-only compatible features %#x: the metadata must not be written to", sb.CompatROFlags)
	}
	if sb.CompatFlags != 0 {
		fault(FeaturesUnknown, Note, "unknown compatible features %#x", sb.CompatFlags)
	}
	if err := metadata.CheckDataBlockSize(uint64(sb.DataBlockSize)); err != nil {
		fault(BlockSizeInvalid, Fatal, "%w", err)
	}
	if sb.MetadataBlockSize != metadata.MetadataBlockSize {
		fault(MetaBlockSizeOdd, NonFatal, "metadata_block_size is %d sectors, want %d", sb.MetadataBlockSize, metadata.MetadataBlockSize)
	}
	if sb.Flags&metadata.NeedsCheck != 0 && sb.Block == metadata.SuperblockLocation {
		fault(NeedsCheckSet, Note, "needs_check is set: the kernel keeps the pool read-only until the flag is cleared")
	}
	if odd := sb.Flags &^ metadata.NeedsCheck; odd != 0 {
		fault(FlagsUnknown, Note, "unknown flags %#x", odd)
	}
	if sb.Time > metadata.MaxTime {
		fault(TimeTooHigh, NonFatal, "time is %d, but mappings can hold at most %d", sb.Time, metadata.MaxTime)
	}
	if at := metadata.NonZeroTail(b); at >= 0 {
		fault(TailNotZero, Note, "block %d, byte %#x: unused, but not zero", sb.Block, at)
	}
}

// superblockFault returns a fault of the superblock at nr.
func superblockFault(nr block.Nr, code Code, s Severity, format string, args ...any) Fault {
	tree := "superblock"
	if nr != metadata.SuperblockLocation {
		tree = fmt.Sprintf("metadata snapshot, block %d", nr)
	}
	return Fault{Code: code, Severity: s, Tree: tree, Block: &nr, Err: fmt.Errorf(format, args...)}
}

// snapshotUsable reports whether the metadata snapshot has a valid superblock.
func (c *checker) snapshotUsable() bool {
	var b block.Data
	if c.live.HeldRoot == 0 || c.r.Read(c.live.HeldRoot, &b) != nil {
		return false
	}
	_, err := metadata.DecodeSuperblock(c.live.HeldRoot, &b)
	return err == nil
}

// snapshotSuperblock checks the superblock of the metadata snapshot; false if there is no usable
// one.
func (c *checker) snapshotSuperblock(v view) (metadata.Superblock, bool) {
	const tree = "metadata snapshot"
	held := c.live.HeldRoot
	fault := func(code Code, s Severity, err error) {
		v.report(Fault{Code: code, Severity: s, Tree: tree, Block: &held, Err: err})
	}
	if held == 0 {
		if c.opt.Snapshot {
			v.report(Fault{Code: SnapshotMissing, Severity: Fatal, Err: metadata.ErrNoSnapshot})
		}
		return metadata.Superblock{}, false
	}
	var b block.Data
	var sb metadata.Superblock
	err := error(&btree.PointerError{Child: uint64(held), Limit: c.limit})
	if held < c.limit {
		err = c.r.Read(held, &b)
	}
	if err == nil {
		sb, err = metadata.DecodeSuperblock(held, &b)
	}
	if err != nil {
		c.damaged = true
		fault(SnapshotDamaged, Fatal, err)
		return sb, false
	}
	if sb.HeldRoot != 0 || sb.DataSpaceMap != (spacemap.Root{}) || sb.MetadataSpaceMap != (spacemap.Root{}) {
		fault(SnapshotOdd, NonFatal, fmt.Errorf("block %d: the copy of the superblock has space maps or a snapshot of its own", held))
	}
	c.checkHeader(&sb, &b, v.report)
	return sb, true
}

func (c *checker) progress(phase string, done, total uint64) {
	if c.opt.Progress != nil {
		c.opt.Progress(phase, done, total)
	}
}
