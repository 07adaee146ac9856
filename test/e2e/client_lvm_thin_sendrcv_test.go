package e2e

import (
	"math"
	"slices"
	"testing"
)

// davidbartonau/lvm-thin-sendrcv (LVMBlockDiff.java) reads all of superblock/diff/*, throws on an
// unknown element name, and uses 32-bit ints.
func TestClient_lvm_thin_sendrcv(t *testing.T) {
	t.Parallel()
	path := heldPool(t)
	root := must(parseTree(asked(t, "thin_delta", "-m", "--snap1", "1", "--snap2", "2", path)))
	var found []stretch
	for _, e := range root.child(t, "diff").children {
		s := e.stretch(t)
		if !slices.Contains([]string{"same", "different", "left_only", "right_only"}, s.tag) || s.begin > math.MaxInt32 || s.length > math.MaxInt32 {
			t.Fatalf("%+v", s)
		}
		found = append(found, s)
	}
	sameStretches(t, found, read(t, path, true).delta(1, 2))
}
