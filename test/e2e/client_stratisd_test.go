package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"thinpool/fixtures"
)

// stratis-storage/stratisd (src/engine/strat_engine/cmd.rs) fixes leaks, repairs if that fails, and
// parses the metadata size as a number of sectors.
func TestClient_stratisd(t *testing.T) {
	t.Parallel()
	leaky := filepath.Join(t.TempDir(), "leaky")
	if err := os.WriteFile(leaky, fixtures.Leaky(t).Contents(), 0o600); err != nil {
		t.Fatal(err)
	}
	// It logs the output; the exit code decides.
	if r := run(t, filepath.Join(tools, "thin_check"), "--auto-repair", leaky); r.code != 0 {
		t.Errorf("thin_check --auto-repair: exit code %d\n%s", r.code, r.stderr)
	}
	ours(t, "thin_check", "--strict", leaky)

	damaged, spare := fixture(t, "layers"), filepath.Join(t.TempDir(), "spare")
	want := read(t, damaged, false)
	zeroBlocks(t, damaged, want.superblock.MappingRoot)
	empty(t, spare, size(t, damaged))
	if r := run(t, filepath.Join(tools, "thin_check"), "--auto-repair", damaged); r.code == 0 {
		t.Error("damage is fixed in place")
	}
	ours(t, "thin_repair", "-i", damaged, "-o", spare)
	got := read(t, spare, false)
	for id, mappings := range want.mappings {
		sameBlocks(t, got.mappings[id], mappings)
	}

	const blockSize, most = 1 << 20, 255 * 16320 * 8
	for _, pool := range []uint64{blockSize, 1<<30 + 512, 10 << 40, 1 << 50} {
		for _, thins := range []int{1, 100, 1000} {
			out := asked(t, "thin_metadata_size", "-b", fmt.Sprintf("%db", blockSize), "-s", fmt.Sprintf("%db", pool), "-m", fmt.Sprint(thins), "-n")
			if sectors, err := strconv.ParseUint(strings.TrimSpace(out), 10, 64); err != nil || sectors == 0 || sectors > most {
				t.Errorf("%d bytes, %d devices: %q", pool, thins, out)
			}
		}
	}
}
