// Package write writes new, complete metadata from the description of a pool.
//
// A [Builder] is a metadata.Visitor. It keeps the description in a compact form, so that it can
// tell how many blocks the metadata needs before it writes the first one. Trees come out optimal:
// leaves and nodes are full, blocks of a device are in a row, and what the description shares is
// shared.
//
// # Restore in two steps
//
// First, the whole description is read. It takes four bytes for a mapping that does not continue
// another one, and next to nothing for one that does. Then the size is known. Block 0 is
// invalidated and flushed, everything else is written and flushed, and the new superblock is
// written and flushed. An interruption at any point leaves a complete superblock, or one that the
// kernel refuses.
package write

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Options for [New].
type Options struct {
	Parallel int          // goroutines; 0: one per processor
	Note     func(string) // called for each correction, if not nil
	Progress func(phase string, done, total uint64)
}

// A Builder builds metadata from the calls of a metadata.Visitor. End plans everything; then
// [Builder.Needed] tells how large the metadata is, and [Builder.Write] writes it.
type Builder struct {
	opt     Options
	header  metadata.Header
	store   store
	names   metadata.Names // of defs: index in defs, -1: empty
	defs    []def
	devices []device
	ids     metadata.DevIDSet
	trees   []tree         // distinct ones
	all     []span         // of all trees
	byShape map[string]int // index in trees, by their leaves; only those with leaves of defs
	empty   int            // 1 + index of the tree with the shared empty leaf; 0: none yet
	above   uint64         // internal nodes of all trees

	stage    stage
	name     string // of the current def
	id       metadata.DevID
	details  metadata.Details
	spans    []span             // of the current device, before own
	shares   bool               // it refers to a def, even an empty one
	own      stretch            // mappings of the def, or only of the device
	mapped   uint64             // mappings of the current def or device
	next     metadata.ThinBlock // lowest allowed thin block
	full     bool               // the highest thin block was used: none may follow
	highest  uint64             // highest data block used, plus 1
	lastTime uint32

	plan plan
}

type stage int

const (
	start stage = iota
	idle
	inDef
	inDevice
	ended
)

// A span is a sequence of adjacent leaves of the store.
type span struct{ from, n uint32 }

// A def is the leaves of a named def.
type def struct {
	span
	first, last metadata.ThinBlock
	mapped      uint64
}

// emptyDef is the number of all defs without mappings.
const emptyDef = -1

type device struct {
	id      metadata.DevID
	details metadata.Details
	tree    int
}

// A tree is a mapping tree to be written. Devices with the same leaves share it.
type tree struct {
	from, n uint32 // spans in Builder.all
	leaves  uint32
	devices uint32 // devices that use it
}

// spansOf returns the spans of a tree.
func (b *Builder) spansOf(t tree) []span { return b.all[t.from : t.from+t.n] }

// errOrder says that the calls did not come in the order of metadata.Visitor.
var errOrder = errors.New("calls out of order")

// New returns an empty Builder.
func New(opt Options) *Builder {
	return &Builder{opt: opt, byShape: map[string]int{}}
}

// Begin implements metadata.Visitor.
func (b *Builder) Begin(h metadata.Header) error {
	if b.stage != start {
		return errOrder
	}
	if h.NrDataBlocks > metadata.MaxDataBlocks {
		return fmt.Errorf("%d data blocks are more than the format allows", h.NrDataBlocks)
	}
	if err := metadata.CheckDataBlockSize(uint64(h.DataBlockSize)); err != nil {
		return err
	}
	b.header, b.stage = h, idle
	return nil
}

// BeginDef implements metadata.Visitor.
func (b *Builder) BeginDef(name string) error {
	if b.stage != idle {
		return errOrder
	}
	b.stage, b.name = inDef, name
	b.beginContent()
	return nil
}

func (b *Builder) beginContent() {
	b.spans, b.shares, b.own = b.spans[:0], false, b.store.newStretch()
	b.next, b.full, b.mapped = 0, false, 0
}

// EndDef implements metadata.Visitor.
func (b *Builder) EndDef() error {
	if b.stage != inDef {
		return errOrder
	}
	b.stage = idle
	if b.mapped == 0 {
		b.names.Set(b.name, emptyDef)
		return nil
	}
	leaves := b.endOwn()
	b.names.Set(b.name, int32(len(b.defs)))
	b.defs = append(b.defs, def{leaves, b.store.leaves[leaves.from].first, b.next - 1, b.mapped})
	return nil
}

// endOwn ends the current stretch and returns its leaves.
func (b *Builder) endOwn() span {
	b.own.end()
	s := span{uint32(b.own.from), uint32(len(b.store.leaves) - b.own.from)}
	b.own = b.store.newStretch()
	return s
}

// BeginDevice implements metadata.Visitor.
func (b *Builder) BeginDevice(id metadata.DevID, d metadata.Details) error {
	switch {
	case b.stage != idle:
		return errOrder
	case !b.ids.Add(id):
		return fmt.Errorf("device %d appears twice", id)
	}
	b.stage, b.id, b.details = inDevice, id, d
	b.beginContent()
	return nil
}

// Ref implements metadata.Visitor.
func (b *Builder) Ref(name string) error {
	number, ok := b.names.Get(name)
	var d def
	if ok && number != emptyDef {
		d = b.defs[number]
	}
	switch {
	case b.stage != inDevice:
		return errOrder
	case !ok:
		return fmt.Errorf("device %d refers to %q, which is not defined before it", b.id, name)
	case d.mapped == 0: // an empty leaf is only kept if it is the only one
		b.shares = b.shares || b.mapped == 0
		return nil
	case b.full || d.first < b.next:
		return fmt.Errorf("device %d: def %q starts at thin block %d, before the end of the previous range", b.id, name, d.first)
	}
	if err := b.absorbFirst(); err != nil {
		return err
	}
	b.mapped += d.mapped
	b.next, b.full = d.last+1, d.last+1 == 0
	return b.attach(d.span)
}

// attach appends the leaves of a def to the device. If the device has own mappings, but too few
// for a leaf, they absorb a copy of the def's next leaf. So does a def too small to stand beside
// other leaves.
func (b *Builder) attach(s span) error {
	alone := len(b.spans) == 0 && b.own.entries() == 0
	for s.n > 0 && (b.hasFewOwn() || !alone && b.isTooSmall(s)) {
		if err := b.copyLeaf(int(s.from)); err != nil {
			return err
		}
		s.from, s.n = s.from+1, s.n-1
	}
	if s.n == 0 {
		return nil
	}
	if own := b.endOwn(); own.n > 0 {
		b.spans = append(b.spans, own)
	}
	b.spans, b.shares = append(b.spans, s), true
	return nil
}

// hasFewOwn reports whether the device has own mappings, but too few for a leaf.
func (b *Builder) hasFewOwn() bool {
	n := b.own.entries()
	return n > 0 && n < leastFill
}

// isTooSmall reports whether s is a single leaf too small to stand beside others. All leaves of a
// larger def are at least half full.
func (b *Builder) isTooSmall(s span) bool {
	return s.n == 1 && b.store.leaves[s.from].n < leastFill
}

// absorbFirst copies a small def into the device's own mappings. It was the only content so far,
// and now there is more.
func (b *Builder) absorbFirst() error {
	if len(b.spans) != 1 || b.own.entries() > 0 || !b.isTooSmall(b.spans[0]) {
		return nil
	}
	i := int(b.spans[0].from)
	b.spans = b.spans[:0]
	return b.copyLeaf(i)
}

// copyLeaf adds the mappings of a leaf to the device's own.
func (b *Builder) copyLeaf(i int) error {
	for r := range b.store.runs(i) {
		if err := b.addRun(r); err != nil {
			return err
		}
	}
	return nil
}

func (b *Builder) addRun(r metadata.Run) error {
	// Each leaf takes a block, so there are never more leaves than blocks.
	if r.Len/leafEntries+uint64(len(b.store.leaves)) > spacemap.MaxMetadata {
		return fmt.Errorf("%d mappings and more: %w", r.Len, errTooLarge)
	}
	b.own.add(r)
	return nil
}

var errTooLarge = fmt.Errorf("too large for any metadata device: the limit is %d blocks (15.875 GiB)", spacemap.MaxMetadata)

// Runs implements metadata.Visitor.
func (b *Builder) Runs(runs []metadata.Run) error {
	if b.stage != inDef && b.stage != inDevice {
		return errOrder
	}
	if len(runs) > 0 && len(b.spans) > 0 {
		if err := b.absorbFirst(); err != nil {
			return err
		}
	}
	limit := b.header.NrDataBlocks
	if limit == 0 {
		limit = metadata.MaxDataBlocks
	}
	for _, r := range runs {
		if r.Len == 0 {
			continue
		}
		if err := b.checkRun(r, limit); err != nil {
			return err
		}
		if err := b.addRun(r); err != nil {
			return err
		}
		b.mapped += r.Len
		b.next = r.Thin + metadata.ThinBlock(r.Len)
		b.full = b.next == 0
		b.highest = max(b.highest, uint64(r.Data)+r.Len)
		b.lastTime = max(b.lastTime, r.Time)
	}
	return nil
}

func (b *Builder) checkRun(r metadata.Run, limit uint64) error {
	switch {
	case b.full || r.Thin < b.next:
		return fmt.Errorf("%s: thin block %d follows %d, but thin blocks must be in ascending order", b.where(), r.Thin, b.next-1)
	case uint64(r.Thin)+r.Len-1 < uint64(r.Thin):
		return fmt.Errorf("%s: thin block %d and %d more: more than the format allows", b.where(), r.Thin, r.Len-1)
	case uint64(r.Data) >= limit || r.Len > limit-uint64(r.Data):
		return fmt.Errorf("%s: data block %d is beyond the data device", b.where(), uint64(r.Data)+r.Len-1)
	case r.Time > metadata.MaxTime:
		return fmt.Errorf("%s: time %d is above %d", b.where(), r.Time, metadata.MaxTime)
	}
	return nil
}

func (b *Builder) where() string {
	if b.stage == inDef {
		return fmt.Sprintf("def %q", b.name)
	}
	return fmt.Sprintf("device %d", b.id)
}

// EndDevice implements metadata.Visitor.
func (b *Builder) EndDevice() error {
	if b.stage != inDevice {
		return errOrder
	}
	b.stage = idle
	if err := b.finishContent(); err != nil {
		return err
	}
	b.details.MappedBlocks = b.mapped
	b.lastTime = max(b.lastTime, b.details.CreationTime, b.details.SnapshottedTime)
	tree, err := b.share()
	b.devices = append(b.devices, device{b.id, b.details, tree})
	return err
}

// finishContent ends the content of a device. If too few own mappings for a leaf are left at the
// end, they absorb the leaf before them.
func (b *Builder) finishContent() error {
	if b.hasFewOwn() && len(b.spans) > 0 {
		if err := b.prepend(); err != nil {
			return err
		}
	}
	if b.mapped == 0 && !(b.shares && b.empty > 0) {
		b.own.closeLeaf()
	}
	if own := b.endOwn(); own.n > 0 {
		b.spans = append(b.spans, own)
	}
	return nil
}

// prepend removes the last leaf before the current stretch, which is too small for a leaf, and
// puts a copy of its mappings in front.
func (b *Builder) prepend() error {
	tail := b.own.open
	b.own = b.store.newStretch()
	last := &b.spans[len(b.spans)-1]
	end := last.from + last.n - 1
	if last.n--; last.n == 0 {
		b.spans = b.spans[:len(b.spans)-1]
	}
	if err := b.copyLeaf(int(end)); err != nil {
		return err
	}
	for _, r := range tail {
		if err := b.addRun(r); err != nil {
			return err
		}
	}
	return nil
}

// share returns the tree of the current device: a new one, or that of another device with the same
// leaves.
func (b *Builder) share() (int, error) {
	i := len(b.trees)
	switch {
	case b.shares && b.mapped == 0: // one leaf for all devices with only empty defs
		if b.empty == 0 {
			b.empty = i + 1
		}
		i = b.empty - 1
	case b.shares:
		var shape []byte
		for _, s := range b.spans {
			shape = binary.AppendUvarint(binary.AppendUvarint(shape, uint64(s.from)), uint64(s.n))
		}
		if known, ok := b.byShape[string(shape)]; ok {
			i = known
		} else {
			b.byShape[string(shape)] = i
		}
	}
	if i == len(b.trees) {
		b.addTree()
	}
	b.trees[i].devices++
	if uint64(len(b.store.leaves))+b.above > spacemap.MaxMetadata {
		return i, errTooLarge
	}
	return i, nil
}

// addTree adds the tree of the current device and returns its index.
func (b *Builder) addTree() int {
	t := tree{from: uint32(len(b.all)), n: uint32(len(b.spans))}
	b.all = append(b.all, b.spans...)
	for _, s := range b.spans {
		t.leaves += s.n
	}
	b.above += uint64(btree.NodesAbove(int(t.leaves)))
	b.trees = append(b.trees, t)
	return len(b.trees) - 1
}

// End implements metadata.Visitor. It plans the metadata.
func (b *Builder) End() error {
	if b.stage != idle {
		return errOrder
	}
	b.stage = ended
	b.raiseHeader()
	sort.Slice(b.devices, func(i, j int) bool { return b.devices[i].id < b.devices[j].id })
	return b.makePlan()
}

// raiseHeader raises header fields that are too low for the content.
func (b *Builder) raiseHeader() {
	if b.lastTime > b.header.Time {
		b.reportCorrection("the superblock's time is %d, but there are times up to %d; using %d", b.header.Time, b.lastTime, b.lastTime)
		b.header.Time = b.lastTime
	}
	if b.header.NrDataBlocks == 0 && b.highest > 0 {
		b.reportCorrection("nr_data_blocks is 0; using %d, up to the highest data block in use", b.highest)
		b.header.NrDataBlocks = b.highest
	}
	b.header.Version = metadata.Version
}

// A SpaceError says that the metadata does not fit on its device. Nothing was written.
type SpaceError struct{ Needed, Have block.Nr }

func (e *SpaceError) Error() string {
	return fmt.Sprintf("the metadata needs %d blocks (%s), but the device has %d (%s); nothing was written",
		e.Needed, human(e.Needed), e.Have, human(e.Have))
}

// human formats a number of blocks like thin_ls: numbers up to 8192, with a unit.
func human(blocks block.Nr) string {
	kib := uint64(blocks) * block.Size >> 10
	if kib <= 8192 {
		return fmt.Sprintf("%dKiB", kib)
	}
	return fmt.Sprintf("%dMiB", (kib+512)>>10)
}
