package rmap

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

const (
	batchRows = 1024 // passed on at a time: less than 100 KiB of text
	ahead     = 16   // batches of a bucket that may wait for its turn
)

// A batch is rows, or their text.
type batch struct {
	rows []Row
	text []byte
}

// A job is a bucket to turn into rows.
type job struct {
	bucket  int
	batches chan *batch // in order; closed at the end or on error
}

// emit turns the buckets of found, from bucket on, into rows and passes them on. The buckets are
// independent, so each worker has its own.
func (s *search) emit(ctx context.Context, found *store, bucket int) error {
	g, ctx := errgroup.WithContext(ctx)
	workers := len(found.workers)
	order, work := make(chan job, workers), make(chan job, workers)
	free := make(chan *batch, (workers+2)*(ahead+1)) // as many as can exist
	g.Go(func() error {
		defer close(order)
		defer close(work)
		for end := found.limit(); bucket < end; bucket++ {
			if found.empty(bucket) {
				continue
			}
			j := job{bucket, make(chan *batch, ahead)}
			select {
			case order <- j:
				work <- j // only waits for workers, which never wait for anything else in the end
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers {
		g.Go(func() error {
			e := newEmitter(s, found, free)
			var err error
			for j := range work {
				if err == nil {
					err = e.emit(ctx, j)
				}
				close(j.batches)
			}
			return err
		})
	}
	g.Go(func() error {
		for j := range order {
			s.progress("sorting", uint64(j.bucket), uint64(found.buckets))
			if err := s.handOver(j, free); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// handOver passes on the rows of a bucket as they come.
func (s *search) handOver(j job, free chan *batch) error {
	for b := range j.batches {
		if err := s.out(b); err != nil {
			return err
		}
		b.rows, b.text = b.rows[:0], b.text[:0]
		select {
		case free <- b:
		default:
		}
	}
	return nil
}

// An emitter makes the rows of one bucket after the other.
type emitter struct {
	*search
	found  reader
	free   chan *batch // for reuse
	climb  *climber
	pieces []piece // of the bucket
	// A slot is a list of the pieces that start at one data block, or at one of 1<<shift data blocks
	// in huge pools. It holds the index + 1 of the first piece; 0: none. Slots are in the order of
	// data blocks.
	slots []int32
	shift int
	rows  []Row // rows not sent yet
}

// A piece is a range of mappings of one leaf in one region, ready to become rows. It includes what
// most rows need, so that the leaf is not looked up again in the order of data blocks, where every
// lookup would wait for memory.
type piece struct {
	thin   uint64
	at     uint32 // data block in the bucket
	next   int32  // of the slot: index + 1; 0: none
	ref    int32  // if it becomes a single row as it is: the device, otherwise the leaf; by index
	length uint16
	isRow  bool
}

func newEmitter(s *search, found *store, free chan *batch) *emitter {
	bits := min(found.shift, maxShift)
	return &emitter{
		search: s, found: reader{store: found}, free: free, climb: s.owners.climber(),
		slots: make([]int32, 1<<bits), shift: found.shift - bits,
	}
}

// emit makes the rows of a bucket. Most slots have a single piece; several must be sorted.
func (e *emitter) emit(ctx context.Context, j job) error {
	e.load(j.bucket)
	base := e.found.first(j.bucket)
	for slot, i := range e.slots {
		if i == 0 {
			continue
		}
		e.slots[slot] = 0
		first := len(e.rows)
		for i != 0 {
			p := &e.pieces[i-1]
			e.addRows(p, base+metadata.DataBlock(p.at))
			i = p.next
		}
		sortRows(e.rows[first:])
		if len(e.rows) >= batchRows {
			if err := e.send(ctx, j); err != nil {
				return err
			}
		}
	}
	if len(e.rows) == 0 {
		return nil
	}
	return e.send(ctx, j)
}

// send sends the rows to handOver.
func (e *emitter) send(ctx context.Context, j job) error {
	b := e.emptyBatch()
	if e.format == nil {
		b.rows, e.rows = e.rows, b.rows
	}
	for _, r := range e.rows {
		b.text = e.format(b.text, r)
	}
	e.rows = e.rows[:0]
	select {
	case j.batches <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *emitter) emptyBatch() *batch {
	select {
	case b := <-e.free:
		return b
	default:
		return new(batch)
	}
}

// load puts the pieces of the bucket into slots.
func (e *emitter) load(bucket int) {
	e.pieces = e.pieces[:0]
	e.found.each(bucket, func(batch []kept) {
		var nr block.Nr // none: block 0 is the superblock
		var leaf int
		var l btree.Leaf
		var sole int32
		for i := range batch {
			k := &batch[i]
			if k.leaf != nr {
				var kind btree.Role
				if kind, leaf = e.f.Role(k.leaf); kind != btree.LeafNode {
					continue // it changed between two reads
				}
				nr, l, sole = k.leaf, e.f.Leaves()[leaf], e.owners.sole[leaf]
			}
			slot := k.at >> e.shift
			p := piece{thin: l.First + k.fromLeaf, at: uint32(k.at), next: e.slots[slot], ref: int32(leaf), length: uint16(k.length)}
			if sole != shared && k.fromLeaf > 0 && p.thin+k.length-1 != l.Last {
				p.ref, p.isRow = sole, true
			}
			e.pieces = append(e.pieces, p)
			e.slots[slot] = int32(len(e.pieces))
		}
	})
}

// addRows makes a row of a piece for every device that has it, unless it continues another one,
// whose row then includes it.
func (e *emitter) addRows(p *piece, data metadata.DataBlock) {
	row := Row{Data: data, Len: uint64(p.length), Thin: metadata.ThinBlock(p.thin)}
	if p.isRow {
		row.ID = e.devices[p.ref].ID
		e.rows = append(e.rows, row)
		return
	}
	l := &e.f.Leaves()[p.ref]
	atStart, atEnd := p.thin == l.First, p.thin+row.Len-1 == l.Last
	for _, i := range e.climb.devicesOf(int(p.ref)) {
		e.addEdge(row, &e.devices[i], atStart, atEnd)
	}
}

// addEdge makes a row of a piece that may continue in another leaf of d.
func (e *emitter) addEdge(row Row, d *metadata.Device, atStart, atEnd bool) {
	if atStart || atEnd {
		region := e.regions[e.regionAfter(row.Data)]
		if atStart && row.Data > region.Begin && e.hasMappingBefore(d, row) {
			return
		}
		if atEnd {
			row.Len += e.follow(d, uint64(row.Thin)+row.Len, row.Data+metadata.DataBlock(row.Len), region.End)
		}
	}
	row.ID = d.ID
	e.rows = append(e.rows, row)
}

// hasMappingBefore reports whether d maps the thin block before row to the data block before it.
func (s *search) hasMappingBefore(d *metadata.Device, row Row) bool {
	if row.Thin == 0 {
		return false
	}
	leaf, ok := s.find(d, uint64(row.Thin)-1)
	return ok && s.f.Leaves()[leaf].Last == uint64(row.Thin)-1 && s.edges[leaf].last+1 == row.Data
}

// follow returns how many adjacent thin blocks of d, from thin on, are on adjacent data blocks
// from data on, up to end. It starts where a leaf ends.
func (s *search) follow(d *metadata.Device, thin uint64, data, end metadata.DataBlock) uint64 {
	begin := data
	for data < end && thin > 0 { // 0: beyond the highest possible
		leaf, ok := s.find(d, thin)
		if !ok {
			break
		}
		l, edge := &s.f.Leaves()[leaf], s.edges[leaf]
		if l.First != thin || edge.first != data {
			break
		}
		thin, data = thin+edge.firstLen, data+metadata.DataBlock(edge.firstLen)
		if thin-1 != l.Last {
			break
		}
	}
	return uint64(min(data, end) - begin)
}

// find returns the leaf of d with thin block key, if there is one; false if it is empty or lost.
func (s *search) find(d *metadata.Device, key uint64) (leaf int, ok bool) {
	nr := d.Root
	for range btree.MaxDepth {
		role, i := s.f.Role(nr)
		switch role {
		case btree.LeafNode:
			return i, s.f.Leaves()[i].N > 0
		case btree.InnerNode:
			in := &s.f.Inner()[i]
			at, exact := slices.BinarySearch(in.Keys, key)
			if !exact {
				at--
			}
			if at < 0 {
				return 0, false
			}
			nr = in.Children[at]
		default:
			return 0, false
		}
	}
	return 0, false
}

// sortRows sorts rows in the order that [Run] promises.
func sortRows(rows []Row) {
	if len(rows) < 2 {
		return
	}
	slices.SortFunc(rows, func(a, b Row) int {
		if c := cmp.Or(cmp.Compare(a.Data, b.Data), cmp.Compare(a.Len, b.Len)); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Thin, b.Thin))
	})
}
