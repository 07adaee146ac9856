package repair

import (
	"context"

	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
)

// recoverDetails gives details to devices that have none: from an earlier commit, or made up. In
// both cases all mappings of the device count as shared, so that no block a snapshot needs is
// overwritten.
func (s *salvage) recoverDetails(ctx context.Context) error {
	var without []*device
	for i := range s.pool.devices {
		d := &s.pool.devices[i]
		if s.aged { // snapshots may have been taken since
			d.timesGuessed = true
		}
		if !d.hasDetails {
			without = append(without, d)
		}
	}
	if len(without) == 0 {
		return nil
	}
	older := map[metadata.DevID]metadata.Details{}
	for i := range s.survey.Nodes {
		if s.survey.Nodes[i].Kind != survey.DetailsLeaf {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, d := range s.detailsIn(s.survey.Nodes[i].Block) {
			if was, ok := older[d.ID]; !ok || compareAge(d.Details, was) > 0 {
				older[d.ID] = d.Details
			}
		}
	}
	invented := metadata.Details{TransactionID: s.sb.TransactionID - min(1, s.sb.TransactionID), CreationTime: s.sb.Time}
	var found, lost []metadata.DevID
	for _, d := range without {
		was, ok := older[d.ID]
		if ok && was.CreationTime <= max(s.sb.Time, s.pool.newest) {
			found = append(found, d.ID)
		} else {
			was = invented
			lost = append(lost, d.ID)
		}
		d.Details, d.timesGuessed = was, true
	}
	if len(found) > 0 {
		s.note("%s: details are lost; transaction and creation time are from an earlier commit", s.opt.labels(found))
	}
	if len(lost) > 0 {
		s.note("%s: details are lost; transaction %d and the times are made up", s.opt.labels(lost), invented.TransactionID)
	}
	return nil
}

// setTimes makes the times of the result consistent. If a device's snapshot time is made up, it
// and the pool's time are set past all mappings, so that the whole device counts as shared. Times
// beyond what a mapping can store are replaced in the same way.
func (p *pool) setTimes(sb *metadata.Superblock, devices []device, opt *Options, note func(string, ...any)) {
	madeUp := false
	var impossible []metadata.DevID
	for i := range devices {
		d := &devices[i]
		if d.CreationTime > metadata.MaxTime || d.SnapshottedTime > metadata.MaxTime {
			impossible = append(impossible, d.ID)
			d.CreationTime, d.SnapshottedTime, d.timesGuessed = 0, 0, true
		}
		madeUp = madeUp || d.timesGuessed
	}
	if len(impossible) > 0 {
		note("%s: times are later than a pool can reach and are replaced", opt.labels(impossible))
	}
	if sb.Time > metadata.MaxTime {
		note("time %d is later than a pool can reach: using that of the newest mapping", sb.Time)
		sb.Time = p.newest
	}
	now := max(sb.Time, p.newest)
	if madeUp && now == p.newest {
		now = min(now+1, metadata.MaxTime)
	}
	for _, d := range devices {
		now = max(now, d.CreationTime, d.SnapshottedTime)
	}
	sb.Time = now
	for i := range devices {
		if d := &devices[i]; d.timesGuessed {
			d.SnapshottedTime = now
			d.CreationTime = min(d.CreationTime, now)
		}
	}
}
