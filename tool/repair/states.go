package repair

import (
	"context"
	"fmt"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A State is what one commit of the pool left: a top level of the mapping tree, the device details
// that belong to it, and the space maps if they are found.
type State struct {
	Mapping       block.Nr // root of the top level; 0: unknown
	Details       block.Nr // root of the device details; 0: none found
	SpaceMap      block.Nr // index block of the metadata space map; 0: not found
	From          Origin
	Time          uint32 // newest time in mappings and details
	TransactionID uint64 // highest of any device
	Devices       []DeviceRoot
	Mappings      uint64 // readable mappings; shared ones count for each device
	Whole         bool   // all of it can be read, and details and mappings agree
	Closed        bool   // its references match its metadata space map
	Reused        uint64 // mappings whose data blocks belong to others in the chosen state
	Current       bool   // the superblock names it

	super        metadata.Superblock // of the commit, as far as it is known
	top, details *table
	generation   *generation
	census       *census
	ofKind       bool // the roots are of the right kind, as far as they can be read
}

// A DeviceRoot is a device of a [State].
type DeviceRoot struct {
	ID       metadata.DevID
	Root     block.Nr         // of its mappings; 0: unknown
	Mappings uint64           // readable mappings
	Expected uint64           // mappings according to the details
	Details  metadata.Details // valid if Known
	Known    bool             // there are device details
	Reused   uint64           // see [State]
}

// An Origin tells where a [State] was found.
type Origin int

// The origins of states.
const (
	FromScan       Origin = iota // roots that nothing points to
	FromSpaceMap                 // used blocks of a metadata space map
	FromSnapshot                 // the metadata snapshot
	FromSuperblock               // the superblock
	FromRequest                  // the caller gave the roots
)

// String returns the name of the origin.
func (o Origin) String() string {
	return [...]string{"scan", "space map", "metadata snapshot", "superblock", "request"}[o]
}

// Limits on the states of a device with a long history.
const (
	maxFromSpaceMaps = 32
	maxFromScan      = 128
	maxDevices       = 1 << 19 // of all states together, except those from space maps
)

// findStates returns the states that are left on a device, in no particular order.
func findStates(ctx context.Context, e *evidence) ([]*State, error) {
	f := stateFinder{e: e, known: map[[2]block.Nr]bool{}}
	for _, find := range [...]func(context.Context) error{f.fromSuperblock, f.fromSpaceMaps, f.fromCopies, f.fromScan} {
		if err := find(ctx); err != nil {
			return nil, err
		}
	}
	return f.all, ctx.Err()
}

type stateFinder struct {
	e     *evidence
	all   []*State
	known map[[2]block.Nr]bool // roots of all
}

// add completes a state from its roots, unless it is already known.
func (f *stateFinder) add(ctx context.Context, s *State) error {
	roots := [2]block.Nr{s.Mapping, s.Details}
	if f.known[roots] {
		return nil
	}
	f.known[roots] = true
	if err := f.e.complete(ctx, s); err != nil {
		return err
	}
	f.all = append(f.all, s)
	return nil
}

// fromSuperblock adds the state that the superblock names. It does not use roots that are valid
// blocks of another kind: then the superblock is old, or wrong.
func (f *stateFinder) fromSuperblock(ctx context.Context) error {
	sb := &f.e.super
	if sb.err != nil {
		return nil
	}
	s := &State{From: FromSuperblock, Current: true, super: sb.Superblock, generation: f.e.generation(sb.MetadataSpaceMap.BitmapRoot)}
	s.Mapping, s.Details = sb.MappingRoot, sb.DetailsRoot
	for _, r := range [...]struct {
		root *block.Nr
		kind survey.Kind
		name string
	}{{&s.Mapping, topKind, "mapping tree"}, {&s.Details, detailsKind, "device details"}} {
		if f.e.isRoot(*r.root, r.kind) != wrong {
			continue
		}
		f.e.note("the superblock names block %d as root of the %s, but that block is %s", *r.root, r.name, f.e.describe(*r.root))
		*r.root = 0
		if g := s.generation; g != nil {
			if roots := f.e.tableRoots(g, r.kind); len(roots) == 1 {
				*r.root = roots[0]
			}
		}
	}
	return f.add(ctx, s)
}

// fromSpaceMaps adds the states of the newest commits whose metadata space map is left.
func (f *stateFinder) fromSpaceMaps(ctx context.Context) error {
	var newest []*generation // the last of each chain, then the ones before
	for _, g := range f.e.generations {
		if g.next == nil {
			newest = append(newest, g)
		}
	}
	slices.Reverse(newest)
	newest = newest[:min(len(newest), maxFromSpaceMaps/2)]
	for i := 0; i < len(newest) && len(newest) < maxFromSpaceMaps; i++ {
		if g := newest[i].prev; g != nil {
			newest = append(newest, g)
		}
	}
	for _, g := range newest {
		if err := f.fromSpaceMap(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

func (f *stateFinder) fromSpaceMap(ctx context.Context, g *generation) error {
	tops, details := f.e.tableRoots(g, topKind), f.e.tableRoots(g, detailsKind)
	if len(tops) == 0 {
		tops = f.e.emptyRoots(g)
	}
	s := &State{From: FromSpaceMap, generation: g}
	if len(tops) == 1 {
		s.Mapping = tops[0]
	}
	if len(details) == 1 {
		s.Details = details[0]
	}
	lost := s.Mapping == 0 || s.Details == 0
	if lost && len(g.damaged) == 0 || len(tops)+len(details) == 0 || len(tops) > 1 && s.Details == 0 {
		return nil // overwritten since
	}
	f.e.superOf(g, &s.super)
	return f.add(ctx, s)
}

// tableRoots is strayRoots without roots that only the metadata snapshot points to.
func (e *evidence) tableRoots(g *generation, kind survey.Kind) []block.Nr {
	roots := e.strayRoots(g, kind)
	if g.spare == 0 {
		return roots
	}
	counts := e.countsOf(g)
	return slices.DeleteFunc(roots, func(nr block.Nr) bool {
		return counts[nr] < 2 && slices.ContainsFunc(e.copies, func(c metadata.Superblock) bool {
			return g.has(c.Block) && (c.MappingRoot == nr || c.DetailsRoot == nr)
		})
	})
}

// emptyRoots returns the leaves that can be the top level of a pool without devices.
func (e *evidence) emptyRoots(g *generation) []block.Nr {
	return slices.DeleteFunc(e.strayRoots(g, survey.MappingLeaf), func(nr block.Nr) bool { return e.survey.Subtree(nr).N > 0 })
}

// superOf fills in what the space map of a commit tells about its superblock.
func (e *evidence) superOf(g *generation, sb *metadata.Superblock) {
	sb.MetadataSpaceMap = spacemap.Root{NrBlocks: uint64(min(g.size(), e.blocks)), BitmapRoot: g.index}
	if roots := e.strayRoots(g, survey.CountLeaf); len(roots) == 2 {
		metadata, data := roots[0], roots[1]
		if !e.isOverflowOf(g, metadata) {
			metadata, data = data, metadata
		}
		sb.MetadataSpaceMap.RefCountRoot, sb.DataSpaceMap.RefCountRoot = metadata, data
	}
	if roots := e.strayRoots(g, survey.IndexLeaf); len(roots) == 1 {
		sb.DataSpaceMap.BitmapRoot = roots[0]
		sb.DataSpaceMap.NrBlocks = (e.survey.Subtree(roots[0]).Last + 1) * spacemap.PerBitmap
	}
	for i := range e.copies {
		if g.has(e.copies[i].Block) {
			sb.HeldRoot = e.copies[i].Block
		}
	}
}

// isOverflowOf reports whether the tree at root can hold the counts above 2 of g. It must have
// exactly the blocks that the bitmaps say it has.
func (e *evidence) isOverflowOf(g *generation, root block.Nr) bool {
	counts := e.countsOf(g)
	have := uint64(0)
	for leaf := range e.survey.Leaves(root) {
		var b block.Data
		if e.r.Read(leaf.Block, &b) != nil {
			return false
		}
		n, err := btree.Decode(leaf.Block, &b, spacemap.CountSize)
		if err != nil {
			return false
		}
		for i := range n.Len() {
			if key := n.Key(i); key >= uint64(len(counts)) || counts[key] < 3 {
				return false
			}
			have++
		}
	}
	for _, c := range counts {
		if c == 3 {
			have--
		}
	}
	return have == 0
}

// countsOf returns the counts of g by block; 3 means 3 or more.
func (e *evidence) countsOf(g *generation) []uint8 {
	counts := make([]uint8, min(g.size(), e.blocks))
	for i, nr := range g.bitmaps {
		var b block.Data
		if e.r.Read(nr, &b) != nil {
			continue
		}
		bitmap, err := spacemap.DecodeBitmap(nr, &b)
		if err != nil {
			continue
		}
		for k := range counts[min(i*spacemap.PerBitmap, len(counts)):min((i+1)*spacemap.PerBitmap, len(counts))] {
			counts[i*spacemap.PerBitmap+k] = uint8(bitmap.Count(k))
		}
	}
	return counts
}

// fromCopies adds the states that superblocks of metadata snapshots name.
func (f *stateFinder) fromCopies(ctx context.Context) error {
	for _, c := range f.e.copies {
		if f.e.isRoot(c.MappingRoot, topKind) == wrong || f.e.isRoot(c.DetailsRoot, detailsKind) == wrong {
			continue
		}
		if err := f.add(ctx, &State{From: FromSnapshot, Mapping: c.MappingRoot, Details: c.DetailsRoot, super: c}); err != nil {
			return err
		}
	}
	return nil
}

// fromScan adds pairs of roots that nothing points to.
func (f *stateFinder) fromScan(ctx context.Context) error {
	byIDs := f.e.detailTables()
	roots := f.e.survey.Roots(topKind)
	devices := 0
	for _, s := range f.all {
		devices += len(s.Devices)
	}
	roots = roots[max(0, len(roots)-maxFromScan):]
	slices.Reverse(roots) // if there are too many, leave out the oldest, judging by position
	for _, root := range roots {
		if devices > maxDevices {
			f.e.noteOnce("some of the remaining states were not considered: together they have more than %d devices", maxDevices)
			break
		}
		s := &State{From: FromScan, Mapping: root}
		s.Details = f.e.pair(root, byIDs)
		if s.Details == 0 && slices.ContainsFunc(f.all, func(o *State) bool { return o.Mapping == root }) {
			continue
		}
		if err := f.add(ctx, s); err != nil {
			return err
		}
		devices += len(s.Devices)
	}
	return nil
}

// Results of isRoot.
const (
	right   = iota
	unknown // unreadable
	wrong   // it is something else
)

// isRoot reports whether the block at nr can be the root of a tree with leaves of that kind.
func (e *evidence) isRoot(nr block.Nr, kind survey.Kind) int {
	if nr == 0 {
		return wrong
	}
	if nr >= e.blocks {
		return unknown // the device may have been truncated
	}
	switch e.survey.Kinds[nr] {
	case survey.Unreadable, survey.Empty, survey.Unknown:
		return unknown
	}
	if _, ok := e.survey.Node(nr); !ok {
		return wrong
	}
	switch t := e.survey.Subtree(nr); {
	case t.Kind == survey.Unknown:
		return unknown
	case compatibleKind(t.Kind, kind, t.N):
		return right
	}
	return wrong
}

// compatibleKind reports whether n entries that look like one kind can be of another. An empty
// leaf, or a leaf with a single small value, does not tell its kind.
func compatibleKind(is, want survey.Kind, n uint64) bool {
	eight := func(s survey.Kind) bool { return s == survey.MappingLeaf || s == survey.TopLeaf }
	return is == want || n <= 1 && eight(is) && eight(want)
}

// describe says what a block contains.
func (e *evidence) describe(nr block.Nr) string {
	if nr >= e.blocks {
		return "beyond the end of the device"
	}
	if n, ok := e.survey.Node(nr); ok && n.Kind == survey.Inner {
		return fmt.Sprintf("an internal node above %v blocks", e.survey.Subtree(nr).Kind)
	}
	return fmt.Sprintf("of another kind: %v", e.survey.Kinds[nr])
}

// complete reads the tables of s and fills in everything that follows from them.
func (e *evidence) complete(ctx context.Context, s *State) error {
	var err error
	if s.top, err = e.tableOf(ctx, s, s.Mapping, topKind); err != nil {
		return err
	}
	if s.details, err = e.tableOf(ctx, s, s.Details, detailsKind); err != nil {
		return err
	}
	if s.generation != nil {
		s.SpaceMap = s.generation.index
	}
	s.Devices = mergeTables(s.top, s.details)
	s.ofKind = s.canBePool()
	s.Whole = s.Mapping != 0 && s.Details != 0 && s.tablesWhole()
	for i := range s.Devices {
		d := &s.Devices[i]
		t := e.survey.Subtree(d.Root)
		d.Mappings = t.N
		s.Mappings += t.N
		s.Time = max(s.Time, t.Time, d.Details.CreationTime, d.Details.SnapshottedTime)
		s.TransactionID = max(s.TransactionID, d.Details.TransactionID)
		s.Whole = s.Whole && t.Whole && d.Known && compatibleKind(t.Kind, survey.MappingLeaf, t.N) && t.N == d.Expected
	}
	s.census = e.countBlocks(s)
	s.Closed = s.census.closed
	return nil
}

// canBePool reports whether enough of s is left to use it: some devices, or at least the space map
// that tells which trees belong to them.
func (s *State) canBePool() bool {
	devices := len(s.top.entries) + len(s.details.entries)
	if tables := len(s.top.lost)+len(s.details.lost) == 0; tables {
		common := devices - len(s.Devices)
		if common*2 < len(s.Devices) {
			return false // the trees are of different commits, or pools
		}
	}
	empty := devices+len(s.top.lost)+len(s.details.lost) == 0
	if s.Mapping == 0 || s.Details == 0 {
		return !s.Current && devices > 0 // one of the superblock's roots is another node
	}
	return devices > 0 || empty || s.Current && s.generation != nil
}

func (e *evidence) tableOf(ctx context.Context, s *State, root block.Nr, kind survey.Kind) (*table, error) {
	t := &table{lost: []btree.LeafRange{{Keys: btree.AllKeys, Err: errNoRoot}}}
	if root != 0 {
		var err error
		if t, err = readTable(ctx, e.medium, e.limit, root, kind); err != nil {
			return nil, err
		}
	}
	return t, t.fill(ctx, e, s.generation, kind)
}

// tablesWhole reports whether both tables name the same devices, and all their lost parts were
// found again.
func (s *State) tablesWhole() bool {
	if len(s.top.entries) != len(s.details.entries) {
		return false
	}
	for i := range s.top.entries {
		if s.top.entries[i].Key != s.details.entries[i].Key {
			return false
		}
	}
	return (len(s.top.lost) == 0 || len(s.top.found) > 0) && (len(s.details.lost) == 0 || len(s.details.found) > 0) &&
		(len(s.top.lost) == 0 || len(s.details.lost) == 0) // one proves the other
}

// mergeTables returns the devices of both tables, by ascending id.
func mergeTables(top, details *table) []DeviceRoot {
	all := make([]DeviceRoot, 0, max(len(top.entries), len(details.entries)))
	a, b := top.entries, details.entries
	for len(a) > 0 || len(b) > 0 {
		var d DeviceRoot
		if len(b) == 0 || len(a) > 0 && a[0].Key <= b[0].Key {
			d.ID, d.Root = metadata.DevID(a[0].Key), block.Nr(le.Uint64(a[0].Value))
		} else {
			d.ID = metadata.DevID(b[0].Key)
		}
		if len(b) > 0 && b[0].Key == uint64(d.ID) {
			d.Details, d.Known = metadata.DecodeDetails(b[0].Value), true
			d.Expected = d.Details.MappedBlocks
			b = b[1:]
		}
		if len(a) > 0 && a[0].Key == uint64(d.ID) {
			a = a[1:]
		}
		all = append(all, d)
	}
	return all
}
