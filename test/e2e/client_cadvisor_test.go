package e2e

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"thinpool/metadata"
)

// google/cadvisor (devicemapper/thin_ls_client.go) splits lines into two words, the second a plain
// number. Its thin_ls may be a link to a binary with all tools.
func TestClient_cadvisor(t *testing.T) {
	t.Parallel()
	path := heldPool(t)
	out := silent(t, run(t, filepath.Join(links(t), "thin_ls"), "--no-headers", "-m", "-o", "DEV,EXCLUSIVE_BYTES", path))
	want := read(t, path, true)
	users := map[uint64]int{} // of data blocks
	for _, mappings := range want.mappings {
		for _, data := range mappings {
			users[data]++
		}
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != len(want.mappings) {
		t.Errorf("%d lines, want %d", len(lines), len(want.mappings))
	}
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			t.Fatalf("line %q", line)
		}
		id, exclusive := must(strconv.ParseUint(fields[0], 10, 32)), uint64(0)
		for _, data := range want.mappings[metadata.DevID(id)] {
			if users[data] == 1 {
				exclusive += 128 * 512
			}
		}
		if got := must(strconv.ParseUint(fields[1], 10, 64)); got != exclusive {
			t.Errorf("device %d: %d bytes, want %d", id, got, exclusive)
		}
	}
}
