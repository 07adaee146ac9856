package report

import (
	"cmp"
	"context"
	"encoding/binary"
	"math/bits"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
)

// measure reads the leaves once more, and fills in all figures about mappings.
func (r *Report) measure(ctx context.Context, m check.Mapped, opt Options) error {
	r.Mapped = true
	r.Volumes = make([]Volume, len(m.Devices))
	for i, d := range m.Devices {
		v := &r.Volumes[i]
		v.Device = d
		if opt.Volume != nil {
			v.LVM, v.Named = opt.Volume(d.ID)
		}
	}
	r.Sharing.choose(r.Volumes)
	p := newPass(m, &r.Sharing)
	if err := p.run(ctx, opt.Progress); err != nil {
		return err
	}
	r.cuts, r.Cells = p.cuts, p.cells()
	r.Sharing.count(p.samples, r.Volumes)
	w := walk{pass: p, below: make([]subtree, len(m.Forest.Inner()))}
	for i := range r.Volumes {
		w.volume(&r.Volumes[i])
	}
	r.Runs, r.Fill = w.bins(), w.fill
	return nil
}

// A pass is one pass over the leaves.
type pass struct {
	forest  *btree.Forest
	counts  check.Counts
	owners  []owners // by leaf
	leaves  []leaf
	samples samples
	cuts    cuts
	workers []worker
}

// A leaf holds the little that the tree walk needs of a leaf, as there are millions.
type leaf struct {
	first, last       uint64 // values
	firstLen, lastLen uint8  // of the first and the last run
	runs, exclusive   uint8
	counted           bool // by the walk
}

// A worker holds the sums of one goroutine.
type worker struct {
	cells  []cellSum
	runs   runLengths
	blocks []uint64 // of the leaf
	counts []uint32 // of these blocks
}

// cuts divides the data device into cells whose sizes differ by at most one block.
type cuts struct{ blocks, cells uint64 }

// cut returns as many cells as fill a square with a side of a power of two, at most Side.
func cut(blocks uint64) cuts {
	c := cuts{blocks, min(1, blocks)}
	for c.cells > 0 && c.cells < Side*Side && c.cells*4 <= blocks {
		c.cells *= 4
	}
	return c
}

// of returns the cell of a block.
func (c cuts) of(b uint64) uint64 { return b * c.cells / c.blocks }

// start returns the first block of a cell.
func (c cuts) start(cell uint64) uint64 { return (cell*c.blocks + c.cells - 1) / c.cells }

// A cellSum sums up a cell. A block with n mappings adds a share of 1/n for each.
type cellSum struct{ exclusive, shares uint64 }

// share is a whole block in the units of cellSum.shares.
const share = 1 << 32

func newPass(m check.Mapped, sharing *Matrix) *pass {
	p := &pass{
		forest: m.Forest, counts: m.Counts, owners: sharing.owners(m.Forest, m.Devices),
		leaves: make([]leaf, len(m.Forest.Leaves())), samples: newSamples(m.Counts.Len()),
		cuts: cut(m.Counts.Len()), workers: make([]worker, m.Reader.Workers()),
	}
	for i := range p.workers {
		p.workers[i].cells = make([]cellSum, p.cuts.cells)
	}
	return p
}

func (p *pass) run(ctx context.Context, progress func(string, uint64, uint64)) error {
	if progress != nil {
		progress("measuring", 0, 0)
	}
	return p.forest.RereadLeaves(ctx, func(worker, i int, n btree.Node, err error) error {
		if err == nil && i < len(p.leaves) {
			p.leaf(&p.workers[worker], i, n)
		}
		return nil
	})
}

var le = binary.LittleEndian

// nextBlock is the difference between the mapping values of adjacent data blocks; the bits below
// hold the time.
const nextBlock = 1 << 24

// leaf measures a leaf.
func (p *pass) leaf(w *worker, i int, n btree.Node) {
	l := &p.leaves[i]
	blocks := w.blocks[:0]
	var length, key, value uint64 // of the previous run, and its end
	total := p.counts.Len()
	keys, values := n.Uint64s()
	for k := 0; k+8 <= len(keys) && k+8 <= len(values); k += 8 {
		nextKey, nextValue := le.Uint64(keys[k:]), le.Uint64(values[k:])
		if k > 0 && nextKey == key+1 && nextValue == value+nextBlock {
			length++
		} else {
			l.endRun(length, &w.runs)
			length = 1
		}
		if k == 0 {
			l.first = nextValue
		}
		key, value = nextKey, nextValue
		if data, _ := metadata.UnpackMapping(value); uint64(data) < total {
			blocks = append(blocks, uint64(data))
		}
	}
	l.last = value
	l.endLast(length)
	p.share(w, l, p.owners[i], blocks)
	w.blocks = blocks
}

// share counts the shared data blocks among those that a leaf maps.
func (p *pass) share(w *worker, l *leaf, owners owners, blocks []uint64) {
	w.counts = slices.Grow(w.counts[:0], len(blocks))[:len(blocks)]
	p.counts.Mapped(blocks, w.counts)
	var cell *cellSum
	var begin, end uint64 // of the cell
	several := owners.many()
	for k, b := range blocks {
		if b < begin || b >= end {
			i := p.cuts.of(b)
			begin, end, cell = p.cuts.start(i), p.cuts.start(i+1), &w.cells[i]
		}
		switch n := w.counts[k]; {
		case n > 1:
			cell.shares += share / uint64(n)
		case several:
			cell.shares += share
		default:
			cell.exclusive++
			l.exclusive++
			continue // not shared
		}
		p.samples.add(b, owners)
	}
}

// endRun records a run that is followed by another in the leaf. The first run may continue one
// of the previous leaf.
func (l *leaf) endRun(length uint64, runs *runLengths) {
	switch {
	case length == 0:
		return
	case l.runs == 0:
		l.firstLen = uint8(length)
	default:
		runs.add(length)
	}
	l.runs++
}

// endLast records the last run of the leaf, which may continue in the next one.
func (l *leaf) endLast(length uint64) {
	if length == 0 {
		return
	}
	if l.runs == 0 {
		l.firstLen = uint8(length)
	}
	l.lastLen = uint8(length)
	l.runs++
}

// cells returns the cells of the map.
func (p *pass) cells() []Cell {
	cells := make([]Cell, len(p.workers[0].cells))
	for i := range cells {
		sum := cellSum{}
		for _, w := range p.workers {
			sum.exclusive, sum.shares = sum.exclusive+w.cells[i].exclusive, sum.shares+w.cells[i].shares
		}
		cells[i] = Cell{Exclusive: sum.exclusive, Shared: (sum.shares + share/2) / share}
	}
	return cells
}

// runLengths counts runs by the bit length of their length.
type runLengths [65]struct{ runs, blocks uint64 }

func (r *runLengths) add(length uint64) {
	bin := &r[bits.Len64(length)]
	bin.runs, bin.blocks = bin.runs+1, bin.blocks+length
}

// A walk walks the trees of the devices in key order, each subtree once.
type walk struct {
	*pass
	below   []subtree // by inner node
	runs    runLengths
	pending uint64 // length of the run that may continue, 0: none
	at      edge   // where it ends
	fill    Fill
}

// A subtree sums up everything below a node.
type subtree struct {
	seen, done, damaged     bool
	runs, leaves, exclusive uint64
	first, last             edge
}

// An edge is the mapping at the edge of a subtree.
type edge struct{ key, value uint64 }

// continues reports whether the mapping e continues the run that ends with prev.
func (e edge) continues(prev edge) bool {
	return e.key == prev.key+1 && e.value == prev.value+nextBlock
}

func (w *walk) volume(v *Volume) {
	sum := w.visit(v.Root, 0)
	w.endRun()
	v.Runs, v.Leaves, v.Exclusive, v.Damaged = sum.runs, sum.leaves, sum.exclusive, sum.damaged
	v.Shared = v.MappedBlocks - min(v.Exclusive, v.MappedBlocks)
}

// visit measures the subtree at nr.
func (w *walk) visit(nr block.Nr, depth int) subtree {
	switch role, i := w.forest.Role(nr); {
	case role == btree.LeafNode && i < len(w.leaves):
		return w.leafTree(i)
	case role == btree.InnerNode && i < len(w.below) && depth <= btree.MaxDepth:
		sum := &w.below[i]
		switch {
		case sum.done:
			w.endRun()
			return *sum
		case sum.seen: // it is its own ancestor
			return subtree{damaged: true}
		}
		sum.seen = true
		var all subtree
		for _, child := range w.forest.Inner()[i].Children {
			all.add(w.visit(child, depth+1))
		}
		all.seen, all.done = true, true
		*sum = all
		return all
	}
	w.endRun()
	return subtree{damaged: true}
}

// leafTree returns the subtree of a single leaf. The first time it meets a leaf, it counts the leaf's
// first and last runs when they are complete.
func (w *walk) leafTree(i int) subtree {
	l, known := &w.leaves[i], &w.forest.Leaves()[i]
	sum := subtree{runs: uint64(l.runs), leaves: 1, exclusive: uint64(l.exclusive), first: edge{known.First, l.first}, last: edge{known.Last, l.last}}
	if l.counted {
		w.endRun()
		return sum
	}
	l.counted = true
	w.fill.add(uint64(known.N), uint64(known.Cap))
	if l.runs == 0 {
		return sum
	}
	if w.pending == 0 || !sum.first.continues(w.at) {
		w.endRun()
	}
	w.pending += uint64(l.firstLen)
	if l.runs > 1 {
		w.endRun()
		w.pending = uint64(l.lastLen)
	}
	w.at = sum.last
	return sum
}

func (w *walk) endRun() {
	if w.pending > 0 {
		w.runs.add(w.pending)
	}
	w.pending = 0
}

// add appends the next subtree in key order.
func (s *subtree) add(next subtree) {
	switch {
	case s.runs == 0:
		s.first, s.last = next.first, next.last
	case next.runs > 0:
		if next.first.continues(s.last) {
			s.runs--
		}
		s.last = next.last
	}
	s.runs, s.leaves, s.exclusive = s.runs+next.runs, s.leaves+next.leaves, s.exclusive+next.exclusive
	s.damaged = s.damaged || next.damaged
}

func (f *Fill) add(mappings, room uint64) {
	f.Leaves, f.Mappings, f.Room = f.Leaves+1, f.Mappings+mappings, f.Room+room
	if room > 0 {
		f.Tenths[min(mappings*10/room, 9)]++
	}
}

// Ratio returns the fill of all leaves together, from 0 to 1.
func (f *Fill) Ratio() float64 {
	if f.Room == 0 {
		return 0
	}
	return float64(f.Mappings) / float64(f.Room)
}

// bins returns the lengths of all runs, without empty bins.
func (w *walk) bins() []Bin {
	var bins []Bin
	for i := range w.runs {
		runs, blocks := w.runs[i].runs, w.runs[i].blocks
		for _, other := range w.workers {
			runs, blocks = runs+other.runs[i].runs, blocks+other.runs[i].blocks
		}
		if runs > 0 {
			bins = append(bins, Bin{1 << (i - 1), 1<<i - 1, runs, blocks})
		}
	}
	return bins
}

// chosen returns the indexes of the n volumes with the most mappings, ascending. Up to half of
// them are reserved for the origins of snapshots, which hold families together.
func chosen(volumes []Volume, n int) []int {
	byMapped := order(len(volumes), func(a, b int) int {
		return cmp.Or(cmp.Compare(volumes[b].MappedBlocks, volumes[a].MappedBlocks), cmp.Compare(a, b))
	})
	var origins, others []int
	for _, i := range byMapped {
		if v := &volumes[i]; v.SnapshottedTime > v.CreationTime && len(origins) < n/2 {
			origins = append(origins, i)
		} else {
			others = append(others, i)
		}
	}
	all := append(origins, others[:min(n-len(origins), len(others))]...)
	slices.Sort(all)
	return all
}
