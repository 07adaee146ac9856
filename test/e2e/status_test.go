package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"thinpool/test/shared"
)

var (
	poolStatus = regexp.MustCompile(`(?m)^pool: 0 \d+ thin-pool (\d+) (\d+)/(\d+) (\d+)/(\d+) (\S+) `)
	thinStatus = regexp.MustCompile(`(?m)^t(\d+): 0 \d+ thin (\d+) (\d+)$`)
)

// thin_check and thin_ls find in the metadata what the kernel reported about an active pool and its
// devices.
func TestKernelStatus(t *testing.T) {
	t.Parallel()
	many(t)
	compared := 0
	for _, im := range images(t, largeImages...) {
		text := must(os.ReadFile(shared.Path(t, "kernel", "corpus", im.name+".status")))
		if im.name == "powercut" {
			continue // writes continued after the last commit
		}
		t.Run(im.name, func(t *testing.T) {
			pool := poolStatus.FindStringSubmatch(string(text))
			if pool == nil {
				t.Fatalf("no status of the pool in %s", text)
			}
			var transaction, usedBlocks, total uint64
			fmt.Sscan(strings.Join(pool[1:4], " "), &transaction, &usedBlocks, &total)
			// The kernel counts its reserve as used.
			if want := used(t, im.path) + min(4096, total/10); usedBlocks != want {
				t.Errorf("%d metadata blocks are used, says the kernel; we find %d with the reserve", usedBlocks, want)
			}
			if out := ours(t, "thin_check", im.path); !strings.Contains(out, fmt.Sprintf("TRANSACTION_ID=%d\n", transaction)) {
				t.Errorf("transaction %d, says the kernel; thin_check says %q", transaction, out)
			}
			list := map[string]string{}
			for line := range strings.Lines(ours(t, "thin_ls", "--no-headers", "-o", "DEV,MAPPED_SECTORS,HIGHEST_SECTOR", im.path)) {
				id, rest, _ := strings.Cut(strings.Join(strings.Fields(line), " "), " ")
				list[id] = rest
			}
			for _, thin := range thinStatus.FindAllStringSubmatch(string(text), -1) {
				if im.name == "needs-check" && thin[1] == "2" {
					continue // includes mappings of the aborted transaction
				}
				compared++
				if want := thin[2] + " " + thin[3]; list[thin[1]] != want {
					t.Errorf("device %s: the kernel says %s, we %s", thin[1], want, list[thin[1]])
				}
			}
		})
	}
	if compared < 50 {
		t.Errorf("only %d devices were compared", compared)
	}
}
