package dump_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/dump"
)

// A record is a visitor that records its calls and reports violations of the [metadata.Visitor]
// rules.
type record struct {
	defs    []string                  // names, in order
	content map[string][]metadata.Run // of defs, and of devices as "dev ID"
	refs    map[string][]string       // of devices
	order   []string                  // devices
	broken  []string
	now     string // the open def or device
	begun   int
	ended   int
}

func newRecord() *record {
	return &record{content: map[string][]metadata.Run{}, refs: map[string][]string{}}
}

func (r *record) rule(ok bool, what string, args ...any) {
	if !ok || r.begun != 1 || r.ended != 0 {
		r.broken = append(r.broken, fmt.Sprintf(what, args...))
	}
}

func (r *record) Begin(metadata.Header) error { r.begun++; r.rule(true, "Begin again"); return nil }
func (r *record) End() error                  { r.rule(r.now == "", "End within %s", r.now); r.ended++; return nil }

func (r *record) BeginDef(name string) error {
	_, known := r.content[name]
	r.rule(r.now == "" && len(r.order) == 0 && !known, "def %s", name)
	r.defs, r.now, r.content[name] = append(r.defs, name), name, nil
	return nil
}

func (r *record) EndDef() error { r.rule(r.now != "", "EndDef"); r.now = ""; return nil }

func (r *record) BeginDevice(id metadata.DevID, _ metadata.Details) error {
	name := fmt.Sprint("dev ", id)
	r.rule(r.now == "", "%s within %s", name, r.now)
	r.order, r.now = append(r.order, name), name
	return nil
}

func (r *record) EndDevice() error { r.rule(r.now != "", "EndDevice"); r.now = ""; return nil }

// Ref replaces the ref with the runs of the def.
func (r *record) Ref(name string) error {
	runs, known := r.content[name]
	r.rule(known && strings.HasPrefix(r.now, "dev "), "%s refers to %s", r.now, name)
	r.refs[r.now] = append(r.refs[r.now], name)
	return r.Runs(runs)
}

func (r *record) Runs(runs []metadata.Run) error {
	r.rule(r.now != "", "runs outside")
	for _, run := range runs {
		if have := r.content[r.now]; len(have) > 0 && run.Continues(have[len(have)-1]) {
			have[len(have)-1].Len += run.Len
			continue
		}
		r.content[r.now] = append(r.content[r.now], run)
	}
	return nil
}

// recorded dumps p and checks the rules of defs: they ascend by name, the number of a block, and
// each is used at least twice.
func recorded(t *testing.T, p *metadata.Pool, opt dump.Options) *record {
	t.Helper()
	r := newRecord()
	if err := dump.Run(t.Context(), p, opt, r); err != nil {
		t.Fatal(err)
	}
	if len(r.broken) > 0 || r.ended != 1 {
		t.Errorf("ended %d times, broken rules: %q", r.ended, r.broken)
	}
	uses := map[string]int{}
	for _, names := range r.refs {
		for _, name := range names {
			uses[name]++
		}
	}
	last := 0
	for _, name := range r.defs {
		nr, err := strconv.Atoi(name)
		if err != nil || nr <= last || uses[name] < 2 {
			t.Errorf("def %s, after %d, is used %d times, %v", name, last, uses[name], err)
		}
		last = nr
	}
	return r
}

// With all refs replaced, a dump is the same as a flat one.
func TestSharingLosesNothing(t *testing.T) {
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			p := open(t, fixtures.Mem(t, name))
			shared, flat := recorded(t, p, dump.Options{}), recorded(t, p, dump.Options{Flat: true})
			if len(flat.defs) > 0 || len(flat.order) != int(fixtures.TruthOf(t, name).Devices) {
				t.Errorf("flat: %d defs, %d devices", len(flat.defs), len(flat.order))
			}
			if !slices.Equal(shared.order, flat.order) {
				t.Errorf("devices %q, flat %q", shared.order, flat.order)
			}
			for _, dev := range flat.order {
				if !slices.Equal(shared.content[dev], flat.content[dev]) {
					t.Errorf("%s differs", dev)
				}
			}
		})
	}
}

// For any devices with any leaves, defs are exactly as long as the rule allows.
func TestAtomicRuns(t *testing.T) {
	const leaves = 8
	rapid.Check(t, func(rt *rapid.T) {
		f := fixtures.NewForge(t, 128, 100000)
		nrs := make([]block.Nr, leaves)
		for i := range nrs {
			nrs[i] = f.Leaf(metadata.Run{Thin: metadata.ThinBlock(1000 * i), Data: metadata.DataBlock(1000 * i), Len: 84})
		}
		roots := map[string]block.Nr{}
		devices := rapid.SliceOfN(rapid.SliceOfNDistinct(rapid.IntRange(0, leaves-1), 1, leaves, rapid.ID), 1, 5).Draw(rt, "devices")
		for id, list := range devices {
			slices.Sort(list)
			root := roots[fmt.Sprint(list)]
			if root == 0 || rapid.Bool().Draw(rt, "root of its own") {
				var children []block.Nr
				for _, i := range list {
					children = append(children, nrs[i])
				}
				root = f.Inner(children...)
				roots[fmt.Sprint(list)] = root
			}
			f.Device(metadata.DevID(id), root)
		}
		r := recorded(t, open(t, f.Finish()), dump.Options{})
		var got, want []string
		for id, list := range devices {
			want = append(want, strings.Join(modelItems(devices, list, nrs), " "))
			got = append(got, strings.Join(r.refs[fmt.Sprint("dev ", id)], " "))
			if n := len(r.content[fmt.Sprint("dev ", id)]); n != len(list) {
				rt.Errorf("device %d: %d leaves, want %d", id, n, len(list))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Errorf("refs of %v (-want +got):\n%s", devices, diff)
		}
	})
}

// modelItems implements the rule in the simplest way: cut between two neighbours unless each only
// occurs next to the other. What occurs once is not a def.
func modelItems(devices [][]int, list []int, nrs []block.Nr) []string {
	next := func(list []int, leaf, step int) int {
		i := slices.Index(list, leaf) + step
		if i < 0 || i >= len(list) {
			return -1
		}
		return list[i]
	}
	var items []string
	for i, leaf := range list {
		occurs, joined := 0, i > 0
		for _, other := range devices {
			if slices.Contains(other, leaf) {
				occurs++
				joined = joined && next(other, leaf, -1) == list[i-1]
			}
			if i > 0 && slices.Contains(other, list[i-1]) {
				joined = joined && next(other, list[i-1], 1) == leaf
			}
		}
		if occurs > 1 && !joined {
			items = append(items, fmt.Sprint(nrs[leaf]))
		}
	}
	return items
}

// Devices with the same empty root share an empty def.
func TestEmptySharedLeaf(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	root := f.Leaf()
	f.Device(1, root)
	f.Device(2, root)
	f.Device(3, f.Leaf())
	r := recorded(t, open(t, f.Finish()), dump.Options{})
	name := fmt.Sprint(root)
	if diff := cmp.Diff(map[string][]string{"dev 1": {name}, "dev 2": {name}}, r.refs); diff != "" {
		t.Errorf("refs (-want +got):\n%s", diff)
	}
}

// Sharing only counts among the chosen devices.
func TestChosenDevicesShare(t *testing.T) {
	f := fixtures.NewForge(t, 64, 10000)
	a, b, c := f.Leaf(metadata.Run{Len: 84}), f.Leaf(metadata.Run{Thin: 1000, Data: 100, Len: 84}), f.Leaf(metadata.Run{Thin: 2000, Data: 200, Len: 84})
	f.Device(1, f.Inner(a, b))
	f.Device(2, f.Inner(a, b, c))
	f.Device(3, f.Inner(b, c))
	p := open(t, f.Finish())
	for _, tc := range []struct {
		devices []metadata.DevID
		want    []string
	}{
		{nil, []string{fmt.Sprint(a), fmt.Sprint(b), fmt.Sprint(c)}},
		{[]metadata.DevID{2, 1}, []string{fmt.Sprint(a)}},
		{[]metadata.DevID{3, 1}, []string{fmt.Sprint(b)}},
		{[]metadata.DevID{2, 2}, nil},
		{[]metadata.DevID{}, nil},
	} {
		if got := recorded(t, p, dump.Options{Devices: tc.devices}).defs; !slices.Equal(got, tc.want) {
			t.Errorf("devices %v: defs %v, want %v", tc.devices, got, tc.want)
		}
	}
}

// A lost shared leaf is reported for the first dumped device, with its range. Everything before it
// is delivered.
func TestDamagedSharedLeaf(t *testing.T) {
	f := fixtures.NewForge(t, 64, 10000)
	a, b := f.Leaf(metadata.Run{Len: 84}), f.Leaf(metadata.Run{Thin: 1000, Data: 100, Len: 84})
	f.Device(4, f.Leaf(metadata.Run{Data: 200, Len: 84}))
	f.Device(5, f.Inner(a, b))
	f.Device(6, f.Inner(a, b))
	dev := f.Finish()
	fixtures.Edit(t, dev, b, func(b *block.Data) { b[16] = 255 })
	for _, flat := range []bool{false, true} {
		r := newRecord()
		err := dump.Run(t.Context(), open(t, dev), dump.Options{Flat: flat}, r)
		want := fmt.Sprintf("device 5: lost the mappings of keys from 1000 on: block %d, byte 0x10: nr_entries is 255, want at most 252", b)
		if err == nil || err.Error() != want || !errors.Is(err, block.ErrCorrupt) || r.ended != 0 {
			t.Errorf("flat %v: %v, want %s", flat, err, want)
		}
		if flat && (len(r.order) != 2 || len(r.content["dev 5"]) != 1) {
			t.Errorf("before the damage: %v, %v", r.order, r.content)
		}
	}
}

// failing is a visitor whose nth call fails.
type failing struct {
	*record
	left *int
}

var errEnough = errors.New("enough")

func (f failing) call(err error) error {
	if *f.left--; *f.left == 0 {
		return errEnough
	}
	return err
}

func (f failing) Begin(h metadata.Header) error { return f.call(f.record.Begin(h)) }
func (f failing) BeginDef(name string) error    { return f.call(f.record.BeginDef(name)) }
func (f failing) EndDef() error                 { return f.call(f.record.EndDef()) }
func (f failing) Ref(name string) error         { return f.call(f.record.Ref(name)) }
func (f failing) Runs(r []metadata.Run) error   { return f.call(f.record.Runs(r)) }
func (f failing) EndDevice() error              { return f.call(f.record.EndDevice()) }
func (f failing) End() error                    { return f.call(f.record.End()) }
func (f failing) BeginDevice(id metadata.DevID, d metadata.Details) error {
	return f.call(f.record.BeginDevice(id, d))
}

// If any visitor call fails, its error is returned and no call follows.
func TestVisitorFails(t *testing.T) {
	p := pool(t, "abc", "abd")
	for n := 1; ; n++ {
		left := n
		err := dump.Run(t.Context(), p, dump.Options{}, failing{newRecord(), &left})
		if err == nil {
			if n < 15 {
				t.Errorf("a whole dump has only %d calls", n-1)
			}
			return
		}
		if !errors.Is(err, errEnough) || left != 0 {
			t.Errorf("call %d fails: error %v, %d calls follow", n, err, -left)
		}
	}
}

// A cancelled dump ends with the context's error, and progress is reported.
func TestCancelAndProgress(t *testing.T) {
	p := open(t, fixtures.Mem(t, "layers"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	late, cancelled := context.WithCancel(t.Context())
	cancelled()
	if err := dump.Run(late, p, dump.Options{}, newRecord()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	var dones []uint64
	err := dump.Run(ctx, p, dump.Options{Flat: true, Progress: func(_ string, done, total uint64) {
		if dones = append(dones, done); done == 3 {
			cancel()
		}
		if total != 11 {
			t.Errorf("%d devices in all, want 11", total)
		}
	}}, newRecord())
	if !slices.IsSorted(dones) || len(dones) < 4 || err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("progress %v, error %v", dones, err)
	}
}
