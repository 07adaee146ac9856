package export_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/metadata/volume"
	"thinpool/tool/export"
)

// A memCopy is a copy in memory.
type memCopy struct{ mem }

func (m memCopy) Zero(off, n int64) error {
	_, err := m.WriteAt(make([]byte, n), off)
	return err
}

func (m memCopy) Truncate(n int64) error {
	if n != size {
		return errors.New("it has one size")
	}
	return nil
}

var (
	older = export.Identity{Pool: "lvm:a", Device: 1, Name: "vg/old", Created: 4, BlockSize: 128, Mapped: 7, Mappings: "aa", Settled: true}
	newer = export.Identity{Pool: "lvm:a", Device: 2, Name: "vg/new", Created: 5, BlockSize: 128, Mapped: 9, Mappings: "bb", Settled: true}
)

// changes returns every other extent of a model, and a copy that is correct except there.
func changes(m *model) (some *model, old []byte) {
	some, old = &model{bad: m.bad}, bytes.Clone(m.content)
	for i, e := range m.extents {
		if i%2 == 0 {
			some.extents = append(some.extents, e)
			copy(old[e.Begin:e.End()], bytes.Repeat([]byte{0xee}, int(e.Len)))
		}
	}
	return some, old
}

// If a write or the power fails at any point, the copy is known to be neither old nor new, and the
// same update completes it.
func TestUpdate(t *testing.T) {
	m := newModel(3)
	some, old := changes(m)
	start := export.State{Status: export.Complete, Size: size, Of: older}
	// run updates a copy with state s. The n-th save fails.
	run := func(to memCopy, s *export.State, n int) error {
		u, err := export.NewUpdate(s, &older, &newer)
		if err != nil || u == nil {
			t.Fatalf("%+v is not a base: %v", s, err)
		}
		u.Size = size
		u.Save = func(next export.State) error {
			if n--; n == 0 {
				return blocktest.ErrFailed
			}
			*s = next
			return nil
		}
		return u.Run(t.Context(), some, some.all(), to, export.Options{})
	}
	done := func(to memCopy, s export.State) {
		t.Helper()
		if s.Status != export.Complete || s.To != nil || !s.Of.Is(&newer) || s.Size != size {
			t.Errorf("the state is %+v", s)
		}
		if !bytes.Equal(to.Contents(), m.content) {
			t.Error("the copy is wrong")
		}
	}
	copyOf := func(b []byte) memCopy { return memCopy{mem{blocktest.NewMemFrom(bytes.Clone(b))}} }

	whole, s := copyOf(old), start
	if err := run(whole, &s, 0); err != nil {
		t.Fatal(err)
	}
	done(whole, s)
	for n := range whole.Ops() {
		to, s := copyOf(old), start
		to.FailWritesAfter(n)
		if err := run(to, &s, 0); !errors.Is(err, blocktest.ErrFailed) || !strings.Contains(err.Error(), "run the same command again") {
			t.Fatalf("write %d fails: %v", n, err)
		}
		if s.Status != export.Updating || !s.Of.Is(&older) || !s.To.Is(&newer) {
			t.Fatalf("write %d fails: the state is %+v", n, s)
		}
		for seed := range 2 {
			again, s := memCopy{mem{to.Crash(seed)}}, s
			if err := run(again, &s, 0); err != nil {
				t.Fatal(err)
			}
			done(again, s)
		}
	}
	to, s := copyOf(old), start
	if err := run(to, &s, 1); !errors.Is(err, blocktest.ErrFailed) || to.Ops() > 0 || s.Status != export.Complete {
		t.Errorf("the first state cannot be saved: %v; %d writes, %+v", err, to.Ops(), s)
	}
	if err := run(to, &s, 2); !errors.Is(err, blocktest.ErrFailed) || s.Status != export.Updating {
		t.Errorf("the last state cannot be saved: %v; %+v", err, s)
	}
	if err := run(to, &s, 0); err != nil {
		t.Error(err)
	}
	done(to, s)
}

// Only the matching copy is accepted as the base of an update.
func TestNewUpdate(t *testing.T) {
	change := func(id export.Identity, by func(*export.Identity)) export.Identity { by(&id); return id }
	complete := func(of export.Identity) export.State { return export.State{Status: export.Complete, Of: of} }
	other := change(newer, func(id *export.Identity) { id.Device, id.Name = 3, "vg/third" })
	for name, tc := range map[string]struct {
		state export.State
		want  string // part of the error; empty: it is a base
	}{
		"base":               {complete(older), ""},
		"other names":        {complete(change(older, func(id *export.Identity) { id.Name, id.Transaction = "x", 99 })), ""},
		"pool not known":     {complete(change(older, func(id *export.Identity) { id.Pool = "" })), ""},
		"other sort of id":   {complete(change(older, func(id *export.Identity) { id.Pool = "uuid:55" })), ""},
		"other pool":         {complete(change(older, func(id *export.Identity) { id.Pool = "lvm:b" })), "the copy holds device 1 (vg/old) of pool lvm:b at transaction 0: 7 mapped blocks, mappings aa, the update is from device 1 (vg/old) of pool lvm:a"},
		"other device":       {complete(other), "the copy holds device 3 (vg/third)"},
		"other mappings":     {complete(change(older, func(id *export.Identity) { id.Mappings = "cc" })), "mappings cc"},
		"made again":         {complete(change(older, func(id *export.Identity) { id.Created++ })), "the copy holds"},
		"other origin":       {complete(change(older, func(id *export.Identity) { id.Origin = 512 })), "the copy holds"},
		"not settled":        {complete(change(older, func(id *export.Identity) { id.Settled = false })), ""},
		"unfit":              {export.State{Status: export.Unfit, Of: older, Why: "made with --repair"}, "made with --repair"},
		"interrupted":        {export.State{Status: export.Updating, Of: older, To: &newer}, ""},
		"interrupted before": {export.State{Status: export.Updating, Of: other, To: &newer}, "an update of it was interrupted, from device 3"},
		"another one":        {export.State{Status: export.Updating, Of: older, To: &other}, "to device 3 (vg/third)"},
	} {
		u, err := export.NewUpdate(&tc.state, &older, &newer)
		if tc.want == "" {
			if err != nil || u == nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if u != nil || !errors.Is(err, export.ErrOtherCopy) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if u, err := export.NewUpdate(&export.State{Status: export.Complete, Of: newer}, &older, &newer); u != nil || err != nil {
		t.Errorf("it is new already: %v, %v", u, err)
	}
	live := change(newer, func(id *export.Identity) { id.Settled = false })
	if _, err := export.NewUpdate(&export.State{Status: export.Complete, Of: newer}, &older, &live); !errors.Is(err, export.ErrOtherCopy) {
		t.Errorf("its mappings are new already, and may not be all: %v", err)
	}
}

func TestState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy")
	if _, err := export.LoadState(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is none: %v", err)
	}
	was := export.State{Status: export.Updating, Size: 512, Of: older, To: &newer}
	for range 2 {
		if err := was.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := export.LoadState(path)
	if err != nil || got.Status != was.Status || got.Size != 512 || got.Of != older || *got.To != newer {
		t.Errorf("got %+v (%v)", got, err)
	}
	for _, text := range []string{
		"", "{", "{}", `{"format":2,"status":"complete"}`, `{"format":1,"status":"new"}`, `{"format":1,"status":"complete","size":-1}`,
		`{"format":1,"status":"in progress"}`, `{"format":1,"status":"complete","to":{}}`, strings.Repeat(" ", 1<<20),
	} {
		if err := os.WriteFile(export.StatePath(path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := export.LoadState(path); !errors.Is(err, export.ErrNoState) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// It does not matter in which leaves of the tree a mapping is; everything else matters.
func TestIdentify(t *testing.T) {
	identify := func(time uint32, build func(f *fixtures.Forge) []metadata.Run) export.Identity {
		t.Helper()
		f := fixtures.NewForge(t, 64, 1000)
		f.Superblock.Time = 9
		runs := build(f)
		if len(runs) == 1 {
			f.DeviceAt(1, f.Leaf(runs[0]), time)
		} else {
			f.DeviceAt(1, f.Inner(f.Leaf(runs[0]), f.Leaf(runs[1])), time)
		}
		p, err := metadata.Open(f.Finish(), metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := p.Device(1)
		if err != nil {
			t.Fatal(err)
		}
		id, err := export.Identify(t.Context(), p, d)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	runs := func(r ...metadata.Run) func(*fixtures.Forge) []metadata.Run {
		return func(*fixtures.Forge) []metadata.Run { return r }
	}
	one := identify(3, runs(metadata.Run{Thin: 5, Data: 50, Len: 20, Time: 2}))
	if !one.Settled || one.Mapped != 20 {
		t.Errorf("%+v", one)
	}
	two := identify(3, runs(metadata.Run{Thin: 5, Data: 50, Len: 12, Time: 2}, metadata.Run{Thin: 17, Data: 62, Len: 8, Time: 2}))
	if !one.Is(&two) {
		t.Errorf("other leaves: %+v and %+v", one, two)
	}
	for _, r := range []metadata.Run{
		{Thin: 4, Data: 50, Len: 20, Time: 2}, {Thin: 5, Data: 51, Len: 20, Time: 2}, {Thin: 5, Data: 50, Len: 19, Time: 2}, {Thin: 5, Data: 50, Len: 20, Time: 1},
	} {
		if is := identify(3, runs(r)); one.Is(&is) {
			t.Errorf("%v is the same", r)
		}
	}
	// The kernel writes in place where mappings are not older than the last snapshot.
	if is := identify(2, runs(metadata.Run{Thin: 5, Data: 50, Len: 20, Time: 2})); is.Settled {
		t.Errorf("settled: %+v", is)
	}
}

// A copy of something else is detected if it differs at any sampled position.
func TestSample(t *testing.T) {
	m := newModel(8)
	mapped := int64(0)
	for _, e := range m.extents {
		if e.Kind == volume.Mapped {
			mapped += e.Len
		}
	}
	good := bytes.Clone(m.content)
	for _, e := range m.extents {
		if e.Kind != volume.Mapped { // not compared
			copy(good[e.Begin:e.End()], bytes.Repeat([]byte{0xee}, int(e.Len)))
		}
	}
	if err := export.Sample(m, m.all(), mapped, bytes.NewReader(good)); err != nil {
		t.Error(err)
	}
	for _, e := range m.extents {
		if e.Kind != volume.Mapped {
			continue
		}
		bad := bytes.Clone(good)
		for i := e.Begin; i < e.End(); i++ {
			bad[i] ^= 1
		}
		if err := export.Sample(m, m.all(), mapped, bytes.NewReader(bad)); !errors.Is(err, export.ErrDiffers) {
			t.Errorf("%v differ: %v", e, err)
		}
		if err := export.Sample(m, m.all(), mapped, bytes.NewReader(good[:e.Begin])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a copy that ends before %v: %v", e, err)
		}
	}
}

// A full copy is updated in place: zeros become holes, and the rest is unchanged.
func TestFullCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy")
	m := newModel(4)
	some, old := changes(m)
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	to, err := export.OpenCopy(path)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := to.Size(); n != size || err != nil {
		t.Errorf("size %d (%v)", n, err)
	}
	if err := export.Run(t.Context(), some, some.all(), to, export.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, m.content) {
		t.Errorf("the copy is wrong (%v)", err)
	}
	if _, err := export.OpenCopy(filepath.Dir(path)); err == nil {
		t.Error("a folder was opened")
	}
}
