// Package scan, whose API may change, tells what every block of a metadata device is: its kind by
// content, its owners, the number of references to it, and its count in the metadata space map.
//
// Content and owners are determined independently. First, a survey reads the whole device without
// following any pointer. Then the pointers are followed, whatever they point to. A repair by hand
// looks for the places where the two disagree. Blocks with a single flipped bit are followed as
// corrected.
//
// Owners are found without descending into each device. In a sound tree, a single path leads from
// a device to a node. So the number of devices is the sum over the parents, and the lowest ids are
// among the lowest of the parents. Each pointer is followed once, after all pointers to its node.
package scan

import (
	"context"
	"errors"
	"fmt"

	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Options say what to report.
type Options struct {
	Begin, End block.Nr // blocks from Begin to End-1; End 0: to the end
	FaultsOnly bool     // only rows with faults
	// Snapshot reports only the blocks of the metadata snapshot, and block 0, and follows nothing
	// else: the pool may be in use. Counts are unknown then. The caller must make sure that there is a
	// snapshot.
	Snapshot bool
	Parallel int // reads in flight; 0: one per processor
	Progress func(phase string, done, total uint64)
}

// A Summary is about the whole device, whatever part of it was reported.
type Summary struct {
	Blocks uint64 // on the device
	Used   uint64 // blocks used by some tree
	// Superblock says why the owners of blocks are unknown; nil if they are known.
	Superblock error
}

// A BlockKind is the kind of a block, judging by its own content. String names it.
type BlockKind = survey.Kind

// A Row is a sequence of adjacent blocks that are alike in every respect.
type Row struct {
	First      block.Nr
	N          uint64
	Kind       BlockKind // by content; for a damaged block, after the correction
	Checksum   Checksum
	Correction *block.Correction // a change that makes the block valid; nil if there is none
	Self       *block.Nr         // the block that the content claims to be, if another
	Use        Use
	Owners     []Owner
	// Keys are the keys of a node, or of all adjacent nodes together; the keys lost with it; or the
	// blocks that a bitmap counts. nil if there are none.
	Keys    *metadata.KeyRange
	Stored  *uint32 // count in the metadata space map; nil if unknown
	Counted *uint32 // pointers found; nil if the owners are unknown
	Faults  []string
}

// A Checksum tells whether the checksum of a block is right.
type Checksum uint8

// The states of a checksum.
const (
	NoChecksum Checksum = iota // all zero, or unreadable
	RightChecksum
	WrongChecksum
)

// A Use tells what a block is used for.
type Use uint8

// The uses of blocks.
const (
	InUse        Use = iota // some tree uses it
	Free                    // unused, with unknown content
	LeftOver                // free, but with the content of an earlier transaction
	Unowned                 // counted as used, perhaps, but nothing points to it
	Beyond                  // beyond the end of the metadata
	UnknownOwner            // because the superblock is lost
)

var useNames = [...]string{"in use", "free", "left over", "no owner", "beyond the end", "unknown"}

func (u Use) String() string { return useNames[u] }

// A Tree is a part of the metadata that owns blocks.
type Tree uint8

// The parts of the metadata.
const (
	Superblock Tree = iota
	SnapshotSuperblock
	TopLevel
	Details
	Mappings
	DataIndex
	DataBitmap
	DataOverflow
	MetadataIndex
	MetadataBitmap
	MetadataOverflow
	nrTrees
)

var treeNames = [nrTrees]string{
	"superblock", "metadata snapshot", "top level", "device details", "mappings",
	"data index", "data bitmap", "data overflow", "metadata index", "metadata bitmap", "metadata overflow",
}

func (t Tree) String() string { return treeNames[t] }

// An Owner is a tree that uses a block.
type Owner struct {
	Tree     Tree
	Snapshot bool             // the tree belongs to the metadata snapshot
	Devices  uint64           // for Mappings: number of devices
	FirstIDs []metadata.DevID // for Mappings: their lowest ids, at most [MaxIDs]
}

// MaxIDs is the maximum number of devices listed for a block.
const MaxIDs = 4

// errNothing says that there is nothing to scan.
var errNothing = errors.New("no block of the device can be read")

// Sides: the superblock that a block belongs to.
const (
	live = iota
	held // the metadata snapshot's
	sides
)

// A scanner is the state shared by the passes.
type scanner struct {
	opt         Options
	blocks      block.Nr
	limit       block.Nr      // of pointers
	r           *block.Reader // of the device, with flipped bits corrected
	raw         *block.Reader // of the device
	survey      *survey.Survey
	corrections map[block.Nr]block.Correction

	sb      metadata.Superblock
	sbErr   error
	snap    metadata.Superblock
	hasSnap bool

	roles      [][sides]uint16 // by block: one bit for each Tree
	devices    [sides][]devices
	ids        []metadata.DevID // ids that devices refers to
	refs       *spacemap.Counter
	stored     *spacemap.Counts               // nil: unknown
	keys       map[block.Nr]metadata.KeyRange // of bitmaps and of lost nodes
	faults     map[block.Nr][]string          // found while following pointers
	odd        map[block.Nr]oddity            // blocks unknown to the survey
	seen       []uint8                        // by block: the last tree that visited it
	incomplete bool                           // a node and its pointers are lost
}

// Run reports what the blocks of dev are, in order, in as few rows as possible. An error from
// report stops the scan. An error means that the scan could not continue; it never describes the
// metadata.
func Run(ctx context.Context, dev block.Device, opt Options, report func(Row) error) (Summary, error) {
	s := &scanner{opt: opt, blocks: block.Blocks(dev), raw: block.NewReader(dev, opt.Parallel)}
	if opt.End == 0 || opt.End > s.blocks {
		s.opt.End = s.blocks
	}
	if err := s.readAll(ctx, dev); err != nil {
		return Summary{}, err
	}
	if err := s.follow(ctx); err != nil {
		return Summary{}, err
	}
	s.progress("examining unknown blocks")
	if err := s.examineUnknown(ctx); err != nil {
		return Summary{}, err
	}
	sum := Summary{Blocks: uint64(s.blocks), Superblock: s.sbErr}
	for _, roles := range s.roles {
		if roles != [sides]uint16{} {
			sum.Used++
		}
	}
	return sum, s.report(ctx, report)
}

func (s *scanner) progress(phase string) {
	if s.opt.Progress != nil {
		s.opt.Progress(phase, 0, 0)
	}
}

// readAll surveys the device. It provides a view with flipped bits corrected.
func (s *scanner) readAll(ctx context.Context, dev block.Device) error {
	s.progress("surveying the device")
	var err error
	if s.survey, err = survey.Read(ctx, s.raw); err != nil {
		return err
	}
	unreadable := true
	for _, kind := range s.survey.Kinds {
		unreadable = unreadable && kind == survey.Unreadable
	}
	if unreadable {
		var b block.Data
		return errors.Join(errNothing, s.raw.Read(0, &b))
	}
	view := block.NewOverlay(dev, s.raw.Blocks())
	s.corrections = map[block.Nr]block.Correction{}
	for _, m := range s.survey.Corrected {
		view.Put(m.Block, m.Content)
		s.corrections[m.Block] = m.Correction
	}
	s.r = block.NewReader(view, s.opt.Parallel)
	return nil
}

// follow finds the owners of all blocks, and their counts.
func (s *scanner) follow(ctx context.Context) error {
	s.progress("following the trees")
	s.faults, s.keys = map[block.Nr][]string{}, map[block.Nr]metadata.KeyRange{}
	s.limit = s.blocks
	if s.readSuperblock(); s.sbErr != nil {
		return nil
	}
	size := s.sb.MetadataSpaceMap.NrBlocks
	counted := size > 0 && size <= spacemap.MaxMetadata
	if counted {
		s.limit = min(s.limit, block.Nr(size))
	} else {
		s.fault(metadata.SuperblockLocation, "metadata nr_blocks is %d, want 1..%d", size, spacemap.MaxMetadata)
	}
	s.roles, s.seen = make([][sides]uint16, s.blocks), make([]uint8, s.blocks)
	s.refs = spacemap.NewCounter(uint64(s.blocks))
	s.trees()
	if !counted || s.opt.Snapshot {
		return nil
	}
	m, err := spacemap.LoadMetadata(ctx, s.r, s.limit, s.sb.MetadataSpaceMap)
	if err == nil {
		s.stored, err = m.Counts(ctx, uint64(s.blocks))
	}
	return err
}

func (s *scanner) readSuperblock() {
	var b block.Data
	s.sbErr = s.r.Read(metadata.SuperblockLocation, &b)
	switch {
	case s.sbErr != nil:
		s.sbErr = fmt.Errorf("superblock: %w", s.sbErr)
	case b == block.Data{}:
		s.sbErr = metadata.ErrUnformatted
	default:
		if s.sb, s.sbErr = metadata.DecodeSuperblock(metadata.SuperblockLocation, &b); s.sbErr != nil {
			s.sbErr = fmt.Errorf("superblock: %w", s.sbErr)
		}
	}
}

// fault records a fault of the block at nr.
func (s *scanner) fault(nr block.Nr, format string, args ...any) {
	s.faults[nr] = append(s.faults[nr], fmt.Sprintf(format, args...))
}
