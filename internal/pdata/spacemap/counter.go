package spacemap

import (
	"iter"
	"math"
	"math/bits"
	"slices"
	"sync"
)

// Blocks are counted by region. The counts of a region fit into a processor's cache, so counting
// many references of one region at a time is fast.
const (
	regionBits = 18
	regionSize = 1 << regionBits
	wordBits   = 6 // log2 of the bits in a word
)

// A Counter counts references to blocks in as little memory as the counts allow: nothing for
// regions without counts, two bits per block for counts up to 3, and twice as many whenever a
// count in the region needs it. It is safe for concurrent use.
type Counter struct {
	n       uint64
	regions []region
}

type region struct {
	mu    sync.Mutex
	words []uint64 // nil: all counts are 0
	log   uint8    // log2 of the bits per count: 1 to 5
	marks []uint64 // one bit per block; nil: none

	single bool // sealed, and no count is above 1
}

// NewCounter returns a Counter of the blocks 0 to n-1, with all counts 0.
func NewCounter(n uint64) *Counter {
	return &Counter{n: n, regions: make([]region, (n+regionSize-1)>>regionBits)}
}

// Len returns the number of blocks.
func (c *Counter) Len() uint64 { return c.n }

// Get returns the count of block b.
func (c *Counter) Get(b uint64) uint32 {
	r := &c.regions[b>>regionBits]
	if r.words == nil {
		return 0
	}
	return r.get(b % regionSize)
}

// Seal ends counting. It notes the regions without a count above 1, for [Counter.Mapped].
func (c *Counter) Seal() {
	for i := range c.regions {
		r := &c.regions[i]
		r.single = r.log <= 1 && !slices.ContainsFunc(r.words, func(word uint64) bool { return word&^lowBits != 0 })
	}
}

// Mapped puts the counts of blocks into counts, which is as long. All of the blocks must have been
// counted: where [Counter.Seal] found no count above 1, Mapped does not look. Nothing else happens
// between two counts, so the processor fetches several at a time.
func (c *Counter) Mapped(blocks []uint64, counts []uint32) {
	counts = counts[:len(blocks)]
	for i, b := range blocks {
		if c.regions[b>>regionBits].single {
			counts[i] = 1
		} else {
			counts[i] = c.Get(b)
		}
	}
}

// Add raises the count of block b by n. A count stops at the maximum.
func (c *Counter) Add(b uint64, n uint32) {
	r := &c.regions[b>>regionBits]
	r.mu.Lock()
	r.add(b%regionSize, n)
	r.mu.Unlock()
}

// Set sets the count of block b to n.
func (c *Counter) Set(b uint64, n uint32) {
	r := &c.regions[b>>regionBits]
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.words != nil {
		bit := b % regionSize << r.log
		r.words[bit>>wordBits] &^= r.most() << (bit % 64)
	}
	r.add(b%regionSize, n)
}

// AddRange raises the counts of n blocks from b on by one.
func (c *Counter) AddRange(b, n uint64) {
	for n > 0 {
		r := &c.regions[b>>regionBits]
		at := b % regionSize
		here := min(n, regionSize-at)
		r.mu.Lock()
		for i := range here {
			r.add(at+i, 1)
		}
		r.mu.Unlock()
		b, n = b+here, n-here
	}
}

// Marked reports whether block b was ever added with a mark; see [Batch.Add].
func (c *Counter) Marked(b uint64) bool {
	r := &c.regions[b>>regionBits]
	return r.marks != nil && r.marks[b%regionSize/64]>>(b%64)&1 != 0
}

// Repeated yields the blocks with a count of 2 or more, ascending.
func (c *Counter) Repeated() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for i := range c.regions {
			r := &c.regions[i]
			for w, word := range r.words {
				if word == 0 || r.log == 1 && word&^lowBits == 0 {
					continue
				}
				perWord := uint64(64) >> r.log
				for at := uint64(w) * perWord; at < uint64(w+1)*perWord; at++ {
					if r.get(at) > 1 && !yield(uint64(i)<<regionBits+at) {
						return
					}
				}
			}
		}
	}
}

// Histogram returns how many blocks have each count.
func (c *Counter) Histogram() map[uint32]uint64 {
	h := histogram{times: map[uint32]uint64{}}
	for i := range c.regions {
		h.add(&c.regions[i])
	}
	counted := uint64(0)
	for count, n := range h.low {
		if n > 0 {
			h.times[uint32(count)] += n
		}
	}
	for _, n := range h.times {
		counted += n
	}
	if c.n > counted {
		h.times[0] = c.n - counted
	}
	return h.times
}

// A histogram holds how many blocks have each count, except 0.
type histogram struct {
	low   [256]uint64 // by count: a map would be slow for frequent counts
	times map[uint32]uint64
}

func (h *histogram) add(r *region) {
	for w, word := range r.words {
		if word == 0 {
			continue
		}
		if r.log == 1 {
			low, high := word&lowBits, word>>1&lowBits
			h.low[1] += uint64(bits.OnesCount64(low &^ high))
			h.low[2] += uint64(bits.OnesCount64(high &^ low))
			h.low[3] += uint64(bits.OnesCount64(low & high))
			continue
		}
		perWord := uint64(64) >> r.log
		for i := uint64(w) * perWord; i < uint64(w+1)*perWord; i++ {
			switch count := r.get(i); {
			case count == 0:
			case count < uint32(len(h.low)):
				h.low[count]++
			default:
				h.times[count]++
			}
		}
	}
}

// setWord sets the 32 counts from b on (a multiple of 32) to those in word, two bits each. They
// must have been 0.
func (c *Counter) setWord(b, word uint64) {
	if word == 0 {
		return
	}
	r := &c.regions[b>>regionBits]
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.words == nil || r.log == 1 {
		r.grow()
		r.words[b%regionSize/countsPerWord] = word
		return
	}
	for i := range uint64(countsPerWord) {
		if n := word >> (2 * i) & 3; n > 0 {
			r.add(b%regionSize+i, uint32(n))
		}
	}
}

// words32 returns the 32 counts from b on (a multiple of 32), two bits each; false if the region
// has higher counts.
func (c *Counter) words32(b uint64) (uint64, bool) {
	r := &c.regions[b>>regionBits]
	if r.words == nil {
		return 0, true
	}
	if r.log != 1 {
		return 0, false
	}
	return r.words[b%regionSize/countsPerWord], true
}

func (r *region) get(i uint64) uint32 {
	bit := i << r.log
	return uint32(r.words[bit>>wordBits] >> (bit % 64) & r.most())
}

// most returns the highest count that the region's current width can hold.
func (r *region) most() uint64 { return 1<<(1<<r.log) - 1 }

func (r *region) add(i uint64, n uint32) {
	r.grow()
	bit := i << r.log
	word, shift := bit>>wordBits, bit%64
	count := r.words[word]>>shift&r.most() + uint64(n)
	if count > r.most() {
		count = min(count, math.MaxUint32)
		r.widen(count)
		bit = i << r.log
		word, shift = bit>>wordBits, bit%64
	}
	r.words[word] = r.words[word]&^(r.most()<<shift) | count<<shift
}

// grow allocates the words of a region if it has none.
func (r *region) grow() {
	if r.words == nil {
		r.log = 1
		r.words = make([]uint64, regionSize<<r.log>>wordBits)
	}
}

// widen makes room for count.
func (r *region) widen(count uint64) {
	old := region{words: r.words, log: r.log}
	for r.most() < count {
		r.log++
	}
	if r.log == old.log {
		return
	}
	r.words = make([]uint64, regionSize<<r.log>>wordBits)
	perWord := uint64(64) >> old.log
	for w, word := range old.words {
		if word == 0 { // on a small device, all words but the first ones
			continue
		}
		for i := uint64(w) * perWord; i < uint64(w+1)*perWord; i++ {
			bit := i << r.log
			r.words[bit>>wordBits] |= uint64(old.get(i)) << (bit % 64)
		}
	}
}

func (r *region) mark(i uint64) {
	if r.marks == nil {
		r.marks = make([]uint64, regionSize/64)
	}
	r.marks[i/64] |= 1 << (i % 64)
}

// batchMark is the bit in a batch entry that requests a mark.
const batchMark = 1 << 31

// A Batch collects references of one goroutine, sorted by region, and counts them one region at a
// time. Otherwise, each of these scattered references would wait for memory.
type Batch struct {
	c       *Counter
	most    int // maximum number of entries collected per region
	regions [][]uint32
}

// NewBatch returns an empty Batch.
func (c *Counter) NewBatch() *Batch {
	const total = 1 << 19 // entries: 2 MiB
	most := min(max(total/max(1, len(c.regions)), 16), 4096)
	return &Batch{c, most, make([][]uint32, len(c.regions))}
}

// Add counts a reference to block b, which must be below the Counter's Len. If mark is true, the
// block is marked permanently.
func (t *Batch) Add(b uint64, mark bool) {
	e := uint32(b % regionSize)
	if mark {
		e |= batchMark
	}
	i := b >> regionBits
	entries := append(t.regions[i], e)
	if len(entries) >= t.most {
		t.flush(i, entries)
		entries = entries[:0]
	}
	t.regions[i] = entries
}

// Flush counts everything that was added.
func (t *Batch) Flush() {
	for i, entries := range t.regions {
		t.flush(uint64(i), entries)
		t.regions[i] = nil
	}
}

func (t *Batch) flush(i uint64, entries []uint32) {
	if len(entries) == 0 {
		return
	}
	r := &t.c.regions[i]
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		at := uint64(e &^ batchMark)
		if e&batchMark != 0 {
			r.mark(at)
		}
		// Nearly all counts have the smallest width and are below its maximum.
		if r.log == 1 {
			word, shift := &r.words[at/countsPerWord], at%countsPerWord*2
			if *word>>shift&3 != 3 {
				*word += 1 << shift
				continue
			}
		}
		r.add(at, 1)
	}
}
