package repair

import (
	"context"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
	"thinpool/metadata/spacemap"
	"thinpool/metadata/survey"
)

// Generations finds all roots that are left on dev, those of the superblock and of
// earlier transactions: first the superblock's, then the newest. Devices that were
// deleted are still in older ones; Reused says how many of their data blocks others have taken since.
func Generations(ctx context.Context, dev block.Device, opt Options) ([]*Generation, error) {
	f := newFinder(ctx, dev, opt)
	if err := f.lookAround(); err != nil {
		return nil, err
	}
	f.readSuperblock()
	all := f.generations()
	if err := ctx.Err(); err != nil || f.sbErr != nil {
		return all, err
	}
	return all, f.findReused(all)
}

// findReused counts the mappings of each generation whose data blocks belong to
// others today: leaves that are not in use, but map what is.
func (f *finder) findReused(all []*Generation) error {
	p, refs, err := f.present()
	if err != nil {
		return err
	}
	below := map[block.Nr]uint64{} // by node
	for _, g := range all {
		g.Current = g.Mapping == f.sb.MappingRoot
		for i := range g.Devices {
			d := &g.Devices[i]
			reused, err := f.reused(p, refs, d.Root, 0, below)
			if err != nil {
				return err
			}
			d.Reused = reused
			g.Reused += reused
		}
	}
	slices.SortStableFunc(all, func(a, b *Generation) int { return b2i(b.Current) - b2i(a.Current) })
	return nil
}

// present returns what the superblock leads to, and how often that uses each data block.
func (f *finder) present() (*pool, *spacemap.Counter, error) {
	p, err := f.readPool(f.sb.MappingRoot, f.sb.DetailsRoot)
	if err != nil {
		return nil, nil, err
	}
	refs, err := f.countData(p, newMender(f, p.forest))
	return p, refs, err
}

// describeReused reports how many mappings of p, if p is not what the superblock leads
// to, have data blocks that belong to others today.
func (f *finder) describeReused(p *pool) error {
	if f.sbErr != nil || p.mappingRoot == f.sb.MappingRoot || f.opt.MappingRoot == 0 {
		return nil
	}
	now, refs, err := f.present()
	if err != nil {
		return err
	}
	for i := range p.devices {
		for part := range p.forest.Parts(p.devices[i].Root) {
			if kind, _ := now.forest.Kind(part.Block); part.Err == nil && kind != btree.LeafNode {
				f.report.Devices[i].Reused += f.taken(part.Block, refs)
			}
		}
	}
	return nil
}

// reused counts the mappings below a node whose data blocks belong to others; those
// of leaves that are still in their place do not.
func (f *finder) reused(p *pool, refs *spacemap.Counter, nr block.Nr, depth int, below map[block.Nr]uint64) (uint64, error) {
	n, ok := f.survey.Node(nr)
	if sum, known := below[nr]; known || !ok || depth > btree.MaxDepth {
		return sum, f.ctx.Err()
	}
	below[nr] = 0 // should it lead back here
	var sum uint64
	switch kind, _ := p.forest.Kind(nr); {
	case n.Sort == survey.MappingLeaf && kind != btree.LeafNode:
		sum = f.taken(nr, refs)
	case n.Sort == survey.Inner:
		for _, e := range f.survey.Entries(n) {
			here, err := f.reused(p, refs, e.Block, depth+1, below)
			if err != nil {
				return 0, err
			}
			sum += here
		}
	}
	below[nr] = sum
	return sum, nil
}

// taken counts the mappings in a leaf whose data blocks are in use.
func (f *finder) taken(nr block.Nr, refs *spacemap.Counter) (n uint64) {
	var b block.Data
	if f.r.Read(nr, &b) != nil {
		return 0
	}
	node, err := btree.Decode(nr, &b, metadata.MappingSize)
	if err != nil {
		return 0
	}
	for i := range node.Len() {
		if data, _ := metadata.UnpackMapping(node.Uint64(i)); uint64(data) < refs.Len() && refs.Get(uint64(data)) > 0 {
			n++
		}
	}
	return n
}
