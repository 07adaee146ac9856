package metadata_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// open opens one of the kernel-made images.
func open(t testing.TB, name string, opt metadata.Options) *metadata.Pool {
	t.Helper()
	p, err := metadata.Open(fixtures.Mem(t, name), opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// All ways to read an image agree with each other and with an independent digest, which has one
// line per mapping.
func TestReadKernelImages(t *testing.T) {
	truths, err := fixtures.Truths()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			p := open(t, name, metadata.Options{})
			truth := truths[name]
			if sb := p.Superblock; sb.Time != truth.Time || sb.TransactionID != truth.Transaction || uint64(sb.HeldRoot) != truth.HeldRoot ||
				sb.DataSpaceMap.NrBlocks != truth.DataBlocks || sb.DataSpaceMap.NrAllocated != truth.DataUsed ||
				sb.MetadataSpaceMap.NrBlocks != truth.MetadataBlocks || sb.DataBlockSize != truth.DataBlockSize ||
				(sb.Flags&metadata.NeedsCheck != 0) != truth.NeedsCheck {
				t.Errorf("superblock %+v, want %+v", sb, truth)
			}
			digest := sha256.New()
			n := 0
			for d, err := range p.Devices(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				n++
				if again, err := p.Device(d.ID); err != nil || again != d {
					t.Errorf("Device(%d) = %+v, %v; want %+v", d.ID, again, err, d)
				}
				highest := digestRuns(t, p, d, digest)
				if got, ok, err := p.Highest(d); err != nil || ok != (d.MappedBlocks > 0) || got != highest {
					t.Errorf("device %d: highest block %d, %v, %v; want %d", d.ID, got, ok, err, highest)
				}
			}
			if got := hex.EncodeToString(digest.Sum(nil)); n != int(truth.Devices) || got != truth.Digest {
				t.Errorf("%d devices, digest %s; want %d, %s", n, got, truth.Devices, truth.Digest)
			}
		})
	}
}

// digestRuns adds the mappings of d to a digest and returns the highest thin block.
func digestRuns(t *testing.T, p *metadata.Pool, d metadata.Device, digest io.Writer) metadata.ThinBlock {
	t.Helper()
	var mapped uint64
	var last metadata.Run
	var lines []byte
	runs := 0
	for r, err := range p.Runs(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		if mapped > 0 && r.Continues(last) {
			t.Fatalf("%v goes on with %v: runs are not maximal", r, last)
		}
		for i := range r.Len {
			for _, v := range [...]uint64{uint64(d.ID), uint64(r.Thin) + i, uint64(r.Data) + i} {
				lines = append(strconv.AppendUint(lines, v, 10), ' ')
			}
			lines = append(strconv.AppendUint(lines, uint64(r.Time), 10), '\n')
		}
		end := r.Thin + metadata.ThinBlock(r.Len) - 1
		if runs++; runs%32 == 1 { // a lookup costs as much as many runs
			if data, time, ok, err := p.Lookup(d, end); err != nil || !ok || data != r.Data+metadata.DataBlock(r.Len)-1 || time != r.Time {
				t.Fatalf("lookup of %d: %d, %d, %v, %v; want the end of %v", end, data, time, ok, err, r)
			}
		}
		mapped += r.Len
		last = r
	}
	if _, err := digest.Write(lines); err != nil {
		t.Fatal(err)
	}
	if mapped != d.MappedBlocks {
		t.Errorf("device %d: %d mappings, want %d", d.ID, mapped, d.MappedBlocks)
	}
	if last.Len == 0 {
		return 0
	}
	return last.Thin + metadata.ThinBlock(last.Len) - 1
}

func TestOpenErrors(t *testing.T) {
	if _, err := metadata.Open(blocktest.NewMem(1<<20), metadata.Options{}); !errors.Is(err, metadata.ErrUnformatted) {
		t.Errorf("zeroes: %v", err)
	}
	if _, err := metadata.Open(blocktest.NewMem(10), metadata.Options{}); err == nil || errors.Is(err, block.ErrCorrupt) {
		t.Errorf("too small: %v", err)
	}
	dev := fixtures.Mem(t, "layers")
	if _, err := metadata.Open(dev, metadata.Options{Snapshot: true}); !errors.Is(err, metadata.ErrNoSnapshot) {
		t.Errorf("no snapshot: %v", err)
	}
	if _, err := metadata.Open(fixtures.Mem(t, "metadata-snap"), metadata.Options{Snapshot: true, SnapshotBlock: 7}); err == nil {
		t.Error("the snapshot is not in block 7")
	}
	if _, err := dev.WriteAt([]byte{9}, 50); err != nil {
		t.Fatal(err)
	}
	if _, err := metadata.Open(dev, metadata.Options{}); !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("damaged: %v", err)
	}
	p := open(t, "layers", metadata.Options{})
	if _, err := p.Device(99); !errors.Is(err, metadata.ErrNoDevice) {
		t.Errorf("no device: %v", err)
	}
}

// The metadata snapshot shows an older state with fewer devices.
func TestSnapshot(t *testing.T) {
	live, snap := open(t, "metadata-snap", metadata.Options{}), open(t, "metadata-snap", metadata.Options{Snapshot: true, SnapshotBlock: 143})
	count := func(p *metadata.Pool) (devices, mappings uint64) {
		for d, err := range p.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			devices++
			for r, err := range p.Runs(t.Context(), d) {
				if err != nil {
					t.Fatal(err)
				}
				mappings += r.Len
			}
		}
		return devices, mappings
	}
	liveDevices, liveMappings := count(live)
	devices, mappings := count(snap)
	if liveDevices != 3 || devices != 2 || mappings == 0 || mappings >= liveMappings {
		t.Errorf("live: %d devices, %d mappings; snapshot: %d, %d", liveDevices, liveMappings, devices, mappings)
	}
}

// All blocks that Blocks leaves out may be lost, and the devices still have the same mappings.
// None of the blocks it names may be lost.
func TestBlocks(t *testing.T) {
	for _, opt := range []metadata.Options{{}, {Snapshot: true}} {
		dev := fixtures.Mem(t, "metadata-snap")
		p, err := metadata.Open(dev, opt)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := p.Blocks(t.Context())
		if err != nil || !slices.IsSorted(blocks) || blocks[0] != 0 || !slices.Contains(blocks, p.Superblock.Block) {
			t.Fatalf("%v, %v", blocks, err)
		}
		want := mappings(t, p)
		alone := blocktest.NewMem(dev.Size())
		var b block.Data
		for _, nr := range blocks {
			if err := errors.Join(block.Read(dev, nr, &b), block.Write(alone, nr, &b)); err != nil {
				t.Fatal(err)
			}
		}
		if p, err = metadata.Open(alone, opt); err != nil {
			t.Fatal(err)
		}
		if got := mappings(t, p); got != want || want == 0 {
			t.Errorf("%d mappings are left, want %d", got, want)
		}
		for _, nr := range blocks {
			was := b
			if err := block.Read(alone, nr, &was); err != nil {
				t.Fatal(err)
			}
			if err := block.Write(alone, nr, new(block.Data)); err != nil {
				t.Fatal(err)
			}
			if p, err := metadata.Open(alone, opt); err == nil && nr != p.Superblock.Block && mappings(t, p) == want {
				t.Errorf("block %d is not needed", nr)
			}
			if err := block.Write(alone, nr, &was); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// mappings counts the readable mappings.
func mappings(t *testing.T, p *metadata.Pool) (n uint64) {
	t.Helper()
	for d, err := range p.Devices(t.Context()) {
		if err != nil {
			return 0
		}
		for r, err := range p.Runs(t.Context(), d) {
			if err != nil {
				return 0
			}
			n += r.Len
		}
	}
	return n
}

// If a snapshot is released while it is read, this is noticed.
func TestCheckSnapshotHeld(t *testing.T) {
	dev := fixtures.Mem(t, "metadata-snap")
	p, err := metadata.Open(dev, metadata.Options{Snapshot: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckSnapshotHeld(); err != nil {
		t.Errorf("nothing has changed: %v", err)
	}
	live := p.Live
	live.HeldRoot = 0
	var b block.Data
	live.Encode(&b)
	if err := block.Write(dev, 0, &b); err != nil {
		t.Fatal(err)
	}
	if err := p.CheckSnapshotHeld(); !errors.Is(err, metadata.ErrReleased) {
		t.Errorf("released: %v", err)
	}
}

// A reader that stops early or is cancelled gets nothing more and leaves nothing behind.
func TestStop(t *testing.T) {
	p := open(t, "wide-sharing", metadata.Options{})
	d, err := p.Device(100)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range p.Runs(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 10 {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range p.Runs(ctx, d) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err %v", err)
		}
	}
}

// A lost leaf ends the runs with an error that names the lost thin blocks.
func TestLost(t *testing.T) {
	dev := fixtures.Mem(t, "sequential")
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.Device(1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Mappings(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for part := range m.Forest.LeafRanges(d.Root) {
		if i++; i == 3 {
			dev.FailReads(part.Block)
			var last error
			mapped := uint64(0)
			for r, err := range p.Runs(t.Context(), d) {
				mapped += r.Len
				last = err
			}
			lost, ok := errors.AsType[*metadata.LostError](last)
			if !ok || lost.ID != 1 || lost.Keys != part.Keys || mapped != part.Keys.First {
				t.Errorf("err %v after %d mappings, want the loss of %v", last, mapped, part.Keys)
			}
		}
	}
}

func TestSuperblockCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := metadata.Superblock{
			Flags: rapid.Uint32().Draw(t, "flags"), Magic: metadata.Magic, Version: rapid.Uint32().Draw(t, "version"),
			Time: rapid.Uint32().Draw(t, "time"), TransactionID: rapid.Uint64().Draw(t, "transaction"),
			HeldRoot: block.Nr(rapid.Uint64().Draw(t, "held")), MappingRoot: 5, DetailsRoot: 6, DataBlockSize: 128,
			MetadataBlockSize: 8, MetadataNrBlocks: rapid.Uint64().Draw(t, "blocks"), IncompatFlags: 3, CompatROFlags: 2, CompatFlags: 1,
		}
		want.DataSpaceMap.NrBlocks, want.MetadataSpaceMap.NrAllocated = 77, 99
		var b block.Data
		want.Encode(&b)
		if got, err := metadata.DecodeSuperblock(0, &b); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		if at := metadata.NonZeroTail(&b); at >= 0 {
			t.Errorf("byte %d has no meaning", at)
		}
	})
}

// Amend changes what it should, in the first sector, and no other byte, whatever the block holds.
func TestAmend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var old block.Data
		(&metadata.Superblock{Magic: metadata.Magic}).Encode(&old)
		for at, b := range rapid.SliceOfN(rapid.Byte(), 100, 100).Draw(t, "odd") {
			old[96+at%96] ^= b // the unused end of the data space map's root
		}
		sb, _ := metadata.DecodeSuperblock(0, &old)
		sb.Flags = rapid.Uint32().Draw(t, "flags")
		sb.DataSpaceMap.NrAllocated = rapid.Uint64().Draw(t, "allocated")
		sb.MetadataSpaceMap.BitmapRoot = block.Nr(rapid.Uint64().Draw(t, "root"))
		b := sb.Amend(old)
		if got, err := metadata.DecodeSuperblock(0, &b); err != nil || got != sb {
			t.Errorf("%+v, %v; want %+v", got, err, sb)
		}
		for at := range b {
			if changed := at < 8 || at >= 72 && at < 80 || at >= 208 && at < 216; !changed && b[at] != old[at] {
				t.Errorf("byte %d was changed", at)
			}
		}
	})
}

func FuzzDecodeSuperblock(f *testing.F) {
	image, err := fixtures.Image("transactions")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image[:block.Size])
	f.Fuzz(func(t *testing.T, p []byte) {
		dev := blocktest.NewMem(16 * block.Size)
		var b block.Data
		copy(b[:], p)
		block.Reseal(&b, block.Superblock)
		if err := block.Write(dev, 0, &b); err != nil {
			t.Fatal(err)
		}
		pool, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			return
		}
		for _, err := range pool.Devices(t.Context()) { // all other blocks are zero
			if err == nil {
				t.Error("a device of nothing")
			}
		}
	})
}

func TestValidatorHeader(t *testing.T) {
	good := metadata.Header{Version: 2, DataBlockSize: 128}
	for name, spoil := range map[string]func(*metadata.Header){
		"version":     func(h *metadata.Header) { h.Version = 3 },
		"time":        func(h *metadata.Header) { h.Time = 1 << 24 },
		"block size":  func(h *metadata.Header) { h.DataBlockSize = 129 },
		"data blocks": func(h *metadata.Header) { h.NrDataBlocks = 1<<40 + 1 },
	} {
		h := good
		spoil(&h)
		if new(metadata.Validator).Begin(good) != nil || new(metadata.Validator).Begin(h) == nil {
			t.Errorf("%s: %+v is accepted, or %+v is not", name, h, good)
		}
	}
}

// examplePool opens a kernel-made image. Real programs use block.Open.
func examplePool() *metadata.Pool {
	image, err := fixtures.Image("sequential")
	if err != nil {
		panic(err)
	}
	p, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		panic(err)
	}
	return p
}

// A bytesWriter is a growing text.
type bytesWriter string

func (w *bytesWriter) Write(p []byte) (int, error) {
	*w += bytesWriter(p)
	return len(p), nil
}
