package write

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"thinpool/metadata"
)

// An owner sums up the devices that have a leaf.
type owner struct {
	least uint32 // their lowest snapshotted_time
	many  bool   // more than one device
	any   bool
}

// raiseTimes makes sure that no device writes to shared data blocks in place. If snapshotted_time
// is later than a mapping's time, the kernel treats the mapping as shared and copies its block
// before a write. Descriptions written by hand, or by other programs, may say otherwise. Then
// these devices get a later snapshotted_time, and the superblock's time follows.
//
// If nothing is shared, this costs next to nothing. Otherwise, it only decodes leaves that may
// have mappings new enough to matter.
func (b *Builder) raiseTimes() {
	repeated := false
	for range b.plan.data.Repeated() {
		repeated = true
		break
	}
	if !repeated && !b.sharesLeaves() {
		return
	}
	newest, atLimit := b.newestInPlace(repeated)
	var concerned []int
	time := uint32(0)
	for i, d := range b.devices {
		// A time n is stored as n+1; 0 means none.
		if n := newest[d.tree]; n > d.details.SnapshottedTime {
			concerned = append(concerned, i)
			time = max(time, n)
		}
	}
	for _, i := range concerned {
		b.devices[i].details.SnapshottedTime = time
	}
	switch n := len(concerned); {
	case n == 1:
		b.reportCorrection("1 device would have overwritten shared data blocks; its snapshotted_time is now %d", time)
	case n > 1:
		b.reportCorrection("%d devices would have overwritten shared data blocks; their snapshotted_time is now %d", n, time)
	}
	if atLimit > 0 {
		b.reportCorrection("%d mappings of shared data blocks have the highest possible time, %d: a write to one device also changes the others", atLimit, metadata.MaxTime)
	}
	b.header.Time = max(b.header.Time, time)
}

// sharesLeaves reports whether any leaf belongs to several devices.
func (b *Builder) sharesLeaves() bool {
	for _, t := range b.trees {
		if t.devices > 1 {
			return true
		}
	}
	for _, refs := range b.plan.refs {
		if refs > 1 {
			return true
		}
	}
	return false
}

// owners returns the owners of each leaf of the store.
func (b *Builder) owners() []owner {
	least := make([]uint32, len(b.trees))
	for i := range least {
		least[i] = metadata.MaxTime
	}
	for _, d := range b.devices {
		least[d.tree] = min(least[d.tree], d.details.SnapshottedTime)
	}
	owners := make([]owner, len(b.store.leaves))
	for i, t := range b.trees {
		for _, s := range b.spansOf(t) {
			for leaf := s.from; leaf < s.from+s.n; leaf++ {
				o := &owners[leaf]
				o.many = o.any || t.devices > 1
				if !o.any || least[i] < o.least {
					o.any, o.least = true, least[i]
				}
			}
		}
	}
	return owners
}

// newestInPlace returns, by tree, one more than the newest time of mappings of shared data blocks
// that some device would overwrite in place; 0 if there are none. Mappings with the maximum time
// cannot be fixed and are only counted. repeated says whether any data block is mapped by several
// leaves.
func (b *Builder) newestInPlace(repeated bool) (byTree []uint32, atLimit uint64) {
	owners, byLeaf := b.owners(), make([]uint32, len(b.store.leaves))
	var g errgroup.Group
	var next atomic.Int64
	var limited atomic.Uint64
	for range b.parallel() {
		g.Go(func() error {
			for {
				end := int(next.Add(countedAtOnce))
				from := end - countedAtOnce
				if from >= len(b.plan.order) {
					return nil
				}
				for _, leaf := range b.plan.order[from:min(end, len(b.plan.order))] {
					o := owners[leaf]
					if !o.many && !repeated || b.store.newest(int(leaf)) < uint64(o.least) {
						continue
					}
					newest, n := b.leafInPlace(int(leaf), o)
					byLeaf[leaf] = newest
					limited.Add(n)
				}
			}
		})
	}
	_ = g.Wait() // nothing there can fail
	byTree = make([]uint32, len(b.trees))
	for i, t := range b.trees {
		for _, s := range b.spansOf(t) {
			for leaf := s.from; leaf < s.from+s.n; leaf++ {
				byTree[i] = max(byTree[i], byLeaf[leaf])
			}
		}
	}
	return byTree, limited.Load()
}

// leafInPlace is newestInPlace for a single leaf.
func (b *Builder) leafInPlace(leaf int, o owner) (newest uint32, atLimit uint64) {
	for r := range b.store.runs(leaf) {
		if r.Time < o.least || r.Time < metadata.MaxTime && r.Time < newest {
			continue
		}
		n := r.Len
		if !o.many {
			n = b.countShared(r)
		}
		switch {
		case n == 0:
		case r.Time == metadata.MaxTime:
			atLimit += n
		default:
			newest = r.Time + 1
		}
	}
	return newest, atLimit
}

// countShared returns how many data blocks of r have more than one reference. It stops at the
// first one unless all must be counted.
func (b *Builder) countShared(r metadata.Run) uint64 {
	n := uint64(0)
	for i := range r.Len {
		if b.plan.data.Get(uint64(r.Data)+i) < 2 {
			continue
		}
		if n++; r.Time < metadata.MaxTime {
			break
		}
	}
	return n
}

// reportCorrection calls Note for a correction.
func (b *Builder) reportCorrection(format string, args ...any) {
	if b.opt.Note != nil {
		b.opt.Note(fmt.Sprintf(format, args...))
	}
}
