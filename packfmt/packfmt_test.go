package packfmt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// packOf packs content.
func packOf(t testing.TB, content []byte, opt Options) ([]byte, Summary) {
	t.Helper()
	var out bytes.Buffer
	sum, err := Pack(context.Background(), blocktest.NewMemFrom(content), &out, opt)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), sum
}

// unpacked unpacks p to a device full of other data, and to memory.
func unpacked(p []byte) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		return nil, err
	}
	dev := blocktest.NewMemFrom(bytes.Repeat([]byte{0xa5}, int(r.Blocks)*block.Size))
	if err := r.Unpack(context.Background(), dev, false, Options{}); err != nil {
		return nil, err
	}
	loaded, err := r.Load(context.Background(), 1<<30, Options{})
	if err != nil {
		return nil, err
	}
	got := make([]byte, loaded.Size())
	if _, err := loaded.ReadAt(got, 0); err != nil {
		return nil, err
	}
	if !bytes.Equal(got, dev.Contents()) {
		return nil, errors.New("the device in memory differs from that which was written")
	}
	return got, nil
}

func roundTrip(t testing.TB, content []byte, opt Options) []byte {
	t.Helper()
	p, _ := packOf(t, content, opt)
	got, err := unpacked(p)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content[:len(content)/block.Size*block.Size]) {
		t.Fatal("what was unpacked differs")
	}
	return p
}

// withoutInvalid returns content with invalid blocks zeroed.
func withoutInvalid(content []byte) []byte {
	content = bytes.Clone(content)
	for p := content; len(p) >= block.Size; p = p[block.Size:] {
		if b := (*block.Data)(p[:block.Size]); salts[block.Salt(b)] == "" {
			clear(b[:])
		}
	}
	return content
}

func TestKernelImages(t *testing.T) {
	for _, name := range fixtures.Names() {
		content, err := fixtures.Image(name)
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, content, Options{All: true})
	}
}

func TestSameBytes(t *testing.T) {
	content, err := fixtures.Image("wide-sharing")
	if err != nil {
		t.Fatal(err)
	}
	a, _ := packOf(t, content, Options{})
	b, _ := packOf(t, content, Options{})
	if !bytes.Equal(a, b) {
		t.Error("packed twice, it differs")
	}
}

// Devices of any size keep all their blocks.
func TestSizes(t *testing.T) {
	content, err := fixtures.Image("layers")
	if err != nil {
		t.Fatal(err)
	}
	content = withoutInvalid(content)
	for _, blocks := range []int{1, 2, 5, 127, 128, 129, 1001, 1024, 1025} {
		p := make([]byte, blocks*block.Size+17) // and a partial block at the end
		copy(p[:blocks*block.Size], content)
		last := (*block.Data)(p[(blocks-1)*block.Size:])
		block.Seal(block.Nr(blocks-1), last, block.Bitmap)
		roundTrip(t, p, Options{})
	}
}

// Unwanted blocks are neither packed nor counted.
func TestOnly(t *testing.T) {
	content, err := fixtures.Image("layers")
	if err != nil {
		t.Fatal(err)
	}
	clear(content[5*block.Size : 6*block.Size])
	content[5*block.Size] = 1 // invalid
	p, sum := packOf(t, content, Options{Only: func(nr block.Nr) bool { return nr < 5 || nr == 7 }})
	want := make([]byte, len(content))
	copy(want, content[:5*block.Size])
	copy(want[7*block.Size:], content[7*block.Size:8*block.Size])
	if got, err := unpacked(p); err != nil || !bytes.Equal(got, want) || sum.Invalid != 0 || sum.Packed > 6 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// drawBlock draws a block: a node with any header and words, or anything.
func drawBlock(t *rapid.T, nr block.Nr) (b block.Data) {
	words := rapid.SliceOfN(rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 300), rapid.Just(uint64(1)<<24)), 0, 60).Draw(t, "words")
	for i := range blockWords {
		if len(words) > 0 {
			le.PutUint64(b[i*wordSize:], words[i%len(words)]*uint64(i/len(words)+1))
		}
	}
	kind := rapid.SampledFrom([]block.Kind{block.UnknownKind, block.Superblock, block.Node, block.Node, block.Node, block.Bitmap, block.Index}).Draw(t, "kind")
	if kind == block.Node {
		le.PutUint32(b[4:], rapid.Uint32Range(0, 3).Draw(t, "flags"))
		le.PutUint32(b[20:], rapid.SampledFrom([]uint32{0, 1, 126, 252, 254, 255, 508, 1 << 31}).Draw(t, "max_entries"))
		le.PutUint32(b[24:], rapid.SampledFrom([]uint32{0, 4, 8, 16, 24, 1 << 31}).Draw(t, "value_size"))
	}
	if kind != block.UnknownKind {
		block.Seal(nr, &b, kind)
	}
	return b
}

func TestProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var content []byte
		for nr := range rapid.IntRange(1, 12).Draw(t, "blocks") {
			b := drawBlock(t, block.Nr(nr))
			content = append(content, b[:]...)
		}
		for _, all := range []bool{false, true} {
			want := content
			if !all {
				want = withoutInvalid(content)
			}
			var out bytes.Buffer
			if _, err := Pack(context.Background(), blocktest.NewMemFrom(content), &out, Options{All: all}); err != nil {
				t.Fatal(err)
			}
			if got, err := unpacked(out.Bytes()); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("all %v: unpacked differs; error %v", all, err)
			}
		}
	})
}

// A record is never much longer than its block.
func TestRecordSize(t *testing.T) {
	var b block.Data
	btree.NewNodeBuilder(&b, true, 8)
	for i := 32; i < block.Size; i += wordSize {
		le.PutUint64(b[i:], uint64(i)*0x9e3779b97f4a7c15)
	}
	if n := len(new(encoder).record(nil, 0, &b, true)); n > block.Size*5/4 {
		t.Errorf("the record has %d bytes", n)
	}
}

// good returns a pack of a device with a superblock and a node, and its frames.
func good(t testing.TB) []byte {
	content := make([]byte, 5*block.Size)
	block.Seal(0, (*block.Data)(content), block.Superblock)
	var b block.Data
	builder := btree.NewNodeBuilder(&b, true, 8)
	for i := range uint64(200) {
		builder.AddUint64(i*i, i*i*i<<24|i)
	}
	builder.Seal(3)
	copy(content[3*block.Size:], b[:])
	return roundTrip(t, content, Options{})
}

func TestReject(t *testing.T) {
	header := appendHeader(nil, 5)
	field := func(off int, v uint64) []byte {
		h := bytes.Clone(header)
		le.PutUint64(h[off:], v)
		return h
	}
	var node block.Data
	btree.NewNodeBuilder(&node, true, 8)
	block.Seal(1, &node, block.Node)
	literalNode := append([]byte{0xa2, 0, 0x10}, node[:]...)
	twice := append(frameOf(1, literalNode...), frameOf(1, literalNode...)...)
	trailing := append(frameOf(1, literalNode...), 1, 2, 3)
	le.PutUint64(trailing, uint64(len(trailing)-lengthSize))
	for want, p := range map[string][]byte{
		"header: this is not packed metadata: 31 bytes": header[:31],
		"magic is 0x1":                                         field(offMagic, 1),
		"version is 2, want 3":                                 field(offVersion, 2),
		"block size is 512, want 4096":                         field(offBlockSize, 512),
		"the device has no blocks":                             field(offNrBlocks, 0),
		"the device has 18446744073709551615 blocks":           field(offNrBlocks, 1<<64-1),
		"no data after the header":                             header,
		"frame 0 at byte 32: the file is truncated: 3 bytes":   append(header[:32:32], 1, 2, 3),
		"the frame has 18446744073709551615 bytes, but only 0": append(header[:32:32], bytes.Repeat([]byte{0xff}, 8)...),
		"frame 0 at byte 32: zlib: invalid header":             append(header[:32:32], 4, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4),
		"frame 0 at byte 32: unexpected EOF":                   append(header[:32:32], 0, 0, 0, 0, 0, 0, 0, 0),
		"more frames should follow":                            append(header[:32:32], mark...),
		"block 5 is beyond the device, which has 5":            append(header[:32:32], frameOf(5, 0x01, 1)...),
		"block 4: tag 12 is unknown":                           append(header[:32:32], frameOf(4, 0xc0)...),
		"block 4: tag 9 after a count":                         append(header[:32:32], frameOf(4, 0x72, 0x91, 1)...),
		"block 4: tag 10 in a shifted run":                     append(header[:32:32], frameOf(4, 0xb0, 9, 0xa1, 72)...),
		"block 4: an operand of 3 bytes, want 1, 2, 4 or 8":    append(header[:32:32], frameOf(4, 0x03, 1, 2, 3)...),
		"block 4: the record is truncated":                     append(header[:32:32], frameOf(4, 0x08, 1, 2)...),
		"block 4: the instructions produce too much":           append(header[:32:32], frameOf(4, 0xa8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)...),
		"block 4: its checksum matches no kind of block":       append(header[:32:32], frameOf(4, 0x62, 0)...),
		"block 4: the instructions produce nothing":            append(header[:32:32], frameOf(4, bytes.Repeat([]byte{0x50}, 1<<17)...)...),
		"block 1: it appears twice":                            append(header[:32:32], twice...),
		"frame 0 at byte 32: the record is truncated":          append(header[:32:32], rawFrame([]byte{1, 2, 3})...),
		"frame 0 at byte 32: zlib: invalid":                    append(header[:32:32], trailing...),
	} {
		_, err := unpacked(p)
		if _, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// A pack written by us is refused if it is cut anywhere. It is also refused if a byte was changed,
// unless this has no effect.
func TestCutAndSpoiled(t *testing.T) {
	p := good(t)
	want, err := unpacked(p)
	if err != nil {
		t.Fatal(err)
	}
	for n := range p {
		if _, err := unpacked(p[:n]); err == nil {
			t.Errorf("cut after %d of %d bytes, it is taken for complete", n, len(p))
		}
		if n >= offNrBlocks && n < headerSize { // nothing else says how large the device is
			continue
		}
		bad := bytes.Clone(p)
		bad[n] ^= 1 << (n % 8)
		if got, err := unpacked(bad); err == nil && !bytes.Equal(got, want) {
			t.Errorf("byte %d changed: other content, and no error", n)
		}
	}
}

// Wherever the power fails, the device is complete or has no superblock.
func TestUnpackPowerCut(t *testing.T) {
	content, err := fixtures.Image("layers")
	if err != nil {
		t.Fatal(err)
	}
	content = withoutInvalid(content[:300*block.Size])
	p, _ := packOf(t, content, Options{})
	r, err := NewReader(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	old, err := fixtures.Image("sequential")
	if err != nil {
		t.Fatal(err)
	}
	const invalid = 2 // after these writes and flushes, the old superblock is gone
	whole := 0
	for seed := range 200 {
		before := make([]byte, len(content))
		copy(before, old)
		dev := blocktest.NewMemFrom(before)
		writes := seed / 4
		dev.FailWritesAfter(writes)
		failed := r.Unpack(context.Background(), dev, false, Options{})
		after := dev.Crash(seed).Contents()
		switch b := (*block.Data)(after); {
		case failed == nil && !bytes.Equal(after[:len(content)], content):
			t.Fatalf("seed %d: unpacked without an error, and it differs", seed)
		case failed != nil && writes >= invalid && block.KindOf(b) == block.Superblock && !bytes.Equal(after[:len(content)], content):
			t.Fatalf("seed %d: a superblock over unfinished metadata", seed)
		case failed == nil:
			whole++
		}
	}
	if whole == 0 {
		t.Error("the power never lasted to the end")
	}
}

func TestUnpackTooSmall(t *testing.T) {
	p := good(t)
	r, err := NewReader(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	dev := blocktest.NewMem(4 * block.Size)
	if err := r.Unpack(t.Context(), dev, false, Options{}); err == nil || dev.Ops() != 0 {
		t.Errorf("error %v after %d writes", err, dev.Ops())
	}
}

// A small file cannot make the reader use much memory, whatever it says.
func TestMemory(t *testing.T) {
	var b block.Data
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	block.Seal(0, &b, block.Bitmap)
	var records []byte
	for nr := range uint64(20_000) { // 80 MB, in less than 1 MB
		records = append(le.AppendUint64(records, nr), 0xa2, 0, 0x10)
		records = append(records, b[:]...)
	}
	p := append(appendHeader(nil, MaxBlocks), rawFrame(records)...)
	records = nil
	t.Logf("the pack has %d bytes", len(p))
	r, err := NewReader(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const limit = 16 << 20
	if _, err := r.Load(t.Context(), limit, Options{}); err == nil || !strings.Contains(err.Error(), "more than 16MiB of memory") {
		t.Errorf("error %v", err)
	}
	runtime.ReadMemStats(&after)
	// The bitmap of seen blocks, the records twice while they are collected, and windows.
	if took := after.TotalAlloc - before.TotalAlloc; took > 5*limit {
		t.Errorf("%d MiB were allocated with a limit of %d MiB", took>>20, limit>>20)
	}
}

func TestUnreadable(t *testing.T) {
	dev := blocktest.NewMem(300 * block.Size)
	dev.FailReads(200)
	if _, err := Pack(t.Context(), dev, io.Discard, Options{}); !errors.Is(err, blocktest.ErrFailed) {
		t.Errorf("error %v", err)
	}
}

// brokenFrom is unreadable from there on.
type brokenFrom struct {
	file []byte
	at   int64
}

func (b brokenFrom) ReadAt(p []byte, off int64) (int, error) {
	n, err := bytes.NewReader(b.file).ReadAt(p, off)
	if off+int64(n) > b.at {
		return max(0, int(b.at-off)), blocktest.ErrFailed
	}
	return n, err
}

// Wherever a pack cannot be read, even at the end of a frame, this is reported.
func TestUnreadablePack(t *testing.T) {
	content := make([]byte, 5*block.Size)
	block.Seal(0, (*block.Data)(content), block.Superblock)
	copy(content[3*block.Size:], "no valid block, so it is in a stream of its own")
	p := roundTrip(t, content, Options{All: true})
	for at := range p {
		r, err := NewReader(brokenFrom{p, int64(at)}, int64(len(p)))
		if err == nil {
			_, err = r.Load(t.Context(), 1<<30, Options{})
		}
		if !errors.Is(err, blocktest.ErrFailed) {
			t.Errorf("unreadable from byte %d of %d on: error %v", at, len(p), err)
		}
	}
}

func TestReadAtPieces(t *testing.T) {
	content, err := fixtures.Image("empty")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := packOf(t, content, Options{All: true})
	r, err := NewReader(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	dev, err := r.Load(t.Context(), 1<<30, Options{})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		off := rapid.Int64Range(0, 20*block.Size).Draw(t, "off")
		got := make([]byte, rapid.IntRange(0, 3*block.Size).Draw(t, "len"))
		if n, err := dev.ReadAt(got, off); n != len(got) || err != nil || !bytes.Equal(got, content[off:off+int64(n)]) {
			t.Fatalf("%d of %d bytes at %d, error %v", n, len(got), off, err)
		}
	})
	tail := make([]byte, 10)
	if n, err := dev.ReadAt(tail, dev.Size()-4); n != 4 || err != io.EOF {
		t.Errorf("at the end: %d bytes, error %v", n, err)
	}
}

// again is a sink that encodes each block and decodes it again.
type again struct {
	testing.TB
	encoder
}

func (a *again) add(nr block.Nr, b *block.Data, node bool) error {
	rec := a.record(nil, nr, b, node)
	var got block.Data
	d := decoder{in: source{buf: rec, at: nrSize, end: len(rec)}}
	if err := d.block(&got); err != nil || got != *b {
		a.Fatalf("block %d: made again, it differs; error %v", nr, err)
	}
	return nil
}

func (a *again) endFrame() error { return nil }

// For any file, there is no panic, and accepted content can be packed. This uses a single
// goroutine: otherwise the fuzzer would take each schedule for something new.
func FuzzRead(f *testing.F) {
	f.Add(good(f)[headerSize:])
	f.Add([]byte(mark))
	f.Add(frameOf(0, 0x73, 0x12, 0x80, 2, 0x41, 1, 0xb0, 2, 0x12, 0x51, 0x11, 0x01, 1))
	f.Add(frameOf(1, 0xa2, 0, 0x10))
	f.Fuzz(func(t *testing.T, content []byte) {
		p := append(appendHeader(nil, 5), content...)
		r, err := NewReader(bytes.NewReader(p), int64(len(p)))
		if err != nil {
			t.Fatal(err)
		}
		u := unpacker{blocks: r.Blocks, seen: newSeen(r.Blocks), to: &again{TB: t}}
		_ = u.work(t.Context(), newFrames(r), func(frame) {})
	})
}
