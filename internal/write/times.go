package write

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"thinpool/metadata"
)

// An owner is what matters of the devices that have a leaf.
type owner struct {
	least uint32 // snapshotted_time of them
	many  bool   // more than one
	any   bool
}

// raiseTimes makes sure that no device writes to shared data blocks in place. The kernel takes a
// mapping for shared, and copies its block before it writes to it, if snapshotted_time is later than
// the mapping's time. Descriptions by hand, or of pools that other programs made, may say otherwise;
// then the devices concerned get a later snapshotted_time, and the superblock's time follows.
//
// It costs next to nothing where nothing is shared. Otherwise only the leaves are decoded that can have
// mappings so new.
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
		// A time of n is kept as n+1, so 0 says that there is none.
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

// sharesLeaves reports whether several devices have a leaf.
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

// newestInPlace returns, by tree, one more than the newest time of its mappings of shared data
// blocks that some device would write to in place; 0 if there are none. Mappings of the highest
// possible time cannot be dealt with: they are only counted. repeated says whether data blocks are
// mapped by several leaves.
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

// leafInPlace is newestInPlace for a leaf.
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

// countShared is how many data blocks of r have more than one reference. It stops at the first,
// unless all of them have to be counted.
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

// reportCorrection tells of something that had to be set right.
func (b *Builder) reportCorrection(format string, args ...any) {
	if b.opt.Note != nil {
		b.opt.Note(fmt.Sprintf(format, args...))
	}
}
