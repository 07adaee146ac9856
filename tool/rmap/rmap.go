// Package rmap, whose API may change, finds who maps a region of the data device: every device and
// thin block mapped to it, including shared blocks.
//
// It reads mappings leaf by leaf in disk order, each leaf once, however many devices share it. It
// only keeps mappings in the regions, in a few bytes each (see store.go), in buckets of adjacent
// data blocks. Then it sorts the buckets and turns them into rows, several at a time (emit.go). It
// finds the devices of a leaf by walking up from it (owners.go). If a range of mappings reaches
// the end of its leaf, it follows the range into the next leaf of each device.
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

// A Region is the data blocks from Begin to End-1.
type Region struct{ Begin, End metadata.DataBlock }

// A Row is a maximal range within a region where adjacent thin blocks of one device are on
// adjacent data blocks.
type Row struct {
	Data metadata.DataBlock // first
	Len  uint64
	ID   metadata.DevID
	Thin metadata.ThinBlock // first
}

// Options say what to look for.
type Options struct {
	// Regions may overlap and come in any order. What is in several of them is listed once.
	Regions []Region
	// Memory is the maximum number of bytes of mappings kept at a time; 0 means [DefaultMemory]. If
	// this is not enough, the mappings are read again, for a part of the regions at a time.
	Memory   int
	Progress func(phase string, done, total uint64)
}

// DefaultMemory is enough for about fifty million mappings.
const DefaultMemory = 256 << 20

// Run calls fn with the rows, ordered by first data block, length, device and thin block. The
// slice is valid until fn returns. If some mappings cannot be read, the rows of all others come
// first, followed by an error that names the device and the thin blocks. It wraps
// [block.ErrCorrupt] or a device error, and is usually a [*metadata.LostError].
func Run(ctx context.Context, p *metadata.Pool, opt Options, fn func([]Row) error) error {
	s := &search{out: func(b *batch) error { return fn(b.rows) }}
	return s.run(ctx, p, opt)
}

// Text writes the rows to w in the order of [Run]. It formats each row with format, which appends
// it to dst. Several goroutines call format concurrently, so that all processors create text.
// Errors are those of Run and of w.
func Text(ctx context.Context, p *metadata.Pool, opt Options, w io.Writer, format func(dst []byte, r Row) []byte) error {
	s := &search{format: format}
	s.out = func(b *batch) error {
		_, err := w.Write(b.text)
		return err
	}
	return s.run(ctx, p, opt)
}

// normalize sorts regions, joins adjacent ones, and clips them to the data device.
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

// A search is the state of a Run.
type search struct {
	format func(dst []byte, r Row) []byte // makes the text of a row; nil: no text needed
	out    func(*batch) error

	p        *metadata.Pool
	f        *btree.Forest
	devices  []metadata.Device
	regions  []Region // disjoint, ascending
	progress func(string, uint64, uint64)

	edges  []edge // of the leaves, by index
	owners *owners

	mu     sync.Mutex
	beyond *beyond // the first leaf with mappings beyond the data device
}

// An edge tells whether a range of mappings may continue in a neighbour of a leaf.
type edge struct {
	first, last metadata.DataBlock // of the first and the last mapping
	firstLen    uint64             // length of the first range in the leaf
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

// rows reads the mappings as often as needed to find all rows with the memory of found.
func (s *search) rows(ctx context.Context, found *store) error {
	s.edges = make([]edge, len(s.f.Leaves()))
	if err := s.f.EachLeaf(ctx, s.collector(found)); err != nil {
		return err
	}
	again := false
	if n := len(s.f.Leaves()); n > len(s.edges) { // only in damaged trees: reading leaves may reveal more leaves
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

// collector returns the function that is called for each leaf.
func (s *search) collector(found *store) func(worker, leaf int, n btree.Node, err error) error {
	var done atomic.Uint64
	return func(worker, leaf int, n btree.Node, err error) error {
		if n := done.Add(1); n%1024 == 0 {
			s.progress("reading mappings", n, uint64(len(s.f.Leaves())))
		}
		if err != nil || leaf >= len(s.edges) || n.Len() == 0 {
			return nil // damage is reported at the end
		}
		s.leaf(found.writer(worker), leaf, n)
		return nil
	}
}

// leaf keeps the mappings of a leaf that are in the regions, and its edges.
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

// stretch keeps the parts of a range of mappings that are in the regions.
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

// beyond is a range of mappings beyond the data device, in the given leaf.
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

// damageError returns the error for the first thing that could not be read, by device and thin
// block; nil if nothing is wrong. It first checks each node once, and only walks every device if
// that finds something.
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

// firstLostError finds the device and thin blocks that the first finding affects, and how many
// more parts are lost.
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
