package packfmt

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"thinpool/metadata/block"
)

// Load reads the whole pack into memory, and returns the packed device for reading. It keeps the
// records uncompressed, so that any block can be decoded at once. This takes about as much memory
// as the content is worth. If that is more than limit bytes, Load returns an error.
func (r *Reader) Load(ctx context.Context, limit int64, opt Options) (block.Device, error) {
	d := &device{blocks: r.Blocks}
	d.decoders.New = func() any { return new(decoder) }
	var used atomic.Int64
	var mu sync.Mutex // guards d
	_, err := r.each(ctx, "unpacking", opt, func() sink {
		return &keeper{to: d, mu: &mu, used: &used, limit: limit}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(d.entries, func(a, b entry) int { return cmp.Compare(a.nr, b.nr) })
	return d, nil
}

// A device is a packed device in memory.
type device struct {
	blocks   block.Nr
	entries  []entry // by number
	frames   [][]byte
	decoders sync.Pool
}

// An entry tells where the instructions for a block are.
type entry struct {
	nr      uint32 // less than MaxBlocks
	frame   uint32
	at, end uint32 // in the frame
}

const entrySize = 16

// A keeper is a sink that keeps records. It re-encodes them, because those of other
// implementations may be longer than necessary.
type keeper struct {
	encoder
	to      *device
	mu      *sync.Mutex
	used    *atomic.Int64
	limit   int64
	entries []entry // of the frame
	records []byte
}

// mostRecords is the size at which records go to the device before the end of their frame, as a
// frame can be of any length.
const mostRecords = 1 << 22

func (k *keeper) add(nr block.Nr, b *block.Data, node bool) error {
	at := len(k.records)
	k.records = k.record(k.records, nr, b, node)
	k.entries = append(k.entries, entry{nr: uint32(nr), at: uint32(at + nrSize), end: uint32(len(k.records))})
	if k.used.Add(int64(len(k.records)-at+entrySize)) > k.limit {
		return fmt.Errorf("the packed metadata needs more than %dMiB of memory: unpack it with thin_metadata_unpack", k.limit>>20)
	}
	if len(k.records) > mostRecords {
		return k.endFrame()
	}
	return nil
}

func (k *keeper) endFrame() error {
	if len(k.entries) == 0 {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.entries {
		k.entries[i].frame = uint32(len(k.to.frames))
	}
	k.to.frames = append(k.to.frames, bytes.Clone(k.records))
	k.to.entries = append(k.to.entries, k.entries...)
	k.entries, k.records = k.entries[:0], k.records[:0]
	return nil
}

// ReadAt implements [block.Device].
func (d *device) ReadAt(p []byte, off int64) (int, error) {
	size := d.Size()
	if off < 0 || off >= size {
		return 0, io.EOF
	}
	var short error
	if int64(len(p)) > size-off {
		p, short = p[:size-off], io.EOF
	}
	clear(p)
	i, _ := slices.BinarySearchFunc(d.entries, uint64(off/block.Size), func(e entry, nr uint64) int { return cmp.Compare(uint64(e.nr), nr) })
	dec := d.decoders.Get().(*decoder)
	defer d.decoders.Put(dec)
	var b block.Data
	for ; i < len(d.entries); i++ {
		e := &d.entries[i]
		at := int64(e.nr)*block.Size - off
		if at >= int64(len(p)) {
			break
		}
		rec := d.frames[e.frame][e.at:e.end]
		dec.in = source{buf: rec, end: len(rec)}
		if err := dec.block(&b); err != nil {
			return 0, fmt.Errorf("internal error: block %d of a pack in memory: %w", e.nr, err)
		}
		copy(p[max(at, 0):], b[max(-at, 0):])
	}
	return len(p), short
}

// WriteAt implements [block.Device].
func (d *device) WriteAt([]byte, int64) (int, error) { return 0, block.ErrReadOnly }

// Flush implements [block.Device].
func (d *device) Flush() error { return nil }

// Size implements [block.Device].
func (d *device) Size() int64 { return int64(d.blocks) * block.Size }

// Close implements [block.Device].
func (d *device) Close() error { return nil }
