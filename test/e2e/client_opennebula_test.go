package e2e

import "testing"

// OpenNebula/one (src/tm_mad/lib/backup_lvmthin.rb, src/onebex/exporters/lvm.rb) looks up paths
// with REXML.
func TestClient_opennebula(t *testing.T) {
	t.Parallel()
	path := heldPool(t)
	root := must(parseTree(asked(t, "thin_delta", "--metadata-snap", "--thin1", "1", "--thin2", "2", path)))
	if root.tag != "superblock" || root.number(t, "data_block_size") == 0 {
		t.Fatalf("the root is %+v", root)
	}
	var found []stretch
	for _, e := range root.child(t, "diff").children {
		found = append(found, e.stretch(t))
	}
	want := read(t, path, true).delta(1, 2)
	for _, tag := range []string{"different", "right_only"} { // //superblock/diff/TAG
		if got := onlyTags(found, tag); len(got) != len(onlyTags(want, tag)) {
			t.Errorf("%d elements %s", len(got), tag)
		}
	}
	sameStretches(t, onlyTags(found, "different", "right_only"), onlyTags(want, "different", "right_only"))
}
