// Package volume provides the content of thin devices: the bytes that the kernel would read from
// them, without the kernel.
//
// A thin device has a size, which only its user knows, and a mapping tree. Thin block N starts at
// N times the data block size. A mapped block is on the data device. Any other block shows the
// external origin, or zeros. If the device was shrunk, there may be mappings beyond its size, and
// its last block may be partial.
//
// The content is a stream of [Extent] values: mapped, origin, hole or lost. Every export is such a
// stream, either of a whole volume or of its changes. A walk keeps the children of one node for
// each level, so it needs a few MiB, however large the device is.
package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"sync"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Volume is the content of a thin device, for reading. It is safe for concurrent use.
type Volume struct {
	ctx       context.Context
	pool      *metadata.Pool
	tree      metadata.MappingTree
	src       Source
	opt       Options
	blockSize int64

	mu     sync.Mutex
	recent []piece // pieces that ReadAt used last, the newest first
}

// Options are what is known about a volume besides its mappings.
type Options struct {
	Size int64 // in bytes
	// Gaps are ranges of thin blocks with missing mappings, ascending. A repair knows them, but the
	// repaired metadata does not. Unmapped blocks in them are lost.
	Gaps []Gap
	// Guesses are ranges of thin blocks with mappings guessed by a repair, ascending.
	Guesses []metadata.KeyRange
}

// A Gap is a range of thin blocks that may or may not be mapped.
type Gap struct {
	Keys metadata.KeyRange
	Err  error // why
}

// Open returns the content of the device with the given mapping tree. All reads end when ctx is
// done.
func Open(ctx context.Context, pool *metadata.Pool, tree metadata.MappingTree, src Source, opt Options) (*Volume, error) {
	size, err := BlockSize(pool)
	switch {
	case err != nil:
		return nil, err
	case opt.Size < 0:
		return nil, fmt.Errorf("a volume of %d bytes", opt.Size)
	}
	return &Volume{ctx: ctx, pool: pool, tree: tree, src: src, opt: opt, blockSize: size}, nil
}

// BlockSize returns the size of a pool's data blocks in bytes. The error wraps
// [thinpool/metadata/block.ErrCorrupt] if the size in the superblock is impossible.
func BlockSize(pool *metadata.Pool) (int64, error) {
	sectors := pool.Superblock.DataBlockSize
	if err := metadata.CheckDataBlockSize(uint64(sectors)); err != nil {
		return 0, fmt.Errorf("superblock: %w: %w", err, block.ErrCorrupt)
	}
	return int64(sectors) * block.SectorSize, nil
}

// MappedSize returns the minimum size of a device in bytes: the end of its last mapped block, or 0
// if nothing is mapped.
func MappedSize(pool *metadata.Pool, tree metadata.MappingTree) (int64, error) {
	size, err := BlockSize(pool)
	if err != nil {
		return 0, err
	}
	last, ok, err := pool.Highest(metadata.Device{ID: tree.ID, Root: tree.Root})
	switch {
	case err != nil || !ok:
		return 0, err
	case uint64(last) >= uint64(math.MaxInt64/size):
		return 0, fmt.Errorf("thin block %d is mapped, but lies beyond the largest possible device: %w", last, block.ErrCorrupt)
	}
	return (int64(last) + 1) * size, nil
}

// Size returns the size of the volume in bytes.
func (v *Volume) Size() int64 { return v.opt.Size }

// Extents yields the extents of the volume, in order and without gaps, up to its size. Adjacent
// extents are joined if possible. Parts with unreadable metadata are Lost. An error can only be
// ctx's, and comes last, once.
func (v *Volume) Extents(ctx context.Context) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		var pending Extent
		l := v.layout(0, v.opt.Size, func(e Extent) bool {
			if pending.Len > 0 && e.continues(pending) {
				pending.Len += e.Len
				return true
			}
			ready := pending
			pending = e
			return ready.Len == 0 || yield(ready, nil)
		})
		for part, err := range v.leaves(ctx, 0, v.blocks()) {
			if err != nil {
				yield(Extent{}, err)
				return
			}
			if l.part(part); l.stopped {
				return
			}
		}
		if l.finish(); !l.stopped && pending.Len > 0 {
			yield(pending, nil)
		}
	}
}

// Mapped returns the extents of the blocks of r, if r is their mapping.
func (v *Volume) Mapped(r metadata.Run) []Extent {
	return v.stretch(r.Thin, r.Len, func(l *layout) { l.run(r) })
}

// Unmapped returns the extents of n blocks from begin on if they are unmapped: what a read returns
// after a mapping is removed.
func (v *Volume) Unmapped(begin metadata.ThinBlock, n uint64) []Extent {
	return v.stretch(begin, n, (*layout).finish)
}

func (v *Volume) stretch(begin metadata.ThinBlock, n uint64, cover func(*layout)) []Extent {
	var all []Extent
	l := v.layout(0, v.opt.Size, func(e Extent) bool {
		all = append(all, e)
		return true
	})
	l.at, l.end = l.offset(uint64(begin)), l.offset(uint64(begin)+n)
	cover(l)
	return all
}

// blocks returns the number of blocks, including a partial last one.
func (v *Volume) blocks() uint64 {
	return uint64(v.opt.Size/v.blockSize) + min(uint64(v.opt.Size%v.blockSize), 1)
}

// leaves yields the leaves with mappings for n blocks from first on.
func (v *Volume) leaves(ctx context.Context, first, n uint64) iter.Seq2[btree.LoadedLeaf, error] {
	if n == 0 {
		return func(func(btree.LoadedLeaf, error) bool) {}
	}
	want := metadata.KeyRange{First: first, Last: first + n - 1}
	return btree.Leaves(ctx, v.pool.Reader(), v.pool.Limit(), metadata.MappingSize, v.tree.Root, want)
}

// A layout produces the extents of a range of the volume, in order.
type layout struct {
	v       *Volume
	at, end int64               // the range still to cover
	gaps    []Gap               // the gaps that end after at
	guesses []metadata.KeyRange // the guesses that end after at
	runs    []metadata.Run
	emit    func(Extent) bool
	stopped bool // emit returned false
}

func (v *Volume) layout(begin, end int64, emit func(Extent) bool) *layout {
	return &layout{v: v, at: begin, end: end, gaps: v.opt.Gaps, guesses: v.opt.Guesses, emit: emit}
}

// part covers a leaf or a lost part. Parts come by ascending keys.
func (l *layout) part(p btree.LoadedLeaf) {
	if p.Err != nil {
		l.skipTo(l.offset(p.Keys.First))
		l.add(Extent{Kind: Lost, Begin: l.at, Len: l.endOf(p.Keys) - l.at, Err: p.Err})
		return
	}
	l.runs = metadata.AppendRuns(l.runs[:0], p.Node)
	for _, r := range l.runs {
		l.run(r)
	}
}

// run covers the blocks of r, and the unmapped ones before it.
func (l *layout) run(r metadata.Run) {
	begin, end := l.offset(uint64(r.Thin)), l.offset(uint64(r.Thin)+r.Len)
	l.skipTo(begin)
	size := l.v.src.DataSize
	if uint64(r.Data) < uint64(size/l.v.blockSize)+1 { // so that the product is in range, too
		data := int64(r.Data) * l.v.blockSize
		l.mapped(Extent{Kind: Mapped, Begin: l.at, Len: min(end-l.at, size-data), Data: data})
	}
	if l.at < end {
		at := r.Data + metadata.DataBlock((l.at-begin)/l.v.blockSize)
		l.add(Extent{Kind: Lost, Begin: l.at, Len: end - l.at, Err: &BeyondError{uint64(at), size}})
	}
}

// mapped adds a mapped extent, split into guessed and other parts.
func (l *layout) mapped(e Extent) {
	for e.Len > 0 && !l.stopped {
		for len(l.guesses) > 0 && l.endOf(l.guesses[0]) <= e.Begin {
			l.guesses = l.guesses[1:]
		}
		part := e
		if len(l.guesses) > 0 {
			if begin := l.offset(l.guesses[0].First); begin > e.Begin {
				part.Len = min(e.Len, begin-e.Begin)
			} else {
				part.Guessed, part.Len = true, min(e.Len, l.endOf(l.guesses[0])-e.Begin)
			}
		}
		l.add(part)
		e = e.From(part.End())
	}
}

// finish covers the rest.
func (l *layout) finish() { l.skipTo(l.end) }

// offset returns the offset of a block, at most the end.
func (l *layout) offset(thin uint64) int64 {
	if thin > uint64(l.end/l.v.blockSize) {
		return l.end
	}
	return min(int64(thin)*l.v.blockSize, l.end)
}

// endOf returns the offset after the last block of keys, at most the end.
func (l *layout) endOf(keys metadata.KeyRange) int64 {
	if keys.Open() {
		return l.end
	}
	return l.offset(keys.Last + 1)
}

// skipTo covers unmapped blocks up to end.
func (l *layout) skipTo(end int64) {
	for l.at < end && !l.stopped {
		e := Extent{Kind: Hole, Begin: l.at, Len: end - l.at}
		if l.v.src.Origin != nil && l.at < l.v.src.OriginSize {
			e.Kind, e.Len = Origin, min(end, l.v.src.OriginSize)-l.at
		}
		for len(l.gaps) > 0 && l.endOf(l.gaps[0].Keys) <= l.at {
			l.gaps = l.gaps[1:]
		}
		if len(l.gaps) > 0 {
			gap := l.gaps[0]
			if begin := l.offset(gap.Keys.First); begin > l.at {
				e.Len = min(e.Len, begin-l.at)
			} else {
				e.Kind, e.Len, e.Err = Lost, min(end, l.endOf(gap.Keys))-l.at, gap.Err
			}
		}
		l.add(e)
	}
}

func (l *layout) add(e Extent) {
	if e.Len <= 0 || l.stopped {
		return
	}
	l.at = e.End()
	l.stopped = !l.emit(e)
}

// A piece is a range of blocks that a single leaf describes completely.
type piece struct {
	begin, end int64 // in bytes
	extents    []Extent
}

// pieces is the number of pieces that ReadAt remembers, about 16 KiB each.
const pieces = 64

// at returns the extent at byte off, as far as a single leaf knows.
func (v *Volume) at(off int64) (Extent, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.recent, func(p piece) bool { return p.begin <= off && off < p.end })
	var found piece
	if i < 0 {
		var err error
		if found, err = v.find(off); err != nil {
			return Extent{}, err
		}
		v.recent = v.recent[:min(len(v.recent), pieces-1)]
	} else {
		found = v.recent[i]
		v.recent = slices.Delete(v.recent, i, i+1)
	}
	v.recent = slices.Insert(v.recent, 0, found)
	n, exact := slices.BinarySearchFunc(found.extents, off, func(e Extent, off int64) int { return cmp.Compare(e.Begin, off) })
	if !exact {
		n--
	}
	return found.extents[n].From(off), nil
}

// find looks up the piece at byte off.
func (v *Volume) find(off int64) (piece, error) {
	thin := uint64(off / v.blockSize)
	keys := metadata.KeyRange{First: thin, Last: thin}
	var p piece
	cover := func(part *btree.LoadedLeaf) {
		p.begin = int64(keys.First) * v.blockSize
		p.end = v.opt.Size
		if keys.Last < v.blocks()-1 {
			p.end = int64(keys.Last+1) * v.blockSize
		}
		l := v.layout(p.begin, p.end, func(e Extent) bool {
			p.extents = append(p.extents, e)
			return true
		})
		if part != nil {
			l.part(*part)
		}
		l.finish()
	}
	for part, err := range v.leaves(v.ctx, thin, 1) {
		if err != nil {
			return p, err
		}
		keys = part.Keys
		cover(&part)
		return p, nil
	}
	cover(nil) // below the first key
	return p, nil
}

// ReadAt implements [io.ReaderAt]. If something cannot be read, the error is a [*ReadError], and
// the bytes before it are good.
func (v *Volume) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read at a negative offset")
	}
	done := 0
	for done < len(p) && off+int64(done) < v.opt.Size {
		e, err := v.at(off + int64(done))
		if err != nil {
			return done, err
		}
		n := int(min(int64(len(p)-done), e.Len))
		e.Len = int64(n)
		if err := v.Read(p[done:done+n], e); err != nil {
			return done, err
		}
		done += n
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// Advise announces that e will be read soon.
func (v *Volume) Advise(e Extent) {
	if e.Kind == Mapped && v.src.Advise != nil {
		v.src.Advise(e.Data, e.Len)
	}
}

// Read fills p with the first bytes of e, which must have at least as many. The error is a
// [*ReadError].
func (v *Volume) Read(p []byte, e Extent) error {
	if err := v.src.read(p, e); err != nil {
		e.Len = int64(len(p))
		return &ReadError{e, v.blockSize, err}
	}
	return nil
}
