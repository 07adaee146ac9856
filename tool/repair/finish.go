package repair

import (
	"fmt"
	"maps"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// newReport reports what was chosen and recovered.
func (s *salvage) newReport(damaged bool) Report {
	r := Report{
		MappingRoot: s.state.Mapping, DetailsRoot: s.state.Details,
		Damaged: damaged || s.super.err != nil || len(s.corrections) > 0 || !s.state.sure,
		Chosen:  !s.state.sure, Reason: s.state.why, Alternatives: s.state.states[1 : 1+s.state.rivals],
		Orphans: s.found, Doubts: s.doubts, Corrections: s.corrections, leaves: s.hasMappings(),
	}
	if s.super.err != nil {
		s.note("the superblock cannot be used: %v", s.super.err)
	}
	if s.super.err == nil && !s.state.sure && s.state.reference == nil && !s.opt.requestsState() {
		s.note("the superblock may have been set back: was the pool active on two hosts?")
	}
	if !s.state.sure {
		s.note("using the state with mapping root %d and details root %d (time %d, device transactions up to %d): %s",
			s.state.Mapping, s.state.Details, s.state.Time, s.state.TransactionID, s.state.why)
	}
	for i := range s.pool.devices {
		r.Devices = append(r.Devices, s.describeDevice(i))
	}
	var excess []metadata.DevID
	for _, d := range r.Devices {
		if !d.Known && d.Expected > 0 && d.Found() > d.Expected {
			excess = append(excess, d.ID)
		}
	}
	if len(excess) > 0 {
		r.Doubts = append(r.Doubts, s.opt.labels(excess)+": more mappings were found than the details count, so some belong to other devices")
	}
	if s.opt.LVM != nil {
		for _, id := range slices.Sorted(maps.Keys(s.opt.LVM.Volumes)) {
			if !slices.ContainsFunc(s.pool.devices, func(d device) bool { return d.ID == id }) {
				r.LostVolumes = append(r.LostVolumes, id)
			}
		}
	}
	r.Notes = s.notes
	return r
}

// describeDevice reports what is left of a device.
func (s *salvage) describeDevice(i int) DeviceReport {
	d := &s.pool.devices[i]
	r := DeviceReport{ID: d.ID, TimesGuessed: d.timesGuessed, Assigned: d.assigned}
	found := s.pool.mapped(d)
	var holes tally
	if s.grove != nil {
		holes = s.grove.tally(s.grove.roots[i])
	}
	r.Confirmed, r.Guessed = holes.confirmed, holes.guessed
	r.Read = found - min(found, r.Confirmed+r.Guessed)
	if d.hasDetails && !s.aged {
		r.Expected, r.Known = d.expected, found <= d.expected
	}
	proof := s.balanced && r.Known && found == r.Expected && !d.outdated
	move := func(n uint64) {
		n = min(n, r.Read)
		r.Read -= n
		if proof {
			r.Confirmed += n
		} else {
			r.Guessed += n
		}
	}
	move(holes.rebuilt)
	r.unproven = !proof
	if d.rootFound || d.outdated {
		r.guessedAll = !proof && r.Read > 0
		move(r.Read)
	}
	if r.Known {
		r.Lost = r.Expected - found
	}
	if missing := r.Lost > 0 || !r.Known; s.grove != nil && (missing || r.Guessed > 0) {
		r.grove, r.root, r.hasLost = s.grove, s.grove.roots[i], missing
		r.LostRanges = holes.open
		if missing {
			r.LostRanges = holes.lost
		}
	}
	return r
}

// finish drops the devices to be dropped, and gives the view a superblock and tables that lead to
// the rest.
func finish(p *pool, sb metadata.Superblock, sizeKnown bool, opt *Options, r Report) (*Result, error) {
	note := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	var devices []device
	for i, d := range p.devices {
		report := &r.Devices[i]
		report.Named = slices.Contains(opt.DropDevices, d.ID)
		report.Dropped = report.Named || opt.DropPartial && !report.Complete()
		if d.MappedBlocks = p.mapped(&p.devices[i]); !report.Dropped {
			devices = append(devices, d)
		}
	}
	p.setTimes(&sb, devices, opt, note)
	if n := sb.DataSpaceMap.NrBlocks; n > countable(p.limit) && opt.Overrides.NrDataBlocks == nil {
		note("the superblock says %d data blocks, more than the metadata can count", n)
		sizeKnown = false
	}
	if !sizeKnown && opt.Overrides.NrDataBlocks == nil {
		sb.DataSpaceMap.NrBlocks = p.highest
		note("the number of data blocks is unknown; using %d, up to the last mapped block. Give it with --nr-data-blocks to use the rest of the data device", p.highest)
	}
	r.Header = sb.Header()
	r.Header.Flags, r.Header.UUID = 0, [16]byte{}
	r.Header.Version = metadata.Version
	if err := opt.Overrides.Apply(&r.Header); err != nil {
		return nil, err
	}
	if p.highest > r.Header.NrDataBlocks {
		return nil, fmt.Errorf("a data device of %d blocks is too small: data block %d is in use", r.Header.NrDataBlocks, p.highest-1)
	}
	if err := p.checkPlausible(devices); err != nil {
		return nil, err
	}
	if err := p.writeTop(devices, sb, &r.Header); err != nil {
		return nil, err
	}
	return &Result{p.overlay, r}, nil
}

// checkPlausible refuses trees larger than any real pool has. The largest metadata device has four
// million blocks. A thousand snapshots of 16 TiB with data blocks of 64 KiB would fill it with
// internal nodes if each tree had its own; most are shared, so there may be more. Sixty-four times
// that many are not snapshots: dumping them would never end.
func (p *pool) checkPlausible(devices []device) error {
	const below, most = 252 * 252, 64 * spacemap.MaxMetadata // mappings below a node above full leaves
	nodes, known := uint64(0), map[block.Nr]bool{}
	for i := range devices {
		if root := devices[i].Root; !known[root] {
			known[root] = true
			nodes += p.trees[root].N / below
		}
		if nodes > most {
			return fmt.Errorf("implausible metadata: the mapping trees of devices up to %d alone need %d internal nodes, but the largest metadata device has %d blocks: %w",
				devices[i].ID, nodes, spacemap.MaxMetadata, block.ErrCorrupt)
		}
	}
	return nil
}

// writeTop puts a superblock and the device tables it points to in the overlay.
func (m *medium) writeTop(devices []device, sb metadata.Superblock, h *metadata.Header) error {
	sb.Block, sb.Flags, sb.HeldRoot = metadata.SuperblockLocation, 0, 0
	sb.Time, sb.TransactionID, sb.Version = h.Time, h.TransactionID, h.Version
	sb.DataBlockSize, sb.DataSpaceMap.NrBlocks = h.DataBlockSize, h.NrDataBlocks
	var err error
	sb.MappingRoot, err = btree.Build(m.overlay, metadata.RootSize, len(devices), func(i int, value []byte) uint64 {
		le.PutUint64(value, uint64(devices[i].Root))
		return uint64(devices[i].ID)
	})
	if err != nil {
		return err
	}
	sb.DetailsRoot, err = btree.Build(m.overlay, metadata.DetailsSize, len(devices), func(i int, value []byte) uint64 {
		devices[i].Details.Encode(value)
		return uint64(devices[i].ID)
	})
	if err != nil {
		return err
	}
	sb.MetadataSpaceMap.NrBlocks = uint64(m.end()) // new blocks lie beyond the end
	var b block.Data
	sb.Encode(&b)
	m.overlay.Put(metadata.SuperblockLocation, &b)
	return nil
}
