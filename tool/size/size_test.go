package size

import (
	"math"
	"testing"
)

const (
	kib = 1 << 10
	tib = 1 << 40
)

func TestEstimate(t *testing.T) {
	for _, tc := range []struct {
		pool    Pool
		rule    Rule
		sectors uint64
		bound   bool
	}{
		// The output of thin_metadata_size 0.9.0.
		{Pool{BlockSize: 64 * kib, Size: 500 * mib, Thins: 100}, Tree, 1312, false},
		{Pool{BlockSize: 64 * kib, Size: 511 * mib, Thins: 1}, Tree, 528, false},
		{Pool{BlockSize: 64 * kib, Size: 8189 * mib, Thins: 1}, Tree, 8328, false},
		{Pool{BlockSize: 64 * kib, Size: 100 * gib, Thins: 1000}, Tree, 112032, false},
		{Pool{BlockSize: 128 * kib, Size: 1000003 * 512, Thins: 7}, Tree, 312, false},
		{Pool{BlockSize: 64 * kib, Size: tib, Thins: 1000}, Tree, 1073224, false},
		// Above the ceiling.
		{Pool{BlockSize: 64 * kib, Size: 16384 * tib, Thins: 1}, Tree, 33292800, true},
		{Pool{BlockSize: 64 * kib, Size: tib, Thins: math.MaxUint64}, Tree, 33292800, true},
		{Pool{BlockSize: 64 * kib, Size: math.MaxUint64, Thins: 1}, Tree, 33292800, true},
		// The kernel's documentation.
		{Pool{BlockSize: 64 * kib, Size: 500 * mib}, Kernel, 4096, true},
		{Pool{BlockSize: 64 * kib, Size: tib}, Kernel, 1572864, false},
		{Pool{BlockSize: 64 * kib, Size: 100 * tib}, Kernel, 33554432, true},
		{Pool{BlockSize: 64 * kib, Size: math.MaxUint64}, Kernel, 33554432, true},
		// lvcreate.
		{Pool{BlockSize: 64 * kib, Size: tib, ExtentSize: 4 * mib}, LVM, 1024 * 2048, false},
		{Pool{BlockSize: 64 * kib, Size: gib, ExtentSize: 4 * mib}, LVM, 8192, true},
		{Pool{BlockSize: 512 * kib, Size: tib, ExtentSize: 4 * mib}, LVM, 128 * 2048, false},
		// Full leaves.
		{Pool{BlockSize: 64 * kib, Size: 252 * 64 * kib, Thins: 1}, Packed, 3 * 8, false},
		{Pool{BlockSize: 64 * kib, Size: 253 * 64 * kib, Thins: 1}, Packed, 4 * 8, false},
		// A completely changed snapshot costs as much as its origin.
		{Pool{BlockSize: 64 * kib, Size: 1260 * 64 * kib, Thins: 1}, Tree, (1 + 10 + 1) * 8, false},
		{Pool{BlockSize: 64 * kib, Size: 1260 * 64 * kib, Thins: 1, Snapshots: 2, Divergence: 100}, Tree, (1 + 10 + 1 + 2*11) * 8, false},
		{Pool{BlockSize: 64 * kib, Size: 1260 * 64 * kib, Thins: 1, Snapshots: math.MaxUint64, Divergence: 1}, Tree, 33292800, true},
	} {
		e := tc.pool.Estimate(tc.rule)
		if e.Bytes != tc.sectors*512 || (e.Bound != "") != tc.bound {
			t.Errorf("%s of %+v: %d sectors, bound %q; want %d, %v", tc.rule, tc.pool, e.Bytes/512, e.Bound, tc.sectors, tc.bound)
		}
	}
}

func TestCheck(t *testing.T) {
	good := Pool{BlockSize: 64 * kib, Size: gib}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Pool){
		"25 sectors":       func(p *Pool) { p.BlockSize = 25 * 512 },
		"not 64 KiB":       func(p *Pool) { p.BlockSize = 96 * kib },
		"no block size":    func(p *Pool) { p.BlockSize = 0 },
		"2 GiB blocks":     func(p *Pool) { p.BlockSize, p.Size = 2*gib, tib },
		"odd bytes":        func(p *Pool) { p.BlockSize = 64*kib + 1 },
		"pool below block": func(p *Pool) { p.Size = 32 * kib },
		"huge extents":     func(p *Pool) { p.ExtentSize = math.MaxUint64 },
		"divergence":       func(p *Pool) { p.Divergence = 101 },
		"no divergence":    func(p *Pool) { p.Divergence = math.NaN() },
	} {
		p := good
		spoil(&p)
		if p.Check() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestFittingBlockSize(t *testing.T) {
	for _, tc := range []struct{ size, want uint64 }{{tib, 64 * kib}, {64 * tib, 256 * kib}, {math.MaxUint64, 0}} {
		if got := (Pool{BlockSize: 64 * kib, Size: tc.size, Thins: 1}).FittingBlockSize(); got != tc.want {
			t.Errorf("%d bytes: %d, want %d", tc.size, got, tc.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, tc := range []struct {
		bytes, unit uint64
		want        string
	}{
		{671744, 512, "1312"}, {57360384, gib, "0.05"}, {270336, gib, "2.52e-04"}, {549490688, mib, "524.04"}, {0, gib, "0"}, {87008700, 1000000, "87.01"},
	} {
		if got := Number(tc.bytes, tc.unit); got != tc.want {
			t.Errorf("Number(%d, %d) = %s, want %s", tc.bytes, tc.unit, got, tc.want)
		}
	}
}
