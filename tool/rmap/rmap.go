// Package rmap, whose API may change, finds who maps a region of the data device: every device and thin
// block that leads there, those of shared blocks included.
//
// Mappings are read leaf by leaf in the order they lie on the disk, each leaf once
// however many devices share it. Of each only what hits the regions is kept, in a
// few bytes (see store.go), by buckets of adjacent data blocks. Each bucket is then
// put in order and turned into rows, several at a time (emit.go): the devices of a
// leaf are found by going up from it (owners.go), and a stretch that reaches the end
// of its leaf is followed into the next leaf of each of them.
package rmap

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Region is the data blocks from Begin up to but not including End.
type Region struct{ Begin, End metadata.DataBlock }

// A Row is the longest stretch within a region where adjacent thin blocks of one
// device lie on adjacent data blocks.
type Row struct {
	Data metadata.DataBlock // first
	Len  uint64
	ID   metadata.DevID
	Thin metadata.ThinBlock // first
}

// Options say what to look for.
type Options struct {
	// Regions may overlap and come in any order; what is in several of them is
	// listed once.
	Regions []Region
	// Memory is how many bytes of mappings may be kept at once; 0 chooses
	// [DefaultMemory]. If they are not enough the mappings are read again, a
	// part of the regions at a time.
	Memory   int
	Progress func(phase string, done, total uint64)
}

// DefaultMemory holds about fifty million mappings.
const DefaultMemory = 256 << 20

// Run calls fn with the rows, ordered by first data block, length, device and thin
// block. The slice is valid until fn returns. If part of the mappings cannot be read the
// rows of all others come first, then an error that wraps [block.ErrCorrupt] or that
// of the device and names the device and the thin blocks; usually a [*metadata.LostError].
func Run(ctx context.Context, p *metadata.Pool, opt Options, fn func([]Row) error) error {
	s := &search{out: func(b *batch) error { return fn(b.rows) }}
	return s.run(ctx, p, opt)
}

// Text writes the rows to w in the order of [Run], each as format appends it to dst, many at a time.
// Several goroutines call format at once, so that text is made on all processors. Errors are
// those of Run and of w.
func Text(ctx context.Context, p *metadata.Pool, opt Options, w io.Writer, format func(dst []byte, r Row) []byte) error {
	s := &search{format: format}
	s.out = func(b *batch) error {
		_, err := w.Write(b.text)
		return err
	}
	return s.run(ctx, p, opt)
}

// normalize sorts regions, joins those that touch, and cuts them to the data device.
func normalize(regions []Region, nr uint64) []Region {
	regions = slices.Clone(regions)
	sort.Slice(regions, func(i, j int) bool { return regions[i].Begin < regions[j].Begin })
	end := metadata.DataBlock(min(nr, metadata.MaxDataBlocks))
	var joined []Region
	for _, r := range regions {
		r.End = min(r.End, end)
		last := len(joined) - 1
		switch {
		case r.Begin >= r.End:
		case last >= 0 && r.Begin <= joined[last].End:
			joined[last].End = max(joined[last].End, r.End)
		default:
			joined = append(joined, r)
		}
	}
	return joined
}

// search is the state of a Run.
type search struct {
	format func(dst []byte, r Row) []byte // makes the text of a batch; nil: it needs none
	out    func(*batch) error

	p        *metadata.Pool
	f        *btree.Forest
	devices  []metadata.Device
	regions  []Region // disjoint, ascending
	progress func(string, uint64, uint64)

	edges  []edge // of the leaves, by index
	owners *owners

	mu     sync.Mutex
	beyond *beyond // the first leaf that maps what the data device has not
}

// An edge is what it takes to see whether a stretch goes on in a neighbour of a leaf.
type edge struct {
	first, last metadata.DataBlock // of the first and the last mapping
	firstLen    uint64             // of the stretch that the leaf begins with
}

func (s *search) run(ctx context.Context, p *metadata.Pool, opt Options) error {
	for d, err := range p.Devices(ctx) {
		if err != nil {
			return err
		}
		s.devices = append(s.devices, d)
	}
	m, err := p.Mappings(ctx, s.devices...)
	if err != nil {
		return err
	}
	s.p, s.f = p, m.Forest
	s.regions = normalize(opt.Regions, p.Live.DataSpaceMap.NrBlocks)
	s.progress = opt.Progress
	if s.progress == nil {
		s.progress = func(string, uint64, uint64) {}
	}
	if err := s.rows(ctx, newStore(s.regions, cmp.Or(opt.Memory, DefaultMemory), p.Reader().Workers())); err != nil {
		return err
	}
	return s.damageError()
}

// rows reads the mappings, as often as it takes to find all rows in what found can keep at a time.
func (s *search) rows(ctx context.Context, found *store) error {
	s.edges = make([]edge, len(s.f.Leaves()))
	if err := s.f.EachLeaf(ctx, s.collector(found)); err != nil {
		return err
	}
	again := false
	if n := len(s.f.Leaves()); n > len(s.edges) { // only damage hides leaves until others are read
		s.edges, again = make([]edge, n), true
	}
	s.owners = newOwners(s.f, s.devices)
	for bucket := 0; bucket < found.buckets; bucket = found.limit() {
		if again {
			found.reset(bucket)
			if err := s.f.RereadLeaves(ctx, s.collector(found)); err != nil {
				return err
			}
		}
		if err := s.emit(ctx, found, bucket); err != nil {
			return err
		}
		again = true
	}
	return nil
}

// collector returns what is done with each leaf.
func (s *search) collector(found *store) func(worker, leaf int, n btree.Node, err error) error {
	var done atomic.Uint64
	return func(worker, leaf int, n btree.Node, err error) error {
		if n := done.Add(1); n%1024 == 0 {
			s.progress("reading mappings", n, uint64(len(s.f.Leaves())))
		}
		if err != nil || leaf >= len(s.edges) || n.Len() == 0 {
			return nil // what is damaged is reported in the end
		}
		s.leaf(found.writer(worker), leaf, n)
		return nil
	}
}

// leaf keeps of a leaf what hits the regions, and its edges.
func (s *search) leaf(w *writer, leaf int, n btree.Node) {
	const valueSize = 8
	nr := s.f.Leaves()[leaf].Block
	w.begin(nr, n.Key(0))
	keys, values := n.Uint64s()
	thin, packed, length := n.Key(0), n.Uint64(0), uint64(0)
	data, _ := metadata.UnpackMapping(packed)
	e := edge{first: data}
	for i := 0; ; i += valueSize {
		var k uint64
		var d metadata.DataBlock
		more := i+valueSize <= len(keys) && i+valueSize <= len(values)
		if more {
			k = le.Uint64(keys[i:])
			d, _ = metadata.UnpackMapping(le.Uint64(values[i:]))
			if k == thin+length && d == data+metadata.DataBlock(length) {
				length++
				continue
			}
		}
		if e.firstLen == 0 {
			e.firstLen = length
		}
		s.stretch(w, nr, thin, data, length)
		if !more {
			break
		}
		thin, data, length = k, d, 1
	}
	e.last = data + metadata.DataBlock(length-1)
	s.edges[leaf] = e
}

// stretch keeps what of a stretch of mappings lies in the regions.
func (s *search) stretch(w *writer, nr block.Nr, thin uint64, data metadata.DataBlock, length uint64) {
	end := data + metadata.DataBlock(length)
	if uint64(end) > s.p.Live.DataSpaceMap.NrBlocks {
		s.noteBeyond(nr, metadata.Run{Thin: metadata.ThinBlock(thin), Data: data, Len: length})
	}
	regions := s.regions
	if len(regions) > 1 {
		regions = regions[s.regionAfter(data):]
	}
	for _, r := range regions {
		if r.Begin >= end {
			return
		}
		if from, to := max(data, r.Begin), min(end, r.End); from < to {
			w.add(from, thin+uint64(from-data), uint64(to-from))
		}
	}
}

// regionAfter returns the index of the first region that ends above data.
func (s *search) regionAfter(data metadata.DataBlock) int {
	i, _ := slices.BinarySearchFunc(s.regions, data, func(r Region, d metadata.DataBlock) int {
		if r.End <= d {
			return -1
		}
		return 1
	})
	return i
}

// beyond is a stretch that maps data blocks beyond the end, in the given leaf.
type beyond struct {
	nr  block.Nr
	run metadata.Run
}

func (s *search) noteBeyond(nr block.Nr, run metadata.Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beyond == nil || nr < s.beyond.nr {
		s.beyond = &beyond{nr, run}
	}
}

// damageError returns the error for the first thing that could not be read, by device
// and thin block; nil if nothing is wrong. Only where a look at each node finds something
// is every device walked.
func (s *search) damageError() error {
	var wrong error
	checker := btree.NewChecker(s.f, func(f btree.Finding) {
		if wrong == nil && (f.Kind == btree.Lost || f.Kind == btree.OutOfBounds) {
			wrong = f.Err
		}
	})
	for _, d := range s.devices {
		checker.CheckTree(d.Root)
	}
	if wrong != nil {
		return s.firstLostError(wrong)
	}
	if b := s.beyond; b != nil {
		_, leaf := s.f.Role(b.nr)
		ids := s.owners.climber().devicesOf(leaf)
		if len(ids) == 0 {
			return nil
		}
		r := b.run
		return &metadata.LostError{
			ID: s.devices[ids[0]].ID, Keys: btree.KeyRange{First: uint64(r.Thin), Last: uint64(r.Thin) + r.Len - 1},
			Err: fmt.Errorf("block %d: %v: the data device has %d blocks: %w", b.nr, r, s.p.Live.DataSpaceMap.NrBlocks, block.ErrCorrupt),
		}
	}
	return nil
}

// firstLostError finds the device and the thin blocks that the first finding concerns, and how many
// more pieces are lost.
func (s *search) firstLostError(finding error) error {
	var first error
	more := 0
	for _, d := range s.devices {
		for part := range s.f.LeafRanges(d.Root) {
			err := part.Err
			if err == nil {
				if l := s.f.Leaves()[part.Leaf]; l.N > 0 {
					err = part.Keys.CheckBounds(part.Block, 0, l.First, l.Last)
				}
			}
			switch {
			case err == nil:
			case first == nil:
				first = &metadata.LostError{ID: d.ID, Keys: part.Keys, Err: err}
			default:
				more++
			}
		}
	}
	switch {
	case first == nil:
		return finding
	case more > 0:
		return fmt.Errorf("%w (and %d more losses)", first, more)
	}
	return first
}
