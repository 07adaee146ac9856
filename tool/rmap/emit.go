package rmap

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
)

// batchRows is how many rows are handed over at a time.
const batchRows = 4096

// emit turns the buckets of found from the given one on into rows. One goroutine makes them,
// another hands them over.
func (s *search) emit(ctx context.Context, found *store, bucket int, fn func([]Row) error) error {
	g, ctx := errgroup.WithContext(ctx)
	full, empty := make(chan []Row, 1), make(chan []Row, 2)
	empty <- make([]Row, 0, batchRows)
	empty <- make([]Row, 0, batchRows)
	g.Go(func() error {
		defer close(full)
		e := emitter{search: s, ctx: ctx, full: full, empty: empty, rows: <-empty}
		return e.run(found, bucket)
	})
	g.Go(func() error {
		for rows := range full {
			if err := fn(rows); err != nil {
				return err
			}
			empty <- rows[:0]
		}
		return nil
	})
	return g.Wait()
}

// An emitter makes rows of pieces.
type emitter struct {
	*search
	ctx         context.Context
	full, empty chan []Row
	rows        []Row
	group       int // index of the first row that has the data block of the last
}

func (e *emitter) run(found *store, bucket int) error {
	var pieces, room []piece
	for end := found.limit(); bucket < end; bucket++ {
		e.progress("sorting", uint64(bucket), uint64(found.buckets))
		pieces = e.pieces(pieces[:0], found, bucket)
		pieces, room = found.sorted(pieces, room)
		for i := range pieces {
			e.piece(&pieces[i])
			if len(e.rows) < batchRows || i+1 < len(pieces) && pieces[i+1].data == pieces[i].data {
				continue
			}
			if err := e.send(); err != nil {
				return err
			}
		}
		e.endGroup()
	}
	return e.send()
}

func (e *emitter) send() error {
	e.endGroup()
	select {
	case e.full <- e.rows:
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
	select {
	case e.rows = <-e.empty:
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
	e.group = 0
	return nil
}

// pieces appends the pieces of a bucket to dst.
func (e *emitter) pieces(dst []piece, found *store, bucket int) []piece {
	var nr block.Nr
	var leaf int
	var l btree.Leaf
	found.each(bucket, func(data metadata.DataBlock, in block.Nr, fromLeaf, length uint64) {
		if in != nr {
			var kind btree.Kind
			if kind, leaf = e.f.Kind(in); kind != btree.LeafNode {
				return // it changed between two readings
			}
			nr, l = in, e.f.Leaves()[leaf]
		}
		p := piece{data: data, thin: l.First + fromLeaf, ref: int32(leaf), length: uint16(length)}
		if sole := e.owners.sole[leaf]; sole != shared && fromLeaf > 0 && p.thin+length-1 != l.Last {
			p.ref, p.isRow = sole, true
		}
		dst = append(dst, p)
	})
	return dst
}

// piece makes a row of a piece for every device that has it, unless it goes on from
// another, whose row then covers it.
func (e *emitter) piece(p *piece) {
	row := Row{Data: p.data, Len: uint64(p.length), Thin: metadata.ThinBlock(p.thin)}
	if p.isRow {
		row.ID = e.devices[p.ref].ID
		e.add(row)
		return
	}
	l := &e.f.Leaves()[p.ref]
	atStart, atEnd := p.thin == l.First, p.thin+row.Len-1 == l.Last
	for _, i := range e.owners.of(int(p.ref)) {
		e.edgePiece(row, &e.devices[i], atStart, atEnd)
	}
}

// edgePiece makes a row of a piece that may go on in another leaf of d.
func (e *emitter) edgePiece(row Row, d *metadata.Device, atStart, atEnd bool) {
	region := e.regions[e.regionAfter(row.Data)]
	if atStart && row.Data > region.Begin && e.goesOn(d, row) {
		return
	}
	if atEnd {
		row.Len += e.follow(d, uint64(row.Thin)+row.Len, row.Data+metadata.DataBlock(row.Len), region.End)
	}
	row.ID = d.ID
	e.add(row)
}

// goesOn reports whether d maps the thin block before row to the data block before it.
func (e *emitter) goesOn(d *metadata.Device, row Row) bool {
	if row.Thin == 0 {
		return false
	}
	leaf, ok := e.find(d, uint64(row.Thin)-1)
	return ok && e.f.Leaves()[leaf].Last == uint64(row.Thin)-1 && e.edges[leaf].last+1 == row.Data
}

// follow returns how many adjacent thin blocks of d from thin on lie on adjacent data blocks
// from data on, up to end. It starts where a leaf ends.
func (e *emitter) follow(d *metadata.Device, thin uint64, data, end metadata.DataBlock) uint64 {
	begin := data
	for data < end && thin > 0 { // 0: beyond the last that there can be
		leaf, ok := e.find(d, thin)
		if !ok {
			break
		}
		l, edge := &e.f.Leaves()[leaf], e.edges[leaf]
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

// find returns the leaf of d that has thin block key, if any has; false if it is empty or lost.
func (e *emitter) find(d *metadata.Device, key uint64) (leaf int, ok bool) {
	nr := d.Root
	for range btree.MaxDepth {
		kind, i := e.f.Kind(nr)
		switch kind {
		case btree.LeafNode:
			return i, e.f.Leaves()[i].N > 0
		case btree.InnerNode:
			in := &e.f.Inner()[i]
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

func (e *emitter) add(row Row) {
	if e.group < len(e.rows) && e.rows[e.group].Data != row.Data {
		e.endGroup()
	}
	e.rows = append(e.rows, row)
}

// endGroup sorts the rows that begin at one data block.
func (e *emitter) endGroup() {
	if group := e.rows[e.group:]; len(group) > 1 {
		slices.SortFunc(group, func(a, b Row) int {
			return cmp.Or(cmp.Compare(a.Len, b.Len), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Thin, b.Thin))
		})
	}
	e.group = len(e.rows)
}
