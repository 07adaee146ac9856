package btree

import (
	"context"
	"iter"
	"maps"
	"slices"

	"thinpool/metadata/block"
)

// A Side tells which of two trees has something.
type Side uint8

// The sides of a [TreePair].
const (
	Left Side = 1 << iota
	Right
	Both = Left | Right // the same block with the same keys
)

// PairOptions select what to read of two trees.
type PairOptions struct {
	End  uint64 // if not 0, leave out keys from here on
	Same bool   // also yield what the trees share, once
}

// A TreePair is two trees side by side, down to their leaves. A subtree that both have at the same
// place belongs to Both. None of its nodes is read unless it was asked for.
type TreePair struct {
	left, right []levelNode
}

// A PairRange is a leaf or a lost part of one or both trees.
type PairRange struct {
	LeafRange // its Leaf is not set
	Side      Side
}

// A levelNode is a node met on the way down.
type levelNode struct {
	LeafRange
	parent block.Nr
	shared bool
}

// LoadTreePair reads the internal nodes where the trees at left and right differ, level by level,
// each level in block order. The error is ctx's; damage and read errors are kept in the TreePair.
func LoadTreePair(ctx context.Context, r *block.Reader, limit block.Nr, valueSize int, left, right block.Nr, opt PairOptions) (*TreePair, error) {
	p := &TreePair{}
	if left == right && !opt.Same {
		return p, nil
	}
	f, err := Load(ctx, r, limit, valueSize)
	if err != nil {
		return nil, err
	}
	d := descent{f: f, opt: opt, left: newLevel(left), right: newLevel(right)}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	return &TreePair{d.left.nodes, d.right.nodes}, nil
}

// LeafRanges yields the parts of both trees, by their first key.
func (p *TreePair) LeafRanges() iter.Seq[PairRange] {
	return func(yield func(PairRange) bool) {
		left, right := p.left, p.right
		for len(left) > 0 || len(right) > 0 {
			part := PairRange{Side: Left}
			if len(left) == 0 || len(right) > 0 && right[0].Keys.First < left[0].Keys.First {
				part.LeafRange, part.Side, right = right[0].LeafRange, Right, right[1:]
			} else {
				if left[0].shared {
					part.Side = Both
				}
				part.LeafRange, left = left[0].LeafRange, left[1:]
			}
			if !yield(part) {
				return
			}
		}
	}
}

// Len returns the number of parts.
func (p *TreePair) Len() int { return len(p.left) + len(p.right) }

// A treeLevel is one level of one of the trees on the way down.
type treeLevel struct {
	root   block.Nr
	height int         // levels of internal nodes
	nodes  []levelNode // in key order; all nodes of one level, and childless nodes above it
	seen   map[block.Nr]bool
}

func newLevel(root block.Nr) treeLevel { return treeLevel{root: root, seen: map[block.Nr]bool{}} }

type descent struct {
	f           *Forest // has the nodes read
	opt         PairOptions
	left, right treeLevel
}

// run descends both trees together. Levels are counted from the leaves, because trees that share
// nodes may differ in height: a tree grows at its root.
func (d *descent) run(ctx context.Context) error {
	for _, b := range []*treeLevel{&d.left, &d.right} {
		var err error
		if b.height, err = d.f.height(ctx, b.root); err != nil {
			return err
		}
	}
	for level := max(d.left.height, d.right.height); level >= 0; level-- {
		for _, b := range []*treeLevel{&d.left, &d.right} {
			if b.height == level {
				b.nodes = []levelNode{d.newNode(b.root, 0, 0, AllKeys)}
			}
		}
		d.matchShared()
		if level == 0 {
			break
		}
		if err := d.readLevel(ctx); err != nil {
			return err
		}
		d.expandLevel(&d.left)
		d.expandLevel(&d.right)
	}
	return nil
}

// height returns the number of internal nodes above the first leaf of the tree at root.
func (f *Forest) height(ctx context.Context, root block.Nr) (int, error) {
	nodes := []block.Nr{root}
	for height := range MaxDepth {
		var inner *Inner
		for _, nr := range nodes { // any good one will do
			role, i := f.Role(nr)
			if role == Absent {
				if _, err := f.readNodes(ctx, []block.Nr{nr}); err != nil {
					return 0, err
				}
				role, i = f.Role(nr)
			}
			if role == LeafNode {
				return height, nil
			}
			if role == InnerNode {
				inner = &f.inner[i]
				break
			}
		}
		if inner == nil { // all are bad; treat them as leaves
			return height, nil
		}
		nodes = inner.Children
	}
	return MaxDepth, nil
}

// newNode returns a levelNode for child entry of parent.
func (d *descent) newNode(nr, parent block.Nr, entry int, keys KeyRange) levelNode {
	t := levelNode{LeafRange: LeafRange{Keys: keys, Block: nr}, parent: parent}
	if !d.f.inside(nr) {
		t.Err = d.f.Err(nr, parent, entry)
	}
	return t
}

// matchShared finds nodes that both trees have at the same place. If wanted, they stay with the
// left tree. The place is the range of keys: reading only finds the same in both trees if that is
// equal.
func (d *descent) matchShared() {
	left, right := d.left.nodes, d.right.nodes
	var keptLeft, keptRight []levelNode
	for len(left) > 0 && len(right) > 0 {
		l, r := left[0], right[0]
		switch {
		case !l.shared && l.Block == r.Block && l.Keys == r.Keys:
			if d.opt.Same {
				l.shared = true
				keptLeft = append(keptLeft, l)
			}
			left, right = left[1:], right[1:]
		case l.shared || l.Keys.First <= r.Keys.First:
			keptLeft, left = append(keptLeft, l), left[1:]
		default:
			keptRight, right = append(keptRight, r), right[1:]
		}
	}
	d.left.nodes, d.right.nodes = append(keptLeft, left...), append(keptRight, right...)
}

// readLevel reads the nodes of this level.
func (d *descent) readLevel(ctx context.Context) error {
	unread := map[block.Nr]bool{}
	for _, nodes := range [][]levelNode{d.left.nodes, d.right.nodes} {
		for _, t := range nodes {
			if role, _ := d.f.Role(t.Block); role == Absent {
				unread[t.Block] = true
			}
		}
	}
	_, err := d.f.readNodes(ctx, slices.Collect(maps.Keys(unread)))
	return err
}

// expandLevel replaces the internal nodes of this level with their children.
func (d *descent) expandLevel(b *treeLevel) {
	var next []levelNode
	for _, t := range b.nodes {
		role, i := d.f.Role(t.Block)
		switch {
		case t.Err != nil:
		case role == BadBlock:
			t.Err = d.f.bad[t.Block]
		case role == InnerNode && b.seen[t.Block]:
			t.Err = &LoopError{t.Block} // as in Forest.LeafRanges
		case role == InnerNode:
			b.seen[t.Block] = true
			next = d.children(next, &d.f.inner[i], t)
			continue
		}
		next = append(next, t)
	}
	b.nodes = next
}

// children appends the children of a node that hold wanted keys. A child with an empty range is
// lost: anything after it would be out of order.
func (d *descent) children(dst []levelNode, in *Inner, t levelNode) []levelNode {
	for i, c := range in.Children {
		keys := in.ChildRange(i, t.Keys)
		if d.opt.End != 0 && keys.First >= d.opt.End {
			break
		}
		child := d.newNode(c, in.Block, i, keys)
		child.shared = t.shared
		if keys.Empty() {
			child.Err = &BoundsError{in.Block, t.parent, in.Keys[0], in.Keys[len(in.Keys)-1], t.Keys}
		}
		dst = append(dst, child)
	}
	return dst
}
