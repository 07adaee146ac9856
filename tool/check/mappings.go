package check

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"sync"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

var le = binary.LittleEndian

// checkMappings checks the mapping trees of all devices. It reads each leaf once, in block order,
// counts the references to data blocks, and then checks each tree. roots are those of the top
// level, including devices without details.
func (c *checker) checkMappings(ctx context.Context, roots []btree.Child, devices []metadata.Device, v view) error {
	nrs := make([]block.Nr, len(roots))
	for i, r := range roots {
		nrs[i] = r.Block
	}
	var err error
	if c.maps == nil {
		c.data = spacemap.NewCounter(c.countable())
		c.maps, err = btree.Load(ctx, c.r, c.limit, metadata.MappingSize, nrs...)
	} else {
		err = c.maps.Add(ctx, nrs...)
	}
	if err != nil {
		return err
	}
	faults, bad, err := c.checkLeaves(ctx, devices, v)
	if err != nil {
		return err
	}
	var twice []Fault
	if v.name == "" {
		var hazards []badMappings
		if hazards, twice, err = c.checkRepeated(ctx, devices); err != nil {
			return err
		}
		bad = append(bad, hazards...)
	} else { // devices are not written to through a metadata snapshot
		bad = slices.DeleteFunc(bad, func(b badMappings) bool { return b.code == SharedWritable })
	}
	c.checkTrees(ctx, roots, devices, v, faults, bad)
	reportSorted(twice, v)
	if c.opt.Mapped != nil && v.name == "" {
		c.data.Seal()
		return c.opt.Mapped(ctx, Mapped{c.r, devices, c.maps, c.data})
	}
	return nil
}

// countable returns how many data blocks can have a count: at most as many as the metadata device
// can hold bitmaps for, whatever nr_blocks says.
func (c *checker) countable() uint64 {
	return min(c.live.DataSpaceMap.NrBlocks, uint64(c.limit)*spacemap.PerBitmap)
}

// checkLeaves reads the leaves and checks each mapping. Its findings are in no particular order.
func (c *checker) checkLeaves(ctx context.Context, devices []metadata.Device, v view) ([]Fault, []badMappings, error) {
	own := metadata.LeafSharing(c.maps, devices)
	batches := make([]*spacemap.Batch, c.r.Workers())
	for i := range batches {
		batches[i] = c.data.NewBatch()
	}
	tree := v.part("mappings")
	var mu sync.Mutex
	var faults []Fault
	var bad []badMappings
	var done uint64
	err := c.maps.EachLeaf(ctx, func(worker, leaf int, n btree.Node, err error) error {
		if err != nil {
			return nil // reported with its tree
		}
		var o metadata.Sharing
		if leaf < len(own) { // otherwise a leaf of a damaged tree, found late
			o = own[leaf]
		}
		l := leafTest{c: c, o: o, nr: c.maps.Leaves()[leaf].Block}
		l.run(n, batches[worker])
		mu.Lock()
		defer mu.Unlock()
		bad = append(bad, l.found()...)
		faults = append(faults, anomalyFaults(l.nr, n.HeaderAnomalies(), tree)...)
		if done++; done%1024 == 0 {
			c.progress("mappings", done, uint64(len(c.maps.Leaves())))
		}
		return nil
	})
	for _, b := range batches {
		b.Flush()
	}
	return faults, bad, err
}

// badMappings are the mappings in one leaf with the same fault.
type badMappings struct {
	code    Code
	atLimit bool     // their time is the maximum, so no snapshotted_time is later
	nr      block.Nr // the leaf
	n       uint64
	first   metadata.Run
	newest  uint32
	owners  metadata.OwnerList // devices that reach the leaf
}

// A leafTest checks the mappings in one leaf.
type leafTest struct {
	c                               *checker
	o                               metadata.Sharing
	nr                              block.Nr
	beyond, late, writable, atLimit badMappings
}

// run checks the mappings and counts their data blocks.
func (l *leafTest) run(n btree.Node, batch *spacemap.Batch) {
	keys, values := n.Uint64s()
	most, timeLimit := l.c.data.Len(), l.c.timeLimit
	for ; len(keys) >= 8 && len(values) >= 8; keys, values = keys[8:], values[8:] {
		data, time := metadata.UnpackMapping(le.Uint64(values))
		// The kernel writes in place, without a copy, if the time says that no other device can have the
		// block.
		inPlace := l.o.Any && time >= l.o.LeastSnap
		if time > timeLimit {
			l.late.note(le.Uint64(keys), data, time)
		}
		if inPlace && l.o.Many {
			l.inPlace(le.Uint64(keys), data, time)
		}
		if uint64(data) >= most {
			l.beyond.note(le.Uint64(keys), data, time)
			continue
		}
		batch.Add(uint64(data), inPlace)
	}
}

// inPlace records a mapping that would be overwritten in place although its block is shared.
func (l *leafTest) inPlace(key uint64, data metadata.DataBlock, time uint32) {
	if time < metadata.MaxTime {
		l.writable.note(key, data, time)
	} else {
		l.atLimit.note(key, data, time)
	}
}

func (b *badMappings) note(key uint64, data metadata.DataBlock, time uint32) {
	if b.n++; b.n == 1 {
		b.first = metadata.Run{Thin: metadata.ThinBlock(key), Data: data, Len: 1, Time: time}
	}
	b.newest = max(b.newest, time)
}

// found returns the faults of the leaf.
func (l *leafTest) found() []badMappings {
	l.beyond.code, l.late.code, l.writable.code = MappingBeyond, TimeTooHigh, SharedWritable
	l.atLimit.code, l.atLimit.atLimit = SharedWritable, true
	var found []badMappings
	for _, b := range []badMappings{l.beyond, l.late, l.writable, l.atLimit} {
		if b.n > 0 {
			b.nr = l.nr
			found = append(found, b)
		}
	}
	return found
}

// reportMappings reports bad mappings, joining those of the same devices.
func (c *checker) reportMappings(bad []badMappings, v view) {
	sort.SliceStable(bad, func(i, j int) bool {
		a, b := &bad[i], &bad[j]
		return cmp.Or(cmp.Compare(a.code, b.code), compareBool(a.atLimit, b.atLimit), compareOwners(a.owners, b.owners), cmp.Compare(a.nr, b.nr)) < 0
	})
	for len(bad) > 0 {
		sum, leaves := bad[0], 1
		for _, b := range bad[1:] {
			if b.code != sum.code || b.atLimit != sum.atLimit || compareOwners(b.owners, sum.owners) != 0 {
				break
			}
			sum.n += b.n
			sum.newest = max(sum.newest, b.newest)
			leaves++
		}
		bad = bad[leaves:]
		fault := Fault{Code: sum.code, Severity: NonFatal, Tree: v.part("mappings"), Devices: sum.owners.IDs, MoreDevices: sum.owners.Incomplete, Block: &sum.nr}
		what := ""
		switch sum.code {
		case MappingBeyond:
			fault.Severity = Fatal
			what = fmt.Sprintf("point beyond the %d blocks of the data device", c.live.DataSpaceMap.NrBlocks)
		case TimeTooHigh:
			fault.newest = sum.newest
			what = fmt.Sprintf("are newer than the superblock's time %d", c.timeLimit)
		case SharedWritable:
			fault.Severity, fault.atLimit = Note, sum.atLimit
			what = "are shared, but a device would overwrite them in place"
			if sum.atLimit {
				what += fmt.Sprintf(", and no snapshotted_time can be later than their time %d", metadata.MaxTime)
			}
		}
		fault.Err = fmt.Errorf("%d mappings in %d leaves %s; the first: block %d, %v", sum.n, leaves, what, sum.nr, sum.first)
		v.report(fault)
	}
}

// compareOwners orders lists of owners; most are the same list.
func compareOwners(a, b metadata.OwnerList) int {
	if a.Same(b) {
		return 0
	}
	return cmp.Or(slices.Compare(a.IDs, b.IDs), compareBool(a.Incomplete, b.Incomplete))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// anomalyFaults returns the faults of a leaf's header.
func anomalyFaults(nr block.Nr, q btree.HeaderAnomalies, tree string) []Fault {
	if q == btree.NoAnomalies {
		return nil
	}
	var faults []Fault
	collect := func(f btree.Finding) { faults = append(faults, findingFault(f, tree, metadata.OwnerList{})) }
	btree.NewChecker(&btree.Forest{}, collect).CheckHeader(nr, q)
	return faults
}

// checkTrees checks the structure of each tree and reports all faults in the mappings, with the
// affected devices. faults and bad come from the leaves.
func (c *checker) checkTrees(ctx context.Context, roots []btree.Child, devices []metadata.Device, v view, faults []Fault, bad []badMappings) {
	var findings []btree.Finding
	checker := btree.NewChecker(c.maps, func(f btree.Finding) { findings = append(findings, f) })
	trees := make(map[block.Nr]btree.TreeSummary, len(roots))
	all := make([]metadata.Device, len(roots))
	for i, r := range roots {
		trees[r.Block] = checker.CheckTree(r.Block)
		all[i] = metadata.Device{ID: metadata.DevID(r.Key), Root: r.Block}
	}
	blocks := map[block.Nr]bool{}
	for _, f := range findings {
		blocks[f.Block] = true
	}
	for _, f := range faults {
		blocks[f.at()] = true
	}
	for _, b := range bad {
		blocks[b.nr] = true
	}
	reach := metadata.OwnersOf(c.maps, all, blocks)
	for _, f := range findings {
		v.report(c.treeFault(ctx, f, v.part("mappings"), reach[f.Block]))
	}
	for i := range faults {
		faults[i].Devices, faults[i].MoreDevices = reach[faults[i].at()].IDs, reach[faults[i].at()].Incomplete
	}
	reportSorted(faults, v)
	for i := range bad {
		bad[i].owners = reach[bad[i].nr]
	}
	c.noteHazards(bad, devices)
	c.reportMappings(bad, v)
	for _, d := range devices {
		tree := trees[d.Root]
		if v.name == "" {
			c.sum.Mappings += tree.N
		}
		if tree.N == d.MappedBlocks {
			continue
		}
		err := fmt.Errorf("mapped_blocks is %d, but %d mappings were found", d.MappedBlocks, tree.N)
		if tree.Damaged && tree.N < d.MappedBlocks {
			err = fmt.Errorf("%d of %d mappings are lost", d.MappedBlocks-tree.N, d.MappedBlocks)
		}
		v.report(Fault{Code: MappedBlocksWrong, Severity: Fatal, Tree: v.part(treeDetails), Devices: []metadata.DevID{d.ID}, Err: err})
	}
}

// reportSorted sorts and reports faults that were found in no particular order.
func reportSorted(faults []Fault, v view) {
	sort.SliceStable(faults, func(i, j int) bool {
		a, b := &faults[i], &faults[j]
		return cmp.Or(cmp.Compare(a.at(), b.at()), cmp.Compare(a.Code, b.Code)) < 0
	})
	for _, f := range faults {
		v.report(f)
	}
}
