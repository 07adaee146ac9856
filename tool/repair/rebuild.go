package repair

import (
	"thinpool/internal/pdata/btree"
	"thinpool/metadata/block"
)

// joinSubtrees writes an internal node at nr above subtrees in ascending order. Shallower subtrees
// get internal nodes with a single child.
func (m *medium) joinSubtrees(nr block.Nr, children []subtree) (subtree, error) {
	if len(children) == 0 {
		return subtree{block: nr}, nil
	}
	depth := 0
	for _, c := range children {
		depth = max(depth, c.depth)
	}
	var b block.Data
	d := btree.NewNodeBuilder(&b, false, btree.PointerSize)
	sum := subtree{block: nr, first: children[0].first, depth: depth + 1}
	for _, c := range children {
		c, err := m.deepen(c, depth)
		if err != nil {
			return c, err
		}
		d.AddUint64(c.first, uint64(c.block))
		sum.n, sum.last = sum.n+c.n, c.last
	}
	d.Seal(nr)
	m.overlay.Put(nr, &b)
	return sum, nil
}

// deepen puts internal nodes with a single child above t until it has the given depth.
func (m *medium) deepen(t subtree, depth int) (subtree, error) {
	for t.depth < depth {
		nr, err := m.alloc()
		if err != nil {
			return t, err
		}
		above, err := m.joinSubtrees(nr, []subtree{t})
		if err != nil {
			return t, err
		}
		t = above
	}
	return t, nil
}

// assemble joins subtrees in ascending order into one.
func (m *medium) assemble(parts []subtree) (subtree, error) {
	for len(parts) > 1 {
		var above []subtree
		for size := range btree.FillSizes(len(parts), btree.MaxEntries(btree.PointerSize)) {
			nr, err := m.alloc()
			if err != nil {
				return subtree{}, err
			}
			t, err := m.joinSubtrees(nr, parts[:size])
			if err != nil {
				return subtree{}, err
			}
			above, parts = append(above, t), parts[size:]
		}
		parts = above
	}
	return parts[0], nil
}
