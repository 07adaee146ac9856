package btree

import (
	"fmt"
	"math"

	"thinpool/metadata/block"
)

// A KeyRange is the keys First to Last, inclusive. It is empty if Last is below First.
type KeyRange struct{ First, Last uint64 }

// AllKeys is the range of all keys.
var AllKeys = KeyRange{0, math.MaxUint64}

func (r KeyRange) String() string {
	if r.Open() {
		return fmt.Sprintf("keys from %d on", r.First)
	}
	return fmt.Sprintf("keys %d..%d", r.First, r.Last)
}

// Empty reports whether r has no keys.
func (r KeyRange) Empty() bool { return r.First > r.Last }

// Open reports whether r has no upper bound: it includes the highest possible key.
func (r KeyRange) Open() bool { return r.Last == math.MaxUint64 }

// Contains reports whether all of first..last is in r.
func (r KeyRange) Contains(first, last uint64) bool { return first >= r.First && last <= r.Last }

// Child returns the range of a child at key in an internal node with range r. The next child is at
// next, which is above key.
func (r KeyRange) Child(key, next uint64) KeyRange {
	return KeyRange{max(key, r.First), min(next-1, r.Last)}
}

// LastChild returns the range of the last child, at key, in an internal node with range r.
func (r KeyRange) LastChild(key uint64) KeyRange { return KeyRange{max(key, r.First), r.Last} }

// Overlaps reports whether r and o have keys in common.
func (r KeyRange) Overlaps(o KeyRange) bool { return r.First <= o.Last && o.First <= r.Last }

// CheckBounds returns a [BoundsError] if the subtree at nr, which holds the keys first..last, has
// keys outside r, the range its parent allows.
func (r KeyRange) CheckBounds(nr, parent block.Nr, first, last uint64) error {
	if r.Contains(first, last) {
		return nil
	}
	return &BoundsError{nr, parent, first, last, r}
}

// ChildRange returns the range of child i in an internal node with the given entries and range
// keys.
func ChildRange(entries []Child, i int, keys KeyRange) KeyRange {
	if i+1 == len(entries) {
		return keys.LastChild(entries[i].Key)
	}
	return keys.Child(entries[i].Key, entries[i+1].Key)
}

// ChildRange returns the range of child i in the internal node n with range keys.
func (n Node) ChildRange(i int, keys KeyRange) KeyRange {
	if i+1 == n.Len() {
		return keys.LastChild(n.Key(i))
	}
	return keys.Child(n.Key(i), n.Key(i+1))
}

// ChildRange returns the range of child i in an inner node with range keys.
func (in *Inner) ChildRange(i int, keys KeyRange) KeyRange {
	if i+1 == len(in.Keys) {
		return keys.LastChild(in.Keys[i])
	}
	return keys.Child(in.Keys[i], in.Keys[i+1])
}
