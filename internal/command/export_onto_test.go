package command

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/tool/export"
)

// newChainPool creates a pool with volume 1 and its unmodified snapshots 2, 3 and 4. Between the
// snapshots, blocks were written, overwritten and discarded.
func newChainPool(t *testing.T) *exportPool {
	p := newExportPool(t)
	f := fixtures.NewForge(t, 128, 300)
	f.Superblock.Time, f.Superblock.TransactionID = 3, 7
	first := f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 50})
	tail := f.Leaf(metadata.Run{Thin: 60, Data: 60, Len: 30})
	second := f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 10}, metadata.Run{Thin: 10, Data: 100, Len: 5, Time: 1}, metadata.Run{Thin: 15, Data: 15, Len: 25}, metadata.Run{Thin: 55, Data: 110, Len: 2, Time: 1})
	third := f.Leaf(metadata.Run{Thin: 0, Data: 120, Len: 3, Time: 2}, metadata.Run{Thin: 5, Data: 5, Len: 5}, metadata.Run{Thin: 12, Data: 102, Len: 3, Time: 1}, metadata.Run{Thin: 15, Data: 15, Len: 25}, metadata.Run{Thin: 45, Data: 130, Len: 2, Time: 2})
	f.DeviceAt(1, f.Inner(f.Leaf(metadata.Run{Thin: 0, Data: 140, Len: 3, Time: 3}, metadata.Run{Thin: 5, Data: 5, Len: 5}), tail), 3)
	f.DeviceAt(2, f.Inner(first, tail), 1)
	f.DeviceAt(3, f.Inner(second, tail), 2)
	f.DeviceAt(4, f.Inner(third, tail), 3)
	p.meta = p.file("meta", f.Finish().Contents())
	return p
}

func (p *exportPool) state(path string) *export.State {
	p.t.Helper()
	s, err := export.LoadState(path)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// A full copy plus two increments equals a full copy of the last snapshot.
func TestExportOnto(t *testing.T) {
	for name, sizes := range map[string][3]string{
		"one size": {"6m", "6m", "6m"},
		"grows":    {"1m", "2097664", "6m"},
		"shrinks":  {"6m", "3146240", "1m"},
		"both":     {"1m", "6m", "2m"},
	} {
		for _, origin := range []bool{false, true} {
			p := newChainPool(t)
			var more []string
			if origin {
				more = []string{"--origin", p.origin}
			}
			copied := p.path("copy")
			if stdout, stderr := p.run(0, append(more, "--dev-id", "2", "--size", sizes[0], "-o", copied)...); stdout+stderr != "" {
				t.Errorf("%s: %s%s", name, stdout, stderr)
			}
			for i, dev := range []string{"3", "4"} {
				size := sizes[i+1]
				args := append(more, "--dev-id", dev, "--changed-since", fmt.Sprint(2+i), "--size", size, "--onto", copied, "--verify")
				for range 2 { // the second time there is nothing to do
					if stdout, stderr := p.run(0, args...); stdout+stderr != "" {
						t.Errorf("%s: %s%s", name, stdout, stderr)
					}
				}
				full := p.path("full" + dev)
				p.run(0, append(more, "--dev-id", dev, "--size", size, "-o", full)...)
				if got, want := sha256.Sum256(p.read(copied)), sha256.Sum256(p.read(full)); got != want {
					t.Errorf("%s, origin %v, device %s: the copies differ", name, origin, dev)
				}
				if *p.state(copied) != *p.state(full) {
					t.Errorf("%s: the states differ: %+v, %+v", name, p.state(copied), p.state(full))
				}
			}
		}
	}
}

// Only changed blocks are written; unmapped ones become zeros.
func TestExportOntoWritesChanges(t *testing.T) {
	p := newChainPool(t)
	copied := p.path("copy")
	p.run(0, "--dev-id", "3", "--size", "6m", "-o", copied)
	content := p.read(copied)
	at := 20*exportBlock + 5*4096 + 1 // the same in both, and not sampled
	content[at] ^= 1
	p.file("copy", content)
	listed, _ := p.run(0, "--dev-id", "4", "--changed-since", "3", "--size", "6m", "--onto", copied, "--format", "json")
	want := p.want(4, 6<<20, false)
	want[at] ^= 1
	if !bytes.Equal(p.read(copied), want) {
		t.Error("the copy is wrong")
	}
	if sums := p.ranges([]byte(listed)); len(sums) != 5 {
		t.Errorf("ranges: %s", listed)
	}
}

// An update also copies what the pool wrote in place since the copy was made, and nothing else.
func TestExportOntoRewritten(t *testing.T) {
	for _, newer := range []string{"5", "6", "7"} {
		p := newExportPool(t)
		f := fixtures.NewForge(t, 128, 300)
		f.Superblock.Time = 3
		older := f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 10}, metadata.Run{Thin: 10, Data: 20, Len: 30, Time: 1}, metadata.Run{Thin: 50, Data: 60, Len: 10, Time: 1})
		leaf := f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 10}, metadata.Run{Thin: 10, Data: 20, Len: 5, Time: 1}, metadata.Run{Thin: 15, Data: 200, Len: 3, Time: 2}, metadata.Run{Thin: 18, Data: 28, Len: 22, Time: 1})
		f.DeviceAt(4, older, 1)
		f.DeviceAt(5, older, 3)
		f.DeviceAt(6, leaf, 2)
		f.DeviceAt(7, f.Leaf(metadata.Run{Thin: 0, Data: 220, Len: 20, Time: 2}), 2)
		p.meta = p.file("meta", f.Finish().Contents())
		copied := p.path("copy")
		p.run(0, "--dev-id", "4", "--size", "6m", "-o", copied)
		if p.state(copied).Of.Settled {
			t.Error("nothing can be written in place")
		}
		// Data blocks 20 to 49 and 60 to 69 can be written in place: their mappings are not older
		// than the snapshot.
		for _, nr := range []int{21, 29, 30, 49, 60, 69} {
			copy(p.dataContent[nr*exportBlock+4096:(nr+1)*exportBlock], noise(uint64(nr), exportBlock))
		}
		p.file("data", p.dataContent)
		listed, _ := p.run(0, "--dev-id", newer, "--changed-since", "4", "--size", "6m", "--onto", copied, "--verify", "--format", "json")
		if !bytes.Equal(p.read(copied), p.want(4+metadata.DevID(newer[0]-'4'), 6<<20, false)) {
			t.Errorf("device %s: the copy is wrong:\n%s", newer, listed)
		}
		if r := p.ranges([]byte(listed)); newer != "7" && r[0].Begin != 10*exportBlock {
			t.Errorf("device %s: what could not be written in place was copied: %v", newer, r)
		}
	}
}

// An update refuses anything that is not a copy of the older snapshot.
func TestExportOntoRefuses(t *testing.T) {
	p := newChainPool(t)
	copied := p.path("copy")
	full := func(args ...string) {
		t.Helper()
		p.run(0, append([]string{"--size", "6m", "-o", copied, "--force"}, args...)...)
	}
	refuse := func(want string, args ...string) {
		t.Helper()
		before, state := p.read(copied), p.read(copied+".state")
		_, stderr := p.run(1, append([]string{"--size", "6m", "--onto", copied}, args...)...)
		if !strings.Contains(stderr, want) {
			t.Errorf("got  %swant %s", stderr, want)
		}
		if !bytes.Equal(p.read(copied), before) || !bytes.Equal(p.read(copied+".state"), state) {
			t.Errorf("%q: changed all the same", args)
		}
	}
	full("--dev-id", "2")
	refuse("the copy holds device 2 at transaction 7: 80 mapped blocks, mappings", "--dev-id", "4", "--changed-since", "3")
	refuse("the update is from device 3 at transaction 7: 72 mapped blocks, mappings", "--dev-id", "4", "--changed-since", "3")
	full("--root", fmt.Sprint(p.root(2)))
	refuse("it was made of a mapping tree", "--dev-id", "3", "--changed-since", "2")
	full("--dev-id", "2", "--repair")
	refuse("it was made with --repair", "--dev-id", "3", "--changed-since", "2")
	full("--dev-id", "2")
	content := p.read(copied)
	clear(content[:1<<20])
	p.file("copy", content)
	refuse("it does not hold what", "--dev-id", "3", "--changed-since", "2")
	p.file("copy", content[:5<<20])
	refuse("it has 5242880 bytes, but "+copied+".state says 6291456", "--dev-id", "3", "--changed-since", "2")
	p.file("copy.state", []byte("junk"))
	refuse("not the state of a copy", "--dev-id", "3", "--changed-since", "2")
	if err := os.Remove(copied + ".state"); err != nil {
		t.Fatal(err)
	}
	if _, stderr := p.run(1, "--size", "6m", "--onto", copied, "--dev-id", "3", "--changed-since", "2"); !strings.Contains(stderr, "it is not known what it holds") {
		t.Error(stderr)
	}
	p.run(2, "--size", "6m", "--onto", p.path("copy"), "--dev-id", "3")
	p.run(2, "--size", "6m", "--onto", p.path("copy"), "--dev-id", "3", "--changed-since", "2", "-o", p.path("out"))
	p.run(2, "--size", "6m", "--onto", p.dir, "--dev-id", "3", "--changed-since", "2", "--resume")
}

// An increment never replaces a full copy. A copy that is being replaced has no state until
// complete.
func TestExportKeepsFullCopy(t *testing.T) {
	p := newChainPool(t)
	copied := p.path("copy")
	p.run(0, "--dev-id", "2", "--size", "6m", "-o", copied)
	before := p.read(copied)
	for _, force := range [][]string{{"--force"}, nil} {
		_, stderr := p.run(1, append(force, "--dev-id", "3", "--changed-since", "2", "--size", "6m", "-o", copied)...)
		if !strings.Contains(stderr, "is a full copy, as "+copied+".state says") || !bytes.Equal(p.read(copied), before) {
			t.Errorf("%s", stderr)
		}
	}
	// An increment is not a full copy: it has no state and can be replaced.
	for range 2 {
		p.run(0, "--dev-id", "3", "--changed-since", "2", "--size", "6m", "-o", p.path("changes"), "--force")
	}
	if _, err := os.Stat(p.path("changes.state")); err == nil {
		t.Error("an increment has the state of a full copy")
	}
	short := p.file("short", p.dataContent[:20*exportBlock])
	p.run(1, "--dev-id", "3", "--size", "6m", "-o", copied, "--force", "--repair", "--data", short)
	if s := p.state(copied); s.Status != export.Unfit {
		t.Errorf("a copy with losses: %+v", s)
	}
}

// After an interruption, only the same update can continue, and it completes.
func TestExportOntoInterrupted(t *testing.T) {
	p := newChainPool(t)
	copied := p.path("copy")
	for _, sizes := range [][2]string{{"6m", "6m"}, {"1m", "6m"}, {"6m", "1m"}} {
		p.run(0, "--dev-id", "2", "--size", sizes[0], "-o", copied, "--force")
		p.run(0, "--dev-id", "3", "--size", sizes[1], "-o", p.path("full"), "--force")
		s, to := p.state(copied), p.state(p.path("full"))
		s.Status, s.To = export.Updating, &to.Of
		if err := s.Save(copied); err != nil {
			t.Fatal(err)
		}
		// Half of the new content has been written.
		half := p.read(copied)
		full := p.read(p.path("full"))
		n := min(len(half), len(full))
		copy(half, full[:n/2])
		p.file("copy", append(half[:n], make([]byte, len(full)-n)...))
		before := p.read(copied)
		if _, stderr := p.run(1, "--dev-id", "4", "--changed-since", "2", "--size", "6m", "--onto", copied); !strings.Contains(stderr, "an update of it was interrupted, from device 2") {
			t.Error(stderr)
		}
		if _, stderr := p.run(1, "--dev-id", "4", "--changed-since", "3", "--size", "6m", "--onto", copied); !strings.Contains(stderr, "an update of it was interrupted, from device 2") {
			t.Error(stderr)
		}
		if !bytes.Equal(p.read(copied), before) {
			t.Error("a refusal changed the copy")
		}
		p.run(0, "--dev-id", "3", "--changed-since", "2", "--size", sizes[1], "--onto", copied)
		if !bytes.Equal(p.read(copied), full) || p.state(copied).Status != export.Complete {
			t.Errorf("sizes %v: the copy is wrong", sizes)
		}
	}
	var fields map[string]any
	if err := json.Unmarshal(p.read(copied+".state"), &fields); err != nil || fields["status"] != "complete" {
		t.Errorf("%v (%v)", fields, err)
	}
}
