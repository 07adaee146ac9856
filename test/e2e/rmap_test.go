package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// mapping is one block in a thin_rmap line.
type mapping struct{ data, dev, thin uint64 }

// expand parses thin_rmap lines block by block.
func expand(t *testing.T, out string) map[mapping]bool {
	t.Helper()
	all := map[mapping]bool{}
	for line := range strings.Lines(out) {
		var data, dataEnd, dev, thin, thinEnd uint64
		if _, err := fmt.Sscanf(line, "data %d..%d -> thin(%d) %d..%d\n", &data, &dataEnd, &dev, &thin, &thinEnd); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if len(strings.Fields(line)) != 5 || dataEnd <= data || dataEnd-data != thinEnd-thin {
			t.Fatalf("line %q", line)
		}
		for i := range dataEnd - data {
			m := mapping{data + i, dev, thin + i}
			if all[m] {
				t.Fatalf("line %q: listed before", line)
			}
			all[m] = true
		}
	}
	return all
}

// Other implementations list a shared subtree only for the first device. Without sharing, the
// output is the same byte for byte. Otherwise ours includes theirs and has no additional data
// blocks. The older one prints lines with the same start in any order.
func TestRmapPeers(t *testing.T) {
	t.Parallel()
	many(t)
	others := peers(t)
	exact := 0
	for _, im := range images(t) {
		nr := dataBlocks(t, im.path)
		shares := strings.Contains(ours(t, "thin_dump", im.path), "<ref ")
		for _, regions := range [][]string{
			{fmt.Sprintf("0..%d", nr)},
			{fmt.Sprintf("%d..%d", nr/3, nr/2)},
			{"7..8"},
			{fmt.Sprintf("%d..%d", nr/2, nr), fmt.Sprintf("0..%d", nr/5+1), "3..4000"},
		} {
			var args []string
			for _, r := range regions {
				args = append(args, "--region", r)
			}
			args = append(args, im.path)
			mine := ours(t, "thin_rmap", args...)
			for _, p := range others {
				t.Run(fmt.Sprint(im.name, p.name, regions), func(t *testing.T) {
					theirs := run(t, p.tool("thin_rmap"), args...)
					if theirs.code != 0 {
						t.Fatal(theirs.stderr)
					}
					if !shares {
						exact++
						want, got := theirs.out, mine
						if p.name == "0.9" {
							want, got = sortedLines(want), sortedLines(got)
						}
						if got != want {
							t.Errorf("they differ (-theirs +ours):\n%.2000s", cmp.Diff(want, got))
						}
						return
					}
					a, b := expand(t, theirs.out), expand(t, mine)
					data := map[uint64]bool{}
					for m := range a {
						data[m.data] = true
						if !b[m] {
							t.Fatalf("%+v is theirs only", m)
						}
					}
					for m := range b {
						if !data[m.data] {
							t.Fatalf("%+v is ours only", m)
						}
					}
				})
			}
		}
	}
	if exact == 0 {
		t.Error("no image without shared subtrees")
	}
}

func sortedLines(text string) string {
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func dataBlocks(t *testing.T, path string) uint64 {
	t.Helper()
	dev := must(block.Open(path, block.Options{}))
	defer dev.Close()
	return must(metadata.Open(dev, metadata.Options{})).Live.DataSpaceMap.NrBlocks
}

// The dump of each device agrees with the reverse map. Blocks listed as free are those in neither,
// except leaks.
func TestRmapAgrees(t *testing.T) {
	t.Parallel()
	many(t)
	for _, im := range images(t, "medium") {
		t.Run(im.name, func(t *testing.T) {
			out := ours(t, "thin_rmap", "--region", "0..-1", im.path)
			mapped := map[uint64]bool{}
			n := 0
			for m := range expand(t, out) {
				mapped[m.data] = true
				n++
			}
			sum := 0
			for _, field := range strings.Fields(ours(t, "thin_ls", "--no-headers", "-o", "MAPPED_BLOCKS", im.path)) {
				var blocks int
				fmt.Sscan(field, &blocks)
				sum += blocks
			}
			if n != sum {
				t.Errorf("%d mappings, the devices have %d", n, sum)
			}
			if !im.sound {
				return
			}
			for line := range strings.Lines(ours(t, "thin_trim", "--dry-run", "--metadata-dev", im.path)) {
				var begin, end uint64
				if _, err := fmt.Sscanf(line, "free %d..%d ", &begin, &end); err != nil {
					t.Fatalf("line %q: %v", line, err)
				}
				for b := begin; b < end; b++ {
					if mapped[b] {
						t.Fatalf("block %d is mapped, and listed as free", b)
					}
				}
			}
		})
	}
}

// On damage, the error starts like the newer peer's, and trimming is refused.
func TestRmapDamage(t *testing.T) {
	t.Parallel()
	many(t)
	for _, im := range images(t) {
		if im.name != "transactions" {
			continue
		}
		damaged := copyOf(t, im.path)
		damage(t, damaged)
		before := must(os.ReadFile(damaged))
		for _, args := range [][]string{
			{"thin_rmap", "--region", "0..-1", damaged},
			{"thin_trim", "--dry-run", "--metadata-dev", damaged},
		} {
			r := run(t, filepath.Join(tools, args[0]), args[1:]...)
			if r.code != 1 || !strings.Contains(r.stderr, "metadata contains errors") {
				t.Errorf("%q: exit code %d, %s", args, r.code, r.stderr)
			}
		}
		if !slices.Equal(before, must(os.ReadFile(damaged))) {
			t.Error("the image has changed")
		}
	}
}
