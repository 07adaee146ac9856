package damage

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/test/shared"
	"thinpool/tool/check"
)

// verifier returns the path of the independent checker, if it exists.
func verifier(t *testing.T) string {
	t.Helper()
	return shared.Optional(t, "design", "verify_format.py")
}

func imagesOf(t *testing.T, names ...string) []*Image {
	t.Helper()
	images, err := Images(shared.Optional(t, "kernel", "corpus"), names...)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// smallImages returns the images with fast cases. The command in cmd also uses the large ones.
// Histories have more leftovers from earlier transactions than others; they test whether a repair
// can tell these apart.
func smallImages(t *testing.T) []*Image {
	t.Helper()
	return slices.DeleteFunc(imagesOf(t), func(im *Image) bool { return len(im.Used) > 2000 })
}

// The plain reader agrees with other programs about each image.
func TestTruth(t *testing.T) {
	truths, err := fixtures.Truths()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, im := range imagesOf(t) {
		truth, ok := truths[im.Name]
		if !ok {
			continue
		}
		compared++
		if got := im.Truth.digest(); got != truth.Digest {
			t.Errorf("%s: digest %s, want %s", im.Name, got, truth.Digest)
		}
		if got := uint64(len(im.Used)); got != truth.MetadataUsed {
			t.Errorf("%s: %d blocks are used, want %d", im.Name, got, truth.MetadataUsed)
		}
	}
	if compared != len(truths) {
		t.Errorf("%d images compared, want %d", compared, len(truths))
	}
}

// digest returns the SHA-256 of all mappings.
func (r *Reading) digest() string {
	digest := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(r.Devices)) {
		for _, r := range r.Devices[id].Runs() {
			for i := range r.Len {
				fmt.Fprintf(digest, "%d %d %d %d\n", id, uint64(r.Thin)+i, uint64(r.Data)+i, r.Time)
			}
		}
	}
	return fmt.Sprintf("%x", digest.Sum(nil))
}

// A sample of all damage meets the requirements in the package comment. The command in cmd runs for
// as long as you like.
func TestLab(t *testing.T) {
	if testing.Short() {
		t.Skip("many cases")
	}
	opt := Options{Images: smallImages(t), Seed: 1, Case: -1, Cases: 12, Workers: runtime.GOMAXPROCS(0), VerifyEvery: 40, Verifier: verifier(t)}
	table := runLab(t, opt)
	for _, k := range kinds {
		if table.rows[k.name] == nil {
			t.Errorf("no case of %q", k.name)
		}
	}
	all := table.rows["all"]
	if all == nil || all.detected == 0 || all.tools[0].saved == 0 {
		t.Error("nothing was detected, or nothing saved")
	}
}

// In each case, our repair saves as much as other implementations.
func TestAgainstPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("many cases")
	}
	peers, why := Peers(shared.File("bench", "get-peer"))
	if len(why) > 0 {
		t.Log(strings.Join(why, "; "))
	}
	if len(peers) == 0 {
		t.Skip("there is nothing to compare with")
	}
	opt := Options{Images: smallImages(t), Seed: 2, Case: -1, Cases: 2, Workers: runtime.GOMAXPROCS(0), Peers: peers}
	table := runLab(t, opt)
	for i := range peers {
		if table.rows["all"].tools[1+i].saved == 0 {
			t.Errorf("%s saves nothing at all: is it called in the right way?", peers[i].Name)
		}
	}
}

func runLab(t *testing.T, opt Options) *Table {
	t.Helper()
	opt.Wrong = func(c *Case, wrong string) { t.Errorf("%s\n    %s", c, wrong) }
	table, err := Run(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := table.Markdown(&text); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &text)
	return table
}

// Cases that once failed.
func TestOnceWrong(t *testing.T) {
	for _, tc := range []struct {
		image  string
		seed   uint64
		number int
		whole  bool // all mappings can be saved
	}{
		{"grown", 1, 1146, false},             // the range that a rebuilt node may have lost was not reported
		{"layers", 1, 5512, false},            // mappings beyond the data device, in leaves found again
		{"out-of-data", 1, 211, false},        // the same
		{"thinned-out", 1, 1367, false},       // more mappings than in the details were called complete
		{"transactions", 3, 464, false},       // details with impossible times
		{"wide-sharing", 1, 11051, false},     // a data block that several lost leaves might have mapped
		{"deleted-discarded", 4, 2085, true},  // a snapshot still has the leaf the device lost
		{"deleted-discarded", 4, 2158, false}, // the same, and more
	} {
		c := imagesOf(t, tc.image)[0].Case(tc.seed, tc.number)
		d := c.Detect(t.Context())
		s := c.Repair(t.Context(), d)
		for _, wrong := range slices.Concat(d.Wrong, s.Wrong) {
			t.Errorf("%s\n    %s", c, wrong)
		}
		if all := c.Image.Truth.Mappings(); tc.whole && s.Saved != all {
			t.Errorf("%s\n    %d of %d mappings are saved", c, s.Saved, all)
		}
	}
}

// leafCase zeroes a leaf shared by several devices.
func leafCase(t *testing.T) *Case {
	t.Helper()
	im := imagesOf(t, "wide-sharing")[0]
	reached := map[block.Nr]int{}
	for _, d := range im.Truth.Devices {
		for _, p := range d.parts {
			reached[p.leaf.nr]++
		}
	}
	for _, nr := range im.Used {
		if reached[nr] > 1 {
			return im.single(kinds[0], nr, nil)
		}
	}
	t.Fatal("no leaf is shared")
	return nil
}

// The requirements for a check can fail: each change to its faults is noticed.
func TestDetectionCanFail(t *testing.T) {
	c := leafCase(t)
	for name, change := range map[string]func(d *Detection){
		"no fault":        func(d *Detection) { d.faults = nil },
		"not fatal":       func(d *Detection) { d.each(func(f *check.Fault) { f.Severity = check.NonFatal }) },
		"another block":   func(d *Detection) { d.each(func(f *check.Fault) { f.Block = new(metadata.SuperblockLocation) }) },
		"no block":        func(d *Detection) { d.each(func(f *check.Fault) { f.Block = nil }) },
		"a device less":   func(d *Detection) { d.each(func(f *check.Fault) { f.Devices = f.Devices[:len(f.Devices)-1] }) },
		"a device more":   func(d *Detection) { d.each(func(f *check.Fault) { f.Devices = append(slices.Clone(f.Devices), 77) }) },
		"no superblock":   func(d *Detection) { d.Reading = &Reading{Err: errBeyond} },
		"of the snapshot": func(d *Detection) { d.each(func(f *check.Fault) { f.Tree = "metadata snapshot" }) },
	} {
		d := c.Detect(t.Context())
		if len(d.Wrong) > 0 {
			t.Fatalf("without a change: %q", d.Wrong)
		}
		change(d)
		if d.blame(); len(d.Wrong) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func (d *Detection) each(change func(*check.Fault)) {
	for i := range d.faults {
		if len(d.faults[i].Devices) > 0 {
			change(&d.faults[i])
		}
	}
}

// The requirements for a repair can fail: each change to its report or result is noticed.
func TestRepairCanFail(t *testing.T) {
	im := imagesOf(t, "transactions")[0]
	c := im.newCase("test")
	truth := im.Truth
	lost := truth.Devices[1].parts[0]
	all := map[metadata.DevID]*Device{}
	for id, d := range truth.Devices {
		all[id] = &Device{Details: d.Details, parts: d.parts}
	}
	all[1].parts = all[1].parts[1:] // its first leaf is lost
	n := uint64(lost.end - lost.first)
	for name, tc := range map[string]struct {
		change  func(out *Reading, said *claims)
		noticed bool
	}{
		"nothing":         {func(*Reading, *claims) {}, false},
		"found too many":  {func(_ *Reading, said *claims) { said.devices[0].read++ }, true},
		"expects too few": {func(_ *Reading, said *claims) { said.devices[0].expected-- }, true},
		"loses too few":   {func(_ *Reading, said *claims) { said.devices[0].lost-- }, true},
		"no range":        {func(_ *Reading, said *claims) { said.devices[0].ranges = nil }, true},
		"another range": {func(_ *Reading, said *claims) {
			said.devices[0].ranges[0] = btree.KeyRange{First: 1 << 40, Last: math.MaxUint64}
		}, true},
		"not mentioned":   {func(_ *Reading, said *claims) { said.devices = said.devices[1:] }, true},
		"older, unsaid":   {func(_ *Reading, said *claims) { said.state.mapping++ }, true},
		"device left out": {func(out *Reading, _ *claims) { delete(out.Devices, 2) }, true},
		"invented": {func(out *Reading, said *claims) {
			made := *truth.Devices[1].parts[0].leaf
			made.values = slices.Repeat([]uint64{999 << 24}, len(made.keys))
			out.Devices[1].parts = append([]part{{&made, 0, 1}}, out.Devices[1].parts...)
			said.devices[0].confirmed++
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			out, said := &Reading{Devices: maps.Clone(all)}, &claims{state: state{truth.SB.MappingRoot, truth.SB.DetailsRoot}}
			one := *all[1]
			out.Devices[1] = &one
			for _, id := range slices.Sorted(maps.Keys(all)) {
				d := deviceClaims{id: id, known: true, expected: truth.Devices[id].Mapped, read: all[id].readable()}
				if id == 1 {
					d.lost = n
					d.ranges = []btree.KeyRange{{First: 0, Last: lost.leaf.keys[lost.end-1]}}
				}
				said.devices = append(said.devices, d)
			}
			if said.devices[0].id != 1 || said.devices[0].expected != said.devices[0].found()+n {
				t.Fatal("the example is wrong")
			}
			tc.change(out, said)
			s := &Salvage{Claims: said.lossless}
			s.judge(c, truth, out)
			s.judgeConfirmed(c, truth, out, said)
			s.compare(c, truth, out, said)
			if (len(s.Wrong) > 0) != tc.noticed {
				t.Errorf("noticed: %q, want some: %v", s.Wrong, tc.noticed)
			}
		})
	}
}

// A false claim that nothing is lost is detected.
func TestSilentLoss(t *testing.T) {
	c := leafCase(t)
	seen := c.reading()
	s := &Salvage{Claims: true}
	if s.judge(c, seen, seen); !s.Silent {
		t.Error("a lost leaf is not noticed")
	}
	s = &Salvage{Claims: true}
	if s.judge(c, seen, c.Image.Truth); s.Silent {
		t.Error("nothing was lost")
	}
	s = &Salvage{}
	if s.judge(c, seen, seen); s.Silent {
		t.Error("the loss was told")
	}
	c.Sealed = true
	s = &Salvage{Claims: true}
	if s.judge(c, seen, seen); !s.Silent {
		t.Error("a piece that cannot be read is lost, whatever else is sealed")
	}
}
