package size

import (
	"math"
	"testing"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/test/damage"
	"thinpool/test/shared"
)

// Measured with Linux 6.1: a fully mapped device and snapshots; in each snapshot, chunks all over
// the device were written once, percent of them. Used are the metadata blocks that `dmsetup
// status` counts at most, including uncommitted ones, without the reserve.
var measured = []struct {
	snapshots uint64
	percent   float64
	data      uint64 // chunks in use
	used      uint64
}{
	// Written in order, so leaves are full; then each snapshot is written.
	{10, 1, 18020, 840},
	{60, 1, 26180, 3977},
	{150, 1, 40868, 9601},
	{300, 1, 65359, 18935},
	// Written in random order; then the device itself is written after each snapshot.
	{10, 5, 23625, 1051},
	{60, 5, 63609, 5224},
	{150, 5, 135552, 12638},
	// In a device of twice the size, every other chunk at random, so leaves are half full; then each
	// snapshot is written, including unmapped places.
	{10, 1, 18052, 1234},
	{60, 1, 26232, 5965},
	{150, 1, 40952, 14524},
}

// The advice is enough for kernel-made pools, with the reserve; no other rule is.
func TestAdviceIsEnough(t *testing.T) {
	for _, m := range measured {
		p := Pool{BlockSize: 64 * kib, Size: m.data * 64 * kib, Thins: 1, Snapshots: m.snapshots, Divergence: m.percent}
		a := p.Advise()
		blocks := a.Bytes / block.Size
		if free := blocks - min(m.used, blocks); free <= metadata.Reserve(blocks) {
			t.Errorf("%+v: %d blocks, of which %d are free and %d reserved", m, blocks, free, metadata.Reserve(blocks))
		}
		if blocks > 5*m.used+metadata.MostReserve {
			t.Errorf("%+v: %d blocks are far too many", m, blocks)
		}
		for _, rule := range []Rule{Tree, Packed, Kernel, LVM} {
			e := p.Estimate(rule).Bytes / block.Size
			t.Logf("%d snapshots, %v %%: %d used, %s %d, advice %d", m.snapshots, m.percent, m.used, rule, e, blocks)
			if e >= m.used {
				t.Errorf("%+v: the rule %s would do, with %d blocks", m, rule, e)
			}
		}
	}
}

// Measured likewise: a device of 8192 chunks, written in order, and snapshots with 82 writes each,
// in order in one place (clustered), all over the device (scattered), or half of each (mixed).
var layouts = []struct {
	layout                string
	snapshots, data, used uint64
}{
	{"clustered", 10, 9012, 83},
	{"clustered", 60, 13112, 219},
	{"clustered", 100, 16392, 314},
	{"mixed", 10, 9009, 366},
	{"mixed", 60, 13091, 1598},
	{"mixed", 100, 16362, 2622},
	{"scattered", 10, 9009, 438},
	{"scattered", 60, 13086, 2030},
	{"scattered", 100, 16350, 3307},
}

// The advice is enough wherever the snapshots were written.
func TestAdviceForLayouts(t *testing.T) {
	for _, m := range layouts {
		p := Pool{BlockSize: 64 * kib, Size: m.data * 64 * kib, Thins: 1, Snapshots: m.snapshots, Divergence: 100 * 82.0 / 8192}
		blocks := p.Advise().Bytes / block.Size
		if blocks < m.used+metadata.Reserve(blocks)+1 {
			t.Errorf("%+v: %d blocks, of which the kernel reserves %d", m, blocks, metadata.Reserve(blocks))
		}
	}
}

// The advice is enough for every pool of the corpus. Its fullest device counts as the fully mapped
// one, and all others as its snapshots.
func TestAdviceForCorpus(t *testing.T) {
	images, err := damage.Images(shared.Optional(t, "kernel", "corpus"))
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range images {
		t.Run(im.Name, func(t *testing.T) {
			p, err := metadata.Open(blocktest.NewMemFrom(im.Content), metadata.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var devices, most uint64
			for d, err := range p.Devices(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				devices, most = devices+1, max(most, d.MappedBlocks)
			}
			if devices < 2 {
				t.Skip("nothing is shared")
			}
			used := p.Live.DataSpaceMap.NrAllocated
			most = min(most, used)
			percent := 100 * float64(used-most) / float64(most) / float64(devices-1)
			size := uint64(p.Superblock.DataBlockSize) * sectorSize
			pool := Pool{BlockSize: size, Size: used * size, Thins: 1, Snapshots: devices - 1, Divergence: min(100, percent)}
			// Only small parts of these pools are mapped, but they have bitmaps for all their blocks.
			bitmaps := p.Live.DataSpaceMap.NrBlocks / spacemap.PerBitmap
			blocks, taken := pool.Advise().Bytes/block.Size, p.Live.MetadataSpaceMap.NrAllocated
			if blocks+bitmaps < taken+metadata.Reserve(blocks) {
				t.Errorf("%+v: %d blocks are advised, and %d of data bitmaps; %d are in use and %d reserved", pool, blocks, bitmaps, taken, metadata.Reserve(blocks))
			}
		})
	}
}

// The advice is never below any rule that applies, fits whenever it says so, and grows with the
// pool.
func TestAdviceIsTheLargest(t *testing.T) {
	for _, blocks := range []uint64{1, 125, 127, 1 << 10, 1 << 20, 1 << 28, 1 << 34, 1 << 40} {
		last := uint64(0)
		for _, snapshots := range []uint64{0, 1, 2, 10, 1000, math.MaxUint64} {
			for _, percent := range []float64{0, 0.01, 1, 50, 100} {
				p := Pool{BlockSize: 64 * kib, Size: blocks * 64 * kib, Thins: 5, Snapshots: snapshots, Divergence: percent, ExtentSize: 4 * mib}
				a := p.Advise()
				for _, rule := range p.Rules() {
					if e := p.Estimate(rule); a.Bytes < min(e.Bytes, Ceiling) || a.Fits && e.counts() && a.Bytes < e.Need {
						t.Errorf("%+v: %+v, but the rule %s says %+v", p, a, rule, e)
					}
				}
				if a.Bytes > Ceiling || a.Fits && a.Bytes != Ceiling && a.Bytes%mib != 0 {
					t.Errorf("%+v: %+v", p, a)
				}
				if fit := p.FittingBlockSize(); a.Fits && fit != p.BlockSize || !a.Fits && fit <= p.BlockSize && fit != 0 {
					t.Errorf("%+v: %+v, but blocks of %d fit", p, a, fit)
				}
				if percent == 0 {
					last = 0
				}
				if a.Need < last {
					t.Errorf("%+v: %d bytes are needed, but %d with fewer changes", p, a.Need, last)
				}
				last = a.Need
			}
		}
	}
}

// The fraction of leaves that scattered changes reach, compared with a count of leaves.
func TestScattered(t *testing.T) {
	base := Pool{BlockSize: 64 * kib, Size: 126 * 100 * 64 * kib, Snapshots: 1}
	for percent, leaves := range map[float64]float64{0: 0, 100: 100} {
		p := base
		p.Divergence = percent
		// A root and the leaves, in a pool twice as large, as the snapshot has its own data.
		none := p
		none.Snapshots = 0
		p.Size += uint64(float64(p.Size) * percent / 100)
		got := p.spread(percent/100) - none.spread(0)
		if want := leaves + 1; got < want || got > want+5 { // and space maps
			t.Errorf("%v %%: a snapshot takes %v blocks, want %v", percent, got, want)
		}
	}
	// 1-(1-1/2)^2 for nodes with two mappings.
	if got := changed(0.5, 2); math.Abs(got-0.75) > 1e-12 {
		t.Errorf("half of the mappings change %v of the nodes of two", got)
	}
}

// The kernel's numbers: its status counted the reserve as used in every image of the corpus.
func TestReserve(t *testing.T) {
	for blocks, want := range map[uint64]uint64{512: 51, 2048: 204, 16384: 1638, 40960: 4096, 65536: 4096, 131072: 4096, spacemap.MaxMetadata: 4096} {
		if got := metadata.Reserve(blocks); got != want {
			t.Errorf("%d blocks: reserve %d, want %d", blocks, got, want)
		}
	}
	for _, need := range []uint64{0, 1, 8, 9, 10, 1000, 36863, 36864, 36865, 1 << 20, spacemap.MaxMetadata, math.MaxUint64 / block.Size / 2} {
		total := withReserve(need*block.Size) / block.Size
		if total-metadata.Reserve(total) <= need || total-1-metadata.Reserve(total-1) > need {
			t.Errorf("%d blocks: %d in all", need, total)
		}
	}
}
