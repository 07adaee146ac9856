package btree

import (
	"thinpool/metadata/block"
)

// Lookup finds key in the tree at root and returns a copy of its value; false
// if the tree has no such key. It reads one block a level. Pointers must lie
// below limit.
func Lookup(r *block.Reader, limit, root block.Nr, valueSize int, key uint64) ([]byte, bool, error) {
	var b block.Data
	parent, entry := block.Nr(0), 0
	for range maxDepth {
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
