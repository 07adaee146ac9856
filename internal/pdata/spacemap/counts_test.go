package spacemap

import (
	"math/rand/v2"
	"testing"

	"thinpool/metadata/block"
)

// Counts returns the written counts. It hides only unreadable ones.
func TestCounts(t *testing.T) {
	const blocks = 3*PerBitmap + 77
	rnd := rand.New(rand.NewPCG(3, 4))
	written := NewCounter(blocks)
	for range 30000 {
		written.Add(rnd.Uint64N(blocks), uint32(rnd.IntN(4)))
	}
	d := newDevice(2000)
	root, err := WriteData(d, written)
	if err != nil {
		t.Fatal(err)
	}
	load := func() (*Map, *Counts) {
		m, err := LoadData(t.Context(), block.NewReader(d, 2), d.next, root)
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.Counts(t.Context(), blocks+100)
		if err != nil {
			t.Fatal(err)
		}
		return m, c
	}
	verify := func(what string, c *Counts, hidden func(b uint64) bool) {
		t.Helper()
		for b := range uint64(blocks) {
			f := c.Hidden(b)
			if (f != nil) != hidden(b) || f == nil && c.Get(b) != written.Get(b) {
				t.Fatalf("%s: count of block %d is %d, hidden by %+v; want %d, hidden %v", what, b, c.Get(b), f, written.Get(b), hidden(b))
			}
		}
	}
	m, c := load()
	verify("whole", c, func(uint64) bool { return false })
	if c.Len() != blocks+100 || len(c.Unknown) != 0 {
		t.Errorf("%d counts, %d unknown", c.Len(), len(c.Unknown))
	}
	d.FailReads(root.RefCountRoot)
	_, c = load()
	verify("no overflow tree", c, func(b uint64) bool { return written.Get(b) >= overflowCount })
	d.FailReads(m.Entries[1].Block)
	_, c = load()
	verify("no second bitmap", c, func(b uint64) bool { return written.Get(b) >= overflowCount || b/PerBitmap == 1 })
}

// Sealed counts of counted blocks are right, in regions with and without repeated counts, and at
// every width.
func TestMapped(t *testing.T) {
	const regions = 5
	c := NewCounter(regions * regionSize)
	var blocks []uint64
	for i := range uint64(regions) {
		for _, at := range []uint64{0, 31, 32, regionSize - 1} {
			blocks = append(blocks, i*regionSize+at)
		}
	}
	for i, b := range blocks {
		c.Add(b, 1+uint32([]int{0, 0, 1, 2, 5}[i/4]*(i%2)))
	}
	c.Seal()
	counts := make([]uint32, len(blocks))
	c.Mapped(blocks, counts)
	for i, b := range blocks {
		if counts[i] != c.Get(b) {
			t.Errorf("block %d: %d, want %d", b, counts[i], c.Get(b))
		}
	}
	for i, single := range []bool{true, true, false, false, false} {
		if c.regions[i].single != single {
			t.Errorf("region %d: single is %v", i, !single)
		}
	}
}
