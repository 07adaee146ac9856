package repair_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
)

// content is all mappings of a pool: device, thin block, data block.
type content map[metadata.DevID]map[metadata.ThinBlock]metadata.DataBlock

// A recorder is a Visitor that keeps the mappings. It does not take defs.
type recorder struct {
	header metadata.Header
	all    content
	now    map[metadata.ThinBlock]metadata.DataBlock
}

func (r *recorder) Begin(h metadata.Header) error { r.header, r.all = h, content{}; return nil }
func (r *recorder) BeginDef(string) error         { panic("def") }
func (r *recorder) EndDef() error                 { panic("def") }
func (r *recorder) Ref(string) error              { panic("ref") }
func (r *recorder) EndDevice() error              { return nil }
func (r *recorder) End() error                    { return nil }

func (r *recorder) BeginDevice(id metadata.DevID, _ metadata.Details) error {
	r.now = map[metadata.ThinBlock]metadata.DataBlock{}
	r.all[id] = r.now
	return nil
}

func (r *recorder) Runs(runs []metadata.Run) error {
	for _, run := range runs {
		for i := range run.Len {
			r.now[run.Thin+metadata.ThinBlock(i)] = run.Data + metadata.DataBlock(i)
		}
	}
	return nil
}

func contentOf(t testing.TB, dev block.Device) content {
	t.Helper()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var r recorder
	if err := dump.Run(context.Background(), p, dump.Options{Flat: true}, &r); err != nil {
		t.Fatal(err)
	}
	return r.all
}

// compare counts the mappings of got that truth has, and those it does not have.
func (truth content) compare(got content) (right, wrong int) {
	for id, maps := range got {
		for thin, data := range maps {
			if d, ok := truth[id][thin]; ok && d == data {
				right++
			} else {
				wrong++
			}
		}
	}
	return right, wrong
}

func (truth content) len() (n int) {
	for _, maps := range truth {
		n += len(maps)
	}
	return n
}

func (c content) of(id metadata.DevID) int { return len(c[id]) }

func open(t testing.TB, name string) ([]byte, content) {
	t.Helper()
	image, err := fixtures.Image(name)
	if err != nil {
		t.Fatal(err)
	}
	return image, contentOf(t, blocktest.NewMemFrom(slices.Clone(image)))
}

func find(t testing.TB, dev block.Device, opt repair.Options) *repair.Result {
	t.Helper()
	found, err := repair.Find(t.Context(), dev, opt)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Sound metadata stays as it is.
func TestSound(t *testing.T) {
	t.Parallel()
	for _, name := range fixtures.Names() {
		image, truth := open(t, name)
		found := find(t, blocktest.NewMemFrom(image), repair.Options{})
		if diff := cmp.Diff(truth, contentOf(t, found.Device)); diff != "" || found.Report.Damaged || !found.Report.Lossless() {
			t.Errorf("%s: report %+v (-want +got):\n%s", name, found.Report, diff)
		}
	}
}

// Some blocks of each image are unreadable. No mapping is made up, the report's numbers match the
// result, and every loss is reported.
func TestUnreadableBlocks(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	const cases = 12
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			image, truth := open(t, name)
			var used []block.Nr
			for nr := block.Nr(1); nr < block.Nr(len(image)/block.Size); nr++ {
				if block.KindOf((*block.Data)(image[nr*block.Size:])) != block.UnknownKind {
					used = append(used, nr)
				}
			}
			for i := 0; i < len(used); i += max(1, len(used)/cases) {
				dev := blocktest.NewMemFrom(slices.Clone(image))
				dev.FailReads(used[i])
				found := find(t, dev, repair.Options{})
				got := contentOf(t, found.Device)
				right, wrong := truth.compare(got)
				old := 0
				for _, d := range found.Report.Devices {
					checkGuesses(t, &d, truth, got)
					if int(d.Found()) != got.of(d.ID) || d.Known && int(d.Expected) != truth.of(d.ID) {
						t.Errorf("block %d, device %d: said to have %d of %d mappings, has %d of %d", used[i], d.ID, d.Found(), d.Expected, got.of(d.ID), truth.of(d.ID))
					}
					if d.Known && d.Read+d.Confirmed+d.Guessed+d.Lost != d.Expected {
						t.Errorf("block %d: the columns do not add up: %+v", used[i], d)
					}
					old += int(d.Guessed)
				}
				if wrong > old || right < truth.len() && found.Report.Lossless() {
					t.Errorf("block %d: %d of %d mappings, %d wrong, %d guessed; %+v", used[i], right, truth.len(), wrong, old, found.Report)
				}
			}
		})
	}
}

// checkGuesses checks that the guessed ranges include all guessed mappings and all wrong ones.
func checkGuesses(t *testing.T, d *repair.DeviceReport, truth, got content) {
	t.Helper()
	in := map[metadata.ThinBlock]bool{}
	last := uint64(0)
	for keys := range d.Guesses() {
		if keys.Empty() || keys.First < last {
			t.Errorf("device %d: guessed %v after block %d", d.ID, keys, last)
		}
		last = keys.Last
		for thin := range got[d.ID] {
			if keys.Contains(uint64(thin), uint64(thin)) {
				in[thin] = true
			}
		}
	}
	if uint64(len(in)) < d.Guessed || d.Guessed == 0 && len(in) > 0 {
		t.Errorf("device %d: %d mappings in guessed ranges, the report says %d", d.ID, len(in), d.Guessed)
	}
	for thin, data := range got[d.ID] {
		if want, ok := truth[d.ID][thin]; (!ok || want != data) && !in[thin] {
			t.Errorf("device %d: block %d is wrong, and not in a guessed range", d.ID, thin)
		}
	}
}

// Some blocks are zeroed, including the ones that lead to all others. Everything called read or
// confirmed is true, and exit code 0 means that nothing is missing.
func TestLostBlocks(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	type image struct {
		name    string
		content []byte
	}
	var images []image
	for _, name := range fixtures.Names() {
		if content, _ := open(t, name); len(content) <= 8<<20 {
			images = append(images, image{name, content})
		}
	}
	for _, name := range fixtures.Histories() {
		if h := history(t, name); len(h.Also) == 0 && h.Right == len(h.Commits)-1 {
			images = append(images, image{name, h.Image})
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, im := range images {
		dev := blocktest.NewMemFrom(slices.Clone(im.content))
		truth := contentOf(t, dev)
		pool, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var used []block.Nr
		for nr := block.Nr(1); nr < block.Blocks(dev); nr++ {
			if block.KindOf((*block.Data)(im.content[nr*block.Size:])) != block.UnknownKind {
				used = append(used, nr)
			}
		}
		one := func() block.Nr { return used[rnd.IntN(len(used))] }
		sb := &pool.Superblock
		for _, lost := range [][]block.Nr{
			{sb.MappingRoot},
			{sb.DetailsRoot},
			{sb.MappingRoot, sb.DetailsRoot},
			{sb.MetadataSpaceMap.BitmapRoot},
			{sb.DataSpaceMap.BitmapRoot, sb.MappingRoot},
			{sb.MetadataSpaceMap.BitmapRoot, sb.MappingRoot},
			{sb.MappingRoot, one()},
			{sb.MappingRoot, one()},
			{sb.DetailsRoot, one()},
			{one(), one()},
			{one(), one(), one()},
		} {
			dev := blocktest.NewMemFrom(slices.Clone(im.content))
			for _, nr := range lost {
				if err := block.Write(dev, nr, new(block.Data)); err != nil {
					t.Fatal(err)
				}
			}
			found, err := repair.Find(t.Context(), dev, repair.Options{})
			if err != nil {
				continue // nothing is left
			}
			got := contentOf(t, found.Device)
			for _, d := range found.Report.Devices {
				checkGuesses(t, &d, truth, got)
				if _, wrong := truth.compare(content{d.ID: got[d.ID]}); uint64(wrong) > d.Guessed {
					t.Errorf("%s, blocks %v, device %d: %d wrong, %d guessed", im.name, lost, d.ID, wrong, d.Guessed)
				}
			}
			if right, wrong := truth.compare(got); found.Report.Lossless() && (right < truth.len() || wrong > 0) {
				t.Errorf("%s, blocks %v: lossless, with %d of %d mappings and %d wrong", im.name, lost, right, truth.len(), wrong)
			}
		}
	}
}

// A flipped bit costs nothing, wherever it is.
func TestFlippedBits(t *testing.T) {
	image, truth := open(t, "layers")
	dev := blocktest.NewMemFrom(image)
	flips := 0
	for nr := range block.Blocks(dev) {
		var b block.Data
		if err := block.Read(dev, nr, &b); err != nil {
			t.Fatal(err)
		}
		if block.KindOf(&b) == block.UnknownKind {
			continue
		}
		b[(int(nr)*37)%block.Size] ^= 1 << (nr % 8)
		if err := block.Write(dev, nr, &b); err != nil {
			t.Fatal(err)
		}
		flips++
	}
	found := find(t, dev, repair.Options{})
	if diff := cmp.Diff(truth, contentOf(t, found.Device)); diff != "" || !found.Report.Lossless() {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(found.Report.Corrections) != flips {
		t.Errorf("%d bits put right, want %d", len(found.Report.Corrections), flips)
	}
}

// Both roots are gone, but the trees they led to are counted.
func TestBothRootsLost(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"transactions", "layers", "many-devices", "wide-sharing"} {
		image, truth := open(t, name)
		dev := blocktest.NewMemFrom(image)
		p, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		dev.FailReads(p.Live.MappingRoot, p.Live.DetailsRoot)
		found := find(t, dev, repair.Options{})
		if diff := cmp.Diff(truth, contentOf(t, found.Device)); diff != "" {
			t.Errorf("%s (-want +got):\n%.1000s", name, diff)
		}
		if found.Report.Lossless() || !found.Report.Chosen && len(found.Report.Doubts) == 0 {
			t.Errorf("%s: that cannot be certain", name)
		}
	}
}

// Without a superblock, the data block size must be given, unless a metadata snapshot has it.
// Zeroes and noise are not a pool.
func TestSuperblockLost(t *testing.T) {
	size := uint64(128)
	for _, name := range []string{"layers", "metadata-snap"} {
		image, truth := open(t, name)
		clear(image[:block.Size])
		dev := blocktest.NewMemFrom(image)
		if _, err := repair.Find(t.Context(), dev, repair.Options{}); errors.Is(err, repair.ErrNoBlockSize) != (name == "layers") {
			t.Errorf("%s: %v", name, err)
		}
		found := find(t, dev, repair.Options{Overrides: metadata.Overrides{DataBlockSize: &size}})
		if diff := cmp.Diff(truth, contentOf(t, found.Device)); diff != "" || found.Report.Lossless() {
			t.Errorf("%s (-want +got):\n%.1000s", name, diff)
		}
	}
	if _, err := repair.Find(t.Context(), blocktest.NewMem(1<<20), repair.Options{}); !errors.Is(err, metadata.ErrUnformatted) {
		t.Errorf("zeroes: %v", err)
	}
	noise := bytes.Repeat([]byte("noise"), 1<<20/5)
	if _, err := repair.Find(t.Context(), blocktest.NewMemFrom(noise), repair.Options{}); !errors.Is(err, repair.ErrNoRoots) {
		t.Errorf("noise: %v", err)
	}
}

// Devices can be left out, by id or because they are incomplete.
func TestDrop(t *testing.T) {
	image, truth := open(t, "odd-blocks")
	dev := blocktest.NewMemFrom(image)
	const leaf = 81 // of device 2
	dev.FailReads(leaf)
	for _, opt := range []repair.Options{{DropPartial: true}, {DropDevices: []metadata.DevID{2}}} {
		found := find(t, dev, opt)
		got := contentOf(t, found.Device)
		if len(got) != 1 || got.of(1) != truth.of(1) || found.Report.Lossless() != (opt.DropDevices != nil) {
			t.Errorf("%+v: %d devices, lossless %v", opt, len(got), found.Report.Lossless())
		}
	}
}

// The states of earlier transactions can be listed and used.
func TestStates(t *testing.T) {
	image, _ := open(t, "deleted-discarded")
	dev := blocktest.NewMemFrom(image)
	all, _, err := repair.States(t.Context(), dev, repair.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 2 || !all[0].Current || all[1].Current {
		t.Fatalf("%d states; the first must be the current one", len(all))
	}
	for _, g := range all {
		if !g.Whole || g.Mapping == 0 || g.Details == 0 {
			continue
		}
		found := find(t, dev, repair.Options{MappingRoot: g.Mapping, DetailsRoot: g.Details})
		got := contentOf(t, found.Device)
		if uint64(got.len()) != g.Mappings || len(got) != len(g.Devices) {
			t.Errorf("root %d: %d mappings of %d devices, want %d of %d", g.Mapping, got.len(), len(got), g.Mappings, len(g.Devices))
		}
		for _, d := range g.Devices {
			if uint64(got.of(d.ID)) != d.Mappings {
				t.Errorf("root %d, device %d: %d mappings, want %d", g.Mapping, d.ID, got.of(d.ID), d.Mappings)
			}
		}
	}
}

// A repair only reads the device.
func TestReadsOnly(t *testing.T) {
	image, _ := open(t, "wide-sharing")
	copy(image[200*block.Size:], make([]byte, 20*block.Size))
	dev := blocktest.NewMemFrom(slices.Clone(image))
	dev.FailWritesAfter(0)
	find(t, dev, repair.Options{})
	if !bytes.Equal(dev.Contents(), image) || dev.Ops() > 0 {
		t.Error("the device changed")
	}
}

// skipIfShort skips tests of many images. Under the race detector they would take a quarter of an
// hour; all of them run without it.
func skipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("many images")
	}
}
