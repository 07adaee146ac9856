package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A salvage recovers what the chosen state has lost.
type salvage struct {
	*evidence
	opt      *Options
	state    *chosen
	sb       metadata.Superblock // of the state, as far as it is known
	pool     *pool
	counts   *spacemap.Counts // of metadata blocks; nil if some are unreadable
	lineage  *lineage
	ancestry *ancestry
	rebuilt  map[block.Nr]*hole // nodes rebuilt from children: some children may be missing
	grove    *grove             // of the repaired trees; nil: nothing was repaired
	adopted  []block.Nr         // subtrees that a lost pointer led to
	found    []Orphan           // trees in use whose device is unknown
	balanced bool               // the references to metadata blocks, recovered ones included, match the counts
	aged     bool               // the device details are from an earlier commit
	doubts   []string           // what may be missing but cannot be counted
}

func newSalvage(ctx context.Context, e *evidence, opt *Options, state *chosen, sb metadata.Superblock) (*salvage, error) {
	s := &salvage{evidence: e, opt: opt, state: state, sb: sb, rebuilt: map[block.Nr]*hole{}, adopted: slices.Concat(state.top.found, state.details.found)}
	var err error
	if s.counts, err = countMetadata(ctx, e.medium, e.limit, &sb); err != nil {
		return nil, err
	}
	s.pool, err = readPool(ctx, e.medium, e.limit, nrDataBlocks(&sb, e.limit, opt), state.top, state.details)
	return s, err
}

// countMetadata reads the counts of metadata blocks; nil if some cannot be read.
func countMetadata(ctx context.Context, m *medium, limit block.Nr, sb *metadata.Superblock) (*spacemap.Counts, error) {
	root := sb.MetadataSpaceMap
	if root.BitmapRoot == 0 || root.NrBlocks == 0 || root.NrBlocks > spacemap.MaxMetadata {
		return nil, nil
	}
	sm, err := spacemap.LoadMetadata(ctx, m.r, limit, root)
	if err != nil {
		return nil, err
	}
	counts, err := sm.Counts(ctx, uint64(limit))
	if err != nil || len(counts.Unknown) > 0 {
		return nil, err
	}
	return counts, nil
}

// run recovers nodes, roots, mappings and details, in this order.
func (s *salvage) run(ctx context.Context) error {
	p := s.pool
	if err := p.dropMappingsBeyondEnd(ctx, s.note); err != nil {
		return err
	}
	s.recoverDevices()
	s.lineage, s.ancestry = newLineage(s), newAncestry(s.evidence, s.state)
	if err := s.recoverRoots(ctx); err != nil {
		return err
	}
	if err := p.readMappings(ctx); err != nil {
		return err
	}
	if err := s.recoverNodes(ctx); err != nil {
		return err
	}
	if err := p.dropMappingsBeyondEnd(ctx, s.note); err != nil { // in the leaves just recovered
		return err
	}
	if err := s.keepOrphans(ctx); err != nil {
		return err
	}
	s.balanced = s.metadataBalanced()
	g := findHoles(p, s.rebuilt)
	g.findOwners(p)
	if err := s.recoverMappings(ctx, g); err != nil {
		return err
	}
	if err := s.rebuildTrees(ctx, g); err != nil {
		return err
	}
	if err := s.noteUncounted(ctx); err != nil {
		return err
	}
	return s.recoverDetails(ctx)
}

// noteUncounted handles devices whose details are lost, so that nothing says how many mappings
// they had. It adds a doubt unless the data space map matches the references.
func (s *salvage) noteUncounted(ctx context.Context) error {
	if !slices.ContainsFunc(s.pool.devices, func(d device) bool { return !d.hasDetails }) {
		return nil
	}
	refs, _, err := s.countData(ctx, findHoles(s.pool, nil))
	if err != nil {
		return err
	}
	sp, err := s.dataSurplus(ctx, refs)
	if err != nil {
		return err
	}
	switch n := sp.total(); {
	case sp.none:
		s.doubts = append(s.doubts, "device details and the data space map are lost, so missing mappings cannot be detected")
	case n > 0:
		s.doubts = append(s.doubts, fmt.Sprintf("device details are lost, and the data space map counts %d references that were not found: mappings may be missing", n))
	case !sp.balanced:
		s.doubts = append(s.doubts, "device details are lost, and the data space map does not agree with the mappings")
	}
	return nil
}

// rebuildTrees writes the trees of all devices without the lost parts.
func (s *salvage) rebuildTrees(ctx context.Context, g *grove) error {
	p := s.pool
	s.grove = g
	empty := block.Nr(0)
	for i := range p.devices {
		d := &p.devices[i]
		t, ok, err := g.rebuild(g.roots[i])
		if err != nil {
			return err
		}
		if !ok {
			if empty == 0 { // one leaf for all devices that lost everything
				if empty, err = btree.Build(p.overlay, metadata.MappingSize, 0, nil); err != nil {
					return err
				}
			}
			t.block = empty
		}
		d.Root, d.hasRoot = t.block, true
	}
	p.reopen()
	if err := p.readMappings(ctx); err != nil {
		return err
	}
	if p.broken {
		return errors.New("internal error: the rebuilt mapping trees are not whole")
	}
	return nil
}

// recoverDevices looks in earlier commits for devices that the state has lost.
func (s *salvage) recoverDevices() {
	top, details := s.state.top, s.state.details
	if len(top.entries)+len(details.entries) == 0 && len(s.state.states) > 1 && s.counts != nil {
		// The space map tells which trees are in use; an earlier commit tells who owned them.
		for _, older := range s.state.states[1:] {
			if len(older.details.entries) == 0 || !s.agreesWithLVM(older) {
				continue
			}
			s.aged = true
			s.note("the devices are from an earlier commit: details root %d (time %d, device transactions up to %d)",
				older.Details, older.Time, older.TransactionID)
			for _, d := range mergeTables(&table{}, older.details) {
				known := s.pool.device(d.ID)
				known.Details, known.hasDetails = d.Details, true
			}
			break
		}
		s.note("neither root can be read: blocks %d and %d", s.state.Mapping, s.state.Details)
		s.doubts = append(s.doubts, "both the mapping tree's top level and the device details are lost: recent devices may be missing")
		return
	}
	both := false
	for i := range s.survey.Nodes {
		n := &s.survey.Nodes[i]
		if n.Kind != survey.TopLeaf {
			continue
		}
		for _, e := range s.survey.Entries(n) {
			_, a := top.has(e.Key)
			_, b := details.has(e.Key)
			if a && b && e.Key <= metadata.MaxDevID {
				s.pool.device(metadata.DevID(e.Key))
			}
		}
	}
	for _, a := range top.lost {
		both = both || slices.ContainsFunc(details.lost, func(b btree.LeafRange) bool { return a.Keys.Overlaps(b.Keys) })
	}
	if both {
		s.doubts = append(s.doubts, "the mapping tree and the device details lost the same range of device ids: devices may be missing")
	}
}

// agreesWithLVM reports whether a state has the volumes that LVM knows, if LVM was asked.
func (s *salvage) agreesWithLVM(state *State) bool {
	if s.opt.LVM == nil {
		return true
	}
	for id := range s.opt.LVM.Volumes {
		if _, ok := slices.BinarySearchFunc(state.Devices, id, func(d DeviceRoot, id metadata.DevID) int { return cmp.Compare(d.ID, id) }); !ok {
			return false
		}
	}
	return true
}

// isUnreadable reports whether err is about the content of a block, not about the pointer to it.
func isUnreadable(err error) bool {
	_, bounds := errors.AsType[*btree.BoundsError](err)
	_, loop := errors.AsType[*btree.LoopError](err)
	_, wild := errors.AsType[*btree.PointerError](err)
	return !bounds && !loop && !wild && !errors.Is(err, errNoRoot)
}
