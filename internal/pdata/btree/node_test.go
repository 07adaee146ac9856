package btree

import (
	"errors"
	"math"
	"testing"

	"thinpool/metadata/block"
)

// nodeBytes returns a sealed node at block 7, written field by field. Its keys are 0, 3, 6 ..., and
// its values 1000, 1001, 1002 ...
func nodeBytes(flags, entries, room uint32) *block.Data {
	b := new(block.Data)
	le.PutUint32(b[4:], flags)
	le.PutUint32(b[16:], entries)
	le.PutUint32(b[20:], room)
	le.PutUint32(b[24:], 8)
	for i := range entries {
		le.PutUint64(b[32+8*i:], uint64(3*i))
		le.PutUint64(b[32+8*room+8*i:], uint64(1000+i))
	}
	block.Seal(7, b, block.Node)
	return b
}

// A node may fill its block to the last byte: 254 keys and 254 values of 8 bytes after the header.
func TestLargestNode(t *testing.T) {
	const most = (4096 - 32) / 16
	for flags, leaf := range map[uint32]bool{1: false, 2: true} {
		n, err := Decode(7, nodeBytes(flags, most, most), 8)
		if err != nil {
			t.Fatal(err)
		}
		if n.Leaf() != leaf || n.Len() != most || n.Cap() != most || n.ValueSize() != 8 {
			t.Errorf("leaf %v, %d entries in room for %d, values of %d bytes", n.Leaf(), n.Len(), n.Cap(), n.ValueSize())
		}
		keys, values := n.Uint64s()
		if len(keys) != 8*most || len(values) != 8*most {
			t.Fatalf("%d bytes of keys, %d of values", len(keys), len(values))
		}
		i := 0
		for key, value := range n.All() {
			wantKey, want := uint64(3*i), uint64(1000+i)
			if key != wantKey || le.Uint64(value) != want || len(value) != 8 || cap(value) != 8 ||
				n.Key(i) != wantKey || n.Uint64(i) != want || le.Uint64(keys[8*i:]) != wantKey || le.Uint64(values[8*i:]) != want {
				t.Fatalf("entry %d is %d: %d, want %d: %d", i, key, le.Uint64(value), wantKey, want)
			}
			if n.Search(key) != i || n.Search(key+2) != i {
				t.Errorf("key %d is found at %d, and %d at %d; want %d", key, n.Search(key), key+2, n.Search(key+2), i)
			}
			i++
		}
		if i != most {
			t.Errorf("%d entries", i)
		}
		if got, want := n.HeaderAnomalies(), (HeaderAnomalies{Capacity: most}); got != want {
			t.Errorf("anomalies %+v, want %+v", got, want)
		}
	}
}

// A key before the first one has no entry.
func TestSearchBelow(t *testing.T) {
	n, err := Decode(7, leaf(7, nil, 5, 9), 8)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[uint64]int{0: -1, 4: -1, 5: 0, 8: 0, 9: 1, math.MaxUint64: 1} {
		if got := n.Search(key); got != want {
			t.Errorf("key %d is found at %d, want %d", key, got, want)
		}
	}
}

// Each key must be above the one before it, the last one too.
func TestKeyOrder(t *testing.T) {
	for name, tc := range map[string]struct {
		keys []uint64
		want OrderError
	}{
		"first":                               {[]uint64{4, 3, 5}, OrderError{7, 1, 3, 4}},
		"last":                                {[]uint64{1, 5, 4}, OrderError{7, 2, 4, 5}},
		"last equal":                          {[]uint64{1, 5, 5}, OrderError{7, 2, 5, 5}},
		"of two":                              {[]uint64{1, 0}, OrderError{7, 1, 0, 1}},
		"above the first, not the one before": {[]uint64{1, 9, 2, 10}, OrderError{7, 2, 2, 9}},
	} {
		_, err := Decode(7, leaf(7, nil, tc.keys...), 8)
		if oe, ok := errors.AsType[*OrderError](err); !ok || *oe != tc.want {
			t.Errorf("%s: %v, want %v", name, err, &tc.want)
		}
	}
	if _, err := Decode(7, leaf(7, nil, 0, 1, math.MaxUint64), 8); err != nil {
		t.Error(err)
	}
}

// An internal node needs one entry; a leaf needs none.
func TestFewEntries(t *testing.T) {
	for flags, entries := range map[uint32]uint32{1: 1, 2: 0} {
		if n, err := Decode(7, nodeBytes(flags, entries, 252), 8); err != nil || n.Len() != int(entries) {
			t.Errorf("flags %d: %d entries, %v", flags, n.Len(), err)
		}
	}
	_, err := Decode(7, nodeBytes(1, 0, 252), 8)
	const want = "block 7, byte 0x10: nr_entries of an internal node is 0, want 1"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// Oddities of a header are told apart.
func TestHeaderAnomalies(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*block.Data)
		want  HeaderAnomalies
	}{
		"none":     {func(*block.Data) {}, HeaderAnomalies{0, 0, -1}},
		"flags":    {func(b *block.Data) { b[4] |= 0x14 }, HeaderAnomalies{0x14, 0, -1}},
		"padding":  {func(b *block.Data) { b[28], b[31] = 3, 1 }, HeaderAnomalies{0, 1<<24 + 3, -1}},
		"capacity": {func(b *block.Data) { b[20] = 3 }, HeaderAnomalies{0, 0, 3}},
	} {
		n, err := Decode(7, leaf(7, tc.spoil, 1, 2, 3), 8)
		if err != nil || n.HeaderAnomalies() != tc.want {
			t.Errorf("%s: %+v, %v; want %+v", name, n.HeaderAnomalies(), err, tc.want)
		}
	}
}

// LayoutOf believes any header whose keys and values end within the block.
func TestLayoutOf(t *testing.T) {
	for name, tc := range map[string]struct {
		flags, room, size uint32
		want              Layout
		ok                bool
	}{
		"leaf":                {2, 168, 16, Layout{true, 168, 32 + 8*168, 16}, true},
		"internal node":       {1, 252, 8, Layout{false, 252, 32 + 8*252, 8}, true},
		"both flags":          {3, 252, 8, Layout{true, 252, 32 + 8*252, 8}, true},
		"other flags":         {12, 252, 8, Layout{false, 252, 32 + 8*252, 8}, true},
		"full":                {2, 254, 8, Layout{true, 254, 32 + 8*254, 8}, true},
		"one entry too many":  {2, 255, 8, Layout{}, false},
		"one byte too many":   {2, 1, 4096 - 32 - 8 + 1, Layout{}, false},
		"no values":           {2, 508, 0, Layout{true, 508, 4096, 0}, true},
		"no entries":          {2, 0, math.MaxUint32, Layout{true, 0, 32, math.MaxUint32}, true},
		"product overflows":   {2, math.MaxUint32, math.MaxUint32 - 6, Layout{}, false}, // (2^32-1)(2^32+1) + 32 is 31 in 64 bits
		"more than the block": {2, math.MaxUint32, 8, Layout{}, false},
	} {
		b := new(block.Data)
		le.PutUint32(b[4:], tc.flags)
		le.PutUint32(b[20:], tc.room)
		le.PutUint32(b[24:], tc.size)
		if got, ok := LayoutOf(b); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, ok, tc.want, tc.ok)
		}
	}
}
