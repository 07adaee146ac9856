package repair

import (
	"context"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A present is what a state uses today. It shows what earlier states have lost since.
type present struct {
	*evidence
	forest *btree.Forest
	refs   *spacemap.Counter   // of data blocks
	below  map[block.Nr]uint64 // by node: mappings below it whose data blocks now belong to others
}

func newPresent(ctx context.Context, e *evidence, state *State, opt *Options) (*present, error) {
	p, err := readPool(ctx, e.medium, e.limit, nrDataBlocks(&e.super.Superblock, e.limit, opt), state.top, state.details)
	if err != nil {
		return nil, err
	}
	s := &salvage{evidence: e, opt: opt, sb: state.super, pool: p}
	refs, _, err := s.countData(ctx, findHoles(p, nil))
	return &present{e, p.forest, refs, map[block.Nr]uint64{}}, err
}

// countReusedIn sets Reused of each state: the mappings whose data blocks belong to others in the
// chosen state.
func (e *evidence) countReusedIn(ctx context.Context, state *chosen, opt *Options) error {
	now, err := newPresent(ctx, e, state.State, opt)
	if err != nil {
		return err
	}
	for _, s := range state.states[1:] {
		for i := range s.Devices {
			d := &s.Devices[i]
			if d.Reused, err = now.reused(ctx, d.Root, 0); err != nil {
				return err
			}
			s.Reused += d.Reused
		}
	}
	return nil
}

// countReused sets Reused of each device: the mappings whose data blocks belong to others in the
// state that would have been chosen.
func (s *salvage) countReused(ctx context.Context, r *Report) error {
	reference := s.state.reference
	if reference == nil || reference == s.state.State {
		return nil
	}
	now, err := newPresent(ctx, s.evidence, reference, s.opt)
	if err != nil {
		return err
	}
	for i := range s.pool.devices {
		r.Devices[i].Reused = now.takenBelow(s.pool.forest, s.pool.devices[i].Root)
	}
	return nil
}

// takenBelow is like reused, for a sound forest.
func (p *present) takenBelow(f *btree.Forest, nr block.Nr) uint64 {
	if sum, known := p.below[nr]; known {
		return sum
	}
	p.below[nr] = 0 // in case of a loop
	var sum uint64
	switch role, i := f.Role(nr); role {
	case btree.InnerNode:
		for _, child := range f.Inner()[i].Children {
			sum += p.takenBelow(f, child)
		}
	case btree.LeafNode:
		if now, _ := p.forest.Role(nr); now != btree.LeafNode {
			sum = p.countTaken(nr)
		}
	}
	p.below[nr] = sum
	return sum
}

// reused counts the mappings below a node whose data blocks belong to others. Mappings in leaves
// that are still in place do not count.
func (p *present) reused(ctx context.Context, nr block.Nr, depth int) (uint64, error) {
	n, ok := p.survey.Node(nr)
	if sum, known := p.below[nr]; known || !ok || depth > btree.MaxDepth {
		return sum, ctx.Err()
	}
	p.below[nr] = 0 // in case of a loop
	var sum uint64
	switch role, _ := p.forest.Role(nr); {
	case n.Kind == survey.MappingLeaf && role != btree.LeafNode:
		sum = p.countTaken(nr)
	case n.Kind == survey.Inner:
		for _, c := range p.survey.Entries(n) {
			here, err := p.reused(ctx, c.Block, depth+1)
			if err != nil {
				return 0, err
			}
			sum += here
		}
	}
	p.below[nr] = sum
	return sum, nil
}

// countTaken counts the mappings in a leaf whose data blocks are in use.
func (p *present) countTaken(nr block.Nr) (sum uint64) {
	n, ok := p.mappingLeaf(nr)
	if !ok {
		return 0
	}
	for i := range n.Len() {
		if data, _ := metadata.UnpackMapping(n.Uint64(i)); uint64(data) < p.refs.Len() && p.refs.Get(uint64(data)) > 0 {
			sum++
		}
	}
	return sum
}
