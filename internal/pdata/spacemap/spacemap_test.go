package spacemap

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// The order of bits in a bitmap on disk: counts 3 3 3 3 2 1 are FF 09.
func TestBitmapBits(t *testing.T) {
	var b block.Data
	m := Bitmap{&b}
	for i, count := range []uint32{3, 3, 7, 3, 2, 1} {
		m.Set(i, count)
	}
	if b[16] != 0xFF || b[17] != 0x09 {
		t.Errorf("bytes % X, want FF 09", b[16:18])
	}
	for i, want := range []uint32{3, 3, 3, 3, 2, 1, 0} {
		if got := m.Count(i); got != want {
			t.Errorf("count %d is %d, want %d", i, got, want)
		}
	}
	m.Set(4, 0)
	if m.Count(4) != 0 || m.Count(5) != 1 {
		t.Error("Set spoils a neighbour")
	}
	if w := m.word(0); w != 0b01_00_11_11_11_11 {
		t.Errorf("word is %b", w)
	}
}

func TestCodecs(t *testing.T) {
	root := Root{1000, 7, 4, 5}
	p := make([]byte, RootSize)
	p[100] = 1
	if root.Encode(p); DecodeRoot(p) != root || p[100] != 0 {
		t.Error("root")
	}
	e := IndexEntry{9, 993, 6}
	if e.Encode(p); DecodeEntry(p) != e || binary.LittleEndian.Uint32(p[8:]) != 993 {
		t.Error("entry")
	}
	for n, want := range map[uint64]uint64{0: 0, 1: 1, PerBitmap: 1, PerBitmap + 1: 2, math.MaxUint64: math.MaxUint64/PerBitmap + 1} {
		if got := Bitmaps(n); got != want {
			t.Errorf("%d blocks take %d bitmaps, want %d", n, got, want)
		}
	}
}

// A Counter counts like a plain map, through all its widths.
func TestCounter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 2*regionSize + 100
		c, want, marked := NewCounter(n), map[uint64]uint32{}, map[uint64]bool{}
		batch := c.NewBatch()
		block := rapid.SampledFrom([]uint64{0, 1, 31, 32, 33, regionSize - 1, regionSize, n - 1})
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			b := block.Draw(t, "block")
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				k := rapid.SampledFrom([]uint32{1, 2, 3, 200, 70000, math.MaxUint32}).Draw(t, "n")
				c.Add(b, k)
				want[b] = uint32(min(uint64(want[b])+uint64(k), math.MaxUint32))
			case 1:
				mark := rapid.Bool().Draw(t, "mark")
				batch.Add(b, mark)
				if want[b] != math.MaxUint32 {
					want[b]++
				}
				marked[b] = marked[b] || mark
			case 2:
				batch.Flush()
			case 3:
				batch.Flush()
				k := rapid.SampledFrom([]uint32{0, 1, 3, 4, 70000}).Draw(t, "n")
				c.Set(b, k)
				want[b] = k
			default:
				k := rapid.Uint64Range(0, n-b).Draw(t, "length") % 50
				c.AddRange(b, k)
				for i := range k {
					if want[b+i] != math.MaxUint32 {
						want[b+i]++
					}
				}
			}
		}
		batch.Flush()
		repeated := map[uint64]bool{}
		for b := range c.Repeated() {
			if repeated[b] = true; want[b] < 2 {
				t.Fatalf("block %d is repeated, but has count %d", b, want[b])
			}
		}
		nonzero := uint64(0)
		for _, count := range want {
			nonzero += uint64(min(1, count))
		}
		if free := c.Histogram()[0]; free != n-nonzero {
			t.Fatalf("%d blocks have count 0, want %d", free, n-nonzero)
		}
		near := map[uint64]bool{}
		for b := range want {
			for d := range min(b, 70) + 1 {
				near[b-d] = true
			}
			near[min(b+1, n-1)] = true
		}
		for b := range near {
			if c.Get(b) != want[b] || c.Marked(b) != marked[b] || repeated[b] != (want[b] > 1) {
				t.Fatalf("block %d: count %d, marked %v, repeated %v; want %d, %v", b, c.Get(b), c.Marked(b), repeated[b], want[b], marked[b])
			}
		}
	})
}

// Several goroutines may count concurrently.
func TestCounterConcurrent(t *testing.T) {
	const n, workers, each = 1000, 4, 50000
	c := NewCounter(n)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 0))
			batch := c.NewBatch()
			defer batch.Flush()
			for range each {
				batch.Add(rnd.Uint64N(n), false)
			}
		})
	}
	wg.Wait()
	sum := uint64(0)
	for b := range uint64(n) {
		sum += uint64(c.Get(b))
	}
	if sum != workers*each {
		t.Errorf("%d references were counted, want %d", sum, workers*each)
	}
}

// device allocates blocks of a device in memory and counts them.
type device struct {
	*blocktest.Mem
	next   block.Nr
	counts *Counter
}

func newDevice(blocks uint64) *device {
	d := &device{blocktest.NewMem(int64(blocks) * block.Size), 1, NewCounter(blocks)}
	d.counts.Add(0, 1)
	return d
}

func (d *device) Alloc() (block.Nr, error) {
	if d.next >= block.Blocks(d) {
		return 0, errors.New("full")
	}
	d.next++
	d.counts.Add(uint64(d.next-1), 1)
	return d.next - 1, nil
}

func (d *device) Write(nr block.Nr, b *block.Data) error { return block.Write(d.Mem, nr, b) }

// A written map compares equal with its counts. Compare finds a changed count.
func TestWriteCompare(t *testing.T) {
	const blocks = 3*PerBitmap + 77
	rnd := rand.New(rand.NewPCG(1, 2))
	counted := NewCounter(blocks)
	for range 30000 {
		counted.Add(rnd.Uint64N(blocks/2), uint32(rnd.IntN(5)))
	}
	counted.Add(blocks-1, 300)
	d := newDevice(2000)
	root, err := WriteData(d, counted)
	if err != nil {
		t.Fatal(err)
	}
	metadataRoot, err := WriteMetadata(d, d.counts)
	if err != nil {
		t.Fatal(err)
	}
	r := block.NewReader(d, 2)
	m, err := LoadData(t.Context(), r, d.next, root)
	if err != nil {
		t.Fatal(err)
	}
	compare := func(m *Map, c *Counter, exact bool) []Finding {
		var findings []Finding
		if _, err := m.Compare(t.Context(), c, exact, func(f Finding) { findings = append(findings, f) }); err != nil {
			t.Fatal(err)
		}
		return findings
	}
	if f := compare(m, counted, true); len(f) > 0 {
		t.Fatalf("data: %+v", f)
	}
	mm, err := LoadMetadata(t.Context(), r, d.next, metadataRoot)
	if err != nil {
		t.Fatal(err)
	}
	if f := compare(mm, d.counts, true); len(f) > 0 {
		t.Fatalf("metadata: %+v", f)
	}
	const free = blocks - 500 // beyond the counted blocks
	for i := range uint64(3) {
		counted.Add(free+i, 1)
	}
	f := compare(m, counted, true)
	if len(f) != 1 || f[0].Kind != TooLow || f[0].First != free || f[0].N != 3 || f[0].Stored != 0 || f[0].Counted != 1 {
		t.Errorf("%+v", f)
	}
	less := NewCounter(blocks)
	if f := compare(m, less, false); len(f) != 0 {
		t.Errorf("counts above lower bounds are reported: %+v", f[0])
	}
	if f := compare(m, less, true); len(f) == 0 || f[0].Kind != TooHigh {
		t.Error("counts that are too high are not found")
	}
}

// Load detects sizes that no device can have before it allocates anything for them.
func TestLoadHuge(t *testing.T) {
	d := newDevice(200)
	root, err := WriteData(d, NewCounter(10))
	if err != nil {
		t.Fatal(err)
	}
	root.NrBlocks = math.MaxUint64
	m, err := LoadData(t.Context(), block.NewReader(d, 1), d.next, root)
	if err != nil || uint64(len(m.Entries)) > uint64(d.next) {
		t.Fatalf("%d entries, %v", len(m.Entries), err)
	}
	missing := false
	_, err = m.Compare(t.Context(), NewCounter(m.covered()), true, func(f Finding) { missing = missing || f.Kind == MissingEntry })
	if err != nil || !missing {
		t.Errorf("missing %v, err %v", missing, err)
	}
}

func FuzzDecodeBitmap(f *testing.F) {
	f.Add([]byte{0xFF, 9})
	f.Fuzz(func(t *testing.T, counts []byte) {
		var b block.Data
		copy(b[16:], counts)
		block.Seal(3, &b, block.Bitmap)
		m, err := DecodeBitmap(3, &b)
		if err != nil {
			t.Fatal(err)
		}
		var back block.Data
		for i := range PerBitmap {
			Bitmap{&back}.Set(i, m.Count(i))
		}
		if string(back[16:]) != string(b[16:]) {
			t.Error("counts do not survive")
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	const n = 50 << 20
	c := NewCounter(n)
	batch := c.NewBatch()
	rnd := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		batch.Add(rnd.Uint64N(n), false)
	}
}
