package damage

import (
	"bytes"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// smallOnes returns images of this project that have cases of every composed kind.
var smallOnes = sync.OnceValues(func() ([]*Image, error) {
	return Images("", "metadata-snap", "transactions", "many-devices", "history/crowd", "history/deletes", "history/discards", "history/line-a",
		"history/lvm-like", "history/mixed", "history/provision", "history/reloads", "history/set-back-idle", "history/set-back-written", "history/snapshots", "history/wraps")
})

// A few cases of each composed kind meet the requirements in the package comment.
func TestComposed(t *testing.T) {
	if testing.Short() {
		t.Skip("many cases")
	}
	images, err := smallOnes()
	if err != nil {
		t.Fatal(err)
	}
	checker := verifier(t)
	for _, k := range composedKinds {
		for _, name := range k.names {
			t.Run(name, func(t *testing.T) {
				n := 0
				opt := Options{Images: images, Seed: 1, Case: -1, Cases: 3, Kind: name, Workers: runtime.GOMAXPROCS(0), VerifyEvery: 100, Verifier: checker}
				opt.Wrong = func(c *Case, wrong string) { t.Errorf("%s\n    %s", c, wrong) }
				table, err := Run(t.Context(), opt)
				if err != nil {
					t.Fatal(err)
				}
				if r := table.rows[name]; r != nil {
					n = r.cases
				}
				t.Logf("%d cases, %d failed", n, table.Failed)
			})
		}
	}
}

// Each composed kind has cases, which can be recreated by number and do what their name says.
func TestComposedCases(t *testing.T) {
	images, err := smallOnes()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range composedKinds {
		for _, name := range k.names {
			n := 0
			for _, im := range images {
				for c := range im.Cases(7, name) {
					again := im.Case(7, c.Number)
					if c.Kind != name || again == nil || again.What != c.What || !bytes.Equal(again.Contents(), c.Contents()) {
						t.Errorf("%s: made again it is %v", c, again)
					}
					if untouched := len(c.changed)+len(c.failing) == 0 && c.size == int64(len(c.Image.Content)); untouched && im.Name != "history/set-back-written" && name != kindSixteenth {
						t.Errorf("%s: nothing is damaged", c)
					}
					if !c.question != (len(c.right) == 0) {
						t.Errorf("%s: a state is in question: %v; right is %v", c, c.question, c.right)
					}
					n++
					break
				}
			}
			if n == 0 {
				t.Errorf("no case of %q", name)
			}
		}
	}
}

// After a kernel used an older superblock, trees are not torn where nothing was overwritten.
func TestTorn(t *testing.T) {
	images, err := smallOnes()
	if err != nil {
		t.Fatal(err)
	}
	found := map[bool]int{}
	for _, im := range images {
		if !im.linear() {
			continue
		}
		for i := range min(20, olderCases(im)) {
			c, err := im.olderSuperblock(i, nil)
			if err != nil {
				t.Fatal(err)
			}
			r, torn := c.reading(), c.Kind == kindOlderTorn
			if same := len(r.Lost) == 0 && len(r.Differs(c.against)) == 0; !torn && !same {
				t.Errorf("%s: it reads as something else: %s", c, lostText(r))
			}
			found[torn]++
		}
	}
	if found[true] == 0 || found[false] == 0 {
		t.Errorf("found %v, want both", found)
	}
}

// Each commit has the digest of all mappings that other programs computed.
func TestHistoryDigests(t *testing.T) {
	images, err := smallOnes()
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range images {
		if im.past == nil {
			continue
		}
		for i := range im.past.Commits {
			if r := im.past.reading(i); r != nil && r.digest() != im.past.Commits[i].Digest {
				t.Errorf("%s, commit %d: digest %s, want %s", im.Name, i, r.digest(), im.past.Commits[i].Digest)
			}
		}
	}
}

// The judgements of states, devices and mappings can fail.
func TestJudgesCanFail(t *testing.T) {
	images, err := Images("", "history/deletes")
	if err != nil {
		t.Fatal(err)
	}
	im := images[0]
	p := im.past
	last, before := p.last(), p.last()-1
	for name, tc := range map[string]struct {
		out                   *Reading
		said                  claims
		wrong, named, noticed bool
	}{
		"right":          {out: im.Truth, said: claims{state: p.state(last)}},
		"put together":   {out: im.Truth, said: claims{}},
		"same content":   {out: im.Truth, said: claims{state: p.state(before)}},
		"wrong":          {out: p.reading(before), said: claims{state: p.state(before)}, wrong: true, noticed: true},
		"wrong, named":   {out: p.reading(before), said: claims{state: p.state(before), others: []state{p.state(last)}}, wrong: true, named: true},
		"wrong, another": {out: p.reading(before), said: claims{state: p.state(before), others: []state{p.state(0)}}, wrong: true, noticed: true},
		"wrong, unsaid":  {out: p.reading(before), said: claims{lossless: true, state: p.state(before), others: []state{p.state(last)}}, wrong: true, named: true, noticed: true},
		"wrong content":  {out: p.reading(before), said: claims{state: state{0, p.state(last).details}}, wrong: true, noticed: true},
	} {
		c := im.newCase("test")
		c.questioned(last)
		s := &Salvage{Claims: tc.said.lossless}
		if s.judgeState(c, tc.out, &tc.said); s.WrongState != tc.wrong || s.Named != tc.named || (len(s.Wrong) > 0) != tc.noticed {
			t.Errorf("%s: wrong %v, named %v, %q", name, s.WrongState, s.Named, s.Wrong)
		}
	}
	c, s := im.newCase("test"), new(Salvage)
	out := &Reading{Devices: maps.Clone(im.Truth.Devices)}
	out.Devices[3] = new(Device) // it was deleted
	if s.judgePhantoms(c, out); s.Phantoms != 0 {
		t.Errorf("%d phantoms, want none: %q", s.Phantoms, s.Wrong)
	}
	out.Devices[4711] = new(Device)
	if s.judgePhantoms(c, out); s.Phantoms != 1 || len(s.Wrong) == 0 {
		t.Errorf("%d phantoms, want 1: %q", s.Phantoms, s.Wrong)
	}
}

// Each wrong mapping must be called guessed.
func TestWrongButConfirmed(t *testing.T) {
	images, err := Images("", "history/deletes")
	if err != nil {
		t.Fatal(err)
	}
	im := images[0]
	id := slices.Sorted(maps.Keys(im.Truth.Devices))[0]
	leaf := *im.Truth.Devices[id].parts[0].leaf
	leaf.values = slices.Clone(leaf.values)
	leaf.values[0], leaf.values[1] = 1<<40, 2<<40
	device := *im.Truth.Devices[id]
	device.parts = append([]part{{&leaf, 0, len(leaf.keys)}}, device.parts[1:]...)
	out := &Reading{Devices: maps.Clone(im.Truth.Devices)}
	out.Devices[id] = &device
	for guessed, want := range []uint64{2, 1, 0, 0} {
		s, said := new(Salvage), &claims{state: state{im.Truth.SB.MappingRoot, im.Truth.SB.DetailsRoot}}
		said.devices = []deviceClaims{{id: id, guessed: uint64(guessed)}}
		if s.judgeConfirmed(im.newCase("test"), im.Truth, out, said); s.Confirmed != want || (len(s.Wrong) > 0) != (want > 0) {
			t.Errorf("2 wrong, %d guessed: %d are wrong but confirmed, want %d: %q", guessed, s.Confirmed, want, s.Wrong)
		}
	}
}

// The names of kinds match rows, each once.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range rows() {
		if seen[name] {
			t.Errorf("two kinds are called %q", name)
		}
		seen[name] = true
	}
}
