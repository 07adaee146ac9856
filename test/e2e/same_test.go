package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Peers whose output is byte for byte the same as ours.
var both, older, newer = []string{"0.9", "1.1"}, []string{"0.9"}, []string{"1.1"}

// A sameLine is a command line, and the peers with the same output.
type sameLine struct {
	peers []string
	line  string
}

// Command lines with the same output, except for what docs/differences.md says. $N is a device of
// the image, $STYLE the peer's XML style. These are tried on every image, all others on some.
var sameEverywhere = []sameLine{
	{both, "thin_dump --style $STYLE IMAGE"},
	{newer, "thin_check IMAGE"},
	{both, "thin_ls -o DEV,MAPPED_BLOCKS,MAPPED_SECTORS,MAPPED_BYTES,EXCLUSIVE_BLOCKS,SHARED_BYTES,TRANSACTION,CREATE_TIME,SNAP_TIME IMAGE"},
	{newer, "thin_ls -o DEV,MAPPED,EXCLUSIVE,SHARED,HIGHEST_BLOCK,HIGHEST_SECTOR,HIGHEST_BYTE,HIGHEST_MAPPED IMAGE"},
}

var sameLines = []sameLine{
	{both, "thin_dump --style $STYLE --dev-id $1 IMAGE"},
	{both, "thin_dump IMAGE --style $STYLE --dev-id $1 --dev-id $2 -f xml"},
	{both, "thin_dump --style $STYLE --skip-mappings IMAGE"},
	{both, "thin_dump --style $STYLE --transaction-id 987654 IMAGE"},
	{both, "thin_dump --style $STYLE --nr-data-blocks 999999999 IMAGE"},
	{both, "thin_dump --style $STYLE --data-block-size 256 IMAGE"},
	{newer, "thin_dump -f human_readable IMAGE"},
	{newer, "thin_dump -f human_readable --dev-id $1 IMAGE"},
	{newer, "thin_check --skip-mappings IMAGE"},
	{newer, "thin_check --super-block-only IMAGE"},
	{newer, "thin_check --ignore-non-fatal-errors IMAGE"},
	{both, "thin_check -q IMAGE"},
	{both, "thin_ls IMAGE"},
	{both, "thin_ls --no-headers IMAGE"},
	{both, "thin_ls -o EXCLUSIVE_SECTORS,EXCLUSIVE_BYTES,SHARED_BLOCKS,SHARED_SECTORS,DEV,DEV IMAGE"},
	{both, "thin_ls --no-headers --format DEV,EXCLUSIVE_BYTES IMAGE"},
}

// snapshotLines read a metadata snapshot.
var snapshotLines = []sameLine{
	{both, "thin_dump --style $STYLE -m IMAGE"},
	{both, "thin_dump --style $STYLE --metadata-snap --dev-id $1 IMAGE"},
	{older, "thin_dump --style $STYLE -m143 IMAGE"},
	{both, "thin_ls -m IMAGE"},
	{both, "thin_ls -m -o DEV,MAPPED_BYTES,EXCLUSIVE_BYTES IMAGE"},
	{newer, "thin_check -m IMAGE"},
}

// knownToDiffer lists images and the start of lines for which the output differs, as described in
// docs/differences.md.
var knownToDiffer = map[string]string{
	"needs-check": "thin_check --skip-mappings", // 1.x wants to clear the flag
	"powercut":    "thin_check",                 // 1.x: leaks are failures
	"huge-data":   "thin_ls -o DEV,MAPPED,",     // 1.x: Tib
}

func TestSameBytes(t *testing.T) {
	t.Parallel()
	many(t)
	others := peers(t)
	some := []string{"deleted-discarded", "empty", "metadata-snap", "needs-check", "transactions", "wide-sharing"}
	var lines atomic.Int32
	t.Cleanup(func() {
		if n := lines.Load(); n < 200 && len(others) > 1 && !t.Failed() {
			t.Errorf("only %d command lines were compared", n)
		}
	})
	for _, im := range images(t, "huge-data") {
		t.Run(im.name, func(t *testing.T) {
			t.Parallel() // some of theirs sleep
			ids := devices(t, im.path)
			all := slices.Clone(sameEverywhere)
			if slices.Contains(some, im.name) {
				all = append(all, sameLines...)
			}
			if im.name == "metadata-snap" {
				all = append(all, snapshotLines...)
			}
			for _, c := range all {
				known, differs := knownToDiffer[im.name]
				if strings.Contains(c.line, "$1") && len(ids) < 1 || strings.Contains(c.line, "$2") && len(ids) < 2 || differs && strings.HasPrefix(c.line, known) {
					continue
				}
				line := strings.NewReplacer("$1", first(ids, 0), "$2", first(ids, 1), "IMAGE", im.path).Replace(c.line)
				for _, p := range others {
					if slices.Contains(c.peers, p.name) {
						lines.Add(1)
						sameOutput(t, p, strings.Fields(strings.ReplaceAll(line, "$STYLE", p.style)))
					}
				}
			}
		})
	}
}

func first(ids []string, i int) string {
	if i < len(ids) {
		return ids[i]
	}
	return ""
}

// sameOutput runs our tool and theirs, without --style, which they do not know.
func sameOutput(t *testing.T, p peer, words []string) {
	t.Helper()
	mine := run(t, filepath.Join(tools, words[0]), words[1:]...)
	if i := slices.Index(words, "--style"); i > 0 {
		words = slices.Delete(words, i, i+2)
	}
	theirs := run(t, p.tool(words[0]), words[1:]...)
	if mine.out != theirs.out || (mine.code == 0) != (theirs.code == 0) {
		t.Errorf("%s %q: exit codes %d, %d (-theirs +ours)\n%.1500s", p.name, words, theirs.code, mine.code, cmp.Diff(theirs.out, mine.out))
	}
}

// thin_metadata_size prints the same as 0.9 for all sizes and units that both accept.
func TestSameSizes(t *testing.T) {
	t.Parallel()
	many(t)
	others := peers(t)
	i := slices.IndexFunc(others, func(p peer) bool { return p.name == "0.9" })
	if i < 0 {
		t.Skip("version 0.9 is not installed")
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	pick := func(words ...string) string { return words[rnd.IntN(len(words))] }
	compared := 0
	tried := times(150, 400)
	for range tried {
		blockSize := pick("64k", "128k", "128s", "128", "256", "64kib", "512kib", "1m", "65536b", "4mebibytes", "1024sectors", "1g")
		pool := fmt.Sprint(1+rnd.IntN(9999)) + pick("g", "G", "gib", "gigab", "gibibytes", "gigabytes", "t")
		args := []string{pick("-b", "--block-size=") + blockSize, pick("-s", "--pool-size=") + pool, pick("-m", "--max-thins=") + fmt.Sprint(1+rnd.IntN(3000))}
		number := run(t, others[i].tool("thin_metadata_size"), append(slices.Clone(args), "-n")...)
		if unit := pick("", "b", "s", "k", "K", "m", "M", "g", "G", "t", "T", "p", "P", "megabytes", "mebibytes", "sectors"); unit != "" {
			args = append(args, "-u"+unit)
		}
		if how := pick("", "", "-n", "-nshort", "-nlong", "--numeric-only"); how != "" {
			args = append(args, how)
		}
		theirs := run(t, others[i].tool("thin_metadata_size"), args...)
		var sectors uint64
		if fmt.Sscan(number.out, &sectors); sectors > 33292800 || number.code != 0 {
			continue // the limit that only we enforce, or a pool smaller than a block
		}
		if strings.Contains(theirs.out, "e+") {
			continue // 8.70e+01 for 87.01
		}
		compared++
		mine := run(t, filepath.Join(tools, "thin_metadata_size"), args...)
		if mine.out != theirs.out || mine.code != theirs.code {
			t.Errorf("%q: exit codes %d, %d\n%q\n%q %s", args, theirs.code, mine.code, theirs.out, mine.out, mine.stderr)
		}
	}
	if compared < tried/2 {
		t.Errorf("only %d were compared", compared)
	}
}

// Versions, help and wrong command lines: exit codes agree, and standard output has only what was
// requested.
func TestSameUsage(t *testing.T) {
	t.Parallel()
	many(t)
	versions := regexp.MustCompile(`^\d+\.\d+\.\d+\n$`)
	for _, p := range peers(t) {
		for _, tool := range []string{"thin_check", "thin_delta", "thin_dump", "thin_ls", "thin_metadata_size", "thin_repair", "thin_restore", "thin_rmap", "thin_trim"} {
			for _, args := range [][]string{{"-V"}, {"--version"}, {"-h"}, {"--help"}, {"--no-such-option"}, {}, {"/no/such/file"}} {
				mine, theirs := run(t, filepath.Join(tools, tool), args...), run(t, p.tool(tool), args...)
				if (mine.code == 0) != (theirs.code == 0) || versions.MatchString(mine.out) != versions.MatchString(theirs.out) || (mine.out == "") != (theirs.out == "") {
					t.Errorf("%s %s %q: exit codes %d, %d; they say %.60q, we %.60q", p.name, tool, args, theirs.code, mine.code, theirs.out, mine.out)
				}
			}
		}
	}
}
