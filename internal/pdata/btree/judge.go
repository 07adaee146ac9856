package btree

import (
	"fmt"

	"thinpool/metadata/block"
)

// A Judge examines the structure of the trees of a Forest whose leaves have been
// read. Each node is judged once; a further parent of it is only compared with
// the verdict. What is wrong is reported as it is met, in key order.
type Judge struct {
	f        *Forest
	report   func(Finding)
	verdicts []verdict         // by index of inner node
	reported map[block.Nr]bool // blocks whose own faults are reported
}

// A Tree is the verdict on a tree or subtree.
type Tree struct {
	N           uint64 // entries, as far as they can be read
	First, Last uint64 // keys, if N is not 0
	Depth       int    // levels above the leaves
	Damaged     bool   // part of it is lost, or keys are where they cannot be found
}

type verdict struct {
	tree  Tree
	state int
}

const (
	unseen = iota
	underway
	judged
)

// A FindingKind says what is wrong with a node.
type FindingKind int

// The kinds of finding.
const (
	Lost        FindingKind = iota // a subtree cannot be used; Err says why
	OutOfBounds                    // a subtree has keys that its parent gives to others; Err is a *BoundsError
	UnevenDepth                    // leaves below the node lie at different depths
	Underfull                      // a node that is no root has less than a third of its entries
	OddFlags                       // flag bits that mean nothing
	OddPadding
	OddCapacity // max_entries is not the usual one
)

// A Finding is one thing wrong with the structure of a tree.
type Finding struct {
	Kind  FindingKind
	Block block.Nr
	Keys  KeyRange // affected
	Err   error    // a sentence for each kind; wraps the cause for Lost
	N     int      // Underfull: entries
	Most  int      // Underfull: capacity
}

// NewJudge returns a Judge of f's trees that reports to report.
func NewJudge(f *Forest, report func(Finding)) *Judge {
	return &Judge{f, report, make([]verdict, len(f.inner)), map[block.Nr]bool{}}
}

// Tree judges the tree at root.
func (j *Judge) Tree(root block.Nr) Tree {
	return j.subtree(root, nil, 0, AllKeys, 0)
}

// subtree judges what entry of parent leads to.
func (j *Judge) subtree(nr block.Nr, parent *Inner, entry int, keys KeyRange, depth int) Tree {
	kind, i := j.f.Kind(nr)
	switch kind {
	case LeafNode:
		l := &j.f.leaves[i]
		if parent != nil {
			j.fill(nr, keys, int(l.N), int(l.Cap))
		}
		return Tree{N: uint64(l.N), First: l.First, Last: l.Last}
	case InnerNode:
		in := &j.f.inner[i]
		if parent != nil {
			j.fill(nr, keys, len(in.Keys), in.Cap)
		}
		return j.inner(i, keys, depth)
	}
	from := block.Nr(0)
	if parent != nil {
		from = parent.Block
	}
	err := j.f.Err(nr, from, entry)
	switch _, wild := err.(*PointerError); {
	case wild && parent != nil: // it is the parent that is wrong
		j.report(Finding{Kind: Lost, Block: from, Keys: keys, Err: err})
	case !j.reported[nr]:
		j.reported[nr] = true
		j.report(Finding{Kind: Lost, Block: nr, Keys: keys, Err: err})
	}
	return Tree{Damaged: true}
}

func (j *Judge) inner(i int, keys KeyRange, depth int) Tree {
	in, v := &j.f.inner[i], &j.verdicts[i]
	switch {
	case v.state == judged && depth+v.tree.Depth <= MaxDepth:
		return v.tree
	case v.state != unseen || depth == MaxDepth:
		j.report(Finding{Kind: Lost, Block: in.Block, Keys: keys, Err: &LoopError{in.Block}})
		return Tree{Damaged: true}
	}
	v.state = underway
	j.Quirks(in.Block, in.Quirks)
	var sum Tree
	sum.Depth = -1
	for e, child := range in.Children {
		want := in.Range(e, keys)
		t := j.subtree(child, in, e, want, depth+1)
		j.place(in, e, child, t, &sum)
	}
	sum.Depth++
	v.tree, v.state = sum, judged
	return sum
}

// place adds the verdict t on child e of in to the verdict on in itself.
func (j *Judge) place(in *Inner, e int, child block.Nr, t Tree, sum *Tree) {
	sum.Damaged = sum.Damaged || t.Damaged
	if t.N > 0 {
		// Only the bounds that in itself sets: those from above are tested there.
		own := in.Range(e, AllKeys)
		if !own.Contains(t.First, t.Last) {
			err := &BoundsError{child, in.Block, t.First, t.Last, own}
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
		err := fmt.Errorf("block %d: its leaves lie at different depths: %d levels below entry %d, %d below others",
			in.Block, t.Depth, e, sum.Depth)
		j.report(Finding{Kind: UnevenDepth, Block: in.Block, Keys: AllKeys, Err: err})
	}
}

// fill tests that a node that is no root is at least a third full.
func (j *Judge) fill(nr block.Nr, keys KeyRange, n, most int) {
	if n >= most/3 || j.reported[nr] {
		return
	}
	j.reported[nr] = true
	err := fmt.Errorf("block %d: %d entries of %d, want at least %d", nr, n, most, most/3)
	j.report(Finding{Kind: Underfull, Block: nr, Keys: keys, Err: err, N: n, Most: most})
}

// Quirks reports what is unusual about the header of the node at nr.
func (j *Judge) Quirks(nr block.Nr, q Quirks) {
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
