package repair

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
	"thinpool/metadata/spacemap"
)

var le = binary.LittleEndian

// A pool is what two roots lead to, as far as it can be read.
type pool struct {
	mappingRoot, detailsRoot block.Nr
	devices                  []device // of both trees, by ascending id
	lostRoots, lostDetails   []btree.Part
	forest                   *btree.Forest // mappings of the devices
	trees                    map[block.Nr]btree.Tree
	broken                   bool     // the forest is not whole
	highest                  uint64   // data block in use, plus 1
	newest                   uint32   // time of a mapping
	beyond                   []outlaw // leaves that map what is beyond the data device
	lost                     map[metadata.DevID][]*hole
}

// A device is what is known of a thin device.
type device struct {
	metadata.Device
	hasRoot, hasDetails bool
	madeUp              bool   // the details
	outdated            bool   // the mappings are those of an earlier transaction
	expected            uint64 // mappings, as the details said
}

// An outlaw is a leaf with mappings that cannot be right.
type outlaw struct {
	block block.Nr
	n     int // such mappings
}

// readPool reads what the two roots lead to.
func (f *finder) readPool(mappingRoot, detailsRoot block.Nr) (*pool, error) {
	p := &pool{mappingRoot: mappingRoot, detailsRoot: detailsRoot, lost: map[metadata.DevID][]*hole{}}
	roots, lost, err := f.readTree(mappingRoot, metadata.RootSize)
	if err != nil {
		return nil, err
	}
	p.lostRoots = lost
	details, lost, err := f.readTree(detailsRoot, metadata.DetailsSize)
	if err != nil {
		return nil, err
	}
	p.lostDetails = lost
	for _, e := range roots {
		d := p.device(metadata.DevID(e.Key))
		d.Root, d.hasRoot = block.Nr(le.Uint64(e.Value)), true
	}
	for _, e := range details {
		d := p.device(metadata.DevID(e.Key))
		d.Details, d.hasDetails = metadata.DecodeDetails(e.Value), true
		d.expected = d.MappedBlocks
	}
	return p, f.readMappings(p)
}

// device returns the device of that id, a new one if need be.
func (p *pool) device(id metadata.DevID) *device {
	i, ok := slices.BinarySearchFunc(p.devices, id, func(d device, id metadata.DevID) int { return cmp.Compare(d.ID, id) })
	if !ok {
		p.devices = slices.Insert(p.devices, i, device{Device: metadata.Device{ID: id}})
	}
	return &p.devices[i]
}

// readTree reads the entries of a small tree, and what it has lost.
func (f *finder) readTree(root block.Nr, valueSize int) (entries []btree.Entry, lost []btree.Part, err error) {
	forest, err := btree.Load(f.ctx, f.r, f.limit, valueSize, root)
	if err != nil {
		return nil, nil, err
	}
	values := map[block.Nr][]btree.Entry{}
	var mu sync.Mutex
	err = forest.EachLeaf(f.ctx, func(_, leaf int, n btree.Node, err error) error {
		if err != nil {
			return nil // Parts has it
		}
		var own []btree.Entry
		for key, value := range n.All() {
			own = append(own, btree.Entry{Key: key, Value: slices.Clone(value)})
		}
		mu.Lock()
		defer mu.Unlock()
		values[forest.Leaves()[leaf].Block] = own
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for part := range forest.Parts(root) {
		own := values[part.Block]
		if part.Err == nil && len(own) > 0 && !part.Keys.Contains(own[0].Key, own[len(own)-1].Key) {
			part.Err = &btree.BoundsError{Block: part.Block, First: own[0].Key, Last: own[len(own)-1].Key, Want: part.Keys}
		}
		switch {
		case part.Err != nil:
			lost = append(lost, part)
		case len(own) > 0 && own[len(own)-1].Key <= metadata.MaxDevID:
			entries = append(entries, own...)
		}
	}
	return entries, lost, nil
}

// readMappings reads the mapping trees of the devices.
func (f *finder) readMappings(p *pool) error {
	var roots []block.Nr
	for _, d := range p.devices {
		if d.hasRoot {
			roots = append(roots, d.Root)
		}
	}
	var err error
	if p.forest, err = btree.Load(f.ctx, f.r, f.bound(), metadata.MappingSize, roots...); err != nil {
		return err
	}
	if err := f.readLeaves(p); err != nil {
		return err
	}
	p.broken = false
	judge := btree.NewJudge(p.forest, func(found btree.Finding) {
		switch found.Kind {
		case btree.Lost, btree.OutOfBounds, btree.UnevenDepth:
			p.broken = true
		}
	})
	p.trees = map[block.Nr]btree.Tree{}
	for _, root := range roots {
		if _, ok := p.trees[root]; !ok {
			p.trees[root] = judge.Tree(root)
		}
	}
	return nil
}

// readLeaves reads all leaves, and finds the mappings that cannot be right.
func (f *finder) readLeaves(p *pool) error {
	nrData := f.nrDataBlocks()
	tops, times := make([]uint64, f.r.Workers()), make([]uint32, f.r.Workers())
	var mu sync.Mutex
	p.beyond = nil
	err := p.forest.EachLeaf(f.ctx, func(worker, leaf int, n btree.Node, err error) error {
		if err != nil {
			return nil
		}
		outside := 0
		_, values := n.Uint64s()
		for ; len(values) >= 8; values = values[8:] {
			data, time := metadata.UnpackMapping(le.Uint64(values))
			times[worker] = max(times[worker], time)
			if uint64(data) >= nrData {
				outside++
				continue
			}
			tops[worker] = max(tops[worker], uint64(data)+1)
		}
		if outside > 0 {
			mu.Lock()
			defer mu.Unlock()
			p.beyond = append(p.beyond, outlaw{p.forest.Leaves()[leaf].Block, outside})
		}
		return nil
	})
	p.highest, p.newest = slices.Max(tops), slices.Max(times)
	slices.SortFunc(p.beyond, func(a, b outlaw) int { return cmp.Compare(a.block, b.block) })
	return err
}

// nrDataBlocks is how many data blocks there are, as far as that is known.
func (f *finder) nrDataBlocks() uint64 {
	countable := uint64(f.limit) * spacemap.PerBitmap // this device has no room for more bitmaps
	switch {
	case f.opt.Overrides.NrDataBlocks != nil:
		return min(*f.opt.Overrides.NrDataBlocks, countable)
	case f.sbErr == nil && f.sb.DataSpaceMap.NrBlocks > 0:
		return min(f.sb.DataSpaceMap.NrBlocks, countable)
	}
	return countable
}

// sound reports whether nothing has to be mended.
func (p *pool) sound() bool {
	if p.broken || len(p.lostRoots)+len(p.lostDetails)+len(p.beyond) > 0 {
		return false
	}
	for i := range p.devices {
		d := &p.devices[i]
		if !d.hasRoot || !d.hasDetails || p.mapped(d) != d.MappedBlocks {
			return false
		}
	}
	return true
}

// mapped is how many mappings of d can be read.
func (p *pool) mapped(d *device) uint64 { return p.trees[d.Root].N }
