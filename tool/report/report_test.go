package report_test

import (
	"bytes"
	"math/bits"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
	"thinpool/tool/ls"
	"thinpool/tool/report"
	"thinpool/tool/stat"
)

func run(t *testing.T, dev block.Device, opt report.Options) *report.Report {
	t.Helper()
	r, err := report.Run(t.Context(), dev, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The figures match those of the single-purpose tools.
func TestAsTheOtherTools(t *testing.T) {
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			dev := fixtures.Mem(t, name)
			r := run(t, dev, report.Options{})
			p, err := metadata.Open(dev, metadata.Options{})
			if err != nil {
				t.Fatal(err)
			}
			rows, err := ls.Run(t.Context(), p, ls.Options{Sharing: true})
			if err != nil {
				t.Fatal(err)
			}
			devices, err := stat.Devices(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Volumes) != len(rows) || len(r.Volumes) != len(devices) {
				t.Fatalf("%d volumes, want %d", len(r.Volumes), len(rows))
			}
			for i, v := range r.Volumes {
				if row, d := rows[i], devices[i]; v.Device != row.Device || v.Exclusive != row.Exclusive || v.Shared != row.Shared || v.Runs != d.Runs || v.Leaves != d.Leaves || v.Damaged {
					t.Errorf("%+v, want %+v and %+v", v, row, d)
				}
			}
			var faults []string
			sum, err := check.Run(t.Context(), dev, check.Options{}, func(f check.Fault) { faults = append(faults, f.String()) })
			if err != nil || sum != r.Check || len(faults) != len(r.Faults) {
				t.Errorf("%+v with %d faults (%v), want %+v with %d", r.Check, len(r.Faults), err, sum, len(faults))
			}
			sameRuns(t, p, r)
		})
	}
}

// sameRuns compares the lengths of runs with those of thin_stat.
func sameRuns(t *testing.T, p *metadata.Pool, r *report.Report) {
	lengths, err := stat.RunLengths(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]report.Bin{}
	for _, b := range lengths {
		n := bits.Len64(b.Value)
		bin := want[n]
		bin.First, bin.Last, bin.Runs, bin.Blocks = 1<<(n-1), 1<<n-1, bin.Runs+b.Times, bin.Blocks+b.Value*b.Times
		want[n] = bin
	}
	if len(r.Runs) != len(want) {
		t.Errorf("%d bins of runs, want %d", len(r.Runs), len(want))
	}
	for _, b := range r.Runs {
		if want[bits.Len64(b.First)] != b {
			t.Errorf("runs %+v, want %+v", b, want[bits.Len64(b.First)])
		}
	}
}

// Who shares what with whom, and where on the data device, counted the simple way: every mapping
// of every device, one by one.
func TestSharing(t *testing.T) {
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			dev := fixtures.Mem(t, name)
			r := run(t, dev, report.Options{})
			p, err := metadata.Open(dev, metadata.Options{})
			if err != nil {
				t.Fatal(err)
			}
			users := map[metadata.DataBlock]map[metadata.DevID]bool{}
			for _, v := range r.Volumes {
				for run, err := range p.Runs(t.Context(), v.Device) {
					if err != nil {
						t.Fatal(err)
					}
					for i := range run.Len {
						b := run.Data + metadata.DataBlock(i)
						if users[b] == nil {
							users[b] = map[metadata.DevID]bool{}
						}
						users[b][v.ID] = true
					}
				}
			}
			m := &r.Sharing
			want := make([][]uint64, len(m.Devices))
			for i := range want {
				want[i] = make([]uint64, len(m.Devices))
			}
			for _, of := range users {
				for i, a := range m.Devices {
					if !of[r.Volumes[a].ID] {
						continue
					}
					for j, b := range m.Devices {
						if of[r.Volumes[b].ID] {
							want[i][j]++
						}
					}
				}
			}
			for i := range want {
				for j, n := range want[i] {
					if got := m.Common[i][j]; got != n && (m.Every == 1 || got > n+n/2+50*m.Every || n > got+got/2+50*m.Every) {
						t.Errorf("devices %d and %d have %d blocks in common, want %d", i, j, got, n)
					}
				}
			}
			if m.Every > 1 && r.Superblock.DataSpaceMap.NrBlocks <= 1<<21 {
				t.Errorf("one block in %d was looked at", m.Every)
			}
			for _, pair := range m.Pairs {
				want := uint64(0)
				for _, of := range users {
					if len(of) == 2 && of[r.Volumes[m.Devices[pair.A]].ID] && of[r.Volumes[m.Devices[pair.B]].ID] {
						want++
					}
				}
				if pair.Blocks != want && m.Every == 1 {
					t.Errorf("pair %+v, want %d", pair, want)
				}
			}
			single, several := uint64(0), uint64(0)
			for _, of := range users {
				if len(of) == 1 {
					single++
				} else {
					several++
				}
			}
			if _, exclusive, shared := r.DataBlocks(); exclusive != single || shared != several {
				t.Errorf("the map has %d exclusive and %d shared blocks, want %d and %d", exclusive, shared, single, several)
			}
			for _, part := range r.Parts() {
				used := uint64(0)
				for b := range users {
					if uint64(b) >= part.First && uint64(b) < part.First+part.Blocks {
						used++
					}
				}
				if part.Exclusive+part.Shared != used {
					t.Errorf("%+v, want %d in use", part, used)
				}
			}
		})
	}
}

// The origin of a snapshot is found without LVM. Here, each device is a snapshot of the one
// before.
func TestLikelyOrigins(t *testing.T) {
	r := run(t, fixtures.Mem(t, "layers"), report.Options{})
	m := &r.Sharing
	for i, o := range m.Origins {
		want := report.Origin{Of: i - 1, Likely: i > 0}
		if o != want {
			t.Errorf("device %d: %+v, want %+v", r.Volumes[m.Devices[i]].ID, o, want)
		}
	}
	// LVM's data overrides likely origins.
	r = run(t, fixtures.Mem(t, "layers"), report.Options{Volume: func(id metadata.DevID) (report.LVM, bool) {
		return report.LVM{HasOrigin: id == 3, Origin: 1}, true
	}})
	for i, o := range r.Sharing.Origins {
		want := report.Origin{Of: -1}
		if r.Volumes[r.Sharing.Devices[i]].ID == 3 {
			want.Of = 0
		}
		if o != want {
			t.Errorf("%+v, want %+v", o, want)
		}
	}
}

// damaged returns a pool with a lost mapping leaf of device 1.
func damaged(t *testing.T) block.Device {
	t.Helper()
	dev := fixtures.Mem(t, "layers")
	if err := block.Write(dev, 150, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	return dev
}

// The report on a damaged pool shows the faults first, and measures the rest.
func TestDamaged(t *testing.T) {
	r := run(t, damaged(t), report.Options{})
	if level, _ := r.State(); level != report.Bad || r.Check.Fatal != 2 {
		t.Errorf("%s with %+v", level, r.Check)
	}
	for _, v := range r.Volumes {
		if v.Damaged != (v.ID == 1) || v.MappedBlocks == 0 {
			t.Errorf("%+v", v)
		}
	}
	text := page(t, r)
	fault := strings.Index(text, "fatal: mappings: device 1: lost keys 34276..40786: block 150: all zero, want a btree node [node-damaged]")
	if fault < 0 || fault > strings.Index(text, ">Space<") || !strings.Contains(text, "device 1: lost ranges") {
		t.Errorf("the fault is at %d of\n%s", fault, text)
	}
}

// Without a superblock, the page only has the fault, and the gauges say so.
func TestNoSuperblock(t *testing.T) {
	dev := fixtures.Mem(t, "layers")
	if err := block.Write(dev, 0, &block.Data{1}); err != nil {
		t.Fatal(err)
	}
	r := run(t, dev, report.Options{Pool: "p"})
	if text := page(t, r); r.Superblock != nil || !strings.Contains(text, "[superblock-damaged]") || strings.Contains(text, ">Space<") {
		t.Errorf("%+v", r)
	}
	var gauges bytes.Buffer
	if err := r.Prometheus(&gauges); err != nil || !strings.Contains(gauges.String(), "thinpool_superblock_readable{pool=\"p\"} 0\n") || strings.Contains(gauges.String(), "thinpool_data_blocks") {
		t.Errorf("%v\n%s", err, gauges.String())
	}
}

// Blocks with wrong counts are marked as faulty on the map, in the right place.
func TestFaulty(t *testing.T) {
	f := fixtures.NewForge(t, 64, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200}))
	f.LeakData(500)
	r := run(t, f.Finish(), report.Options{})
	total := uint64(0)
	for _, p := range r.Parts() {
		total += p.Faulty
		if p.Faulty > 0 && (500 < p.First || 500 >= p.First+p.Blocks) {
			t.Errorf("%+v", p)
		}
	}
	if total != 1 {
		t.Errorf("%d faulty blocks, want 1", total)
	}
}
