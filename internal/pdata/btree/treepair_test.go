package btree_test

import (
	"slices"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A spot is the place of a block in a tree.
type spot struct {
	nr   block.Nr
	keys btree.KeyRange
}

// A pair has the parts of both trees, each in order. Parts that both have at the same place are
// marked as shared.
func TestPairHasAllParts(t *testing.T) {
	for _, name := range fixtures.Names() {
		p, err := metadata.Open(fixtures.Mem(t, name), metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var roots []block.Nr
		for d, err := range p.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			roots = append(roots, d.Root)
		}
		for i := range min(len(roots), 40) {
			left, right := roots[i], roots[len(roots)-1-i]
			f, err := btree.Load(t.Context(), p.Reader(), p.Limit(), metadata.MappingSize, left, right)
			if err != nil {
				t.Fatal(err)
			}
			var want [2][]spot
			for side, root := range []block.Nr{left, right} {
				for part := range f.LeafRanges(root) {
					want[side] = append(want[side], spot{part.Block, part.Keys})
				}
			}
			for _, same := range []bool{true, false} {
				checkPair(t, p, left, right, same, want)
			}
		}
	}
}

func checkPair(t *testing.T, p *metadata.Pool, left, right block.Nr, same bool, want [2][]spot) {
	t.Helper()
	pair, err := btree.LoadTreePair(t.Context(), p.Reader(), p.Limit(), metadata.MappingSize, left, right, btree.PairOptions{Same: same})
	if err != nil {
		t.Fatal(err)
	}
	if !same {
		shared := func(in []spot) func(spot) bool {
			return func(s spot) bool { return slices.Contains(in, s) }
		}
		want = [2][]spot{slices.DeleteFunc(slices.Clone(want[0]), shared(want[1])), slices.DeleteFunc(slices.Clone(want[1]), shared(want[0]))}
	}
	var got [2][]spot
	n, last := 0, uint64(0)
	for part := range pair.LeafRanges() {
		if part.Err != nil || part.Keys.First < last {
			t.Fatalf("%v: %v after %d", part.Keys, part.Err, last)
		}
		n, last = n+1, part.Keys.First
		at := spot{part.Block, part.Keys}
		if both := slices.Contains(want[0], at) && slices.Contains(want[1], at); both != (part.Side == btree.Both) {
			t.Errorf("block %d, %v: side %d, in both trees: %v", part.Block, part.Keys, part.Side, both)
		}
		for side := range got {
			if part.Side&(btree.Left<<side) != 0 {
				got[side] = append(got[side], at)
			}
		}
	}
	if !slices.Equal(got[0], want[0]) || !slices.Equal(got[1], want[1]) || n != pair.Len() {
		t.Errorf("trees at %d and %d, same %v: %d parts are not those of the trees", left, right, same, n)
	}
}

// Trees of different heights still share their leaves: a tree grows at its root.
func TestPairHeights(t *testing.T) {
	f := fixtures.NewForge(t, 60, 10000)
	var leaves []block.Nr
	for i := range uint64(6) {
		leaves = append(leaves, f.Leaf(metadata.Run{Thin: metadata.ThinBlock(10 * i), Data: metadata.DataBlock(100 * i), Len: 5}))
	}
	low := f.Inner(leaves[0], leaves[1], leaves[2])
	high := f.Inner(f.Inner(leaves[0], leaves[1]), f.Inner(leaves[2], leaves[3], leaves[4]))
	f.Device(1, low)
	f.Device(2, high)
	f.Device(3, leaves[5])
	dev := f.Finish()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sides := func(left, right block.Nr, opt btree.PairOptions) string {
		pair, err := btree.LoadTreePair(t.Context(), p.Reader(), p.Limit(), metadata.MappingSize, left, right, opt)
		if err != nil {
			t.Fatal(err)
		}
		var s []byte
		for part := range pair.LeafRanges() {
			s = append(s, " lrb"[part.Side])
		}
		return string(s)
	}
	// The third leaf is the last on the left, so its range differs there: not the same place.
	for _, tc := range []struct {
		left, right block.Nr
		opt         btree.PairOptions
		want        string
	}{
		{low, high, btree.PairOptions{Same: true}, "bblrrr"},
		{high, low, btree.PairOptions{Same: true}, "bblrll"},
		{low, high, btree.PairOptions{}, "lrrr"},
		{low, high, btree.PairOptions{Same: true, End: 20}, "bb"},
		{low, leaves[5], btree.PairOptions{Same: true}, "lrll"},
		{high, high, btree.PairOptions{Same: true}, "bbbbb"},
		{high, high, btree.PairOptions{}, ""},
	} {
		if got := sides(tc.left, tc.right, tc.opt); got != tc.want {
			t.Errorf("%d and %d, %+v: %q, want %q", tc.left, tc.right, tc.opt, got, tc.want)
		}
	}
}
