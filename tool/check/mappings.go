package check

import (
	"encoding/binary"
	"fmt"
	"sync"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
	"thinpool/metadata/spacemap"
)

var le = binary.LittleEndian

// mappings tests the mapping trees of all devices: reads each leaf once, in
// block order, counts the references to data blocks, then judges each tree.
// roots are those of the top level, also of devices that lack details.
func (c *checker) mappings(roots []btree.Child, devices []metadata.Device, view string) error {
	nrs := make([]block.Nr, len(roots))
	for i, r := range roots {
		nrs[i] = r.Block
	}
	var err error
	if c.maps == nil {
		c.data = spacemap.NewCounter(c.countable())
		c.maps, err = btree.Load(c.ctx, c.r, c.limit, metadata.MappingSize, nrs...)
	} else {
		err = c.maps.Add(c.ctx, nrs...)
	}
	if err != nil {
		return err
	}
	faults, err := c.leaves(devices, view)
	if err != nil {
		return err
	}
	if view == "" {
		hazards, err := c.repeated(devices)
		if err != nil {
			return err
		}
		faults = append(faults, hazards...)
	}
	c.judge(roots, devices, view, faults)
	return nil
}

// countable is how many data blocks can have a count: no more than the metadata
// device can hold bitmaps for, whatever nr_blocks says.
func (c *checker) countable() uint64 {
	return min(c.live.DataSpaceMap.NrBlocks, uint64(c.limit)*spacemap.PerBitmap)
}

// leaves reads the leaves and tests each mapping. The faults come in no order.
func (c *checker) leaves(devices []metadata.Device, view string) ([]Fault, error) {
	own := c.leafOwners(devices)
	batches := make([]*spacemap.Batch, c.r.Workers())
	for i := range batches {
		batches[i] = c.data.NewBatch()
	}
	tree := in(view, "mappings")
	var mu sync.Mutex
	var faults []Fault
	var done uint64
	err := c.maps.EachLeaf(c.ctx, func(worker, leaf int, n btree.Node, err error) error {
		if err != nil {
			return nil // judged with its tree
		}
		var o owners
		if leaf < len(own) { // else a leaf of a damaged tree, found late
			o = own[leaf]
		}
		l := leafTest{c: c, o: o, nr: c.maps.Leaves()[leaf].Block, tree: tree}
		l.run(n, batches[worker])
		odd := quirkFaults(l.nr, n.Quirks(), tree)
		mu.Lock()
		defer mu.Unlock()
		faults = append(append(faults, l.faults()...), odd...)
		if done++; done%1024 == 0 {
			c.progress("mappings", done, uint64(len(c.maps.Leaves())))
		}
		return nil
	})
	for _, b := range batches {
		b.Flush()
	}
	return faults, err
}

// leafTest is the test of the mappings in one leaf: what is wrong with how many,
// and the first of each.
type leafTest struct {
	c                      *checker
	o                      owners
	nr                     block.Nr
	tree                   string
	beyond, late, writable uint64
	firstBeyond, firstLate metadata.Run
	firstWritable          metadata.Run
}

// run tests the mappings and counts their data blocks.
func (l *leafTest) run(n btree.Node, batch *spacemap.Batch) {
	keys, values := n.Uint64s()
	most, timeLimit := l.c.data.Len(), l.c.timeLimit
	for ; len(keys) >= 8 && len(values) >= 8; keys, values = keys[8:], values[8:] {
		data, time := metadata.UnpackMapping(le.Uint64(values))
		// The kernel writes in place, without a copy, if time says that nobody
		// else can have the block.
		inPlace := l.o.any && time >= l.o.leastSnap
		if time > timeLimit {
			note(&l.late, &l.firstLate, keys, data, time)
		}
		if inPlace && l.o.many {
			note(&l.writable, &l.firstWritable, keys, data, time)
		}
		if uint64(data) >= most {
			note(&l.beyond, &l.firstBeyond, keys, data, time)
			continue
		}
		batch.Add(uint64(data), inPlace)
	}
}

func note(n *uint64, first *metadata.Run, keys []byte, data metadata.DataBlock, time uint32) {
	if *n++; *n == 1 {
		*first = metadata.Run{Thin: metadata.ThinBlock(le.Uint64(keys)), Data: data, Len: 1, Time: time}
	}
}

func (l *leafTest) faults() []Fault {
	var faults []Fault
	add := func(code Code, s Severity, n uint64, first metadata.Run, what string) {
		if n > 0 {
			err := fmt.Errorf("block %d: %d mappings %s, the first: %v", l.nr, n, what, first)
			faults = append(faults, Fault{Code: code, Severity: s, Tree: l.tree, Block: l.nr, HasBlock: true, Err: err})
		}
	}
	add(MappingBeyond, Fatal, l.beyond, l.firstBeyond, fmt.Sprintf("lead beyond the %d blocks of the data device", l.c.live.DataSpaceMap.NrBlocks))
	add(TimeTooHigh, NonFatal, l.late, l.firstLate, fmt.Sprintf("are newer than the superblock's time %d", l.c.timeLimit))
	add(SharedWritable, NonFatal, l.writable, l.firstWritable, "are shared, but a device would write to them in place")
	return faults
}

// quirkFaults are the faults of a leaf's header.
func quirkFaults(nr block.Nr, q btree.Quirks, tree string) []Fault {
	if q == btree.NoQuirks {
		return nil
	}
	var faults []Fault
	collect := &checker{report: func(f Fault) { faults = append(faults, f) }}
	btree.NewJudge(&btree.Forest{}, func(f btree.Finding) { collect.reportFinding(f, tree, nil) }).Quirks(nr, q)
	return faults
}

// judge tests the structure of each tree and reports all that is wrong with the
// mappings, with the devices affected: faults has what the leaves gave.
func (c *checker) judge(roots []btree.Child, devices []metadata.Device, view string, faults []Fault) {
	var findings []btree.Finding
	judge := btree.NewJudge(c.maps, func(f btree.Finding) { findings = append(findings, f) })
	trees := make(map[block.Nr]btree.Tree, len(roots))
	all := make([]metadata.Device, len(roots))
	for i, r := range roots {
		trees[r.Block] = judge.Tree(r.Block)
		all[i] = metadata.Device{ID: metadata.DevID(r.Key), Root: r.Block}
	}
	blocks := map[block.Nr]bool{}
	for _, f := range findings {
		blocks[f.Block] = true
	}
	for _, f := range faults {
		blocks[f.Block] = true
	}
	reach := c.devicesOf(all, blocks)
	for _, f := range findings {
		c.reportFinding(f, in(view, "mappings"), reach[f.Block])
	}
	for i := range faults {
		if faults[i].Devices == nil {
			faults[i].Devices = reach[faults[i].Block]
		}
	}
	c.reportSorted(faults)
	for _, d := range devices {
		tree := trees[d.Root]
		if view == "" {
			c.sum.Mappings += tree.N
		}
		if tree.N == d.MappedBlocks {
			continue
		}
		err := fmt.Errorf("mapped_blocks is %d, but %d mappings were found", d.MappedBlocks, tree.N)
		if tree.Damaged && tree.N < d.MappedBlocks {
			err = fmt.Errorf("%d of %d mappings are lost", d.MappedBlocks-tree.N, d.MappedBlocks)
		}
		c.report(Fault{Code: MappedBlocksWrong, Severity: Fatal, Tree: in(view, "device details"), Devices: []metadata.DevID{d.ID}, Err: err})
	}
}
