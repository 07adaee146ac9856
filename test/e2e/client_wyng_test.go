package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tasket/wyng-backup (src/wyng) compares the start of the version as text, drops lines with a same
// element, and parses the rest with ElementTree.
func TestClient_wyng(t *testing.T) {
	t.Parallel()
	if version := asked(t, "thin_delta", "-V"); version[:5] < "0.7.4" {
		t.Errorf("version %q is refused", version)
	}
	path := heldPool(t)
	out := asked(t, "thin_delta", "--metadata-snap", "--thin1=1", "--thin2=2", path)
	same := regexp.MustCompile(`^\s*<same .*/>$`)
	lines := slices.DeleteFunc(strings.Split(out, "\n"), same.MatchString)
	root := must(parseTree(strings.Join(lines, "\n")))
	if n := root.number(t, "data_block_size"); n != 128 {
		t.Errorf("data blocks of %d sectors", n)
	}
	var found []stretch
	for _, e := range root.child(t, "diff").children {
		found = append(found, e.stretch(t)) // no same elements: each had its own line
	}
	sameStretches(t, found, onlyTags(read(t, path, true).delta(1, 2), "different", "left_only", "right_only"))
}
