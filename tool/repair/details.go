package repair

import (
	"cmp"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/survey"
)

// findDetails gives details to devices that have none: those of an earlier
// transaction, or made up. Either way all of the device's mappings count as
// shared, so that nothing is overwritten that a snapshot needs.
func (f *finder) findDetails(p *pool) error {
	var without []*device
	for i := range p.devices {
		d := &p.devices[i]
		if f.aged { // snapshots may have been taken since
			d.SnapshottedTime = f.sb.Time
		}
		if !d.hasDetails {
			without = append(without, d)
		}
	}
	if len(without) == 0 {
		return nil
	}
	older := map[metadata.DevID]metadata.Details{}
	for i := range f.survey.Nodes {
		if f.survey.Nodes[i].Sort != survey.DetailsLeaf {
			continue
		}
		if err := f.ctx.Err(); err != nil {
			return err
		}
		for _, d := range f.detailsIn(f.survey.Nodes[i].Block) {
			if was, ok := older[d.ID]; !ok || newerDetails(d.Details, was) {
				older[d.ID] = d.Details
			}
		}
	}
	f.raiseTime(p)
	for _, d := range without {
		was, ok := older[d.ID]
		if ok && was.CreationTime <= f.sb.Time {
			f.note("device %d: its details are lost; transaction %d and creation time %d are from an earlier transaction", d.ID, was.TransactionID, was.CreationTime)
		} else {
			was = metadata.Details{TransactionID: f.sb.TransactionID - min(1, f.sb.TransactionID), CreationTime: f.sb.Time}
			f.note("device %d: its details are lost; transaction %d and times %d are made up", d.ID, was.TransactionID, was.CreationTime)
		}
		d.Details = was
		d.SnapshottedTime, d.MappedBlocks, d.madeUp = f.sb.Time, p.mapped(d), true
	}
	return nil
}

func newerDetails(a, b metadata.Details) bool {
	return cmp.Or(cmp.Compare(a.SnapshottedTime, b.SnapshottedTime), cmp.Compare(a.TransactionID, b.TransactionID)) > 0
}

// raiseTime makes the pool's time later than all mappings if it is not known: then
// all of them count as shared.
func (f *finder) raiseTime(p *pool) {
	if f.sbErr != nil {
		f.sb.Time = max(f.sb.Time, min(p.newest+1, metadata.MaxTime))
	}
}

// limitTimes replaces times that no pool can reach: a mapping has no room for them,
// and a clock that is set by them takes no more snapshots. All mappings of such a
// device count as shared.
func (f *finder) limitTimes(p *pool, devices []device) {
	if f.sb.Time > metadata.MaxTime {
		f.note("time %d is more than a pool can reach: it is now %d, that of the newest mapping", f.sb.Time, p.newest)
		f.sb.Time = p.newest
	}
	now := min(max(f.sb.Time, p.newest)+1, metadata.MaxTime)
	for i := range devices {
		d := &devices[i]
		if d.CreationTime <= metadata.MaxTime && d.SnapshottedTime <= metadata.MaxTime {
			continue
		}
		f.note("device %d: its times %d and %d are more than a pool can reach: both are now %d", d.ID, d.CreationTime, d.SnapshottedTime, now)
		d.CreationTime, d.SnapshottedTime = now, now
	}
}

// remadeFor returns the keys of nodes that were put together anew for a device.
func (f *finder) remadeFor(id metadata.DevID) []LostRange {
	var lost []LostRange
	for _, h := range f.remade {
		if slices.Contains(h.owners, id) {
			lost = append(lost, LostRange{h.keys, h.block, h.err})
		}
	}
	return lost
}

// describe reports what is left of each device.
func (f *finder) describe(p *pool) {
	f.report.MappingRoot, f.report.DetailsRoot = p.mappingRoot, p.detailsRoot
	for i := range p.devices {
		d := &p.devices[i]
		r := DeviceReport{ID: d.ID, Found: p.mapped(d), MadeUp: d.madeUp}
		if d.hasDetails && !f.aged {
			r.Expected, r.Known = d.expected, true
		}
		for _, h := range p.lost[d.ID] {
			r.Recovered += h.got
			r.Old += h.old
			if h.gap {
				continue // remadeFor has the whole node
			}
			if !h.filled || h.old > 0 || !r.Known || r.Found < r.Expected {
				r.Lost = append(r.Lost, LostRange{h.keys, h.block, h.err})
			}
		}
		if !r.Known || r.Found < r.Expected {
			r.Lost = append(r.Lost, f.remadeFor(d.ID)...)
			slices.SortFunc(r.Lost, func(a, b LostRange) int {
				return cmp.Or(cmp.Compare(a.Keys.Begin, b.Keys.Begin), cmp.Compare(a.Block, b.Block))
			})
		}
		if d.outdated {
			r.Old = r.Found
		}
		f.report.Devices = append(f.report.Devices, r)
		d.MappedBlocks = r.Found
	}
	if f.sbErr != nil && f.opt.Overrides.NrDataBlocks == nil {
		f.sb.DataSpaceMap.NrBlocks = p.highest
	}
}
