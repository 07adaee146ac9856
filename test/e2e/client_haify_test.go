package e2e

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// haify-project/sds (pkg/controller/) searches lines for words with awk. The size comes before the
// ranges.
func TestClient_haify(t *testing.T) {
	t.Parallel()
	path := heldPool(t)
	size := regexp.MustCompile(`data_block_size="([0-9]+)"`)
	begin, length := regexp.MustCompile(`begin="([0-9]+)"`), regexp.MustCompile(`length="([0-9]+)"`)
	blockSize := ""
	var found []stretch
	for line := range strings.Lines(asked(t, "thin_delta", "-m", "--snap1", "1", "--snap2", "2", path)) {
		if m := size.FindStringSubmatch(line); m != nil {
			blockSize = m[1]
		}
		for _, tag := range []string{"different", "right_only", "left_only"} {
			if !strings.Contains(line, "<"+tag+" ") {
				continue
			}
			b, n := begin.FindStringSubmatch(line), length.FindStringSubmatch(line)
			if blockSize != "128" || b == nil || n == nil {
				t.Fatalf("line %q, block size %q", line, blockSize)
			}
			found = append(found, stretch{tag, must(strconv.ParseUint(b[1], 10, 64)), must(strconv.ParseUint(n[1], 10, 64))})
		}
	}
	sameStretches(t, found, onlyTags(read(t, path, true).delta(1, 2), "different", "right_only", "left_only"))
}
