// Package scan, whose API may change, says what every block of a metadata device is: what its content
// makes it, who leads to it, how often, and how often the metadata space map says.
//
// Content and owners are found independently of each other: a survey reads the whole
// device without following a pointer, then the pointers are followed without asking
// what they ought to lead to. Where the two disagree is what a repair by hand looks
// for. Blocks with a single flipped bit are followed as they should be.
//
// Owners are named without descending into each device. In a sound tree one path leads from a device to
// a node, so the number of devices is the sum over the parents, and the lowest ids are among the
// lowest of the parents. Each pointer is followed once, after all that lead to its node.
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
	Begin, End block.Nr // blocks from Begin up to but not including End; 0: to the end
	FaultsOnly bool     // rows with faults only
	// Snapshot reports what the metadata snapshot is made of, and block 0, and follows nothing
	// else: the pool may be in use. Counts are then not known. Who asks makes sure that there is one.
	Snapshot bool
	Parallel int // reads in flight; 0: one a processor
	Progress func(phase string, done, total uint64)
}

// A Summary is about the whole device, whatever part of it was reported.
type Summary struct {
	Blocks uint64 // on the device
	Used   uint64 // that some tree leads to
	// Superblock says why the owners of blocks are not known; nil if they are.
	Superblock error
}

// A BlockKind says what a block is, as far as its own content tells; String names it.
type BlockKind = survey.Kind

// A Row is adjacent blocks that are alike in every respect.
type Row struct {
	First      block.Nr
	N          uint64
	Kind       BlockKind // by content; of a damaged block, what it is once put right
	Checksum   Checksum
	Correction *block.Correction // the change that makes the block valid, if there is one
	Self       *block.Nr         // which block the content says to be, if that is another
	Use        Use
	Owners     []Owner
	// Keys are those of a node's entries, of all adjacent nodes together, or those
	// that are lost with it; the blocks that a bitmap counts; nil if there are none.
	Keys    *metadata.KeyRange
	Stored  *uint32 // in the metadata space map; nil if it cannot be known
	Counted *uint32 // pointers that were found; nil if the owners are not known
	Faults  []string
}

// A Checksum says whether the checksum of a block is right.
type Checksum uint8

// Whether a checksum is right.
const (
	NoChecksum Checksum = iota // all zero, or unreadable
	RightChecksum
	WrongChecksum
)

// A Use says what a block is used for.
type Use uint8

// The uses of blocks.
const (
	InUse        Use = iota // some tree leads to it
	Free                    // of no use, and of no known content
	LeftOver                // free, but with the content of an earlier transaction
	Unowned                 // counted as used, or perhaps; but nothing leads to it
	Beyond                  // beyond the end of the metadata
	UnknownOwner            // as the superblock is lost
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

// An Owner is a tree that leads to a block.
type Owner struct {
	Tree     Tree
	Snapshot bool             // the tree is that of the metadata snapshot
	Devices  uint64           // of Mappings: how many devices
	FirstIDs []metadata.DevID // of Mappings: the least ids of them, at most [MaxIDs]
}

// MaxIDs is how many devices of a block are named.
const MaxIDs = 4

// errNothing says that there is nothing to be scanned.
var errNothing = errors.New("no block of the device can be read")

// Sides: which superblock leads to a block.
const (
	live = iota
	held // that of the metadata snapshot
	sides
)

// scanner is the state that the passes share.
type scanner struct {
	ctx         context.Context
	opt         Options
	blocks      block.Nr
	limit       block.Nr      // of pointers
	r           *block.Reader // of the device, with flipped bits put right
	raw         *block.Reader // of the device
	survey      *survey.Survey
	corrections map[block.Nr]block.Correction

	sb      metadata.Superblock
	sbErr   error
	snap    metadata.Superblock
	hasSnap bool

	roles      [][sides]uint16 // by block: a bit for each Tree
	devices    [sides][]devices
	ids        []metadata.DevID // what devices refer to
	refs       *spacemap.Counter
	stored     *spacemap.Counts               // nil: not known
	keys       map[block.Nr]metadata.KeyRange // of bitmaps and of lost nodes
	faults     map[block.Nr][]string          // found while following pointers
	odd        map[block.Nr]oddity            // blocks that the survey does not know
	seen       []uint8                        // by block: the last tree that ordered it
	incomplete bool                           // a node is lost, and pointers with it
}

// Run reports what the blocks of dev are, in their order, as few rows as possible.
// An error of report ends it. The error says that the scan could not go on; it never
// describes the metadata.
func Run(ctx context.Context, dev block.Device, opt Options, report func(Row) error) (Summary, error) {
	s := &scanner{ctx: ctx, opt: opt, blocks: block.Blocks(dev), raw: block.NewReader(dev, opt.Parallel)}
	if opt.End == 0 || opt.End > s.blocks {
		s.opt.End = s.blocks
	}
	if err := s.readAll(dev); err != nil {
		return Summary{}, err
	}
	if err := s.follow(); err != nil {
		return Summary{}, err
	}
	s.progress("examining unknown blocks")
	if err := s.examineUnknown(); err != nil {
		return Summary{}, err
	}
	sum := Summary{Blocks: uint64(s.blocks), Superblock: s.sbErr}
	for _, roles := range s.roles {
		if roles != [sides]uint16{} {
			sum.Used++
		}
	}
	return sum, s.report(report)
}

func (s *scanner) progress(phase string) {
	if s.opt.Progress != nil {
		s.opt.Progress(phase, 0, 0)
	}
}

// readAll surveys the device. It leaves a view of it on which flipped bits are put
// right.
func (s *scanner) readAll(dev block.Device) error {
	s.progress("surveying the device")
	var err error
	if s.survey, err = survey.Read(s.ctx, s.raw); err != nil {
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
func (s *scanner) follow() error {
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
	m, err := spacemap.LoadMetadata(s.ctx, s.r, s.limit, s.sb.MetadataSpaceMap)
	if err == nil {
		s.stored, err = m.Counts(s.ctx, uint64(s.blocks))
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

// fault notes what is wrong with the block at nr.
func (s *scanner) fault(nr block.Nr, format string, args ...any) {
	s.faults[nr] = append(s.faults[nr], fmt.Sprintf(format, args...))
}
