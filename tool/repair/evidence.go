package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A super is the content of block 0.
type super struct {
	metadata.Superblock
	err error // why it cannot be used; the fields of a damaged one are still set
}

// readSuper reads block 0.
func readSuper(m *medium, o *metadata.Overrides) super {
	var b block.Data
	if err := m.r.Read(metadata.SuperblockLocation, &b); err != nil {
		return super{err: err}
	}
	var s super
	s.Superblock, s.err = metadata.DecodeSuperblock(metadata.SuperblockLocation, &b)
	switch {
	case b == (block.Data{}):
		s.err = metadata.ErrUnformatted
	case s.err != nil:
	case s.IncompatFlags != 0:
		s.err = fmt.Errorf("unknown incompatible features %#x: %w", s.IncompatFlags, block.ErrCorrupt)
	case metadata.CheckDataBlockSize(uint64(s.DataBlockSize)) != nil && o.DataBlockSize == nil:
		s.err = fmt.Errorf("data_block_size is %d sectors: %w", s.DataBlockSize, block.ErrCorrupt)
	}
	return s
}

// limit returns the limit of block numbers in the metadata that s points to.
func (s *super) limit(blocks block.Nr) block.Nr {
	if nr := s.MetadataSpaceMap.NrBlocks; s.err == nil && nr > 0 && nr <= spacemap.MaxMetadata {
		return min(blocks, block.Nr(nr))
	}
	return blocks
}

// evidence is what a damaged device shows before any choice is made. All of it was read from the
// device; the only changes in the overlay so far are corrections proven by checksums.
type evidence struct {
	*medium
	super       super
	limit       block.Nr // of block numbers in metadata
	survey      *survey.Survey
	copies      []metadata.Superblock // valid superblocks of metadata snapshots, including past ones
	generations []*generation
	brokenMaps  []block.Nr                     // index blocks with unreadable bitmaps
	byKind      map[survey.Kind][]*survey.Node // nodes by the kind of leaves below them
	parents     []*survey.Node                 // nodes with children
	invalid     []uint64                       // one bit per block: the invalid ones
	corrections []block.Correction
	notes       []string
}

func (e *evidence) note(format string, args ...any) {
	e.notes = append(e.notes, fmt.Sprintf(format, args...))
}

// noteOnce adds a note unless it was already added.
func (e *evidence) noteOnce(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(e.notes, text) {
		e.notes = append(e.notes, text)
	}
}

// gather surveys the whole device.
func gather(ctx context.Context, m *medium, o *metadata.Overrides) (*evidence, error) {
	e := &evidence{medium: m}
	var err error
	if e.survey, err = survey.Read(ctx, m.r); err != nil {
		return nil, err
	}
	for _, c := range e.survey.Corrected {
		m.overlay.Put(c.Block, c.Content)
		e.corrections = append(e.corrections, c.Correction)
		e.note("block %d: %v; corrected, it is a valid %v", c.Block, c.Correction, c.Kind)
	}
	moved := e.replaceMisplaced()
	m.reopen()
	if moved {
		// Without them, the blocks they point to may be misread.
		if e.survey, err = survey.Read(ctx, m.r); err != nil {
			return nil, err
		}
	}
	e.super = readSuper(m, o)
	if errors.Is(e.super.err, metadata.ErrUnformatted) && len(e.survey.Nodes) > 0 {
		e.super.err = errZeroed // there are nodes, so it was written once
	}
	e.limit = e.super.limit(m.blocks)
	for nr := 1; nr < len(e.survey.Kinds); nr++ {
		var b block.Data
		if e.survey.Kinds[nr] != survey.Superblock || m.r.Read(block.Nr(nr), &b) != nil {
			continue
		}
		if sb, err := metadata.DecodeSuperblock(block.Nr(nr), &b); err == nil {
			e.copies = append(e.copies, sb)
		}
	}
	e.listNodesByKind()
	e.invalid = make([]uint64, m.blocks/64+1)
	for nr := range m.blocks {
		e.invalid[nr/64] |= uint64(boolToInt(!e.valid(nr))) << (nr % 64)
	}
	e.generations = e.findGenerations()
	return e, ctx.Err()
}

// listNodesByKind lists the nodes by the kind of leaves below them.
func (e *evidence) listNodesByKind() {
	e.byKind = map[survey.Kind][]*survey.Node{}
	for i := range e.survey.Nodes {
		n := &e.survey.Nodes[i]
		kind := e.survey.Subtree(n.Block).Kind
		e.byKind[kind] = append(e.byKind[kind], n)
		if n.Kind == survey.Inner || n.Kind == survey.TopLeaf {
			e.parents = append(e.parents, n)
		}
	}
}

// replaceMisplaced puts misplaced blocks where they belong, if nothing valid is there. Two
// different blocks for one place cancel each other out.
func (e *evidence) replaceMisplaced() bool {
	const most = 4096 // more than this: the image does not start where the device does
	all := e.survey.Misplaced
	if len(all) > most {
		e.note("%d blocks are in each other's place: does the image start where the metadata starts?", len(all))
		return false
	}
	right := map[block.Nr]*block.Data{} // read all before replacing the first
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Block == all[0].Block {
			n++
		}
		same := all[:n]
		all = all[n:]
		content, ok := e.sameContent(same)
		if !ok {
			continue
		}
		right[same[0].Block] = content
		e.note("block %d: its content was found in block %d, which says it is block %d", same[0].Block, same[0].At, same[0].Block)
	}
	for nr, content := range right {
		e.overlay.Put(nr, content)
	}
	return len(right) > 0
}

// sameContent returns the content of misplaced blocks; false if they differ.
func (e *evidence) sameContent(same []survey.Misplaced) (*block.Data, bool) {
	var content, other block.Data
	if e.r.Read(same[0].At, &content) != nil {
		return nil, false
	}
	for _, m := range same[1:] {
		if e.r.Read(m.At, &other) != nil || other != content {
			return nil, false
		}
	}
	return &content, true
}

// hasMappings reports whether there are any mappings on the device, of whatever device.
func (e *evidence) hasMappings() bool {
	for i := range e.survey.Nodes {
		if n := &e.survey.Nodes[i]; n.Kind == survey.MappingLeaf && n.N > 0 {
			return true
		}
	}
	return false
}

// generation returns the generation with the given index block; nil if there is none.
func (e *evidence) generation(index block.Nr) *generation {
	for _, g := range e.generations {
		if g.index == index {
			return g
		}
	}
	return nil
}

// blockSize returns the data block size for a lost superblock, and where it was found.
func (e *evidence) blockSize(opt *Options) (sectors uint32, from string, err error) {
	if o := opt.Overrides.DataBlockSize; o != nil {
		return uint32(*o), "", nil
	}
	if p := opt.LVM; p != nil && metadata.CheckDataBlockSize(p.ChunkSize) == nil {
		return uint32(p.ChunkSize), "LVM's metadata", nil
	}
	for i := range e.copies {
		if c := &e.copies[i]; metadata.CheckDataBlockSize(uint64(c.DataBlockSize)) == nil {
			return c.DataBlockSize, fmt.Sprintf("the metadata snapshot in block %d", c.Block), nil
		}
	}
	if s := &e.super; s.Magic == metadata.Magic && metadata.CheckDataBlockSize(uint64(s.DataBlockSize)) == nil {
		return 0, "", fmt.Errorf("%w. The damaged superblock says %d sectors, which may be wrong (%w)", ErrNoBlockSize, s.DataBlockSize, s.err)
	}
	return 0, "", fmt.Errorf("%w (%w)", ErrNoBlockSize, e.super.err)
}

// checkUsable returns an error if nothing on the device can be part of a pool.
func (e *evidence) checkUsable() error {
	if e.super.err == nil || len(e.survey.Roots(survey.TopLeaf)) > 0 || len(e.survey.Roots(survey.MappingLeaf)) > 0 {
		return nil
	}
	if errors.Is(e.super.err, metadata.ErrUnformatted) {
		return e.super.err // nothing was ever here
	}
	return fmt.Errorf("%w: the superblock cannot be used (%w), and nothing on the device looks like a mapping tree", ErrNoRoots, e.super.err)
}

var errZeroed = fmt.Errorf("block 0 is all zero: %w", block.ErrCorrupt)

// valid reports whether a block is valid, of any kind.
func (e *evidence) valid(nr block.Nr) bool {
	switch e.survey.Kinds[nr] {
	case survey.Unreadable, survey.Empty, survey.Unknown:
		return false
	}
	return true
}
