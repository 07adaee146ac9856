package btree

import (
	"thinpool/metadata/block"
)

// Lookup finds key in the tree at root and returns a copy of its value; false if the tree does not
// have the key. It reads one block per level. Pointers must be below limit.
func Lookup(r *block.Reader, limit, root block.Nr, valueSize int, key uint64) ([]byte, bool, error) {
	var b block.Data
	parent, entry := block.Nr(0), 0
	for range MaxDepth + 1 { // and a leaf
		if root == 0 || root >= limit {
			return nil, false, &PointerError{parent, entry, uint64(root), limit}
		}
		if err := r.Read(root, &b); err != nil {
			return nil, false, err
		}
		n, err := Decode(root, &b, valueSize)
		if err != nil {
			return nil, false, err
		}
		i := n.Search(key)
		switch {
		case i < 0:
			return nil, false, nil
		case n.Leaf():
			return n.Value(i), n.Key(i) == key, nil
		}
		parent, entry, root = root, i, block.Nr(n.Uint64(i))
	}
	return nil, false, &LoopError{root}
}

// Last finds the highest key of the tree at root; false if the tree is empty. It reads one block
// per level, unless the last leaves are empty.
func Last(r *block.Reader, limit, root block.Nr, valueSize int) (key uint64, ok bool, err error) {
	l := lastKeyWalk{r, limit, valueSize, map[block.Nr]bool{}}
	return l.below(root, 0, 0, 0)
}

type lastKeyWalk struct {
	r         *block.Reader
	limit     block.Nr
	valueSize int
	seen      map[block.Nr]bool
}

func (l *lastKeyWalk) below(nr, parent block.Nr, entry, depth int) (uint64, bool, error) {
	var b block.Data
	switch {
	case nr == 0 || nr >= l.limit:
		return 0, false, &PointerError{parent, entry, uint64(nr), l.limit}
	case l.seen[nr] || depth == MaxDepth:
		return 0, false, &LoopError{nr}
	}
	l.seen[nr] = true
	if err := l.r.Read(nr, &b); err != nil {
		return 0, false, err
	}
	n, err := Decode(nr, &b, l.valueSize)
	if err != nil {
		return 0, false, err
	}
	if n.Leaf() {
		if n.Len() == 0 {
			return 0, false, nil
		}
		return n.Key(n.Len() - 1), true, nil
	}
	for i := n.Len() - 1; i >= 0; i-- {
		if key, ok, err := l.below(block.Nr(n.Uint64(i)), nr, i, depth+1); ok || err != nil {
			return key, ok, err
		}
	}
	return 0, false, nil
}
