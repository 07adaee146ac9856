package repair_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/internal/pdata/survey"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/test/shared"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
)

func testdata(t *testing.T, name string) []byte {
	t.Helper()
	return shared.Unpack(t, "testdata/"+name+".zst")
}

// rebuilt writes the result as new metadata and checks that nothing is wrong with it.
func rebuilt(t *testing.T, found *repair.Result) {
	t.Helper()
	pool, err := metadata.Open(found.Device, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := write.New(write.Options{})
	if err := dump.Run(t.Context(), pool, dump.Options{}, b); err != nil {
		t.Fatal(err)
	}
	dev := blocktest.NewMem(int64(b.Least()) * block.Size)
	if err := b.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	if _, err := check.Run(t.Context(), dev, check.Options{}, func(f check.Fault) { t.Errorf("the repaired metadata: %s", &f) }); err != nil {
		t.Fatal(err)
	}
}

// A second, idle activation of the pool wrote its old superblock over a newer state. Its roots are
// other nodes by now.
func TestDoubleActivation(t *testing.T) {
	image := testdata(t, "double-activation.img")
	truth := contentOf(t, blocktest.NewMemFrom(slices.Clone(image)))
	copy(image, testdata(t, "double-activation.block0"))
	found := find(t, blocktest.NewMemFrom(image), repair.Options{})
	if diff := cmp.Diff(truth, contentOf(t, found.Device)); diff != "" {
		t.Errorf("(-want +got):\n%.1000s", diff)
	}
	if r := found.Report; r.Lossless() || !r.Chosen || r.Header.Time != 1 || taken(&r) != (rootPair{257, 277}) {
		t.Errorf("took %v, time %d, chosen %v", taken(&r), r.Header.Time, r.Chosen)
	}
	rebuilt(t, found)
}

// The superblock names valid nodes that are not its roots, of every value size, for one root or
// both. Nothing is invented and nothing lost.
func TestWrongRoots(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	image := testdata(t, "double-activation.img")
	truth := contentOf(t, blocktest.NewMemFrom(slices.Clone(image)))
	s, err := survey.Read(t.Context(), block.NewReader(blocktest.NewMemFrom(image), 0))
	if err != nil {
		t.Fatal(err)
	}
	byKind := map[survey.Kind][]block.Nr{}
	for _, n := range s.Nodes {
		byKind[n.Kind] = append(byKind[n.Kind], n.Block)
	}
	var b block.Data
	copy(b[:], image)
	right, err := metadata.DecodeSuperblock(0, &b)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(7, 0))
	kinds := []survey.Kind{survey.Inner, survey.MappingLeaf, survey.TopLeaf, survey.DetailsLeaf, survey.IndexLeaf, survey.CountLeaf}
	for i := range 90 {
		sb := right
		nodes, others := byKind[kinds[i%len(kinds)]], byKind[kinds[i/3%len(kinds)]]
		if i%3 != 1 {
			sb.MappingRoot = nodes[rnd.IntN(len(nodes))]
		}
		if i%3 != 0 {
			sb.DetailsRoot = others[rnd.IntN(len(others))]
		}
		sb.Encode(&b)
		wrong := slices.Clone(image)
		copy(wrong, b[:])
		found := find(t, blocktest.NewMemFrom(wrong), repair.Options{})
		if diff := cmp.Diff(truth, contentOf(t, found.Device)); diff != "" {
			t.Errorf("roots %d (%v) and %d (%v) (-want +got):\n%.500s", sb.MappingRoot, s.Kinds[sb.MappingRoot], sb.DetailsRoot, s.Kinds[sb.DetailsRoot], diff)
		}
		if r := found.Report; r.Lossless() != (sb.MappingRoot == right.MappingRoot && sb.DetailsRoot == right.DetailsRoot) {
			t.Errorf("roots %d and %d: lossless %v", sb.MappingRoot, sb.DetailsRoot, r.Lossless())
		}
	}
}

// A leaf and the superblock of the metadata snapshot are lost. The snapshot's own leaf fits the
// hole, but its mappings are not the lost ones.
func TestLeafAndSnapshotLost(t *testing.T) {
	found := find(t, blocktest.NewMemFrom(testdata(t, "leaf-and-snapshot-lost.img")), repair.Options{})
	d := found.Report.Devices[0]
	if d.Expected != 110 || d.Read != 100 || d.Confirmed != 0 || d.Guessed+d.Lost != 10 || found.Report.Lossless() {
		t.Errorf("%+v", d)
	}
	rebuilt(t, found)
}

// The device details are lost, and the superblock's time is below that of the mappings.
func TestStaleTime(t *testing.T) {
	found := find(t, blocktest.NewMemFrom(testdata(t, "stale-time.img")), repair.Options{})
	if h := found.Report.Header; h.Time <= 15 {
		t.Errorf("time %d, and there are mappings of time 15", h.Time)
	}
	for _, d := range found.Report.Devices {
		if !d.TimesGuessed || d.Read != d.Found() {
			t.Errorf("%+v", d)
		}
	}
	rebuilt(t, found)
}

// Only a byte of the checksum is wrong.
func TestChecksumByte(t *testing.T) {
	found := find(t, blocktest.NewMemFrom(testdata(t, "checksum-byte.img")), repair.Options{})
	if got := contentOf(t, found.Device); got.len() != 38 || !found.Report.Lossless() || len(found.Report.Corrections) != 1 {
		t.Errorf("%d mappings; %+v", got.len(), found.Report)
	}
	rebuilt(t, found)
}

// The whole checksum of a leaf is wrong. Its mappings are candidates, and the reference counts
// confirm them.
func TestChecksumField(t *testing.T) {
	image, truth := open(t, "odd-blocks")
	const leaf = 81
	copy(image[leaf*block.Size:], []byte{1, 2, 3, 4})
	found := find(t, blocktest.NewMemFrom(image), repair.Options{})
	if diff := cmp.Diff(truth, contentOf(t, found.Device)); diff != "" || !found.Report.Lossless() {
		t.Errorf("lossless %v (-want +got):\n%s", found.Report.Lossless(), diff)
	}
	if d := found.Report.Devices[1]; d.Confirmed != 251 || d.Read != d.Expected-251 {
		t.Errorf("%+v", d)
	}
}

// Two blocks are swapped, and each says which one it is.
func TestSwappedBlocks(t *testing.T) {
	for _, pair := range [][2]block.Nr{{81, 60}, {0, 81}, {95, 68}} {
		image, truth := open(t, "odd-blocks")
		a, b := image[pair[0]*block.Size:][:block.Size], image[pair[1]*block.Size:][:block.Size]
		was := slices.Clone(a)
		copy(a, b)
		copy(b, was)
		found := find(t, blocktest.NewMemFrom(image), repair.Options{})
		if diff := cmp.Diff(truth, contentOf(t, found.Device)); diff != "" || !found.Report.Lossless() {
			t.Errorf("%v: lossless %v; %v (-want +got):\n%.500s", pair, found.Report.Lossless(), found.Report.Notes, diff)
		}
	}
}

// A data block has leaked, an old leaf maps it, and the current leaf is lost.
func TestLeakAndStaleLeaf(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	lost := f.Leaf(metadata.Run{Thin: 0, Data: 200, Len: 10})
	other := f.Leaf(metadata.Run{Thin: 500, Data: 500, Len: 100})
	f.Device(1, f.Inner(lost, other))
	f.Leaf(metadata.Run{Thin: 0, Data: 100, Len: 10}) // nothing points to it, but its data blocks are counted
	dev := f.Finish()
	if err := block.Write(dev, lost, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	found := find(t, dev, repair.Options{})
	d := found.Report.Devices[0]
	if d.Confirmed != 0 || d.Guessed+d.Lost != 10 || found.Report.Lossless() {
		t.Errorf("%+v", d)
	}
}

// A truncated device never yields an empty pool reported as success.
func TestCutDevice(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	for _, name := range []string{"layers", "odd-blocks", "many-devices"} {
		image, _ := open(t, name)
		for sixteenth := 1; sixteenth < 16; sixteenth++ {
			cut := image[:len(image)/16*sixteenth/block.Size*block.Size]
			found, err := repair.Find(t.Context(), blocktest.NewMemFrom(slices.Clone(cut)), repair.Options{})
			if err != nil {
				continue // refused
			}
			r := &found.Report
			if got := contentOf(t, found.Device).len(); got == 0 && !r.Empty() || r.Empty() && r.Lossless() {
				t.Errorf("%s, %d sixteenths: %d mappings, empty %v, lossless %v", name, sixteenth, got, r.Empty(), r.Lossless())
			}
		}
	}
}
