package generate_test

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/generate"
)

func made(t testing.TB, s generate.Shape) *blocktest.Mem {
	t.Helper()
	b := write.New(write.Options{Parallel: 1})
	if err := generate.Run(context.Background(), s, b); err != nil {
		t.Fatal(err)
	}
	dev := blocktest.NewMem(int64(b.Least()) * block.Size)
	if err := b.Write(context.Background(), dev); err != nil {
		t.Fatal(err)
	}
	return dev
}

// For any shape, the metadata has no faults and the requested content.
func TestSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := generate.Shape{
			Devices:    rapid.Uint64Range(0, 4).Draw(t, "devices"),
			Mappings:   rapid.Uint64Range(0, 2000).Draw(t, "mappings"),
			RunLength:  rapid.SampledFrom([]uint64{1, 2, 7, 100, 1000}).Draw(t, "run length"),
			Gaps:       rapid.Float64Range(0, 0.95).Draw(t, "gaps"),
			Snapshots:  rapid.Uint64Range(0, 5).Draw(t, "snapshots"),
			Divergence: rapid.Float64Range(0, 1).Draw(t, "divergence"),
			Seed:       rapid.Uint64().Draw(t, "seed"),
		}
		b := write.New(write.Options{Parallel: 1})
		if err := generate.Run(context.Background(), s, b); err != nil {
			t.Fatal(err)
		}
		dev := blocktest.NewMem(int64(b.Least()) * block.Size)
		if err := b.Write(context.Background(), dev); err != nil {
			t.Fatal(err)
		}
		sum, err := check.Run(context.Background(), dev, check.Options{Parallel: 1}, func(f check.Fault) { t.Errorf("%s", &f) })
		if err != nil {
			t.Fatal(err)
		}
		devices := s.Devices * (s.Snapshots + 1)
		if sum.Devices != devices || sum.Mappings != devices*s.Mappings {
			t.Errorf("%d devices, %d mappings, want %d and %d", sum.Devices, sum.Mappings, devices, devices*s.Mappings)
		}
	})
}

// The same seed gives the same bytes, another seed gives others.
func TestSeed(t *testing.T) {
	s := generate.Shape{Devices: 2, Mappings: 3000, RunLength: 3, Gaps: 0.2, Snapshots: 2, Divergence: 0.3, Seed: 1}
	a, b := made(t, s).Contents(), made(t, s).Contents()
	s.Seed = 2
	if !slices.Equal(a, b) || slices.Equal(a, made(t, s).Contents()) {
		t.Error("the seed does not decide")
	}
}

// Runs have the requested length, and snapshots share as much as requested.
func TestShape(t *testing.T) {
	for _, length := range []uint64{1, 4, 50, 700} {
		dev := made(t, generate.Shape{Devices: 1, Mappings: 200_000, RunLength: length, Gaps: 0.3, Seed: 5})
		runs, last := 0, uint64(0)
		p, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := p.Device(0)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range p.Runs(t.Context(), d) {
			if err != nil {
				t.Fatal(err)
			}
			runs++
			last = uint64(r.Thin) + r.Len
		}
		if mean := 200_000 / float64(runs); mean < 0.85*float64(length) || mean > 1.15*float64(length) {
			t.Errorf("runs of %.1f blocks, want %d", mean, length)
		}
		if mapped := 200_000 / float64(last); mapped < 0.65 || mapped > 0.75 {
			t.Errorf("run length %d: %.2f of the thin blocks are mapped, want 0.7", length, mapped)
		}
	}
	const snapshots, mappings = 9, 252 * 200
	for _, divergence := range []float64{0, 0.1, 1} {
		dev := made(t, generate.Shape{Devices: 1, Mappings: mappings, RunLength: 1, Snapshots: snapshots, Divergence: divergence, Seed: 5})
		sum, err := check.Run(t.Context(), dev, check.Options{}, func(check.Fault) {})
		if err != nil {
			t.Fatal(err)
		}
		want := mappings / 252 * (1 + (snapshots+1)*divergence) // leaves: the common ones, and those of each member
		if divergence == 1 {
			want = mappings / 252 * (snapshots + 1)
		}
		if got := float64(sum.DistinctLeaves); got < 0.9*want || got > 1.1*want {
			t.Errorf("divergence %v: %v leaves, want %v", divergence, got, want)
		}
	}
}

// Impossible shapes are refused.
func TestRefused(t *testing.T) {
	for _, s := range []generate.Shape{
		{Devices: 1, Mappings: 1},
		{Devices: 1 << 25, Mappings: 1, RunLength: 1},
		{Devices: 1 << 20, Snapshots: 1 << 20, RunLength: 1},
		{Devices: 1, Mappings: 1 << 60, RunLength: 1},
		{Devices: 1, Mappings: 1, RunLength: 1 << 62},
		{Devices: 1, Mappings: 1, RunLength: 1, Gaps: 1},
		{Devices: 1, Mappings: 1, RunLength: 1, Divergence: 1.5},
	} {
		if err := generate.Run(t.Context(), s, write.New(write.Options{})); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}
