package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/metadata/volume"
)

const blockSize = metadata.MinDataBlockSize * 512

// A pattern is a device whose bytes tell their position and device.
type pattern struct {
	seed int64
	size int64
}

// noise has a length that no block size is a multiple of.
var noise = func() []byte {
	rnd, p := rand.New(rand.NewPCG(1, 2)), make([]byte, 1000003)
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
}()

func (d pattern) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), max(d.size-off, 0)))
	for i := 0; i < n; {
		i += copy(p[i:n], noise[(d.seed*1001+off+int64(i))%int64(len(noise)):])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// naive returns the content of a device block by block, from its runs.
func naive(t *testing.T, pool *metadata.Pool, tree metadata.MappingTree, src volume.Source, size int64) []byte {
	t.Helper()
	content := make([]byte, size)
	if src.Origin != nil {
		_, _ = src.Origin.ReadAt(content[:min(size, src.OriginSize)], 0)
	}
	bs, err := volume.BlockSize(pool)
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range pool.Runs(t.Context(), metadata.Device{ID: tree.ID, Root: tree.Root}) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range r.Len {
			at := (int64(r.Thin) + int64(i)) * bs
			if at >= size {
				break
			}
			p := content[at:min(at+bs, size)]
			if n, _ := src.Data.ReadAt(p, (int64(r.Data)+int64(i))*bs); n < len(p) {
				t.Fatalf("data block %d is not there", r.Data)
			}
		}
	}
	return content
}

// assemble joins the extents of a volume. It checks that they are in order, without gaps, and as
// long as possible.
func assemble(t *testing.T, v *volume.Volume) []byte {
	t.Helper()
	content := make([]byte, 0, v.Size())
	var last volume.Extent
	for e, err := range v.Extents(t.Context()) {
		switch {
		case err != nil:
			t.Fatal(err)
		case e.Begin != int64(len(content)) || e.Len < 1:
			t.Fatalf("%v after %d bytes", e, len(content))
		case e.Kind == volume.Lost:
			t.Fatalf("%v: %v", e, e.Err)
		case last.Len > 0 && e.Kind == last.Kind && e.Guessed == last.Guessed && (e.Kind != volume.Mapped || e.Data == last.Data+last.Len):
			t.Fatalf("%v and %v are one", last, e)
		}
		p := make([]byte, e.Len)
		if err := v.Read(p, e); err != nil {
			t.Fatal(err)
		}
		content, last = append(content, p...), e
	}
	if int64(len(content)) != v.Size() {
		t.Fatalf("the extents have %d bytes, the volume %d", len(content), v.Size())
	}
	return content
}

func open(t *testing.T, dev block.Device) *metadata.Pool {
	t.Helper()
	pool, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// For kernel-made devices of any size, with and without an origin, extents and random reads give
// what the mappings say block by block.
func TestContent(t *testing.T) {
	const most = 4 << 20
	tested := 0
	for _, name := range fixtures.Names() {
		pool := open(t, fixtures.Mem(t, name))
		bs, err := volume.BlockSize(pool)
		if err != nil {
			t.Fatal(err)
		}
		data := pattern{1, int64(pool.Live.DataSpaceMap.NrBlocks) * bs}
		devices := 0
		for d, err := range pool.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if devices++; devices > 3 {
				break
			}
			tree, err := pool.MappingTree(d.ID)
			if err != nil {
				t.Fatal(err)
			}
			mapped, err := volume.MappedSize(pool, tree)
			if err != nil {
				t.Fatal(err)
			}
			sources := map[string]volume.Source{
				"plain":           {Data: data, DataSize: data.size},
				"with origin":     {Data: data, DataSize: data.size, Origin: pattern{2, 2 << 20}, OriginSize: 2 << 20},
				"with odd origin": {Data: data, DataSize: data.size, Origin: pattern{2, 70001}, OriginSize: 70001},
			}
			for what, src := range sources {
				for _, size := range []int64{mapped, mapped + 3*bs + 512, mapped - bs/2, 0} {
					size = max(min(size, most), 0)
					v, err := volume.Open(t.Context(), pool, tree, src, volume.Options{Size: size})
					if err != nil {
						t.Fatal(err)
					}
					want := naive(t, pool, tree, src, size)
					if !bytes.Equal(assemble(t, v), want) {
						t.Errorf("%s, device %d, %s, %d bytes: the extents are wrong", name, d.ID, what, size)
					}
					readsAt(t, v, want)
					tested++
				}
			}
		}
	}
	if tested < 100 {
		t.Errorf("only %d volumes", tested)
	}
}

// readsAt compares reads at random places.
func readsAt(t *testing.T, v *volume.Volume, want []byte) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(len(want)), 3))
	for range 20 {
		off := rnd.Int64N(int64(len(want)) + 100)
		p := make([]byte, rnd.IntN(1<<(1+rnd.IntN(18))))
		n, err := v.ReadAt(p, off)
		rest := want[min(off, int64(len(want))):]
		rest = rest[:min(len(rest), len(p))]
		if n != len(rest) || (err == io.EOF) != (n < len(p)) || err != nil && err != io.EOF || !bytes.Equal(p[:n], rest) {
			t.Fatalf("%d bytes at %d of %d: %d, %v", len(p), off, len(want), n, err)
		}
	}
}

// The same for any runs, in leaves of any length, with any origin.
func TestContentOfAnyRuns(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := fixtures.NewForge(t, 256, 4000)
		var leaves []block.Nr
		next := uint64(rapid.IntRange(0, 3).Draw(rt, "first"))
		for range rapid.IntRange(1, 4).Draw(rt, "leaves") {
			var runs []metadata.Run
			for range rapid.IntRange(1, 5).Draw(rt, "runs") {
				r := metadata.Run{
					Thin: metadata.ThinBlock(next), Data: metadata.DataBlock(rapid.IntRange(0, 30).Draw(rt, "data")),
					Len: rapid.Uint64Range(1, 4).Draw(rt, "len"), Time: uint32(rapid.IntRange(0, 1).Draw(rt, "time")),
				}
				runs = append(runs, r)
				next += r.Len + uint64(rapid.IntRange(0, 2).Draw(rt, "gap"))
			}
			leaves = append(leaves, f.Leaf(runs...))
		}
		root := f.Inner(leaves...)
		f.Device(1, root)
		pool := open(t, f.Finish())
		tree, err := pool.MappingTree(1)
		if err != nil {
			rt.Fatal(err)
		}
		src := volume.Source{Data: pattern{1, 40 * blockSize}, DataSize: 40 * blockSize}
		if n := rapid.Int64Range(0, 30*blockSize).Draw(rt, "origin"); n > 0 {
			src.Origin, src.OriginSize = pattern{2, n}, n
		}
		size := rapid.Int64Range(0, int64(next+3)*blockSize).Draw(rt, "size")
		v, err := volume.Open(t.Context(), pool, tree, src, volume.Options{Size: size})
		if err != nil {
			rt.Fatal(err)
		}
		want := naive(t, pool, tree, src, size)
		if !bytes.Equal(assemble(t, v), want) {
			rt.Error("the extents are wrong")
		}
		readsAt(t, v, want)
	})
}

// words lists the extents of a volume in short form, in blocks.
func words(t *testing.T, v *volume.Volume) []string {
	t.Helper()
	var s []string
	for e, err := range v.Extents(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		word := fmt.Sprintf("%v %g..%g", e.Kind, float64(e.Begin)/blockSize, float64(e.End())/blockSize)
		if e.Kind == volume.Mapped {
			word += fmt.Sprintf(" at %g", float64(e.Data)/blockSize)
		}
		s = append(s, word)
	}
	return s
}

// Only what cannot be read is lost: a leaf, a gap known from a repair, blocks beyond the data
// device.
func TestLost(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	leaves := []block.Nr{
		f.Leaf(metadata.Run{Thin: 1, Data: 3, Len: 2}, metadata.Run{Thin: 3, Data: 5, Len: 2, Time: 1}),
		f.Leaf(metadata.Run{Thin: 20, Data: 10, Len: 5}),
		f.Leaf(metadata.Run{Thin: 30, Data: 95, Len: 9}, metadata.Run{Thin: 39, Data: 1 << 39, Len: 2}, metadata.Run{Thin: 50, Data: 0, Len: 1}),
	}
	f.Device(1, f.Inner(leaves...))
	dev := f.Finish()
	src := volume.Source{Data: pattern{1, 100*blockSize + 512}, DataSize: 100*blockSize + 512, Origin: pattern{2, 8 * blockSize}, OriginSize: 8 * blockSize}
	open := func(opt volume.Options) *volume.Volume {
		t.Helper()
		pool := open(t, dev)
		tree, err := pool.MappingTree(1)
		if err != nil {
			t.Fatal(err)
		}
		v, err := volume.Open(t.Context(), pool, tree, src, opt)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	check := func(v *volume.Volume, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, words(t, v)); diff != "" {
			t.Error(diff)
		}
	}
	v := open(volume.Options{Size: 60 * blockSize})
	check(v, "origin 0..1", "mapped 1..5 at 3", "origin 5..8", "hole 8..20", "mapped 20..25 at 10", "hole 25..30",
		"mapped 30..35.0078125 at 95", "lost 35.0078125..41", "hole 41..50", "mapped 50..51 at 0", "hole 51..60")
	check(open(volume.Options{Size: 50 * blockSize, Gaps: []volume.Gap{
		{btree.KeyRange{First: 0, Last: 0}, block.ErrCorrupt},
		{btree.KeyRange{First: 4, Last: 6}, block.ErrCorrupt},
		{btree.KeyRange{First: 18, Last: 30}, block.ErrCorrupt},
		{btree.KeyRange{First: 45, Last: math.MaxUint64}, block.ErrCorrupt},
	}}), "lost 0..1", "mapped 1..5 at 3", "lost 5..7", "origin 7..8", "hole 8..18", "lost 18..20", "mapped 20..25 at 10", "lost 25..30",
		"mapped 30..35.0078125 at 95", "lost 35.0078125..41", "hole 41..45", "lost 45..50")
	p := make([]byte, 8*blockSize)
	n, err := v.ReadAt(p, 30*blockSize)
	wrong, ok := errors.AsType[*volume.ReadError](err)
	if n != 5*blockSize+512 || !ok || !strings.Contains(err.Error(), "bytes 2294272..2490367: lost: data block 100 lies beyond the end of the data device, which has 6554112 bytes") {
		t.Errorf("reading what is lost: %d, %v, %v", n, err, wrong)
	}
	fixtures.Edit(t, dev, leaves[1], func(b *block.Data) { b[8]++ })
	v = open(volume.Options{Size: 52 * blockSize})
	check(v, "origin 0..1", "mapped 1..5 at 3", "origin 5..8", "hole 8..20", "lost 20..30",
		"mapped 30..35.0078125 at 95", "lost 35.0078125..41", "hole 41..50", "mapped 50..51 at 0", "hole 51..52")
	if n, err := v.ReadAt(p, 19*blockSize); n != blockSize || !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("reading what is lost: %d, %v", n, err)
	}
}

// Guesses of a repair are marked exactly, in a full and in a partial read.
func TestGuessed(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 1, Data: 3, Len: 6}, metadata.Run{Thin: 9, Data: 20, Len: 2}))
	pool := open(t, f.Finish())
	tree, err := pool.MappingTree(1)
	if err != nil {
		t.Fatal(err)
	}
	v, err := volume.Open(t.Context(), pool, tree, volume.Source{Data: pattern{1, 100 * blockSize}, DataSize: 100 * blockSize}, volume.Options{
		Size:    11*blockSize - 512,
		Guesses: []metadata.KeyRange{{First: 0, Last: 0}, {First: 2, Last: 3}, {First: 5, Last: 9}, {First: 1 << 40, Last: 1<<64 - 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	guessed := func(extents []volume.Extent) (blocks []int64) {
		for _, e := range extents {
			for at := e.Begin; e.Guessed && at < e.End(); at += blockSize {
				if blocks = append(blocks, at/blockSize); e.Kind != volume.Mapped {
					t.Errorf("%v is guessed", e)
				}
			}
		}
		return blocks
	}
	var all []volume.Extent
	for e, err := range v.Extents(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	if got, want := guessed(all), []int64{2, 3, 5, 6, 9}; !slices.Equal(got, want) {
		t.Errorf("guessed blocks %v, want %v", got, want)
	}
	if got, want := guessed(v.Mapped(metadata.Run{Thin: 3, Data: 5, Len: 3})), []int64{3, 5}; !slices.Equal(got, want) {
		t.Errorf("in a part: guessed blocks %v, want %v", got, want)
	}
	if got, want := assemble(t, v), naive(t, pool, tree, volume.Source{Data: pattern{1, 100 * blockSize}, DataSize: 100 * blockSize}, v.Size()); !bytes.Equal(got, want) {
		t.Error("the content differs")
	}
}

// Readers learn where a read failed.
func TestReadErrors(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 1, Data: 3, Len: 2}))
	pool := open(t, f.Finish())
	tree, err := pool.MappingTree(1)
	if err != nil {
		t.Fatal(err)
	}
	bad := blocktest.NewMem(10 * blockSize)
	bad.FailReads(4*blockSize/block.Size + 1)
	v, err := volume.Open(t.Context(), pool, tree, volume.Source{Data: bad, DataSize: bad.Size(), Origin: pattern{2, 5}, OriginSize: 1000}, volume.Options{Size: 4 * blockSize})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, blockSize)
	_, err = v.ReadAt(p, 2*blockSize)
	if want := "bytes 131072..196607 (262144..327679 on the data device), from data block 4 on: simulated device failure"; err == nil || err.Error() != want || !errors.Is(err, blocktest.ErrFailed) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = v.ReadAt(p, 0)
	if want := "bytes 0..999, of the external origin: unexpected EOF"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := v.ReadAt(p, -1); err == nil {
		t.Error("a negative offset is taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range v.Extents(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

// The single ranges of a difference.
func TestStretches(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 1, Data: 3, Len: 2}))
	pool := open(t, f.Finish())
	tree, err := pool.MappingTree(1)
	if err != nil {
		t.Fatal(err)
	}
	src := volume.Source{Data: pattern{1, 100 * blockSize}, DataSize: 100 * blockSize, Origin: pattern{2, 2 * blockSize}, OriginSize: 2 * blockSize}
	v, err := volume.Open(t.Context(), pool, tree, src, volume.Options{Size: 10*blockSize + 512})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ got, want []volume.Extent }{
		{v.Mapped(metadata.Run{Thin: 4, Data: 7, Len: 2}), []volume.Extent{{Kind: volume.Mapped, Begin: 4 * blockSize, Len: 2 * blockSize, Data: 7 * blockSize}}},
		{v.Mapped(metadata.Run{Thin: 10, Data: 7, Len: 2}), []volume.Extent{{Kind: volume.Mapped, Begin: 10 * blockSize, Len: 512, Data: 7 * blockSize}}},
		{v.Mapped(metadata.Run{Thin: 11, Data: 7, Len: 2}), nil},
		{v.Unmapped(1, 2), []volume.Extent{
			{Kind: volume.Origin, Begin: blockSize, Len: blockSize}, {Kind: volume.Hole, Begin: 2 * blockSize, Len: blockSize},
		}},
		{v.Unmapped(11, 2), nil},
	} {
		if !slices.Equal(tc.got, tc.want) {
			t.Errorf("%+v, want %+v", tc.got, tc.want)
		}
	}
}

// Advise tells the source what will be read, in bytes of the data device.
func TestAdvise(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 1, Data: 3, Len: 2}))
	pool := open(t, f.Finish())
	tree, err := pool.MappingTree(1)
	if err != nil {
		t.Fatal(err)
	}
	var told [][2]int64
	src := volume.Source{Data: pattern{1, 9 * blockSize}, DataSize: 9 * blockSize, Advise: func(off, n int64) { told = append(told, [2]int64{off, n}) }}
	for _, src := range []volume.Source{src, {}} { // one of them cannot read ahead
		src.DataSize = 9 * blockSize
		v, err := volume.Open(t.Context(), pool, tree, src, volume.Options{Size: 5 * blockSize})
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range v.Extents(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			v.Advise(e)
		}
	}
	if want := [][2]int64{{3 * blockSize, 2 * blockSize}}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

// An impossible block size in the superblock is refused, and so is an invalid size.
func TestOpenRefuses(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	f.Superblock.DataBlockSize = 0
	f.Device(1, f.Leaf(metadata.Run{Thin: 1 << 50, Data: 3, Len: 2}))
	dev := f.Finish()
	pool := open(t, dev)
	tree, err := pool.MappingTree(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := volume.Open(t.Context(), pool, tree, volume.Source{}, volume.Options{}); !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("a block size of 0: %v", err)
	}
	if _, err := volume.MappedSize(pool, tree); !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("a block size of 0: %v", err)
	}
	pool.Superblock.DataBlockSize = 128
	if _, err := volume.MappedSize(pool, tree); !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("a device beyond all bounds: %v", err)
	}
	if _, err := volume.Open(t.Context(), pool, tree, volume.Source{}, volume.Options{Size: -1}); err == nil {
		t.Error("a negative size is taken")
	}
}
