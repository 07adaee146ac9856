package md_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"thinpool/internal/md"
)

// arrays has all levels and layouts, and how many members, whichever they are, may be missing.
var arrays = map[string]struct {
	array
	spare int
}{
	"linear":            {array{level: -1, devices: 3, sizes: []int{2 * chunk, 5 * chunk, chunk}}, 0},
	"raid0":             {array{level: 0, devices: 3, sizes: []int{7 * chunk, 7*chunk + 512, 7 * chunk}}, 0},
	"raid0 one":         {array{level: 0, devices: 1, sizes: []int{7 * chunk}}, 0},
	"raid0 original":    {array{level: 0, devices: 4, layout: 1, sizes: []int{5 * chunk, 9 * chunk, 7 * chunk, 9*chunk + 512}}, 0},
	"raid0 alternate":   {array{level: 0, devices: 4, layout: 2, sizes: []int{5 * chunk, 9 * chunk, 7 * chunk, 9*chunk + 512}}, 0},
	"raid1":             {array{level: 1, devices: 3}, 2},
	"raid4":             {array{level: 4, devices: 4, drawn: "012P"}, 1},
	"raid5 la":          {array{level: 5, layout: 0, devices: 4, drawn: "012P-01P2-0P12-P012"}, 1},
	"raid5 ra":          {array{level: 5, layout: 1, devices: 4, drawn: "P012-0P12-01P2-012P"}, 1},
	"raid5 ls":          {array{level: 5, layout: 2, devices: 4, drawn: "012P-12P0-2P01-P012"}, 1},
	"raid5 rs":          {array{level: 5, layout: 3, devices: 4, drawn: "P012-2P01-12P0-012P"}, 1},
	"raid5 first":       {array{level: 5, layout: 4, devices: 4, drawn: "P012"}, 1},
	"raid5 last":        {array{level: 5, layout: 5, devices: 4, drawn: "012P"}, 1},
	"raid5 two":         {array{level: 5, layout: 2, devices: 2, drawn: "0P-P0"}, 1},
	"raid6 la":          {array{level: 6, layout: 0, devices: 5, drawn: "Q012P-012PQ-01PQ2-0PQ12-PQ012"}, 2},
	"raid6 ra":          {array{level: 6, layout: 1, devices: 5, drawn: "PQ012-0PQ12-01PQ2-012PQ-Q012P"}, 2},
	"raid6 ls":          {array{level: 6, layout: 2, devices: 5, drawn: "Q012P-012PQ-12PQ0-2PQ01-PQ012"}, 2},
	"raid6 rs":          {array{level: 6, layout: 3, devices: 5, drawn: "PQ012-2PQ01-12PQ0-012PQ-Q012P"}, 2},
	"raid6 first":       {array{level: 6, layout: 4, devices: 4, drawn: "PQ01"}, 2},
	"raid6 last":        {array{level: 6, layout: 5, devices: 4, drawn: "01PQ"}, 2},
	"raid6 zr":          {array{level: 6, layout: 8, devices: 5, drawn: "PQ012-0PQ12-01PQ2-012PQ-Q012P"}, 2},
	"raid6 nr":          {array{level: 6, layout: 9, devices: 5, drawn: "012PQ-01PQ2-0PQ12-PQ012-Q012P"}, 2},
	"raid6 nc":          {array{level: 6, layout: 10, devices: 5, drawn: "012QP-12QP0-2QP01-QP012-P012Q"}, 2},
	"raid6 la 6":        {array{level: 6, layout: 16, devices: 5, drawn: "012PQ-01P2Q-0P12Q-P012Q"}, 2},
	"raid6 ra 6":        {array{level: 6, layout: 17, devices: 5, drawn: "P012Q-0P12Q-01P2Q-012PQ"}, 2},
	"raid6 ls 6":        {array{level: 6, layout: 18, devices: 5, drawn: "012PQ-12P0Q-2P01Q-P012Q"}, 2},
	"raid6 rs 6":        {array{level: 6, layout: 19, devices: 5, drawn: "P012Q-2P01Q-12P0Q-012PQ"}, 2},
	"raid6 first 6":     {array{level: 6, layout: 20, devices: 5, drawn: "P012Q"}, 2},
	"raid10 near":       {array{level: 10, layout: 0x102, devices: 4}, 1},
	"raid10 near odd":   {array{level: 10, layout: 0x102, devices: 3, used: 15 * chunk}, 1},
	"raid10 near 3":     {array{level: 10, layout: 0x103, devices: 5, used: 16 * chunk}, 2},
	"raid10 far":        {array{level: 10, layout: 0x201, devices: 2}, 1},
	"raid10 far 3 of 4": {array{level: 10, layout: 0x301, devices: 4, used: 18 * chunk}, 2},
	"raid10 offset":     {array{level: 10, layout: 0x10201, devices: 3}, 1},
	"raid10 offset 3":   {array{level: 10, layout: 0x10301, devices: 5, used: 18 * chunk}, 2},
	"raid10 sets":       {array{level: 10, layout: 0x20201, devices: 5}, 1},
	"raid10 new sets":   {array{level: 10, layout: 0x40201, devices: 5}, 1},
}

// Every array yields its content: as a whole, in reads at any offset, and without any members it
// can do without. With one more missing, it is refused.
func TestArrays(t *testing.T) {
	for name, tc := range arrays {
		for _, version := range []string{"1.0", "1.1", "1.2"} {
			t.Run(name+" "+version, func(t *testing.T) {
				tc.array.version = version
				members, want := tc.make()
				a := assemble(t, members, md.Options{})
				if a.Degraded || a.Notes != nil || a.Unused != nil || a.Super.Version != version {
					t.Errorf("%+v", a)
				}
				if a.Size() != int64(len(want)) || !bytes.Equal(content(t, a), want) {
					t.Fatalf("other bytes, or %d of them, want %d", a.Size(), len(want))
				}
				anywhere(t, a, want)
				for first := range members {
					for second := range members[:first+1] {
						withoutTwo(t, members, first, second, tc.spare, want)
					}
				}
			})
		}
	}
}

// anywhere reads at random offsets, many bytes or few.
func anywhere(t *testing.T, a *md.Array, want []byte) {
	t.Helper()
	for range 200 {
		off := rand.IntN(len(want))
		p := make([]byte, rand.IntN(min(len(want)-off, 40000))+1)
		if n, err := a.ReadAt(p, int64(off)); n != len(p) || err != nil && err != io.EOF || !bytes.Equal(p, want[off:][:n]) {
			t.Fatalf("%d bytes at %d: %d, %v", len(p), off, n, err)
		}
	}
}

// withoutTwo leaves out two members, or one if first and second are equal.
func withoutTwo(t *testing.T, members []md.Member, first, second, spare int, want []byte) {
	t.Helper()
	var rest []md.Member
	for i, m := range members {
		if i != first && i != second {
			rest = append(rest, m)
		}
	}
	if len(rest) == 0 {
		return
	}
	a, err := md.Assemble(rest, md.Options{})
	gone := len(members) - len(rest)
	switch {
	case gone > spare && err == nil && a.Super.Level != 10:
		t.Errorf("without %d and %d: no error", first, second)
	case err != nil && gone > spare && !strings.Contains(err.Error(), fmt.Sprintf("role %d is missing", first)):
		t.Errorf("without %d and %d: %v", first, second, err)
	case err != nil && gone <= spare:
		t.Errorf("without %d and %d: %v", first, second, err)
	case err == nil && (!a.Degraded || a.Roles[first].Member != -1 || a.Roles[second].Member != -1):
		t.Errorf("without %d and %d: %+v", first, second, a.Roles)
	case err == nil && !bytes.Equal(content(t, a), want):
		t.Errorf("without %d and %d: other bytes", first, second)
	}
}

// Where a member is unreadable, others provide the data, even if they are unreadable elsewhere in
// the same chunk.
func TestReadErrors(t *testing.T) {
	for name, tc := range arrays {
		members, want := tc.make()
		if len(members) < 2 {
			continue
		}
		// The first chunk: the first leg fails in the second half, the second leg in the first
		// half.
		members[0].R = failing{members[0].R, offset + chunk/2, offset + chunk}
		a := assemble(t, members, md.Options{})
		p := make([]byte, len(want))
		n, err := a.ReadAt(p, 0)
		switch {
		case tc.spare > 0 && (err != nil || !bytes.Equal(p, want)):
			t.Errorf("%s: %d of %d bytes, %v", name, n, len(want), err)
		case tc.spare == 0 && (err == nil || n != 0 && !bytes.Equal(p[:n], want[:n]) || !strings.Contains(err.Error(), "disk0 (role 0): ")):
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

func TestErrorsInDifferentPlaces(t *testing.T) {
	for name, a := range map[string]array{
		"raid1": {level: 1, devices: 2},
		"raid5": {level: 5, layout: 5, devices: 3, drawn: "01P"},
	} {
		a.used = 64 * chunk
		members, want := a.make()
		members[0].R = failing{members[0].R, offset, offset + 100}
		members[1].R = failing{members[1].R, offset + 3*chunk, offset + 3*chunk + 1}
		arr := assemble(t, members, md.Options{})
		if !bytes.Equal(content(t, arr), want) {
			t.Errorf("%s: other bytes", name)
		}
		// If both fail at the same offset, data before it is returned, and the next read continues
		// after it.
		members[1].R = failing{members[1].R, offset + 5*chunk, offset + 6*chunk}
		members[0].R = failing{members[0].R, offset + 5*chunk, offset + 6*chunk}
		arr = assemble(t, members, md.Options{})
		p := make([]byte, len(want))
		n, err := arr.ReadAt(p, 0)
		if err == nil || n < 5*chunk || n%4096 != 0 || !bytes.Equal(p[:n], want[:n]) || !strings.Contains(err.Error(), "device failed") {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		if n, err := arr.ReadAt(p[:chunk], int64(n)+2*chunk); err != nil || n != chunk {
			t.Errorf("%s: behind it %d bytes, %v", name, n, err)
		}
	}
}

func TestEdges(t *testing.T) {
	members, want := array{level: 1, devices: 2}.make()
	a := assemble(t, members, md.Options{})
	p := make([]byte, 1000)
	if n, err := a.ReadAt(p, a.Size()-300); n != 300 || err != io.EOF || !bytes.Equal(p[:n], want[len(want)-300:]) {
		t.Errorf("over the end: %d, %v", n, err)
	}
	if n, err := a.ReadAt(p, a.Size()); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	if _, err := a.ReadAt(p, -1); err == nil {
		t.Error("no error before the start")
	}
	if n, err := a.ReadAt(nil, 5); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
}

func TestConcurrent(t *testing.T) {
	members, want := array{level: 6, layout: 2, devices: 5, drawn: "Q012P-012PQ-12PQ0-2PQ01-PQ012"}.make()
	a := assemble(t, members[1:4], md.Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := make([]byte, 10000)
			for off := 0; off+len(p) < len(want); off += 7001 {
				if _, err := a.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:][:len(p)]) {
					t.Errorf("%d at %d: %v", i, off, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestOrderOfMembers(t *testing.T) {
	members, want := array{level: 5, layout: 2, devices: 4, drawn: "012P-12P0-2P01-P012"}.make()
	slices.Reverse(members)
	a := assemble(t, members, md.Options{})
	if !bytes.Equal(content(t, a), want) || a.Roles[0].Member != 3 {
		t.Errorf("%+v", a.Roles)
	}
}
