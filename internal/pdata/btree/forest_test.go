package btree_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

const forgeBlocks = 512

// loadForest loads the trees at roots and reads their leaves. It returns how often each leaf was
// read.
func loadForest(t *testing.T, dev block.Device, roots ...block.Nr) (*btree.Forest, map[block.Nr]int) {
	t.Helper()
	f, err := btree.Load(t.Context(), block.NewReader(dev, 2), block.Blocks(dev), 8, roots...)
	if err != nil {
		t.Fatal(err)
	}
	return f, readLeaves(t, f)
}

func readLeaves(t *testing.T, f *btree.Forest) map[block.Nr]int {
	t.Helper()
	var mu sync.Mutex
	came := map[block.Nr]int{}
	err := f.EachLeaf(t.Context(), func(_, leaf int, n btree.Node, err error) error {
		mu.Lock()
		defer mu.Unlock()
		came[f.Leaves()[leaf].Block]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return came
}

// leaf writes a leaf of n entries from key first on.
func leaf(f *fixtures.Forge, first, n uint64) block.Nr {
	return f.Leaf(metadata.Run{Thin: metadata.ThinBlock(first), Data: metadata.DataBlock(first), Len: n})
}

// describe lists in short form what LeafRanges yields.
func describe(f *btree.Forest, root block.Nr) []string {
	var s []string
	for p := range f.LeafRanges(root) {
		switch {
		case p.Err == nil:
			s = append(s, fmt.Sprintf("%v: leaf %d", p.Keys, p.Block))
		default:
			s = append(s, fmt.Sprintf("%v: lost: %v", p.Keys, p.Err))
		}
		if len(s) > 2000 {
			return append(s, "and so on")
		}
	}
	return s
}

// checkState returns the checker's summary, with the kinds and blocks of its findings.
func checkState(f *btree.Forest, root block.Nr) (btree.TreeSummary, []string) {
	names := map[btree.FindingKind]string{
		btree.Lost: "lost", btree.OutOfBounds: "out of bounds", btree.UnevenDepth: "uneven", btree.Underfull: "underfull",
		btree.OddFlags: "flags", btree.OddPadding: "padding", btree.OddCapacity: "capacity",
	}
	var found []string
	tree := btree.NewChecker(f, func(f btree.Finding) {
		if f.Err == nil || f.Err.Error() == "" {
			panic("a finding without a sentence")
		}
		found = append(found, fmt.Sprintf("%s %d", names[f.Kind], f.Block))
	}).CheckTree(root)
	return tree, found
}

func TestForestOfOneTree(t *testing.T) {
	f := fixtures.NewForge(t, forgeBlocks, 100000)
	var leaves, inner []block.Nr
	for i := range uint64(200) {
		leaves = append(leaves, leaf(f, 1000*i, 100))
	}
	inner = append(inner, f.Inner(leaves[:100]...), f.Inner(leaves[100:]...))
	root := f.Inner(inner...)
	forest, came := loadForest(t, f.Mem, root)
	if len(came) != 200 || len(forest.Leaves()) != 200 || len(forest.Inner()) != 3 {
		t.Errorf("%d leaves came of %d, %d inner nodes", len(came), len(forest.Leaves()), len(forest.Inner()))
	}
	got := describe(forest, root)
	if len(got) != 200 || got[0] != fmt.Sprintf("keys 0..999: leaf %d", leaves[0]) || got[199] != fmt.Sprintf("keys from 199000 on: leaf %d", leaves[199]) {
		t.Errorf("%d parts: %s ... %s", len(got), got[0], got[len(got)-1])
	}
	tree, found := checkState(forest, root)
	want := btree.TreeSummary{N: 20000, First: 0, Last: 199099, Depth: 2}
	if found = slices.DeleteFunc(found, func(s string) bool { return s == fmt.Sprint("underfull ", inner[1]) }); tree != want || len(found) > 0 {
		t.Errorf("%+v, want %+v; found %v", tree, want, found)
	}
	if role, i := forest.Role(leaves[7]); role != btree.LeafNode || forest.Leaves()[i].First != 7000 || forest.Leaves()[i].Last != 7099 {
		t.Errorf("leaf 7 is %v, %+v", role, forest.Leaves()[i])
	}
	if role, _ := forest.Role(0); role != btree.BadBlock {
		t.Errorf("block 0 is %v", role)
	}
	if role, _ := forest.Role(forgeBlocks - 1); role != btree.Absent {
		t.Errorf("an unused block is %v", role)
	}
}

// Subtrees shared by trees are read once, even if they come with a later tree.
func TestForestSharing(t *testing.T) {
	f := fixtures.NewForge(t, forgeBlocks, 100000)
	a, b, c := leaf(f, 0, 100), leaf(f, 1000, 100), leaf(f, 2000, 100)
	one, two, three := f.Inner(a, b), f.Inner(a, c), f.Inner(b, c)
	forest, came := loadForest(t, f.Mem, one, two, one)
	if diff := cmp.Diff(map[block.Nr]int{a: 1, b: 1, c: 1}, came); diff != "" {
		t.Errorf("leaves (-want +got):\n%s", diff)
	}
	if err := forest.Add(t.Context(), three, a, one); err != nil {
		t.Fatal(err)
	}
	if came := readLeaves(t, forest); len(came) > 0 {
		t.Errorf("read again: %v", came)
	}
	if len(forest.Inner()) != 3 || len(forest.Leaves()) != 3 {
		t.Errorf("%d inner nodes, %d leaves", len(forest.Inner()), len(forest.Leaves()))
	}
	again := 0
	err := forest.RereadLeaves(t.Context(), func(_, _ int, n btree.Node, err error) error {
		if n.Len() == 100 {
			again++ // one worker reads these few
		}
		return err
	})
	if err != nil || again != 3 {
		t.Errorf("AgainEachLeaf: %d leaves, %v", again, err)
	}
}

// Each kind of damage only costs the part below it and is reported once. The tree is a node R
// above the leaves A, B and C with keys from 0, 1000 and 2000 on, an empty leaf E, and a node D
// above B and C. X is beyond the end.
func TestForestDamage(t *testing.T) {
	for name, tc := range map[string]struct {
		tree  string // children of R: key and block
		fail  bool   // fail reads of B
		parts string
		found string
		want  btree.TreeSummary
	}{
		"pointer beyond the end": {
			"0A 1000X 2000C", false, "A, lost 1000..1999, C", "lost R",
			btree.TreeSummary{N: 200, Last: 2099, Depth: 1, Damaged: true},
		},
		"pointer to the superblock": {"0A 1000S", false, "A, lost 1000..", "lost R", btree.TreeSummary{N: 100, Last: 99, Depth: 1, Damaged: true}},
		"unreadable leaf, twice": {
			"0A 1000B 1500B 2000C", true, "A, lost 1000..1499, lost 1500..1999, C", "lost B",
			btree.TreeSummary{N: 200, Last: 2099, Depth: 1, Damaged: true},
		},
		"unreadable first leaf": {
			"1000B 2000C", true, "lost 1000..1999, C", "lost B",
			btree.TreeSummary{N: 100, First: 2000, Last: 2099, Depth: 1, Damaged: true},
		},
		"nothing readable": {"1000B 2000X", true, "lost 1000..1999, lost 2000..", "lost B, lost R", btree.TreeSummary{Damaged: true}},
		"empty leaf":       {"0A 1000E 2000C", false, "A, E, C", "underfull E", btree.TreeSummary{N: 200, Last: 2099, Depth: 1}},
		"internal node among leaves": {
			"0A 1000D", false, "A, B, C", "underfull D, uneven R",
			btree.TreeSummary{N: 300, Last: 2099, Depth: 1},
		},
		"leaf among internal nodes": {
			"0D 3000E", false, "B, C, E", "underfull D, underfull E, uneven R",
			btree.TreeSummary{N: 200, First: 1000, Last: 2099, Depth: 2},
		},
		"leaves of other keys": {
			"0C 500A", false, "C, A", "out of bounds C, out of bounds A",
			btree.TreeSummary{N: 200, First: 2000, Last: 2099, Depth: 1, Damaged: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := fixtures.NewForge(t, forgeBlocks, 100000)
			blocks := map[byte]block.Nr{'X': forgeBlocks, 'S': 0, 'E': f.Leaf()}
			for i, c := range []byte("ABC") {
				blocks[c] = leaf(f, uint64(1000*i), 100)
			}
			blocks['D'] = f.Inner(blocks['B'], blocks['C'])
			var children []btree.Child
			for word := range strings.FieldsSeq(tc.tree) {
				var key uint64
				var c byte
				if _, err := fmt.Sscanf(word, "%d%c", &key, &c); err != nil {
					t.Fatal(err)
				}
				children = append(children, btree.Child{Key: key, Block: blocks[c]})
			}
			blocks['R'] = f.InnerAt(f.Next(), children...)
			if tc.fail {
				f.FailReads(blocks['B'])
			}
			named := func(nr block.Nr) string {
				for c, b := range blocks {
					if b == nr {
						return string(rune(c))
					}
				}
				return "?"
			}
			forest, _ := loadForest(t, f.Mem, blocks['R'])
			var parts []string
			for p := range forest.LeafRanges(blocks['R']) {
				if p.Err != nil {
					parts = append(parts, "lost "+strings.TrimSuffix(fmt.Sprintf("%d..%d", p.Keys.First, p.Keys.Last), fmt.Sprint(^uint64(0))))
				} else {
					parts = append(parts, named(p.Block))
				}
			}
			if diff := cmp.Diff(tc.parts, strings.Join(parts, ", ")); diff != "" {
				t.Errorf("parts (-want +got):\n%s", diff)
			}
			tree, findings := checkState(forest, blocks['R'])
			var found []string
			for _, f := range findings {
				at := strings.LastIndexByte(f, ' ')
				var nr block.Nr
				fmt.Sscan(f[at:], &nr)
				found = append(found, f[:at+1]+named(nr))
			}
			if diff := cmp.Diff(tc.found, strings.Join(found, ", ")); diff != "" || tree != tc.want {
				t.Errorf("%+v, want %+v; findings (-want +got):\n%s", tree, tc.want, diff)
			}
		})
	}
}

// A node that is its own ancestor, directly or not, is lost the second time.
func TestForestLoops(t *testing.T) {
	f := fixtures.NewForge(t, forgeBlocks, 100000)
	a, b := leaf(f, 0, 100), leaf(f, 1000, 100)
	self, other := f.Next(), f.Next()
	f.InnerAt(self, btree.Child{Key: 0, Block: other}, btree.Child{Key: 500, Block: self})
	f.InnerAt(other, btree.Child{Key: 0, Block: a}, btree.Child{Key: 200, Block: self}, btree.Child{Key: 400, Block: b})
	forest, came := loadForest(t, f.Mem, self)
	if len(came) != 2 {
		t.Errorf("leaves %v", came)
	}
	loop := fmt.Sprintf("lost: block %d: the tree leads back to itself or is deeper than 64 levels", self)
	want := []string{fmt.Sprintf("keys 0..199: leaf %d", a), "keys 200..399: " + loop, fmt.Sprintf("keys 400..499: leaf %d", b), "keys from 500 on: " + loop}
	if diff := cmp.Diff(want, describe(forest, self)); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	tree, found := checkState(forest, self)
	if !tree.Damaged || !slices.Contains(found, fmt.Sprint("lost ", self)) {
		t.Errorf("%+v, %v", tree, found)
	}
}

// If each level points 252 times to the next, there are more paths than atoms in the universe.
func TestForestBomb(t *testing.T) {
	f := fixtures.NewForge(t, forgeBlocks, 100000)
	for name, bottom := range map[string]block.Nr{"entries": leaf(f, 0, 1), "empty": f.Leaf()} {
		t.Run(name, func(t *testing.T) {
			nr := bottom
			for range 40 {
				entries := make([]btree.Child, 252)
				for i := range entries {
					entries[i] = btree.Child{Key: uint64(i), Block: nr}
				}
				nr = f.InnerAt(f.Next(), entries...)
			}
			start := time.Now()
			forest, _ := loadForest(t, f.Mem, nr)
			checkState(forest, nr)
			if parts := describe(forest, nr); len(parts) > 252*41 {
				t.Errorf("%d parts", len(parts))
			}
			devices := make([]metadata.Device, 100)
			for i := range devices {
				devices[i] = metadata.Device{ID: metadata.DevID(i), Root: nr}
			}
			metadata.LeafSharing(forest, devices)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// A chain too deep for the kernel is lost at its end, even if the lower part alone is fine and was
// checked before.
func TestForestDepth(t *testing.T) {
	f := fixtures.NewForge(t, forgeBlocks, 100000)
	chain := []block.Nr{leaf(f, 0, 100)}
	for range 100 {
		chain = append(chain, f.Inner(chain[len(chain)-1]))
	}
	forest, _ := loadForest(t, f.Mem, chain...)
	checker := btree.NewChecker(forest, func(btree.Finding) {})
	for levels, root := range chain {
		tree, parts := checker.CheckTree(root), describe(forest, root)
		whole := strings.Contains(parts[0], ": leaf ")
		_, found, err := btree.Lookup(block.NewReader(f.Mem, 1), forgeBlocks, root, 8, 0)
		if want := levels <= 64; whole != want || tree.Damaged == want || (err == nil && found) != want {
			t.Errorf("%d levels: parts %v, damaged %v, lookup %v %v", levels, parts, tree.Damaged, found, err)
		}
	}
}

// Cancelling the context stops the read.
func TestForestCancel(t *testing.T) {
	f := fixtures.NewForge(t, forgeBlocks, 100000)
	root := f.Inner(leaf(f, 0, 10), leaf(f, 100, 10))
	ctx, cancel := context.WithCancel(t.Context())
	forest, err := btree.Load(ctx, block.NewReader(f.Mem, 1), forgeBlocks, 8, root)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := forest.EachLeaf(ctx, func(int, int, btree.Node, error) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("EachLeaf: %v", err)
	}
	if _, err := btree.Load(ctx, block.NewReader(f.Mem, 1), forgeBlocks, 8, root); !errors.Is(err, context.Canceled) {
		t.Errorf("Load: %v", err)
	}
}
