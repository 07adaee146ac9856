package explore_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/explore"
	"thinpool/tool/scan"
)

func nameAll(id metadata.DevID) string { return fmt.Sprintf("vg/\x1b[2J\u202e%d", id) }

var wide = explore.Size{Width: 200, Height: 60}

// selected returns the row at the cursor.
func selected(m explore.Model) string {
	for _, line := range m.View() {
		if text, ok := strings.CutPrefix(line.String(), ">"); ok {
			text, _, _ = strings.Cut(text, " | ")
			return strings.Join(strings.Fields(strings.TrimLeft(text, "! ")), " ")
		}
	}
	return ""
}

// Going to a thin block leads to the mapping the library finds for it.
func TestThinBlocks(t *testing.T) {
	tried := 0
	for _, name := range fixtures.Names() {
		dev := fixtures.Mem(t, name)
		pool, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var devices []metadata.Device
		for d, err := range pool.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			devices = append(devices, d)
		}
		for _, d := range devices[:min(len(devices), 5)] {
			highest, ok, err := pool.Highest(d)
			if err != nil || !ok {
				continue
			}
			for i := range uint64(20) {
				thin := uint64(highest) * i / 19
				data, _, mapped, err := pool.Lookup(d, metadata.ThinBlock(thin))
				if err != nil {
					t.Fatal(err)
				}
				m := play(t, explore.Options{Device: dev, Path: name}, wide, fmt.Sprintf(": dev space %d space thin space %d enter", d.ID, thin))
				tried++
				if !mapped {
					if !strings.Contains(m.Text(), fmt.Sprintf("thin block %d is not mapped", thin)) {
						t.Errorf("%s, device %d: thin block %d is not mapped, the screen says %s", name, d.ID, thin, m.Text())
					}
					continue
				}
				var first, firstData uint64
				row := selected(m)
				if _, err := fmt.Sscanf(strings.ReplaceAll(row, "..", " .. "), "thin %d", &first); err != nil {
					t.Fatalf("%s: %q: %v", name, row, err)
				}
				_, after, _ := strings.Cut(row, "data ")
				if _, err := fmt.Sscanf(strings.ReplaceAll(after, "..", " .. "), "%d", &firstData); err != nil || firstData+thin-first != uint64(data) {
					t.Errorf("%s, device %d, thin block %d: %q, want data block %d (%v)", name, d.ID, thin, row, data, err)
				}
			}
		}
	}
	if tried < 200 {
		t.Errorf("only %d thin blocks", tried)
	}
}

// On sound metadata, explore shows the counts that the check finds.
func TestCounts(t *testing.T) {
	dev := fixtures.Mem(t, "wide-sharing")
	var counts []uint32
	_, err := check.Run(t.Context(), dev, check.Options{Mapped: func(_ context.Context, m check.Mapped) error {
		for b := range m.Counts.Len() {
			counts = append(counts, m.Counts.Get(b))
		}
		return nil
	}}, func(f check.Fault) { t.Errorf("%v", &f) })
	if err != nil || slices.Max(counts) < 4 {
		t.Fatalf("%v, highest count %d", err, slices.Max(counts))
	}
	seen := map[uint32]bool{}
	for b, want := range counts {
		if seen[want] {
			continue
		}
		seen[want] = true
		if want == 0 { // no mapping to select
			continue
		}
		m := play(t, explore.Options{Device: dev}, wide, fmt.Sprintf(": data space %d enter c", b))
		if got := selected(m); got != fmt.Sprintf("data block %d: count %d", b, want) {
			t.Errorf("data block %d: %q, want count %d", b, got, want)
		}
	}
	_, err = scan.Run(t.Context(), dev, scan.Options{}, func(r scan.Row) error {
		m := play(t, explore.Options{Device: dev}, wide, fmt.Sprintf(": %d enter c", r.First))
		if got, want := selected(m), fmt.Sprintf("block %d: count %d", r.First, *r.Stored); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// In sound metadata, as many pointers to a block are in use as the scan counts.
func TestPointers(t *testing.T) {
	for _, name := range []string{"metadata-snap", "layers"} {
		dev := fixtures.Mem(t, name)
		n := 0
		_, err := scan.Run(t.Context(), dev, scan.Options{}, func(r scan.Row) error {
			if r.First == 0 || r.Use != scan.InUse || n == 25 {
				return nil
			}
			n++
			m := play(t, explore.Options{Device: dev}, wide, fmt.Sprintf(": %d enter o", r.First))
			used := 0
			for line := range strings.Lines(m.Text()) {
				list, _, _ := strings.Cut(line, " | ")
				if strings.Contains(list, "> block ") && strings.Contains(list, " in use") {
					used++
				}
			}
			if used != int(*r.Counted) {
				t.Errorf("%s, block %d: %d pointers, want %d: %s", name, r.First, used, *r.Counted, m.Text())
			}
			return nil
		})
		if err != nil || n < 10 {
			t.Errorf("%s: %d blocks, %v", name, n, err)
		}
	}
}

// A recorder is a Visitor that keeps what it gets, checked as a restore checks it.
type recorder struct {
	metadata.Validator
	text strings.Builder
}

func (r *recorder) Begin(h metadata.Header) error {
	return r.Validator.Begin(h)
}
func (r *recorder) Ref(string) error      { return nil }
func (r *recorder) BeginDef(string) error { return nil }
func (r *recorder) EndDef() error         { return nil }
func (r *recorder) End() error            { return nil }

func (r *recorder) BeginDevice(id metadata.DevID, d metadata.Details) error {
	fmt.Fprintln(&r.text, "device", id, d.MappedBlocks)
	return r.Validator.BeginDevice(id, d)
}

func (r *recorder) EndDevice() error {
	fmt.Fprintln(&r.text, "mapped", r.Validator.EndDevice())
	return nil
}

func (r *recorder) Runs(runs []metadata.Run) error {
	for _, run := range runs {
		if err := r.Run(run); err != nil {
			return err
		}
		for i := range run.Len {
			fmt.Fprintln(&r.text, uint64(run.Thin)+i, uint64(run.Data)+i, run.Time)
		}
	}
	return nil
}

// export plays a script that ends in an export, and returns what it wrote.
func export(t *testing.T, dev block.Device, script string) (string, explore.Model) {
	t.Helper()
	var r *recorder
	opt := explore.Options{Device: dev, Path: "pool.meta", Export: func(_ context.Context, path string, write func(metadata.Visitor) error) error {
		r = new(recorder)
		return write(r)
	}}
	m := play(t, opt, wide, script+" e enter")
	if r == nil {
		t.Fatalf("nothing was exported: %s", m.Text())
	}
	return r.text.String(), m
}

// An export of whole devices equals what the library reads.
func TestExport(t *testing.T) {
	for _, name := range fixtures.Names() {
		dev := fixtures.Mem(t, name)
		pool, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var all recorder
		if err := all.Begin(pool.Superblock.Header()); err != nil {
			t.Fatal(err)
		}
		for d, err := range pool.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			_ = all.BeginDevice(d.ID, d.Details)
			for run, err := range pool.Runs(t.Context(), d) {
				if err != nil {
					t.Fatal(err)
				}
				_ = all.Runs([]metadata.Run{run})
			}
			_ = all.EndDevice()
		}
		for _, script := range []string{"", "enter"} {
			if got, _ := export(t, dev, script); got != all.text.String() {
				t.Errorf("%s after %q: not what is there (%d bytes, want %d)", name, script, len(got), all.text.Len())
			}
		}
	}
}

// An export of a damaged device has all but the lost leaf, and tells how many blocks it could not use.
func TestExportDamaged(t *testing.T) {
	got, m := export(t, damaged(t), ": dev space 2 enter")
	if !strings.HasPrefix(got, "device 2 4634\n") || !strings.HasSuffix(got, "mapped 4634\n") {
		t.Errorf("%.100s", got)
	}
	if want := "block-72.xml: 4634 mappings of one device; 1 block could not be used"; !strings.Contains(m.Text(), want) {
		t.Errorf("no %q in %s", want, m.Text())
	}
	m = play(t, explore.Options{Device: damaged(t), Export: func(_ context.Context, _ string, write func(metadata.Visitor) error) error {
		return write(new(recorder))
	}}, usual, "f e enter")
	if !strings.Contains(m.Text(), "! there are no mappings below this block") {
		t.Errorf("an empty block is exported: %s", m.Text())
	}
}

// An export corrects a leaf with a flipped bit, and takes one with worse damage as the screen shows it.
func TestExportLeaf(t *testing.T) {
	whole, _ := export(t, fixtures.Mem(t, "odd-blocks"), "enter j enter j enter")
	flipped := fixtures.Mem(t, "odd-blocks")
	fixtures.Spoil(t, flipped, 87, func(b *block.Data) { b[100] ^= 4 })
	got, m := export(t, flipped, "enter j enter j enter")
	if got != whole || !strings.Contains(m.Text(), "shown as it should be") {
		t.Errorf("a flipped bit: %s", cmp.Diff(whole, got))
	}
	worse := fixtures.Mem(t, "odd-blocks")
	fixtures.Spoil(t, worse, 87, func(b *block.Data) { b[4090], b[4089], b[4088] = 1, 2, 3 }) // beyond the values in use
	got, m = export(t, worse, "enter j enter j enter")
	if got != whole || !strings.Contains(m.Text(), "was taken as it stands") {
		t.Errorf("as it stands: %s\n%s", cmp.Diff(whole, got), m.Text())
	}
	if got, _ := export(t, worse, "enter j enter"); strings.Contains(got, "\n5521 ") {
		t.Error("an invalid leaf below the page is exported")
	}
}

// f leads to each fault of a check, by the path that thin_check reports.
func TestFaults(t *testing.T) {
	dev := damaged(t)
	fixtures.Spoil(t, dev, 95, func(b *block.Data) { b[40] ^= 0xff; b[41] ^= 0xff }) // device details
	var faults []check.Fault
	if _, err := check.Run(t.Context(), dev, check.Options{}, func(f check.Fault) { faults = append(faults, f) }); err != nil || len(faults) < 2 {
		t.Fatal(err, faults)
	}
	for i := range faults {
		m := play(t, explore.Options{Device: dev}, wide, strings.Repeat("f ", i+1))
		text := strings.Join(strings.Fields(m.Text()), " ")
		if !strings.Contains(text, fmt.Sprintf("fault %d of %d", i+1, len(faults))) {
			t.Errorf("fault %d is not shown: %s", i+1, m.Text())
		}
		if nr := faults[i].Block; nr != nil && !strings.Contains(text, fmt.Sprintf("block %d ", *nr)) {
			t.Errorf("fault %d is not that of block %d: %s", i+1, *nr, m.Text())
		}
	}
	first, last := play(t, explore.Options{Device: dev}, wide, "f"), play(t, explore.Options{Device: dev}, wide, "f f F")
	if first.Text() != last.Text() {
		t.Errorf("F does not go back: %s", cmp.Diff(first.Text(), last.Text()))
	}
	if sound := play(t, explore.Options{Device: fixtures.Mem(t, "layers")}, wide, "f"); !strings.Contains(sound.Text(), "the check found no faults") {
		t.Errorf("sound metadata: %s", sound.Text())
	}
}

// A counting device remembers which blocks were read.
type counting struct {
	block.Device
	mu   sync.Mutex
	read map[block.Nr]bool
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	for at := off; at < off+int64(len(p)); at += block.Size {
		c.read[block.Nr(at/block.Size)] = true
	}
	c.mu.Unlock()
	return c.Device.ReadAt(p, off)
}

func (c *counting) WriteAt([]byte, int64) (int, error) { panic("a write") }

// With the metadata snapshot, explore reads nothing else unless asked for it by number.
func TestSnapshotReadsNothingElse(t *testing.T) {
	dev := &counting{Device: fixtures.Mem(t, "metadata-snap"), read: map[block.Nr]bool{}}
	pool, err := metadata.Open(dev.Device, metadata.Options{Snapshot: true})
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := pool.Blocks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	play(t, explore.Options{Device: dev, Snapshot: true}, usual, "enter enter enter x x d 1 enter h h h j enter j enter m j enter f : dev space 1 enter r h y m j j enter e enter")
	for nr := range dev.read {
		if !slices.Contains(blocks, nr) {
			t.Errorf("block %d was read, which can change", nr)
		}
	}
	if len(dev.read) < 4 {
		t.Errorf("only %d blocks were read", len(dev.read))
	}
}

// vast is a device of the greatest size, all zero after its beginning.
type vast struct{ *blocktest.Mem }

func (v vast) Size() int64 { return 255 * 16320 * block.Size }

func (v vast) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off >= v.Mem.Size() {
		return len(p), nil
	}
	n, err := v.Mem.ReadAt(p[:min(int64(len(p)), v.Mem.Size()-off)], off)
	if err == io.EOF || err == nil && n < len(p) {
		return len(p), nil
	}
	return n, err
}

// Moving about reads only a few blocks, however large the metadata is.
func TestMovingIsLazy(t *testing.T) {
	dev := &counting{Device: vast{fixtures.Mem(t, "odd-blocks")}, read: map[block.Nr]bool{}}
	m := play(t, explore.Options{Device: dev}, usual, "enter j enter j enter G h G k x h : dev space 1 enter c h : 4 0 0 0 0 0 0 enter h m")
	if n := len(dev.read); n > 200 {
		t.Errorf("%d blocks were read", n)
	}
	if !strings.Contains(m.Text(), "where to begin") {
		t.Errorf("the script went wrong: %s", m.Text())
	}
}

// randomKeys are the keys that a cat on the keyboard presses. Those that move come more often.
var randomKeys = strings.Fields("up down j k enter enter enter l h backspace tab g G pgup pgdown esc n N o c r x f F m d e y ? / : 1 2 7 0 t h i n space d e v a enter left right home end q")

// Any metadata and any keys give a screen.
func FuzzExplore(f *testing.F) {
	small := fixtures.Small(f).Contents()
	for seed := range uint64(8) {
		f.Add(seed, []byte("jljlxhof"))
	}
	f.Fuzz(func(t *testing.T, seed uint64, pressed []byte) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var dev *blocktest.Mem
		if seed%2 == 0 {
			dev = fixtures.Hostile(t, seed/2, 64)
		} else {
			dev = blocktest.NewMemFrom(slices.Clone(small))
			harm(t, dev, rng)
		}
		m, e := explore.New(explore.Options{Device: dev, Path: "pool.meta", Export: func(_ context.Context, _ string, write func(metadata.Visitor) error) error {
			return write(new(recorder))
		}})
		m = explore.Play(t.Context(), m, e, explore.Size{Width: 20 + int(seed%100), Height: 6 + int(seed%40)})
		for _, p := range pressed[:min(len(pressed), 60)] {
			m = explore.Play(t.Context(), m, explore.Effects{}, explore.Key(randomKeys[int(p)%len(randomKeys)]))
			if n := len(m.View()); n != 6+int(seed%40) {
				t.Fatalf("%d lines", n)
			}
		}
	})
}

// harm damages an image: bits, bytes under a valid checksum, whole blocks, unreadable blocks.
func harm(t *testing.T, dev *blocktest.Mem, rng *rand.Rand) {
	t.Helper()
	blocks := block.Blocks(dev)
	for range 1 + rng.IntN(8) {
		nr := block.Nr(rng.Uint64N(uint64(blocks)))
		var b block.Data
		if block.Read(dev, nr, &b) != nil {
			continue
		}
		kind := block.KindOf(&b)
		switch at := rng.IntN(block.Size - 8); rng.IntN(5) {
		case 0:
			b[at] ^= 1 << rng.IntN(8)
		case 1:
			binary.LittleEndian.PutUint64(b[at:], rng.Uint64N(100))
		case 2:
			binary.LittleEndian.PutUint64(b[at&^7:], rng.Uint64N(2*uint64(blocks)))
			if kind != block.UnknownKind {
				block.Reseal(&b, kind)
			}
		case 3:
			if block.Read(dev, block.Nr(rng.Uint64N(uint64(blocks))), &b) != nil {
				continue
			}
		case 4:
			dev.FailReads(nr)
			continue
		}
		if err := block.Write(dev, nr, &b); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRandomKeys does the same with random input, for a while, in every run.
func TestRandomKeys(t *testing.T) {
	runs := 150
	if testing.Short() {
		runs = 30
	}
	small := fixtures.Small(t).Contents()
	for seed := range uint64(runs) {
		rng := rand.New(rand.NewPCG(seed, 2))
		dev := blocktest.NewMemFrom(slices.Clone(small))
		harm(t, dev, rng)
		if seed%3 == 0 {
			dev = fixtures.Hostile(t, seed, 64)
		}
		m, e := explore.New(explore.Options{Device: dev, Path: "pool.meta"})
		m = explore.Play(t.Context(), m, e)
		for range 60 {
			m = explore.Play(t.Context(), m, explore.Effects{}, explore.Key(randomKeys[rng.IntN(len(randomKeys))]))
			if n := len(m.View()); n != 24 {
				t.Fatalf("seed %d: %d lines", seed, n)
			}
		}
	}
}
