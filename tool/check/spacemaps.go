package check

import (
	"context"
	"fmt"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// checkSpaceMaps reads both space maps, counts the references to metadata blocks, including those
// of the space maps, and compares.
func (c *checker) checkSpaceMaps(ctx context.Context) error {
	c.progress("space maps", 0, 0)
	var err error
	if c.dataMap, err = spacemap.LoadData(ctx, c.r, c.limit, c.live.DataSpaceMap); err != nil {
		return err
	}
	if c.metadataMap, err = spacemap.LoadMetadata(ctx, c.r, c.limit, c.live.MetadataSpaceMap); err != nil {
		return err
	}
	c.countMetadata()
	c.checkRoles()
	// The mapping trees hold all references to data blocks. References to metadata blocks are also in
	// the space maps, so damage there hides some.
	exact := !c.damaged
	if c.dataDiff, err = c.compareMap(ctx, c.dataMap, c.data, exact, dataCodes); err != nil {
		return err
	}
	exact = exact && !c.dataMap.Lost() && !c.metadataMap.Lost()
	c.compared = exact
	c.metadataDiff, err = c.compareMap(ctx, c.metadataMap, c.refs, exact, metadataCodes)
	return err
}

// countMetadata counts the references to metadata blocks. Each distinct node contributes its
// pointers once.
func (c *checker) countMetadata() {
	c.refs = spacemap.NewCounter(max(uint64(c.limit), c.live.MetadataSpaceMap.NrBlocks))
	point := func(nr block.Nr) {
		if nr > 0 && nr < c.limit {
			c.refs.Add(uint64(nr), 1)
		}
	}
	c.refs.Add(uint64(metadata.SuperblockLocation), 1)
	for _, root := range c.roots() {
		point(root)
	}
	for _, forest := range c.forests() {
		for _, in := range forest.Inner() {
			for _, child := range in.Children {
				point(child)
			}
		}
	}
	for _, devices := range c.topRoots {
		for _, d := range devices {
			point(d.Block)
		}
	}
	for _, m := range []*spacemap.Map{c.dataMap, c.metadataMap} {
		for _, e := range m.Entries {
			point(e.Block)
		}
	}
	for b := range uint64(c.limit) {
		if c.refs.Get(b) > 0 {
			c.sum.MetadataBlocks++
		}
	}
	c.sum.DistinctLeaves = uint64(len(c.maps.Leaves()))
}

// roots returns the blocks that a superblock points to, for both space maps and both trees,
// including those of the metadata snapshot.
func (c *checker) roots() []block.Nr {
	roots := []block.Nr{
		c.live.MappingRoot, c.live.DetailsRoot,
		c.live.DataSpaceMap.BitmapRoot, c.live.DataSpaceMap.RefCountRoot,
		c.live.MetadataSpaceMap.BitmapRoot, c.live.MetadataSpaceMap.RefCountRoot,
	}
	if held := c.live.HeldRoot; held != 0 {
		roots = append(roots, held)
		var b block.Data
		if c.snapshotUsable() && c.r.Read(held, &b) == nil {
			snap, _ := metadata.DecodeSuperblock(held, &b)
			roots = append(roots, snap.MappingRoot, snap.DetailsRoot)
		}
	}
	return roots
}

func (c *checker) forests() map[string]*btree.Forest {
	return map[string]*btree.Forest{
		"the top level of the mapping tree": c.top,
		"the device details":                c.details,
		"mappings":                          c.maps,
		"the index of the data space map":   c.dataMap.Index,
		"the data overflow tree":            c.dataMap.Overflow,
		"the metadata overflow tree":        c.metadataMap.Overflow,
	}
}

// roleOrder is the order in which roles are claimed.
var roleOrder = []string{
	"the top level of the mapping tree", "the device details", "mappings",
	"the index of the data space map", "the data overflow tree", "the metadata overflow tree",
}

// checkRoles checks that every block has one use.
func (c *checker) checkRoles() {
	role := make([]uint8, c.limit) // index of its name, 0: none
	names := []string{""}
	named := func(name string) uint8 {
		names = append(names, name)
		return uint8(len(names) - 1)
	}
	claim := func(nr block.Nr, r uint8, once bool) {
		if nr == 0 || nr >= c.limit {
			return
		}
		if was := role[nr]; was != 0 && (was != r || once) {
			c.report(Fault{
				Code: TwoRoles, Severity: Fatal, Block: &nr,
				Err: fmt.Errorf("block %d is used for %s and for %s", nr, names[was], names[r]),
			})
		}
		role[nr] = r
	}
	claim(c.live.HeldRoot, named("the metadata snapshot"), true)
	claim(c.live.MetadataSpaceMap.BitmapRoot, named("the index of the metadata space map"), true)
	forests := c.forests()
	for _, name := range roleOrder {
		r := named(name)
		for _, in := range forests[name].Inner() {
			claim(in.Block, r, false)
		}
		for _, l := range forests[name].Leaves() {
			claim(l.Block, r, false)
		}
	}
	bitmaps := func(m *spacemap.Map, name string) {
		r := named(name)
		for _, e := range m.Entries {
			claim(e.Block, r, true)
		}
	}
	bitmaps(c.dataMap, "a bitmap of the data space map")
	bitmaps(c.metadataMap, "a bitmap of the metadata space map")
}

// codes are the names and codes for faults of one of the two space maps.
type codes struct {
	tree, blocks    string
	low, high, leak Code
	leakSeverity    Severity
}

var (
	// Every power cut under load leaks some data blocks, so this is only a note.
	dataCodes     = codes{"data space map", "data block", DataCountLow, DataCountHigh, DataLeak, Note}
	metadataCodes = codes{"metadata space map", "metadata block", MetadataCountLow, MetadataCountHigh, MetadataLeak, NonFatal}
)

func (c *checker) compareMap(ctx context.Context, m *spacemap.Map, counted *spacemap.Counter, exact bool, names codes) (*spacemap.Comparison, error) {
	return m.Compare(ctx, counted, exact, func(f spacemap.Finding) {
		fault := Fault{Tree: names.tree, Err: f.Err}
		if f.Block != 0 {
			fault.Block = &f.Block
		}
		switch f.Kind {
		case spacemap.InTree:
			t := *f.Tree
			t.Err = f.Err // tells which of the map's trees
			c.report(c.treeFault(ctx, t, names.tree, metadata.OwnerList{}))
			return
		case spacemap.Unreadable, spacemap.MissingEntry, spacemap.NoOverflow, spacemap.LowOverflow:
			fault.Code, fault.Severity = SpaceMapDamaged, Fatal
			if f.Kind == spacemap.Unreadable {
				fault.Err = c.withHolder(ctx, f.Block, f.Err)
			}
		case spacemap.SurplusEntry, spacemap.StrayOverflow, spacemap.OverflowBeyond, spacemap.CountBeyond:
			fault.Code, fault.Severity = SpaceMapOdd, NonFatal
		case spacemap.NonZeroTail:
			fault.Code, fault.Severity = TailNotZero, Note
		case spacemap.WrongNrFree, spacemap.WrongHint, spacemap.WrongNrAllocated:
			fault.Code, fault.Severity = SpaceMapCounters, Note
		case spacemap.TooLow:
			fault.Code, fault.Severity = names.low, Fatal
		case spacemap.TooHigh:
			fault.Code, fault.Severity = names.high, NonFatal
			if f.Stored == 1 && f.Counted == 0 {
				fault.Code, fault.Severity = names.leak, names.leakSeverity
			}
		}
		if f.Kind == spacemap.TooLow || f.Kind == spacemap.TooHigh {
			fault.Counts = &WrongCounts{f.First, f.N, f.Stored, f.Counted}
			fault.Err = countError(names.blocks, f)
		}
		c.report(fault)
	})
}

func countError(what string, f spacemap.Finding) error {
	if f.N == 1 {
		return fmt.Errorf("%s %d: count is %d, but %d references were found", what, f.First, f.Stored, f.Counted)
	}
	return fmt.Errorf("%ss %d..%d: count is %d, but %d references were found to each", what, f.First, f.First+f.N-1, f.Stored, f.Counted)
}
