package btree

import (
	"context"
	"iter"
	"maps"
	"slices"

	"thinpool/metadata/block"
)

// A Side says which of two trees something is part of.
type Side uint8

// The sides of a [Pair].
const (
	Left Side = 1 << iota
	Right
	Both = Left | Right // the same block with the same keys
)

// PairOptions say what of two trees is of interest.
type PairOptions struct {
	End  uint64 // if not 0, keys from here on are left out
	Same bool   // what the trees share is wanted, too, once
}

// A Pair is two trees side by side, down to their leaves. A subtree that both have
// at the same place is part of Both; unless it is wanted none of its nodes is read.
type Pair struct {
	left, right []twig
}

// A PairPart is a leaf, or a lost piece, of one tree or of both.
type PairPart struct {
	Part // its Leaf is not set
	Side Side
}

// A twig is a node that was met on the way down.
type twig struct {
	Part
	parent block.Nr
	shared bool
}

// LoadPair reads the internal nodes in which the trees at left and right differ,
// level by level, each level in block order. The error is ctx's; damage and failed
// reads are kept in the Pair.
func LoadPair(ctx context.Context, r *block.Reader, limit block.Nr, valueSize int, left, right block.Nr, opt PairOptions) (*Pair, error) {
	p := &Pair{}
	if left == right && !opt.Same {
		return p, nil
	}
	f, err := Load(ctx, r, limit, valueSize)
	if err != nil {
		return nil, err
	}
	d := descent{f: f, opt: opt, left: newBranch(left), right: newBranch(right)}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	return &Pair{d.left.twigs, d.right.twigs}, nil
}

// Parts yields the parts of both trees by the first key that is theirs.
func (p *Pair) Parts() iter.Seq[PairPart] {
	return func(yield func(PairPart) bool) {
		left, right := p.left, p.right
		for len(left) > 0 || len(right) > 0 {
			part := PairPart{Side: Left}
			if len(left) == 0 || len(right) > 0 && right[0].Keys.Begin < left[0].Keys.Begin {
				part.Part, part.Side, right = right[0].Part, Right, right[1:]
			} else {
				if left[0].shared {
					part.Side = Both
				}
				part.Part, left = left[0].Part, left[1:]
			}
			if !yield(part) {
				return
			}
		}
	}
}

// Len is the number of parts.
func (p *Pair) Len() int { return len(p.left) + len(p.right) }

// A branch is one of the trees on the way down.
type branch struct {
	root   block.Nr
	height int    // levels of internal nodes
	twigs  []twig // in key order; all nodes of one level, and what lies above and has no children
	seen   map[block.Nr]bool
}

func newBranch(root block.Nr) branch { return branch{root: root, seen: map[block.Nr]bool{}} }

type descent struct {
	f           *Forest // knows the nodes that were read
	opt         PairOptions
	left, right branch
}

// run goes down both trees at once. Levels are counted from the leaves, as trees that
// share nodes may differ in height: a tree grows at its root.
func (d *descent) run(ctx context.Context) error {
	for _, b := range []*branch{&d.left, &d.right} {
		var err error
		if b.height, err = d.f.height(ctx, b.root); err != nil {
			return err
		}
	}
	for level := max(d.left.height, d.right.height); level >= 0; level-- {
		for _, b := range []*branch{&d.left, &d.right} {
			if b.height == level {
				b.twigs = []twig{d.twig(b.root, 0, 0, AllKeys)}
			}
		}
		d.match()
		if level == 0 {
			break
		}
		if err := d.read(ctx); err != nil {
			return err
		}
		d.expand(&d.left)
		d.expand(&d.right)
	}
	return nil
}

// height is the number of internal nodes above the first leaf of the tree at root.
func (f *Forest) height(ctx context.Context, root block.Nr) (int, error) {
	nodes := []block.Nr{root}
	for height := range MaxDepth {
		var inner *Inner
		for _, nr := range nodes { // any that is good will do
			kind, i := f.Kind(nr)
			if kind == Absent {
				if _, err := f.readNodes(ctx, []block.Nr{nr}); err != nil {
					return 0, err
				}
				kind, i = f.Kind(nr)
			}
			if kind == LeafNode {
				return height, nil
			}
			if kind == InnerNode {
				inner = &f.inner[i]
				break
			}
		}
		if inner == nil { // all are bad, and stand where leaves would
			return height, nil
		}
		nodes = inner.Children
	}
	return MaxDepth, nil
}

// twig makes a twig of child entry of parent.
func (d *descent) twig(nr, parent block.Nr, entry int, keys KeyRange) twig {
	t := twig{Part: Part{Keys: keys, Block: nr}, parent: parent}
	if !d.f.inside(nr) {
		t.Err = d.f.Err(nr, parent, entry)
	}
	return t
}

// match finds what both trees have at the same place. It stays with the left one if it
// is wanted. The place is the range of keys: only then would reading find the
// same in both.
func (d *descent) match() {
	left, right := d.left.twigs, d.right.twigs
	var keptLeft, keptRight []twig
	for len(left) > 0 && len(right) > 0 {
		l, r := left[0], right[0]
		switch {
		case !l.shared && l.Block == r.Block && l.Keys == r.Keys:
			if d.opt.Same {
				l.shared = true
				keptLeft = append(keptLeft, l)
			}
			left, right = left[1:], right[1:]
		case l.shared || l.Keys.Begin <= r.Keys.Begin:
			keptLeft, left = append(keptLeft, l), left[1:]
		default:
			keptRight, right = append(keptRight, r), right[1:]
		}
	}
	d.left.twigs, d.right.twigs = append(keptLeft, left...), append(keptRight, right...)
}

// read reads the nodes of this level.
func (d *descent) read(ctx context.Context) error {
	unread := map[block.Nr]bool{}
	for _, twigs := range [][]twig{d.left.twigs, d.right.twigs} {
		for _, t := range twigs {
			if kind, _ := d.f.Kind(t.Block); kind == Absent {
				unread[t.Block] = true
			}
		}
	}
	_, err := d.f.readNodes(ctx, slices.Collect(maps.Keys(unread)))
	return err
}

// expand replaces the internal nodes of this level by their children.
func (d *descent) expand(b *branch) {
	var next []twig
	for _, t := range b.twigs {
		kind, i := d.f.Kind(t.Block)
		switch {
		case t.Err != nil:
		case kind == BadBlock:
			t.Err = d.f.bad[t.Block]
		case kind == InnerNode && b.seen[t.Block]:
			t.Err = &LoopError{t.Block} // as in Forest.Parts
		case kind == InnerNode:
			b.seen[t.Block] = true
			next = d.children(next, &d.f.inner[i], t)
			continue
		}
		next = append(next, t)
	}
	b.twigs = next
}

// children appends the children of a node that hold keys of interest. A child for which
// the parents leave no keys is lost: what comes after it would not be in order.
func (d *descent) children(dst []twig, in *Inner, t twig) []twig {
	for i, c := range in.Children {
		keys := in.Range(i, t.Keys)
		if d.opt.End != 0 && keys.Begin >= d.opt.End {
			break
		}
		child := d.twig(c, in.Block, i, keys)
		child.shared = t.shared
		if keys.End != 0 && keys.Begin >= keys.End {
			child.Err = &BoundsError{in.Block, t.parent, in.Keys[0], in.Keys[len(in.Keys)-1], t.Keys}
		}
		dst = append(dst, child)
	}
	return dst
}
