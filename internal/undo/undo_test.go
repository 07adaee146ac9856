package undo_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/undo"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	salvage "thinpool/tool/repair"
)

// repair plans a repair of an image without carrying it out.
func repair(t testing.TB, image []byte) *check.Fix {
	t.Helper()
	_, r, err := check.PlanFix(t.Context(), blocktest.NewMemFrom(slices.Clone(image)), check.Options{}, func(check.Fault) {})
	if err != nil || r == nil || !r.Needed() {
		t.Fatalf("nothing to repair: %v", err)
	}
	return r
}

func change(r *check.Fix) undo.Change {
	return undo.Change{Released: r.Released(), Written: r.Blocks(), Block0: r.Block0()}
}

// saved returns the undo file for r.
func saved(t testing.TB, image []byte, r *check.Fix) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := undo.Write(t.Context(), &file, blocktest.NewMemFrom(slices.Clone(image)), change(r)); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// apply applies an undo file to dev.
func apply(t testing.TB, file []byte, dev block.Device) error {
	t.Helper()
	f, err := undo.Open(t.Context(), bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return err
	}
	return f.Apply(t.Context(), dev, foreign)
}

func images(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{
		"leaky":    fixtures.Leaky(t).Contents(),
		"writable": fixtures.Writable(t, 150, true).Contents(),
	}
	if !testing.Short() { // these have far more blocks
		all["needs-check"] = fixtures.Mem(t, "needs-check").Contents()
		all["powercut"] = fixtures.Mem(t, "powercut").Contents()
	}
	return all
}

// faults returns the faults of dev as text.
func faults(t testing.TB, dev block.Device) string {
	t.Helper()
	var s strings.Builder
	if _, err := check.Run(t.Context(), dev, check.Options{}, func(f check.Fault) { s.WriteString(f.String() + "\n") }); err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// If the repair is interrupted at any point, applying the undo file restores the original byte for
// byte. If that is interrupted, the metadata is the old or the new, and applying the file again
// completes the restore.
func TestApply(t *testing.T) {
	for name, image := range images(t) {
		t.Run(name, func(t *testing.T) {
			r := repair(t, image)
			file := saved(t, image, r)
			dev := blocktest.NewMemFrom(slices.Clone(image))
			old := faults(t, dev)
			if err := r.Write(t.Context(), dev); err != nil {
				t.Fatal(err)
			}
			repaired, ops := dev.Contents(), dev.Ops()
			for n := range ops {
				dev := blocktest.NewMemFrom(slices.Clone(image))
				dev.FailWritesAfter(n)
				_ = r.Write(t.Context(), dev)
				restored(t, file, dev.Crash(n), image)
			}
			restored(t, file, blocktest.NewMemFrom(slices.Clone(repaired)), image)
			for n := 0; ; n++ {
				dev := blocktest.NewMemFrom(slices.Clone(repaired))
				dev.FailWritesAfter(n)
				if apply(t, file, dev) == nil {
					break
				}
				for seed := range 5 {
					cut := dev.Crash(seed)
					if got := faults(t, cut); got != "" && got != old {
						t.Errorf("interrupted at %d, seed %d:\n%s", n, seed, got)
					}
					restored(t, file, cut, image)
				}
			}
		})
	}
}

// remake returns new metadata with the content of an image, and the undo file for writing it over
// that image.
func remake(t testing.TB, image []byte) (*write.Builder, []byte) {
	t.Helper()
	return remakeOver(t, image, image)
}

// remakeOver returns new metadata with the content of source, and the undo file for writing it
// over image.
func remakeOver(t testing.TB, source, image []byte) (*write.Builder, []byte) {
	t.Helper()
	dev := blocktest.NewMemFrom(slices.Clone(image))
	found, err := salvage.Find(t.Context(), blocktest.NewMemFrom(slices.Clone(source)), salvage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := metadata.Open(found.Device, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := write.New(write.Options{Parallel: 1})
	if err := dump.Run(t.Context(), pool, dump.Options{}, b); err != nil {
		t.Fatal(err)
	}
	block0, err := b.Block0(t.Context(), block.Blocks(dev))
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := undo.Write(t.Context(), &file, dev, undo.Change{All: block.Blocks(dev), Block0: block0}); err != nil {
		t.Fatal(err)
	}
	return b, file.Bytes()
}

// remakeable returns images for a complete rewrite: a sound one, a damaged one, and one with a damaged
// superblock.
func remakeable(t testing.TB) map[string][]byte {
	t.Helper()
	all := images(t)
	all["flipped bit"] = fixtures.Leaky(t).Contents()
	all["flipped bit"][100] ^= 1
	if testing.Short() {
		return all
	}
	all["lost root"] = fixtures.Mem(t, "needs-check").Contents()
	sb, err := metadata.DecodeSuperblock(0, (*block.Data)(all["lost root"][:block.Size]))
	if err != nil {
		t.Fatal(err)
	}
	clear(all["lost root"][sb.MappingRoot*block.Size:][:block.Size])
	return all
}

// somethingElse returns a device of size bytes with a file system, and with traces of other formats
// further on.
func somethingElse(size int) []byte {
	p := make([]byte, size)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := 2 * sector; i < len(p); i++ {
		p[i] = byte(rnd.Uint32())
	}
	copy(p[1024+56:], "\x53\xef")
	copy(p[block.Size:], begins)
	return p
}

const (
	begins = "something else begins here"
	sector = 512
)

func foreign(nr block.Nr, b *block.Data) error {
	if nr > 0 && bytes.HasPrefix(b[:], []byte(begins)) {
		return errors.New(begins)
	}
	return nil
}

// The same for a complete rewrite. After an interruption of the rewrite or its undo, the device holds
// the new metadata, the old metadata, or an invalid block 0. Applying the file restores the
// original.
func TestApplyAll(t *testing.T) {
	type over struct{ source, image []byte }
	cases := map[string]over{}
	for name, image := range remakeable(t) {
		cases[name] = over{image, image}
	}
	leaky := fixtures.Leaky(t).Contents()
	cases["over something else"] = over{leaky, somethingElse(len(leaky))}
	interrupted := slices.Clone(leaky)
	block.Invalidate((*block.Data)(interrupted[:block.Size]))
	clear(interrupted[block.Size:][:block.Size])
	cases["over a repair that was interrupted"] = over{leaky, interrupted}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			image := tc.image
			b, file := remakeOver(t, tc.source, image)
			dev := blocktest.NewMemFrom(slices.Clone(image))
			if err := b.Write(t.Context(), dev); err != nil {
				t.Fatal(err)
			}
			remade, ops := dev.Contents(), dev.Ops()
			if bytes.Equal(remade, image) {
				t.Fatal("nothing was written")
			}
			between := func(cut *blocktest.Mem) {
				t.Helper()
				now := cut.Contents()
				whole := bytes.Equal(now, image) || bytes.Equal(now, remade)
				if block.Verify(0, (*block.Data)(now[:block.Size]), block.Superblock) == nil && !whole {
					t.Error("a valid superblock over what is half one, half the other")
				}
				restored(t, file, cut, image)
			}
			for n := range ops {
				dev := blocktest.NewMemFrom(slices.Clone(image))
				dev.FailWritesAfter(n)
				if b.Write(t.Context(), dev) == nil {
					t.Fatal("no write failed")
				}
				for seed := range 3 {
					between(dev.Crash(seed))
				}
			}
			interrupted := 0
			for n := 0; ; n++ {
				dev := blocktest.NewMemFrom(slices.Clone(remade))
				dev.FailWritesAfter(n)
				if apply(t, file, dev) == nil {
					break
				}
				interrupted++
				for seed := range 3 {
					between(dev.Crash(seed))
				}
			}
			if interrupted < 6 { // two writes of block 0, one of others, three flushes
				t.Errorf("applying takes only %d steps", interrupted)
			}
		})
	}
}

func restored(t testing.TB, file []byte, dev *blocktest.Mem, want []byte) {
	t.Helper()
	for range 2 { // the second time changes nothing
		if err := apply(t, file, dev); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(dev.Contents(), want) {
			t.Error("the device is not what it was")
		}
	}
}

// The undo also restores released blocks that the pool has since overwritten in an uncommitted
// transaction.
func TestReleasedOverwritten(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	r := repair(t, image)
	file, dev := saved(t, image, r), blocktest.NewMemFrom(slices.Clone(image))
	if err := r.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	if len(r.Released()) == 0 {
		t.Fatal("nothing was released")
	}
	for _, nr := range r.Released() {
		if err := block.Write(dev, nr, new(block.Data)); err != nil {
			t.Fatal(err)
		}
	}
	restored(t, file, dev, image)
}

// Uncommitted writes of the pool after a complete rewrite are also undone.
func TestAllOverwritten(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	b, file := remake(t, image)
	dev := blocktest.NewMemFrom(slices.Clone(image))
	if err := b.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	for nr := b.Needed(block.Blocks(dev)); nr < block.Blocks(dev); nr++ {
		if err := block.Write(dev, nr, &block.Data{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	restored(t, file, dev, image)
}

// Apply refuses the wrong device and an incomplete file, and writes nothing.
func TestRefused(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	r := repair(t, image)
	dev := blocktest.NewMemFrom(slices.Clone(image))
	if err := r.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	refusals(t, image, saved(t, image, r), dev.Contents())
}

func TestRefusedAll(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	b, file := remake(t, image)
	dev := blocktest.NewMemFrom(slices.Clone(image))
	if err := b.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	refusals(t, image, file, dev.Contents())
	// If a superblock is torn at the end of a sector, both parts must be known.
	torn := dev.Contents()
	copy(torn[:512], image[:512])
	torn[700]++
	refused(t, "torn and changed", file, torn)
}

func refusals(t *testing.T, image, file, repaired []byte) {
	t.Helper()
	used := slices.Clone(repaired)
	used[48]++ // its transaction id
	for name, tc := range map[string]struct{ file, dev []byte }{
		"used since":    {file, used},
		"other device":  {file, fixtures.Mem(t, "empty").Contents()},
		"larger device": {file, append(slices.Clone(repaired), make([]byte, block.Size)...)},
		"cut":           {file[:len(file)-1], repaired},
		"longer":        {append(slices.Clone(file), 0), repaired},
		"empty":         {nil, repaired},
		"no undo file":  {image, repaired},
	} {
		refused(t, name, tc.file, tc.dev)
	}
	for at := 0; at < len(file); at += 509 { // any wrong byte
		spoiled := slices.Clone(file)
		spoiled[at] ^= 1
		refused(t, "spoiled file", spoiled, repaired)
	}
}

func refused(t testing.TB, name string, file, image []byte) {
	t.Helper()
	dev := blocktest.NewMemFrom(slices.Clone(image))
	if err := apply(t, file, dev); err == nil || !bytes.Equal(dev.Contents(), image) {
		t.Errorf("%s: error %v, written: %v", name, err, !bytes.Equal(dev.Contents(), image))
	}
}

// A failed Create leaves no file, and an existing one is kept.
func TestCreate(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	r := repair(t, image)
	_, remade := remake(t, image)
	all := undo.Change{All: block.Nr(len(image) / block.Size), Block0: (*block.Data)(remade[block.Size:])}
	for name, tc := range map[string]struct {
		change undo.Change
		want   []byte
		bad    block.Nr
	}{
		"some": {change(r), saved(t, image, r), r.Blocks()[0]},
		"all":  {all, remade, all.All - 1},
	} {
		path := filepath.Join(t.TempDir(), "undo")
		dev := blocktest.NewMemFrom(slices.Clone(image))
		dev.FailReads(tc.bad)
		if err := undo.Create(t.Context(), path, dev, tc.change); !errors.Is(err, blocktest.ErrFailed) || !strings.Contains(err.Error(), fmt.Sprintf("block %d:", tc.bad)) {
			t.Errorf("%s: error %v, want that of the device for block %d", name, err, tc.bad)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s: an unfinished file was left", name)
		}
		dev = blocktest.NewMemFrom(slices.Clone(image))
		if err := undo.Create(t.Context(), path, dev, tc.change); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, tc.want) {
			t.Errorf("%s: the file differs: %v", name, err)
		}
		if err := undo.Create(t.Context(), path, dev, tc.change); !errors.Is(err, undo.ErrExists) {
			t.Errorf("%s: error %v, want %v", name, err, undo.ErrExists)
		}
	}
}

// superblock returns the superblock of metadata with the given number of blocks.
func superblock(blocks uint64) *block.Data {
	sb := metadata.Superblock{Magic: metadata.Magic, Version: metadata.Version, DataBlockSize: 128}
	sb.MetadataSpaceMap.NrBlocks = blocks
	var b block.Data
	sb.Encode(&b)
	return &b
}

// A device with a size that is not a whole number of blocks, and one with more blocks than one piece holds.
func TestAllSizes(t *testing.T) {
	for _, blocks := range []int{255, 256, 257, 700} {
		image := make([]byte, blocks*block.Size+512)
		for i := range image {
			image[i] = byte(i / 512)
		}
		var file bytes.Buffer
		change := undo.Change{All: block.Nr(blocks), Block0: superblock(uint64(blocks))}
		if err := undo.Write(t.Context(), &file, blocktest.NewMemFrom(slices.Clone(image)), change); err != nil {
			t.Fatal(err)
		}
		want, got := slices.Clone(image), slices.Clone(image)
		clear(got[:blocks*block.Size])
		copy(got, change.Block0[:])
		dev := blocktest.NewMemFrom(got)
		restored(t, file.Bytes(), dev, want)
	}
}

// Open does not panic on any file with a valid checksum. A refused file writes nothing.
func FuzzOpen(f *testing.F) {
	image := fixtures.Leaky(f).Contents()
	_, all := remake(f, image)
	files := [][]byte{saved(f, image, repair(f, image)), all}
	f.Add(false, uint16(24), []byte{1}, uint16(2*block.Size), []byte{1})
	f.Add(true, uint16(16), []byte{0, 1}, uint16(block.Size), []byte("text"))
	f.Fuzz(func(t *testing.T, second bool, at uint16, a []byte, then uint16, b []byte) {
		file := slices.Clone(files[0])
		if second {
			file = slices.Clone(files[1])
		}
		copy(file[min(int(at), len(file)):], a)
		copy(file[min(int(then), len(file)):], b)
		dev := blocktest.NewMemFrom(slices.Clone(image))
		if apply(t, sum(file), dev) != nil && dev.Ops() != 0 {
			t.Error("the file was refused, but something was written")
		}
	})
}

// If an earlier process left block 0 in a cache, Apply flushes it before it restores anything.
func TestApplyFlushesFirst(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	r := repair(t, image)
	file := saved(t, image, r)
	dev := blocktest.NewMemFrom(slices.Clone(image))
	if err := r.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	if err := apply(t, file, &blocktest.Unflushed{Mem: dev}); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(dev.Contents(), image) {
		t.Error("the device is not what it was")
	}
}
