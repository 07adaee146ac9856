package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/test/shared"
)

// devices returns the device ids in an image.
func devices(t *testing.T, path string) []string {
	t.Helper()
	return strings.Fields(ours(t, "thin_ls", "--no-headers", "-o", "DEV", path))
}

// pairs returns all pairs of devices if there are few, else some, in both directions.
func pairs(ids []string) [][2]string {
	const most = 16
	var all [][2]string
	for _, a := range ids {
		for _, b := range ids {
			all = append(all, [2]string{a, b})
		}
	}
	if len(all) > most {
		rnd := rand.New(rand.NewPCG(1, 1))
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:most]
	}
	return all
}

// onPurpose matches intended differences from a peer: 0.9 writes the metadata snapshot, 1.1 the
// flag needs_check. 1.1 also writes no final newline.
var onPurpose = regexp.MustCompile(` metadata_snap="\d+"| flags="1"`)

func alike(out string) string {
	first, rest, _ := strings.Cut(out, "\n")
	return onPurpose.ReplaceAllString(first, "") + "\n" + strings.TrimSuffix(rest, "\n") + "\n"
}

// rangeLine is a range in verbose XML.
var rangeLine = regexp.MustCompile(`^      <range begin="(\d+)"((?: \w*data_begin="\d+")+) length="(\d+)"/>$`)

// joinedByBlock joins ranges with adjacent thin blocks, like 1.1 does, wherever the data is.
func joinedByBlock(t *testing.T, out string) string {
	t.Helper()
	var lines []string
	end := uint64(0) // end of the range in the last line, if it is one
	begin, data := uint64(0), ""
	for line := range strings.SplitSeq(out, "\n") {
		m := rangeLine.FindStringSubmatch(line)
		if m == nil {
			lines, end = append(lines, line), 0
			continue
		}
		at, n := must(strconv.ParseUint(m[1], 10, 64)), must(strconv.ParseUint(m[3], 10, 64))
		if end > 0 && at == end {
			lines = lines[:len(lines)-1]
		} else {
			begin, data = at, m[2]
		}
		end = at + n
		lines = append(lines, fmt.Sprintf(`      <range begin="%d"%s length="%d"/>`, begin, data, end-begin))
	}
	return strings.Join(lines, "\n")
}

// Other implementations print the same differences.
func TestDeltaPeers(t *testing.T) {
	t.Parallel()
	many(t)
	others := peers(t)
	for _, im := range images(t) {
		t.Run(im.name, func(t *testing.T) {
			for _, pair := range pairs(devices(t, im.path)) {
				for _, args := range [][]string{nil, {"--verbose"}} {
					args = append(args, "--thin1", pair[0], "--thin2", pair[1], im.path)
					mine := ours(t, "thin_delta", args...)
					for _, p := range others {
						theirs := run(t, p.tool("thin_delta"), args...)
						want, got := alike(theirs.out), mine
						if p.name == "1.1" {
							got = joinedByBlock(t, mine)
						}
						if theirs.code != 0 || want != got {
							t.Fatalf("%s %q: exit code %d, differences differ (-theirs +ours):\n%.2000s", p.name, args, theirs.code, cmp.Diff(want, got))
						}
					}
				}
			}
		})
	}
}

// The same for a root and in the metadata snapshot.
func TestDeltaPeersRoots(t *testing.T) {
	t.Parallel()
	many(t)
	others := peers(t)
	for _, im := range images(t) {
		if im.name != "metadata-snap" {
			continue
		}
		leaf := regexp.MustCompile(`(?m)^ *(\d+) +\d+ +1  internal node +right.* mappings of device \d+: thin`)
		roots := leaf.FindAllStringSubmatch(ours(t, "thin_scan", im.path), -1)
		if len(roots) < 2 {
			t.Fatal("no roots are found")
		}
		for _, p := range others {
			for _, args := range [][]string{
				{"-m", "--thin1", "1", "--thin2", "2"},
				{"-m", "--verbose", "--thin1", "1", "--thin2", "2"},
				{"--root1", roots[0][1], "--root2", roots[1][1]},
				{"--root1", roots[0][1], "--thin2", "3"},
			} {
				if p.name == "0.9" && slices.Contains(args, "--root1") {
					continue
				}
				args = append(args, im.path)
				mine, theirs := ours(t, "thin_delta", args...), run(t, p.tool("thin_delta"), args...)
				if p.name == "1.1" {
					mine = joinedByBlock(t, mine)
				}
				if diff := cmp.Diff(alike(theirs.out), mine); diff != "" || theirs.code != 0 {
					t.Errorf("%s %q: exit code %d (-theirs +ours)\n%.2000s", p.name, args, theirs.code, diff)
				}
			}
		}
	}
}

// The output of 1.1 for a pool's metadata under LVM.
func TestDeltaPacks(t *testing.T) {
	t.Parallel()
	many(t)
	others := peers(t)
	i := slices.IndexFunc(others, func(p peer) bool { return p.name == "1.1" })
	pack := shared.Path(t, "packs", "tmeta_with_metadata_snap.pack")
	if i < 0 {
		t.Skip("no other implementation here packs metadata")
	}
	path := filepath.Join(t.TempDir(), "tmeta")
	if r := run(t, others[i].tool("thin_metadata_unpack"), "-i", pack, "-o", path); r.code != 0 {
		t.Fatal(r.stderr)
	}
	for _, pair := range pairs(devices(t, path)) {
		args := []string{"-m", "--thin1", pair[0], "--thin2", pair[1], path}
		mine := run(t, filepath.Join(tools, "thin_delta"), args...)
		for _, p := range others {
			if theirs := run(t, p.tool("thin_delta"), args...); (theirs.code == 0) != (mine.code == 0) || theirs.code == 0 && alike(theirs.out) != mine.out {
				t.Errorf("%s %q: exit codes %d and %d, %s%s\n%.2000s", p.name, args, theirs.code, mine.code, theirs.stderr, mine.stderr, cmp.Diff(alike(theirs.out), mine.out))
			}
		}
	}
}
