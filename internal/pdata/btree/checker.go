package btree

import (
	"fmt"

	"thinpool/metadata/block"
)

// A Checker checks the structure of the trees of a Forest after its leaves were read. It checks
// each node once, and only compares the result with any further parent. It reports findings as it
// meets them, in key order.
type Checker struct {
	f        *Forest
	report   func(Finding)
	states   []checkState      // by index of inner node
	reported map[block.Nr]bool // blocks whose own faults were reported
}

// A TreeSummary summarizes a tree or subtree.
type TreeSummary struct {
	N           uint64 // readable entries
	First, Last uint64 // keys, if N is not 0
	Depth       int    // levels above the leaves
	Damaged     bool   // part of it is lost, or has misplaced keys
}

type checkState struct {
	tree  TreeSummary
	state int
}

const (
	unseen = iota
	underway
	checked
)

// A FindingKind says what is wrong with a node.
type FindingKind int

// The kinds of finding.
const (
	Lost        FindingKind = iota // a subtree cannot be used; Err says why
	OutOfBounds                    // a subtree has keys outside the range its parent allows; Err is a *BoundsError
	UnevenDepth                    // leaves below the node lie at different depths
	Underfull                      // a node other than a root is less than a third full
	OddFlags                       // unknown flag bits
	OddPadding
	OddCapacity // max_entries is not the usual one
)

// A Finding is one fault in the structure of a tree.
type Finding struct {
	Kind  FindingKind
	Block block.Nr
	Keys  KeyRange // affected
	Err   error    // set for each kind; wraps the cause for Lost
	N     int      // Underfull: entries
	Most  int      // Underfull: capacity
}

// NewChecker returns a Checker of f's trees that calls report for each finding.
func NewChecker(f *Forest, report func(Finding)) *Checker {
	return &Checker{f, report, make([]checkState, len(f.inner)), map[block.Nr]bool{}}
}

// CheckTree checks the tree at root.
func (j *Checker) CheckTree(root block.Nr) TreeSummary {
	return j.checkSubtree(root, nil, 0, AllKeys, 0)
}

// checkSubtree checks the subtree that entry of parent points to.
func (j *Checker) checkSubtree(nr block.Nr, parent *Inner, entry int, keys KeyRange, depth int) TreeSummary {
	role, i := j.f.Role(nr)
	switch role {
	case LeafNode:
		l := &j.f.leaves[i]
		if parent != nil {
			j.checkFill(nr, keys, int(l.N), int(l.Cap))
		}
		return TreeSummary{N: uint64(l.N), First: l.First, Last: l.Last}
	case InnerNode:
		in := &j.f.inner[i]
		if parent != nil {
			j.checkFill(nr, keys, len(in.Keys), in.Cap)
		}
		return j.checkInner(i, keys, depth)
	}
	from := block.Nr(0)
	if parent != nil {
		from = parent.Block
	}
	err := j.f.Err(nr, from, entry)
	switch _, wild := err.(*PointerError); {
	case wild && parent != nil: // the parent is wrong
		j.report(Finding{Kind: Lost, Block: from, Keys: keys, Err: err})
	case !j.reported[nr]:
		j.reported[nr] = true
		j.report(Finding{Kind: Lost, Block: nr, Keys: keys, Err: err})
	}
	return TreeSummary{Damaged: true}
}

func (j *Checker) checkInner(i int, keys KeyRange, depth int) TreeSummary {
	in, v := &j.f.inner[i], &j.states[i]
	switch {
	case v.state == checked && depth+v.tree.Depth <= MaxDepth:
		return v.tree
	case v.state != unseen || depth == MaxDepth:
		j.report(Finding{Kind: Lost, Block: in.Block, Keys: keys, Err: &LoopError{in.Block}})
		return TreeSummary{Damaged: true}
	}
	v.state = underway
	j.CheckHeader(in.Block, in.Anomalies)
	var sum TreeSummary
	sum.Depth = -1
	for e, child := range in.Children {
		want := in.ChildRange(e, keys)
		t := j.checkSubtree(child, in, e, want, depth+1)
		j.addChild(in, e, child, t, &sum)
	}
	sum.Depth++
	v.tree, v.state = sum, checked
	return sum
}

// addChild adds the summary t of child e of in to that of in itself.
func (j *Checker) addChild(in *Inner, e int, child block.Nr, t TreeSummary, sum *TreeSummary) {
	sum.Damaged = sum.Damaged || t.Damaged
	if t.N > 0 {
		// Only check the bounds set by in itself; the bounds from above are checked there.
		own := in.ChildRange(e, AllKeys)
		if err := own.CheckBounds(child, in.Block, t.First, t.Last); err != nil {
			j.report(Finding{Kind: OutOfBounds, Block: child, Keys: own, Err: err})
			sum.Damaged = true
		}
		if sum.N == 0 {
			sum.First = t.First
		}
		sum.Last = max(sum.Last, t.Last)
		sum.N += t.N
	}
	switch {
	case t.Damaged: // its depth may be unknown
	case sum.Depth < 0:
		sum.Depth = t.Depth
	case sum.Depth != t.Depth:
		err := fmt.Errorf("block %d: leaves at different depths: %d levels below entry %d, %d below others",
			in.Block, t.Depth, e, sum.Depth)
		j.report(Finding{Kind: UnevenDepth, Block: in.Block, Keys: AllKeys, Err: err})
	}
}

// checkFill checks that a node other than a root is at least a third full.
func (j *Checker) checkFill(nr block.Nr, keys KeyRange, n, most int) {
	if n >= most/3 || j.reported[nr] {
		return
	}
	j.reported[nr] = true
	err := fmt.Errorf("block %d: %d entries of %d, want at least %d", nr, n, most, most/3)
	j.report(Finding{Kind: Underfull, Block: nr, Keys: keys, Err: err, N: n, Most: most})
}

// CheckHeader reports anomalies in the header of the node at nr.
func (j *Checker) CheckHeader(nr block.Nr, q HeaderAnomalies) {
	if q.Flags != 0 {
		j.report(Finding{Kind: OddFlags, Block: nr, Err: fmt.Errorf("block %d, byte %#x: unknown flags %#x", nr, offFlags, q.Flags)})
	}
	if q.Padding != 0 {
		j.report(Finding{Kind: OddPadding, Block: nr, Err: fmt.Errorf("block %d, byte %#x: padding is %#x, want 0", nr, offPadding, q.Padding)})
	}
	if q.Capacity >= 0 {
		j.report(Finding{Kind: OddCapacity, Block: nr, Err: fmt.Errorf("block %d, byte %#x: max_entries is %d, not what the kernel uses", nr, offMaxEntries, q.Capacity)})
	}
}
