package block_test

import (
	"encoding/binary"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// countable returns a device that counts requests. Its blocks start with their numbers.
func countable(blocks block.Nr) *counted {
	m := blocktest.NewMem(int64(blocks) * block.Size)
	for nr := range blocks {
		var b block.Data
		binary.LittleEndian.PutUint64(b[:], uint64(nr))
		_ = block.Write(m, nr, &b)
	}
	return &counted{Mem: m}
}

type counted struct {
	*blocktest.Mem
	requests atomic.Int64
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.requests.Add(1)
	return c.Mem.ReadAt(p, off)
}

// each reads nrs and returns the blocks that came, sorted.
func each(t *testing.T, r *block.Reader, nrs iter.Seq[block.Nr]) []block.Nr {
	t.Helper()
	var mu sync.Mutex
	var got []block.Nr
	err := r.Each(t.Context(), nrs, func(_ int, nr block.Nr, b *block.Data, err error) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, nr)
		if is := binary.LittleEndian.Uint64(b[:]); is != uint64(nr) {
			t.Errorf("block %d has the content of %d", nr, is)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

// Each block comes once, whatever the gaps, even if they do not ascend.
func TestEachReadsAll(t *testing.T) {
	dev := countable(2000)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, parallel := range []int{0, 1, 2, 8} {
		r := block.NewReader(dev, parallel)
		for range 20 {
			var nrs []block.Nr
			for nr := block.Nr(0); nr < 2000; nr += block.Nr(1 + rnd.IntN(1+rnd.IntN(20))) {
				nrs = append(nrs, nr)
			}
			want := slices.Clone(nrs)
			if rnd.IntN(3) == 0 {
				rnd.Shuffle(len(nrs), func(i, j int) { nrs[i], nrs[j] = nrs[j], nrs[i] })
			}
			if got := each(t, r, slices.Values(nrs)); !slices.Equal(got, want) {
				t.Fatalf("%d workers: %d blocks came, want %d", parallel, len(got), len(want))
			}
		}
	}
	if got := each(t, block.NewReader(dev, 2), slices.Values([]block.Nr{})); len(got) > 0 {
		t.Errorf("no blocks wanted, %v came", got)
	}
}

func upTo(end, step block.Nr) iter.Seq[block.Nr] {
	return func(yield func(block.Nr) bool) {
		for nr := block.Nr(0); nr < end && yield(nr); nr += step {
		}
	}
}

// Adjacent blocks are joined into requests of 512 KiB, including small gaps. Distant blocks are
// not.
func TestEachJoins(t *testing.T) {
	for name, tc := range map[string]struct {
		step     block.Nr
		requests int64
	}{"adjacent": {1, 8}, "small gaps": {8, 8}, "large gaps": {9, 114}} {
		t.Run(name, func(t *testing.T) {
			dev := countable(1024)
			each(t, block.NewReader(dev, 1), upTo(1024, tc.step))
			if n := dev.requests.Load(); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
		})
	}
}
