package report_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/tool/report"
)

// The page about a repair says what each device lost before it shows the pool, the worst first.
func TestRepaired(t *testing.T) {
	r := run(t, fixtures.Mem(t, "layers"), report.Options{Pool: "p"})
	r.Repair = &report.Repair{
		Damaged: true, Verdict: []string{"2 of 3 devices are incomplete"}, Remarks: []string{"<b>"},
		Devices: []report.Recovered{
			{ID: 1, Known: true, Expected: 10, Read: 10, Complete: true},
			{ID: 2, Known: true, Expected: 10, Read: 8, Confirmed: 1, Guessed: 1, Ranges: []metadata.KeyRange{{First: 0, Last: 4}}},
			{ID: 3, Name: "vg/thin", Read: 7, Dropped: true, Ranges: []metadata.KeyRange{{First: 1000, Last: math.MaxUint64}}, Omitted: 12},
			{ID: 4, Known: true, Expected: 99, Read: 90, Lost: 9, Ranges: []metadata.KeyRange{{First: 50, Last: 74}}},
		},
	}
	if level, state := r.State(); level != report.Warning || !strings.Contains(state, "was repaired, but") {
		t.Errorf("%s: %s", level, state)
	}
	text := page(t, r)
	at := 0
	for _, want := range []string{
		"<h1>Pool p, repaired</h1>", "2 of 3 devices are incomplete", "&lt;b&gt;",
		`device 4</td><td>99</td><td>90</td><td>0</td><td>0</td><td>9</td>`,
		`device 2</td><td>10</td><td>8</td><td>1</td><td>1</td><td>0</td>`,
		`vg/thin (left out)</td><td>?</td><td>7</td><td>0</td><td>0</td><td>?</td>`,
		`device 1</td><td>10</td><td>10</td><td>0</td><td>0</td><td>0</td>`,
		"50 to 74", "0 to 4", `<path class="s" d="M0 0`, "from 1,000 on and 12 more", "<h2>Space</h2>",
	} {
		i := strings.Index(text[at:], want)
		if i < 0 {
			t.Fatalf("%s is missing after %d of\n%s", want, at, text)
		}
		at += i
	}
	r.Repair.Planned = true
	if _, state := r.State(); !strings.Contains(state, "Nothing was written yet") {
		t.Error(state)
	}
}

// The page about a repair with a thousand damaged devices has a page like any other.
func TestRepairedMany(t *testing.T) {
	r := run(t, fixtures.Mem(t, "layers"), report.Options{})
	f := &report.Repair{Damaged: true}
	for i := range 1000 {
		d := report.Recovered{ID: metadata.DevID(i), Name: strings.Repeat("&", 500), Known: true, Expected: 1 << 40, Lost: 1, Read: 1<<40 - 1}
		for k := range report.MostRanges {
			d.Ranges = append(d.Ranges, metadata.KeyRange{First: uint64(k) << 50, Last: uint64(k)<<50 + 1<<49})
		}
		f.Devices = append(f.Devices, d)
		f.Remarks = append(f.Remarks, fmt.Sprint(strings.Repeat("<", 5000), i))
	}
	r.Repair = f
	if text := page(t, r); !strings.Contains(text, "and 900 more") || !strings.Contains(text, "Ranges of 980 more devices") {
		t.Error("what is left out is not counted")
	}
}
