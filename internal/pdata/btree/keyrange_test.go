package btree

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// The methods of a range agree with a check of its keys one by one.
func TestKeyRange(t *testing.T) {
	keys := []uint64{0, 1, 2, 3, 4, 5, math.MaxUint64 - 1, math.MaxUint64}
	key := rapid.SampledFrom(keys)
	rapid.Check(t, func(t *rapid.T) {
		a := KeyRange{key.Draw(t, "a.First"), key.Draw(t, "a.Last")}
		b := KeyRange{key.Draw(t, "b.First"), key.Draw(t, "b.Last")}
		at, next := key.Draw(t, "at"), key.Draw(t, "next")
		in := func(r KeyRange, k uint64) bool { return r.First <= k && k <= r.Last }
		empty, common := true, false
		for _, k := range keys {
			empty = empty && !in(a, k)
			common = common || in(a, k) && in(b, k)
			if in(a, k) != a.Contains(k, k) {
				t.Errorf("%v contains %d: %v", a, k, !in(a, k))
			}
			if got, want := in(a.LastChild(at), k), in(a, k) && k >= at; got != want {
				t.Errorf("%v leaves key %d to its last child at %d: %v", a, k, at, got)
			}
			if got, want := in(a.Child(at, next), k), in(a, k) && k >= at && k < next; at < next && got != want {
				t.Errorf("%v leaves key %d to its child at %d before %d: %v", a, k, at, next, got)
			}
		}
		if a.Empty() != empty {
			t.Errorf("%v is empty: %v", a, !empty)
		}
		if !a.Empty() && !b.Empty() && a.Overlaps(b) != common {
			t.Errorf("%v and %v have keys in common: %v", a, b, !common)
		}
	})
}

func TestKeyRangeString(t *testing.T) {
	for want, r := range map[string]KeyRange{
		"keys from 0 on":               AllKeys,
		"keys from 7 on":               {7, math.MaxUint64},
		"keys 7..7":                    {7, 7},
		"keys 0..18446744073709551614": {0, math.MaxUint64 - 1},
	} {
		if r.String() != want {
			t.Errorf("%d..%d is %q, want %q", r.First, r.Last, r, want)
		}
	}
}
