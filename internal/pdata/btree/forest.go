package btree

import (
	"cmp"
	"context"
	"iter"
	"math"
	"slices"
	"sync"

	"thinpool/metadata/block"
)

// A Forest is a set of trees of one kind that may share nodes. It holds the upper part in memory:
// each internal node, once. Leaves are at least 84 of 85 blocks in a healthy tree. A Forest only
// knows their numbers, so they can be read in any order: block order for a check, key order for a
// dump.
//
// A block that cannot be used is kept with its error. The rest of the trees stays readable.
type Forest struct {
	r          *block.Reader
	limit      block.Nr
	valueSize  int
	table      [][]int32 // the role of each block, in pages; see state
	inner      []Inner
	leaves     []Leaf
	leavesRead int // number of leaves that EachLeaf has read

	mu  sync.Mutex // guards bad while leaves are read
	bad map[block.Nr]error
}

// An Inner is an internal node.
type Inner struct {
	Block     block.Nr
	Keys      []uint64 // lower bounds of the children
	Children  []block.Nr
	Cap       int
	Anomalies HeaderAnomalies
}

// A Leaf is what is known about a leaf. Only Block is valid before [Forest.EachLeaf] has read it
// without error.
type Leaf struct {
	Block       block.Nr
	N, Cap      int32  // entries in use, room for entries
	First, Last uint64 // keys, if there are any
}

// A Role is the role of a block in a Forest.
type Role int

// The roles of blocks in a Forest.
const (
	Absent   Role = iota // not in the trees
	BadBlock             // in the trees, but unusable; see [Forest.Err]
	InnerNode
	LeafNode // assumed until the leaf is read
)

// Entries of the table: 0 unknown, i+1 inner node i, -i-1 leaf i.
const (
	pageBits = 12
	unknown  = 0
	badMark  = math.MinInt32
)

// Load reads the internal nodes of the trees at roots, whose leaves have values of valueSize
// bytes. Pointers must be below limit. The error is ctx's; damage and read errors are kept in the
// Forest.
func Load(ctx context.Context, r *block.Reader, limit block.Nr, valueSize int, roots ...block.Nr) (*Forest, error) {
	limit = min(limit, r.Blocks()) // blocks beyond the device cannot be read either
	f := &Forest{r: r, limit: limit, valueSize: valueSize, bad: map[block.Nr]error{}}
	f.table = make([][]int32, limit>>pageBits+1)
	return f, f.Add(ctx, roots...)
}

// Add reads the internal nodes of more trees.
func (f *Forest) Add(ctx context.Context, roots ...block.Nr) error {
	unread := slices.DeleteFunc(slices.Clone(roots), func(nr block.Nr) bool { return f.state(nr) != unknown })
	found, err := f.readNodes(ctx, unread)
	if err != nil {
		return err
	}
	return f.grow(ctx, found)
}

// grow reads everything below the given inner nodes, level by level, each level in block order.
// All leaves of a tree have the same depth, so the first readable child of a node tells what all
// are. Only damaged trees, where this is wrong, need a second pass, by EachLeaf.
func (f *Forest) grow(ctx context.Context, pending []int) error {
	for len(pending) > 0 {
		var guides []block.Nr
		for _, i := range pending {
			if c, role := f.firstUsableChild(i); role == Absent && c != 0 {
				guides = append(guides, c)
			}
		}
		next, err := f.readNodes(ctx, guides)
		if err != nil {
			return err
		}
		var rest []block.Nr
		for _, i := range pending {
			switch c, role := f.firstUsableChild(i); {
			case c == 0: // all children are bad
			case role == Absent: // the child just read was bad, so try another
				next = append(next, i)
			default:
				for _, c := range f.inner[i].Children {
					if f.state(c) != unknown || !f.inside(c) {
						continue
					}
					if role == LeafNode {
						f.addLeaf(c)
					} else {
						rest = append(rest, c)
					}
				}
			}
		}
		more, err := f.readNodes(ctx, rest)
		if err != nil {
			return err
		}
		pending = append(next, more...)
	}
	return nil
}

// firstUsableChild returns the first child of inner node i that is not known to be bad; 0 if there
// is none.
func (f *Forest) firstUsableChild(i int) (block.Nr, Role) {
	for _, c := range f.inner[i].Children {
		if role, _ := f.Role(c); role != BadBlock {
			return c, role
		}
	}
	return 0, BadBlock
}

// readNodes reads blocks with unknown roles and returns the new inner nodes.
func (f *Forest) readNodes(ctx context.Context, nrs []block.Nr) ([]int, error) {
	slices.Sort(nrs)
	nrs = slices.Compact(nrs)
	nrs = slices.DeleteFunc(nrs, func(nr block.Nr) bool { return !f.inside(nr) })
	type result struct {
		inner *Inner
		err   error
	}
	results := make([]result, len(nrs))
	err := f.r.Each(ctx, slices.Values(nrs), func(_ int, nr block.Nr, b *block.Data, err error) error {
		i, _ := slices.BinarySearch(nrs, nr)
		var n Node
		if err == nil {
			n, err = Decode(nr, b, f.valueSize)
		}
		results[i].err = err
		if err == nil && !n.Leaf() {
			results[i].inner = newInner(nr, n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var found []int
	for i, res := range results {
		switch {
		case res.err != nil:
			f.setBad(nrs[i], res.err)
		case res.inner != nil:
			found = append(found, f.addInner(*res.inner))
		default:
			f.addLeaf(nrs[i])
		}
	}
	return found, nil
}

func newInner(nr block.Nr, n Node) *Inner {
	in := &Inner{nr, make([]uint64, n.Len()), make([]block.Nr, n.Len()), n.Cap(), n.HeaderAnomalies()}
	for i := range n.Len() {
		in.Keys[i], in.Children[i] = n.Key(i), block.Nr(n.Uint64(i))
	}
	return in
}

func (f *Forest) inside(nr block.Nr) bool { return nr > 0 && nr < f.limit }

// state returns the table's entry for nr.
func (f *Forest) state(nr block.Nr) int32 {
	if !f.inside(nr) {
		return badMark
	}
	page := f.table[nr>>pageBits]
	if page == nil {
		return unknown
	}
	return page[nr%(1<<pageBits)]
}

func (f *Forest) setState(nr block.Nr, s int32) {
	page := &f.table[nr>>pageBits]
	if *page == nil {
		*page = make([]int32, 1<<pageBits)
	}
	(*page)[nr%(1<<pageBits)] = s
}

func (f *Forest) addInner(in Inner) int {
	f.inner = append(f.inner, in)
	f.setState(in.Block, int32(len(f.inner)))
	return len(f.inner) - 1
}

func (f *Forest) addLeaf(nr block.Nr) {
	f.leaves = append(f.leaves, Leaf{Block: nr})
	f.setState(nr, int32(-len(f.leaves)))
}

func (f *Forest) setBad(nr block.Nr, err error) {
	f.bad[nr] = err
	f.setState(nr, badMark)
}

// Role returns the role of block nr, and its index among the inner nodes or leaves. A pointer
// outside the metadata is a bad block.
func (f *Forest) Role(nr block.Nr) (Role, int) {
	switch s := f.state(nr); {
	case s == unknown:
		return Absent, 0
	case s == badMark:
		return BadBlock, 0
	case s > 0:
		return InnerNode, int(s - 1)
	default:
		return LeafNode, int(-s - 1)
	}
}

// Err returns why block nr, child i of the inner node at parent, is a bad block.
func (f *Forest) Err(nr, parent block.Nr, i int) error {
	if !f.inside(nr) {
		return &PointerError{parent, i, uint64(nr), f.limit}
	}
	return f.bad[nr]
}

// Inner returns the inner nodes. They must not be changed.
func (f *Forest) Inner() []Inner { return f.inner }

// Leaves returns the leaves. They must not be changed. A leaf that turned out to be something else
// stays in the list, but [Forest.Role] no longer returns it.
func (f *Forest) Leaves() []Leaf { return f.leaves }

// EachLeaf reads the unread leaves in block order and calls fn for each, from several goroutines.
// worker is the number of the goroutine; leaf is the index in [Forest.Leaves]. An unusable leaf
// comes with an error and is a bad block from then on. An error from fn stops the read and is
// returned.
func (f *Forest) EachLeaf(ctx context.Context, fn func(worker, leaf int, n Node, err error) error) error {
	for f.leavesRead < len(f.leaves) {
		first := f.leavesRead
		f.leavesRead = len(f.leaves)
		inners, err := f.readLeaves(ctx, first, fn)
		if err != nil {
			return err
		}
		var found []int
		slices.SortFunc(inners, func(a, b *Inner) int { return cmp.Compare(a.Block, b.Block) })
		for _, in := range inners {
			found = append(found, f.addInner(*in))
		}
		if err := f.grow(ctx, found); err != nil {
			return err
		}
	}
	return nil
}

// RereadLeaves rereads all leaves that EachLeaf found good.
func (f *Forest) RereadLeaves(ctx context.Context, fn func(worker, leaf int, n Node, err error) error) error {
	_, err := f.readLeaves(ctx, 0, fn)
	return err
}

// readLeaves reads the leaves from index first on. It returns those that turned out to be internal
// nodes.
func (f *Forest) readLeaves(ctx context.Context, first int, fn func(worker, leaf int, n Node, err error) error) ([]*Inner, error) {
	var inners []*Inner
	var broken []block.Nr
	err := f.r.Each(ctx, f.leafBlocks(first), func(worker int, nr block.Nr, b *block.Data, err error) error {
		_, i := f.Role(nr)
		var n Node
		if err == nil {
			n, err = Decode(nr, b, f.valueSize)
		}
		switch {
		case err != nil:
			f.mu.Lock()
			f.bad[nr] = err
			broken = append(broken, nr)
			f.mu.Unlock()
		case !n.Leaf():
			f.mu.Lock()
			inners = append(inners, newInner(nr, n))
			f.mu.Unlock()
			return nil
		default:
			l := Leaf{Block: nr, N: int32(n.Len()), Cap: int32(n.Cap())}
			if n.Len() > 0 {
				l.First, l.Last = n.Key(0), n.Key(n.Len()-1)
			}
			f.leaves[i] = l
		}
		return fn(worker, i, n, err)
	})
	for _, nr := range broken {
		f.setState(nr, badMark)
	}
	return inners, err
}

// leafBlocks yields the blocks of the leaves from index first on, ascending.
func (f *Forest) leafBlocks(first int) iter.Seq[block.Nr] {
	return func(yield func(block.Nr) bool) {
		for p, page := range f.table {
			for i, s := range page {
				if s < 0 && s != badMark && int(-s-1) >= first && !yield(block.Nr(p<<pageBits|i)) {
					return
				}
			}
		}
	}
}

// A LeafRange is a leaf or a lost part of a tree, in key order.
type LeafRange struct {
	Keys  KeyRange // allowed by its parents
	Block block.Nr
	Leaf  int   // index in [Forest.Leaves] if Err is nil
	Err   error // why the part is lost
}

// CheckBounds returns a [BoundsError] if the leaf n has keys outside the range its parents allow.
func (p *LeafRange) CheckBounds(parent block.Nr, n Node) error {
	if n.Len() == 0 {
		return nil
	}
	return p.Keys.CheckBounds(p.Block, parent, n.Key(0), n.Key(n.Len()-1))
}

// LeafRanges yields the leaves and lost parts of the tree at root, in key order. If the tree
// reaches a node twice, the second time it is lost, which ends loops.
func (f *Forest) LeafRanges(root block.Nr) iter.Seq[LeafRange] {
	return func(yield func(LeafRange) bool) {
		f.leafRanges(root, 0, 0, AllKeys, map[int]bool{}, 0, yield)
	}
}

func (f *Forest) leafRanges(nr, parent block.Nr, entry int, keys KeyRange, seen map[int]bool, depth int, yield func(LeafRange) bool) bool {
	role, i := f.Role(nr)
	switch {
	case role == LeafNode:
		return yield(LeafRange{keys, nr, i, nil})
	case role != InnerNode:
		return yield(LeafRange{keys, nr, 0, f.Err(nr, parent, entry)})
	case seen[i] || depth == MaxDepth:
		return yield(LeafRange{keys, nr, 0, &LoopError{nr}})
	}
	seen[i] = true
	in := &f.inner[i]
	for j, c := range in.Children {
		if !f.leafRanges(c, nr, j, in.ChildRange(j, keys), seen, depth+1, yield) {
			return false
		}
	}
	return true
}

// LeafValues reads small trees completely: it yields the entries of the tree at root in key order.
// An error comes last, once; it is that of the first lost part.
func LeafValues(ctx context.Context, r *block.Reader, limit, root block.Nr, valueSize int) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		f, err := Load(ctx, r, limit, valueSize, root)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		var b block.Data
		for part := range f.LeafRanges(root) {
			err := part.Err
			if err == nil {
				err = r.Read(part.Block, &b)
			}
			var n Node
			if err == nil {
				n, err = Decode(part.Block, &b, valueSize)
			}
			if err == nil && !n.Leaf() {
				err = &MisplacedError{part.Block}
			}
			if err == nil {
				err = part.CheckBounds(0, n)
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for key, value := range n.All() {
				if !yield(Entry{key, value}, nil) {
					return
				}
			}
		}
	}
}

// An Entry is a key and its value. The value is valid until the next entry.
type Entry struct {
	Key   uint64
	Value []byte
}
