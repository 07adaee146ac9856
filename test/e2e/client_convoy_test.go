package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rancher/convoy (devmapper/backup.go, tools/dm_dev_partition.sh) calls pdata_tools, reads both
// output streams as one, and accepts any element in diff.
func TestClient_convoy(t *testing.T) {
	t.Parallel()
	pdata := filepath.Join(links(t), "pdata_tools")
	both := func(args ...string) string {
		t.Helper()
		return string(must(exec.CommandContext(t.Context(), pdata, args...).CombinedOutput()))
	}
	path := fixture(t, "layers")
	root := must(parseTree(both("thin_delta", "--snap1", "1", "--snap2", "2", path)))
	var found []stretch
	for _, e := range root.child(t, "diff").children {
		found = append(found, e.stretch(t))
	}
	sameStretches(t, found, read(t, path, false).delta(1, 2))

	for _, args := range [][]string{{"-V"}, {"thin_delta", "-V"}} {
		var major, minor, patch int
		if _, err := fmt.Sscanf(strings.TrimSpace(both(args...)), "%d.%d.%d", &major, &minor, &patch); err != nil || major == 0 && minor*100+patch < 501 {
			t.Errorf("%q: version %d.%d.%d, %v", args, major, minor, patch, err)
		}
	}
	out := both("thin_metadata_size", "-b", "128s", "-s", "2097152s", "-m", "1000", "-u", "b", "-n")
	if _, err := strconv.ParseUint(strings.TrimSpace(out), 10, 64); err != nil {
		t.Error(err)
	}
}
