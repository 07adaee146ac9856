package repair

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"sync"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A pool is the devices of a state with their mapping trees, as far as they can be read.
type pool struct {
	*medium
	limit   block.Nr // of block numbers in metadata
	nrData  uint64   // number of data blocks, as far as known
	devices []device // by ascending id
	forest  *btree.Forest
	trees   map[block.Nr]btree.TreeSummary
	broken  bool     // the forest is damaged
	highest uint64   // highest data block in use, plus 1
	newest  uint32   // newest time of a mapping
	beyond  []excess // leaves with mappings beyond the data device
}

// A device is what is known about a thin device.
type device struct {
	metadata.Device
	hasRoot, hasDetails bool
	timesGuessed        bool   // the times in the details are guesses
	rootFound           bool   // its root was found with the space map
	outdated            bool   // the tree may belong to another device or an earlier commit
	assigned            bool   // the tree is an orphan
	expected            uint64 // number of mappings according to the details
}

// An excess is a leaf with mappings beyond the end of the data device.
type excess struct {
	block block.Nr
	n     int // number of such mappings
}

// nrDataBlocks returns the number of data blocks, or an upper bound if it is unknown.
func nrDataBlocks(sb *metadata.Superblock, limit block.Nr, opt *Options) uint64 {
	switch {
	case opt.Overrides.NrDataBlocks != nil:
		return min(*opt.Overrides.NrDataBlocks, countable(limit))
	case sb.DataSpaceMap.NrBlocks > 0:
		return min(sb.DataSpaceMap.NrBlocks, countable(limit))
	}
	return countable(limit)
}

// countable returns how many data blocks metadata of that size can count.
func countable(limit block.Nr) uint64 { return uint64(limit) * spacemap.PerBitmap }

// readPool reads what the tables of a state point to.
func readPool(ctx context.Context, m *medium, limit block.Nr, nrData uint64, top, details *table) (*pool, error) {
	p := &pool{medium: m, limit: limit, nrData: nrData}
	for _, d := range mergeTables(top, details) {
		p.devices = append(p.devices, device{
			Device:  metadata.Device{ID: d.ID, Root: d.Root, Details: d.Details},
			hasRoot: d.Root != 0, hasDetails: d.Known, expected: d.Expected, rootFound: top.foundIDs[uint64(d.ID)],
		})
	}
	return p, p.readMappings(ctx)
}

// bound returns the limit of block numbers in mapping trees. Rebuilt nodes lie beyond the end of
// the damaged device.
func (p *pool) bound() block.Nr {
	if p.end() > p.blocks {
		return p.end()
	}
	return p.limit
}

// readMappings reads the mapping trees of the devices.
func (p *pool) readMappings(ctx context.Context) error {
	var roots []block.Nr
	for _, d := range p.devices {
		if d.hasRoot {
			roots = append(roots, d.Root)
		}
	}
	var err error
	if p.forest, err = btree.Load(ctx, p.r, p.bound(), metadata.MappingSize, roots...); err != nil {
		return err
	}
	if err := p.readLeaves(ctx); err != nil {
		return err
	}
	p.broken = false
	checker := btree.NewChecker(p.forest, func(found btree.Finding) {
		switch found.Kind {
		case btree.Lost, btree.OutOfBounds, btree.UnevenDepth:
			p.broken = true
		}
	})
	p.trees = map[block.Nr]btree.TreeSummary{}
	for _, root := range roots {
		if _, ok := p.trees[root]; !ok {
			p.trees[root] = checker.CheckTree(root)
		}
	}
	return nil
}

// readLeaves reads all leaves and finds mappings that cannot be right.
func (p *pool) readLeaves(ctx context.Context) error {
	tops, times := make([]uint64, p.r.Workers()), make([]uint32, p.r.Workers())
	var mu sync.Mutex
	p.beyond = nil
	err := p.forest.EachLeaf(ctx, func(worker, leaf int, n btree.Node, err error) error {
		if err != nil {
			return nil
		}
		outside := 0
		_, values := n.Uint64s()
		for ; len(values) >= 8; values = values[8:] {
			data, time := metadata.UnpackMapping(le.Uint64(values))
			times[worker] = max(times[worker], time)
			if uint64(data) >= p.nrData {
				outside++
				continue
			}
			tops[worker] = max(tops[worker], uint64(data)+1)
		}
		if outside > 0 {
			mu.Lock()
			defer mu.Unlock()
			p.beyond = append(p.beyond, excess{p.forest.Leaves()[leaf].Block, outside})
		}
		return nil
	})
	p.highest, p.newest = slices.Max(tops), slices.Max(times)
	sort.Slice(p.beyond, func(i, j int) bool { return p.beyond[i].block < p.beyond[j].block })
	return err
}

// sound reports whether there is nothing to repair.
func (p *pool) sound() bool {
	if p.broken || len(p.beyond) > 0 {
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

// mapped returns how many mappings of d can be read.
func (p *pool) mapped(d *device) uint64 { return p.trees[d.Root].N }

// device returns the device with the given id, adding it if needed.
func (p *pool) device(id metadata.DevID) *device {
	i, ok := slices.BinarySearchFunc(p.devices, id, func(d device, id metadata.DevID) int { return cmp.Compare(d.ID, id) })
	if !ok {
		p.devices = slices.Insert(p.devices, i, device{Device: metadata.Device{ID: id}})
	}
	return &p.devices[i]
}

// dropMappingsBeyondEnd removes mappings beyond the data device from their leaves.
func (p *pool) dropMappingsBeyondEnd(ctx context.Context, note func(string, ...any)) error {
	if len(p.beyond) == 0 {
		return nil
	}
	for _, x := range p.beyond {
		var b, kept block.Data
		if err := p.r.Read(x.block, &b); err != nil {
			return err
		}
		n, err := btree.Decode(x.block, &b, metadata.MappingSize)
		if err != nil {
			return err
		}
		d := btree.NewNodeBuilder(&kept, true, metadata.MappingSize)
		for i := range min(n.Len(), btree.MaxEntries(metadata.MappingSize)) {
			if data, _ := metadata.UnpackMapping(n.Uint64(i)); uint64(data) < p.nrData {
				d.AddUint64(n.Key(i), n.Uint64(i))
			}
		}
		d.Seal(x.block)
		p.overlay.Put(x.block, &kept)
		note("block %d: dropped %d mappings to data blocks beyond the end of the data device", x.block, x.n)
	}
	p.reopen()
	return p.readMappings(ctx)
}

// newerAtCursor reports whether a commit may have followed the one the superblock names. That
// commit would have written to the first free blocks in the superblock's space map, from the index
// block on or from the beginning.
func newerAtCursor(m *medium, sb *super, limit block.Nr) bool {
	const tries = 64
	var b block.Data
	index := sb.MetadataSpaceMap.BitmapRoot
	if index == 0 || index >= limit || m.r.Read(index, &b) != nil || block.Verify(index, &b, block.Index) != nil {
		return true
	}
	var bitmaps []block.Nr
	entries := spacemap.IndexEntries(&b)
	for i := range spacemap.Bitmaps(uint64(limit)) {
		bitmaps = append(bitmaps, spacemap.DecodeEntry(entries[i*spacemap.EntrySize:]).Block)
	}
	for _, begin := range [...]block.Nr{0, index + 1} {
		tried := 0
		var bitmap spacemap.Bitmap
		var content block.Data
		for nr := begin; nr < limit && tried < tries; nr++ {
			if nr == begin || nr%spacemap.PerBitmap == 0 {
				at := bitmaps[nr/spacemap.PerBitmap]
				if at == 0 || at >= limit || m.r.Read(at, &content) != nil {
					return true
				}
				var err error
				if bitmap, err = spacemap.DecodeBitmap(at, &content); err != nil {
					return true
				}
			}
			if bitmap.Count(int(nr%spacemap.PerBitmap)) != 0 {
				continue
			}
			tried++
			if m.r.Read(nr, &b) == nil && survey.Examine(nr, &b, limit) > survey.Unknown {
				return true
			}
		}
	}
	return false
}
