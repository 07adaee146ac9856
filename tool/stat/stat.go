// Package stat, whose API may change, measures pools: how blocks are shared, how long runs are,
// and how full tree nodes are.
package stat

import (
	"context"
	"fmt"
	"iter"
	"sort"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Histogram tells how often each value occurs, by ascending values.
type Histogram []Bin

// A Bin is a value and how often it occurs.
type Bin struct{ Value, Times uint64 }

func histogram(times map[uint64]uint64) Histogram {
	var h Histogram
	for value, n := range times {
		h = append(h, Bin{value, n})
	}
	sort.Slice(h, func(i, j int) bool { return h[i].Value < h[j].Value })
	return h
}

// Total returns the number of values and their sum.
func (h Histogram) Total() (times, sum uint64) {
	for _, b := range h {
		times, sum = times+b.Times, sum+b.Times*b.Value
	}
	return times, sum
}

// DataCounts returns the histogram of the reference counts of used data blocks, from the data
// space map. The count of a data block is the number of leaves that map it.
func DataCounts(ctx context.Context, p *metadata.Pool) (Histogram, error) {
	root := p.Live.DataSpaceMap
	if bitmaps := spacemap.Bitmaps(root.NrBlocks); bitmaps > uint64(p.Reader().Blocks()) {
		return nil, fmt.Errorf("data space map: %d bitmaps are more than the device has blocks: %w", bitmaps, block.ErrCorrupt)
	}
	m, err := spacemap.LoadData(ctx, p.Reader(), p.Limit(), root)
	if err != nil {
		return nil, err
	}
	return countHistogram(ctx, m, "data space map")
}

// MetadataCounts returns the histogram of the reference counts of used metadata blocks.
func MetadataCounts(ctx context.Context, p *metadata.Pool) (Histogram, error) {
	root := p.Live.MetadataSpaceMap
	if root.NrBlocks > spacemap.MaxMetadata {
		return nil, fmt.Errorf("metadata space map: %d blocks are more than metadata can have: %w", root.NrBlocks, block.ErrCorrupt)
	}
	m, err := spacemap.LoadMetadata(ctx, p.Reader(), p.Limit(), root)
	if err != nil {
		return nil, err
	}
	return countHistogram(ctx, m, "metadata space map")
}

func countHistogram(ctx context.Context, m *spacemap.Map, what string) (Histogram, error) {
	c, err := m.Counts(ctx, 0)
	if err != nil {
		return nil, err
	}
	if len(c.Unknown) > 0 {
		return nil, fmt.Errorf("%s: %w", what, c.Unknown[0].Err)
	}
	times := map[uint64]uint64{}
	for count, n := range c.Histogram() {
		if count > 0 {
			times[uint64(count)] = n
		}
	}
	return histogram(times), nil
}

// RunLengths returns the histogram of the lengths of runs. A leaf shared by several devices counts
// once, for the first of them.
func RunLengths(ctx context.Context, p *metadata.Pool) (Histogram, error) {
	devices, err := devicesOf(ctx, p)
	if err != nil {
		return nil, err
	}
	m, err := p.Mappings(ctx, devices...)
	if err != nil {
		return nil, err
	}
	times := map[uint64]uint64{}
	var pending metadata.Run
	end := func() {
		if pending.Len > 0 {
			times[pending.Len]++
		}
		pending = metadata.Run{}
	}
	err = m.Stream(ctx, stepsReadingOnce(m, devices), func(s *metadata.Step, runs []metadata.Run) error {
		if s.Mark == deviceEnds {
			end()
		}
		for _, r := range runs {
			if pending.Len > 0 && r.Continues(pending) {
				pending.Len += r.Len
				continue
			}
			end()
			pending = r
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	end()
	return histogram(times), nil
}

// deviceEnds marks where a device ends or continues in leaves that were already read.
const deviceEnds = 1

// stepsReadingOnce yields steps that read each leaf once, and marks where devices end.
func stepsReadingOnce(m *metadata.Mappings, devices []metadata.Device) iter.Seq[metadata.Step] {
	return func(yield func(metadata.Step) bool) {
		read := make([]bool, len(m.Forest.Leaves()))
		roots := map[block.Nr]bool{}
		for _, d := range devices {
			if roots[d.Root] {
				continue
			}
			roots[d.Root] = true
			goesOn := false
			for part := range m.Forest.LeafRanges(d.Root) {
				fresh := part.Err != nil || !read[part.Leaf]
				if !fresh || !goesOn {
					if !yield(metadata.Step{Mark: deviceEnds}) {
						return
					}
				}
				if goesOn = fresh; !fresh {
					continue
				}
				if part.Err == nil {
					read[part.Leaf] = true
				}
				if !yield(metadata.Step{ID: d.ID, Leaf: part}) {
					return
				}
			}
		}
	}
}

func devicesOf(ctx context.Context, p *metadata.Pool) ([]metadata.Device, error) {
	var devices []metadata.Device
	for d, err := range p.Devices(ctx) {
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, nil
}

// A Device is the measurements of a device.
type Device struct {
	ID       metadata.DevID
	Mappings uint64
	Runs     uint64
	Leaves   uint64
	Shared   uint64 // leaves shared with other devices
	Nodes    uint64 // internal nodes
	Depth    int    // levels of internal nodes
	Room     uint64 // capacity of the leaves, in mappings
}

// Fill returns how full the leaves are, from 0 to 1.
func (d *Device) Fill() float64 {
	if d.Room == 0 {
		return 0
	}
	return float64(d.Mappings) / float64(d.Room)
}

// Devices measures all devices, by ascending id. It visits each node once, however many devices
// share it. If the metadata is damaged, the error wraps [block.ErrCorrupt].
func Devices(ctx context.Context, p *metadata.Pool) ([]Device, error) {
	devices, err := devicesOf(ctx, p)
	if err != nil {
		return nil, err
	}
	m, err := p.Mappings(ctx, devices...)
	if err != nil {
		return nil, err
	}
	t := trees{forest: m.Forest, below: map[block.Nr]*tree{}}
	if err := t.read(ctx); err != nil {
		return nil, err
	}
	t.owners = metadata.LeafSharing(m.Forest, devices)
	var measured []Device
	for _, d := range devices {
		sum, err := t.tree(d.Root, 0)
		if err != nil {
			return nil, &metadata.LostError{ID: d.ID, Keys: btree.AllKeys, Err: err}
		}
		measured = append(measured, Device{
			ID: d.ID, Mappings: sum.mappings, Runs: sum.runs, Leaves: sum.leaves, Shared: sum.shared,
			Nodes: sum.nodes, Depth: sum.depth, Room: sum.room,
		})
	}
	return measured, nil
}

// trees measures subtrees.
type trees struct {
	forest *btree.Forest
	ends   []ends             // by leaf
	owners []metadata.Sharing // by leaf
	below  map[block.Nr]*tree
}

// ends are the first and last run of a leaf, and its number of runs.
type ends struct {
	first, last metadata.Run
	runs        uint64
}

// A tree is the measurements of a subtree.
type tree struct {
	ends
	mappings, leaves, shared, nodes, room uint64
	depth                                 int
}

// read reads all leaves.
func (t *trees) read(ctx context.Context) error {
	t.ends = make([]ends, len(t.forest.Leaves()))
	return t.forest.EachLeaf(ctx, func(_, leaf int, n btree.Node, err error) error {
		if err != nil || leaf >= len(t.ends) {
			return nil // reported later, with its device
		}
		if runs := metadata.AppendRuns(nil, n); len(runs) > 0 {
			t.ends[leaf] = ends{runs[0], runs[len(runs)-1], uint64(len(runs))}
		}
		return nil
	})
}

// tree measures the subtree at nr.
func (t *trees) tree(nr block.Nr, depth int) (*tree, error) {
	if sum, ok := t.below[nr]; ok {
		if sum == nil {
			return nil, &btree.LoopError{Block: nr}
		}
		return sum, nil
	}
	if depth > btree.MaxDepth {
		return nil, &btree.LoopError{Block: nr}
	}
	t.below[nr] = nil // in case of a loop
	sum := &tree{}
	switch role, i := t.forest.Role(nr); role {
	case btree.LeafNode:
		if i >= len(t.ends) {
			return nil, &btree.MisplacedError{Block: nr}
		}
		l := &t.forest.Leaves()[i]
		*sum = tree{ends: t.ends[i], mappings: uint64(l.N), leaves: 1, room: uint64(l.Cap)}
		if t.owners[i].Many {
			sum.shared = 1
		}
	case btree.InnerNode:
		in := &t.forest.Inner()[i]
		sum.nodes = 1
		for _, child := range in.Children {
			here, err := t.tree(child, depth+1)
			if err != nil {
				return nil, err
			}
			sum.add(here)
		}
		sum.depth++
	default:
		return nil, t.forest.Err(nr, 0, 0)
	}
	t.below[nr] = sum
	return sum, nil
}

// add adds the subtree that follows in key order.
func (s *tree) add(next *tree) {
	switch {
	case s.runs == 0:
		s.ends = next.ends
	case next.runs > 0:
		s.runs += next.runs
		if next.first.Continues(s.last) {
			s.runs--
		}
		joined := s.last
		s.last = next.last
		if next.runs == 1 && next.first.Continues(joined) {
			s.last = metadata.Run{Thin: joined.Thin, Data: joined.Data, Len: joined.Len + next.last.Len, Time: joined.Time}
		}
	}
	s.mappings, s.leaves, s.shared = s.mappings+next.mappings, s.leaves+next.leaves, s.shared+next.shared
	s.nodes, s.room, s.depth = s.nodes+next.nodes, s.room+next.room, max(s.depth, next.depth)
}
