package raid_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"thinpool/internal/raid"
)

// kinds are the layouts with parity, drawn as rows of five devices: P, Q, and digits for data in
// order. - ends a row. After the last row, the pattern repeats.
var kinds = map[string]string{
	"raid4":      "P0123",
	"raid5_n":    "0123P",
	"raid5_la":   "0123P-012P3-01P23-0P123-P0123",
	"raid5_ra":   "P0123-0P123-01P23-012P3-0123P",
	"raid5_ls":   "0123P-123P0-23P01-3P012-P0123",
	"raid5_rs":   "P0123-3P012-23P01-123P0-0123P",
	"raid6_zr":   "PQ012-0PQ12-01PQ2-012PQ-Q012P",
	"raid6_nr":   "012PQ-01PQ2-0PQ12-PQ012-Q012P",
	"raid6_nc":   "012QP-12QP0-2QP01-QP012-P012Q",
	"raid6_la":   "Q012P-012PQ-01PQ2-0PQ12-PQ012",
	"raid6_ra":   "PQ012-0PQ12-01PQ2-012PQ-Q012P",
	"raid6_ls":   "Q012P-012PQ-12PQ0-2PQ01-PQ012",
	"raid6_rs":   "PQ012-2PQ01-12PQ0-012PQ-Q012P",
	"raid6_0":    "PQ012",
	"raid6_0_6":  "P012Q",
	"raid6_n_6":  "012PQ",
	"raid6_la_6": "012PQ-01P2Q-0P12Q-P012Q",
	"raid6_ra_6": "P012Q-0P12Q-01P2Q-012PQ",
	"raid6_ls_6": "012PQ-12P0Q-2P01Q-P012Q",
	"raid6_rs_6": "P012Q-2P01Q-12P0Q-012PQ",
}

func TestLayouts(t *testing.T) {
	for kind, drawn := range kinds {
		l, err := raid.New(kind, 5, 4096, 0)
		if err != nil {
			t.Fatal(err)
		}
		rows := bytes.Split([]byte(drawn), []byte("-"))
		for row := range int64(3 * len(rows)) {
			got := bytes.Repeat([]byte("."), 5)
			p, q := l.ParityDevices(row)
			got[p] = 'P'
			if q >= 0 {
				got[q] = 'Q'
			}
			for i := range l.Data {
				got[l.DataDevice(row, i)] = byte('0' + i)
			}
			if want := rows[row%int64(len(rows))]; !bytes.Equal(got, want) {
				t.Errorf("%s, row %d: %s, want %s", kind, row, got, want)
			}
			place, rest := l.Locate(row*int64(l.Data)*4096+5000, 0)
			if want := (raid.Place{Device: l.DataDevice(row, 1), Offset: row*4096 + 904}); place != want || rest != 4096-904 {
				t.Errorf("%s, row %d: byte 5000 of it at %+v, %d to its end; want %+v", kind, row, place, rest, want)
			}
		}
	}
	for alias, kind := range map[string]string{"raid5": "raid5_ls", "raid6": "raid6_zr", "raid10": "raid10_near"} {
		if l, err := raid.New(alias, 5, 512, 2); err != nil || l.Kind != kind {
			t.Errorf("%s is %s, %v", alias, l.Kind, err)
		}
	}
}

// Every device gets the chunks in the order they are dealt.
func TestDealt(t *testing.T) {
	for _, tc := range []struct{ devices, copies int }{{1, 1}, {3, 1}, {4, 2}, {5, 2}, {3, 3}, {5, 3}} {
		kind := "raid10"
		if tc.copies == 1 {
			kind = "raid0"
		}
		l, err := raid.New(kind, tc.devices, 1024, tc.copies)
		if err != nil {
			t.Fatal(err)
		}
		next := make([]int64, tc.devices)
		for dealt := range tc.copies * 100 {
			chunk, nth, device := dealt/tc.copies, dealt%tc.copies, dealt%tc.devices
			place, rest := l.Locate(int64(chunk)*1024+1000, nth)
			if want := (raid.Place{Device: device, Offset: next[device] + 1000}); place != want || rest != 24 {
				t.Fatalf("%+v, chunk %d, copy %d: %+v, want %+v", tc, chunk, nth, place, want)
			}
			next[device] += 1024
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		kind            string
		devices, copies int
		chunk           int64
	}{
		"kind":       {"raid7", 5, 1, 512},
		"no device":  {"raid0", 0, 1, 512},
		"devices":    {"raid5_ls", raid.MaxDevices + 1, 1, 512},
		"too few":    {"raid6", 2, 1, 512},
		"one":        {"raid4", 1, 1, 512},
		"chunk":      {"raid0", 2, 1, 0},
		"part":       {"raid0", 2, 1, 700},
		"copies":     {"raid10", 2, 3, 512},
		"no copies":  {"raid10", 2, 0, 512},
		"big chunks": {"raid0", 2, 1, 1 << 50},
	} {
		if _, err := raid.New(tc.kind, tc.devices, tc.chunk, tc.copies); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// power multiplies c by 2 the given number of times, in the field of RAID-6.
func power(c byte, times int) byte {
	for range times {
		high := c >> 7
		c = c<<1 ^ high*0x1d
	}
	return c
}

var errLost = errors.New("lost")

// With as many lost devices as there is parity, the data can be computed; with one more, it is an
// error. P and Q are computed here byte by byte.
func TestRebuild(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const n = 64
	for kind := range kinds {
		for _, devices := range []int{3, 4, 5, 8} {
			l, err := raid.New(kind, devices, 512, 0)
			if err != nil {
				t.Fatal(err)
			}
			for row := range int64(2 * devices) {
				content := makeRow(l, row, n, rnd)
				for a := range devices {
					for b := range devices {
						for c := range devices {
							tryRebuild(t, l, row, content, slices.Compact(sorted(a, b, c)))
						}
					}
				}
			}
		}
	}
}

func sorted(devs ...int) []int {
	slices.Sort(devs)
	return devs
}

// makeRow returns the content of each device in a row.
func makeRow(l raid.Layout, row int64, n int, rnd *rand.Rand) [][]byte {
	devices := l.Devices
	content := make([][]byte, devices)
	for i := range content {
		content[i] = make([]byte, n)
	}
	p, q := l.ParityDevices(row)
	for i := range l.Data {
		dev := l.DataDevice(row, i)
		exponent := dev
		switch l.Kind {
		case "raid6_zr", "raid6_nr", "raid6_nc":
		default: // number of data devices between Q and dev
			exponent = 0
			for d := (q + 1) % devices; d != dev; d = (d + 1) % devices {
				if d != p {
					exponent++
				}
			}
		}
		for j := range n {
			c := byte(rnd.Uint32())
			content[dev][j] = c
			content[p][j] ^= c
			if q >= 0 {
				content[q][j] ^= power(c, exponent)
			}
		}
	}
	return content
}

func tryRebuild(t *testing.T, l raid.Layout, row int64, content [][]byte, lost []int) {
	t.Helper()
	p, q := l.ParityDevices(row)
	parity := 1
	if q >= 0 {
		parity = 2
	}
	read := func(dev int, b []byte) error {
		if slices.Contains(lost, dev) {
			return fmt.Errorf("device %d: %w", dev, errLost)
		}
		copy(b, content[dev])
		return nil
	}
	for _, dev := range lost {
		if dev == p || dev == q {
			continue
		}
		got := make([]byte, len(content[dev]))
		err := l.Rebuild(row, dev, got, read)
		switch {
		case len(lost) <= parity && (err != nil || !bytes.Equal(got, content[dev])):
			t.Fatalf("%s, %d devices, row %d, lost %v: device %d is wrong, %v", l.Kind, l.Devices, row, lost, dev, err)
		case len(lost) > parity && !errors.Is(err, errLost):
			t.Fatalf("%s, %d devices, row %d, lost %v: %v", l.Kind, l.Devices, row, lost, err)
		}
	}
}

func TestSuperblock(t *testing.T) {
	var b [raid.SuperblockSize]byte
	if _, ok := raid.Decode(&b); ok {
		t.Error("zeros are a superblock")
	}
	copy(b[:], "DmRd")
	for i := 8; i < 60; i++ {
		b[i] = byte(i)
	}
	want := raid.Superblock{
		Devices: 0x0b0a0908, Position: 0x0f0e0d0c, Events: 0x1716151413121110, Failed: 0x1f1e1d1c1b1a1918,
		Recovery: 0x2726252423222120, Resync: 0x2f2e2d2c2b2a2928, Level: 0x33323130, Layout: 0x37363534, ChunkSectors: 0x3b3a3938,
	}
	if got, ok := raid.Decode(&b); !ok || got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
