package btree

import (
	"fmt"
	"math"

	"thinpool/metadata/block"
)

// A KeyRange is the keys First..Last, both included; there are none if Last is below First.
type KeyRange struct{ First, Last uint64 }

// AllKeys is the range that holds every key.
var AllKeys = KeyRange{0, math.MaxUint64}

func (r KeyRange) String() string {
	if r.Open() {
		return fmt.Sprintf("keys from %d on", r.First)
	}
	return fmt.Sprintf("keys %d..%d", r.First, r.Last)
}

// Empty reports whether r has no keys.
func (r KeyRange) Empty() bool { return r.First > r.Last }

// Open reports whether r has no upper bound: it goes on to the highest key there is.
func (r KeyRange) Open() bool { return r.Last == math.MaxUint64 }

// Contains reports whether all of first..last lies in r.
func (r KeyRange) Contains(first, last uint64) bool { return first >= r.First && last <= r.Last }

// Child is what an internal node with the range r leaves to its child at key, if the next child
// is at next, which is above key.
func (r KeyRange) Child(key, next uint64) KeyRange {
	return KeyRange{max(key, r.First), min(next-1, r.Last)}
}

// LastChild is what an internal node with the range r leaves to its last child, which is at key.
func (r KeyRange) LastChild(key uint64) KeyRange { return KeyRange{max(key, r.First), r.Last} }

// Overlaps reports whether r and o have keys in common.
func (r KeyRange) Overlaps(o KeyRange) bool { return r.First <= o.Last && o.First <= r.Last }

// CheckBounds returns a [BoundsError] if the subtree at nr, which holds the keys first..last, has
// some outside of r, which parent leaves to it.
func (r KeyRange) CheckBounds(nr, parent block.Nr, first, last uint64) error {
	if r.Contains(first, last) {
		return nil
	}
	return &BoundsError{nr, parent, first, last, r}
}

// ChildRange is what an internal node with the given entries, to which keys are left, leaves to
// child i.
func ChildRange(entries []Child, i int, keys KeyRange) KeyRange {
	if i+1 == len(entries) {
		return keys.LastChild(entries[i].Key)
	}
	return keys.Child(entries[i].Key, entries[i+1].Key)
}

// ChildRange is what the internal node n, to which keys are left, leaves to child i.
func (n Node) ChildRange(i int, keys KeyRange) KeyRange {
	if i+1 == n.Len() {
		return keys.LastChild(n.Key(i))
	}
	return keys.Child(n.Key(i), n.Key(i+1))
}

// ChildRange is what an inner node, to which keys are left, leaves to child i.
func (in *Inner) ChildRange(i int, keys KeyRange) KeyRange {
	if i+1 == len(in.Keys) {
		return keys.LastChild(in.Keys[i])
	}
	return keys.Child(in.Keys[i], in.Keys[i+1])
}
