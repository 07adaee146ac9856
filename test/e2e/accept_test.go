// Package e2e tests the tools from the outside: on images created by a kernel, against other
// implementations, an independent checker, and the kernel itself. Tests skip what is not installed,
// with a message; the images of package fixtures are always available.
package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"thinpool/fixtures"
	"thinpool/test/shared"
)

// Optional files beside the repository.
var (
	corpus    = shared.File("kernel", "corpus")
	activate  = shared.File("kernel", "activate")
	lvmAccept = shared.File("kernel", "lvm-accept")
	runInVM   = shared.File("kernel", "run-in-vm")
)

var (
	work  string // folder for files created once
	tools string // folder with our tools as installed: links to one binary
)

func TestMain(m *testing.M) {
	work = must(os.MkdirTemp("", "thinpool-accept"))
	code := 1
	if err := buildTools(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
		if paths := changed(); len(paths) > 0 {
			fmt.Fprintf(os.Stderr, "tests wrote to %v\n", paths)
			code = 1
		}
	}
	os.RemoveAll(work)
	os.Exit(code)
}

func buildTools() error {
	tools = filepath.Join(work, "tools")
	build := exec.Command("go", "build", "-ldflags", entry(), "-o", tools+"/", "thinpool/cmd/thin_tools")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s%w", out, err)
	}
	names, err := filepath.Glob("../../cmd/thin_*")
	for _, name := range names {
		if name = filepath.Base(name); name != "thin_tools" && name != "thin_explore" {
			err = errors.Join(err, os.Symlink("thin_tools", filepath.Join(tools, name)))
		}
	}
	return err
}

// entry returns the linker flags of the Makefile.
func entry() string {
	switch runtime.GOOS + "/" + runtime.GOARCH {
	case "linux/amd64", "linux/arm64":
		return "-E thinpool/internal/cli.entry"
	}
	return ""
}

// many skips a test that starts many processes in -short mode.
func many(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("many processes")
	}
}

// times returns how often to try something: more often if THINPOOL_LONG is set.
func times(usual, long int) int {
	if os.Getenv("THINPOOL_LONG") != "" {
		return long
	}
	return usual
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// result is the outcome of a command.
type result struct {
	code        int
	out, stderr string
}

func run(t *testing.T, path string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if _, exit := err.(*exec.ExitError); err != nil && !exit {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// ours runs one of our tools, which must succeed, and returns its output.
func ours(t *testing.T, tool string, args ...string) string {
	t.Helper()
	r := run(t, filepath.Join(tools, tool), args...)
	if r.code != 0 {
		t.Fatalf("%s %q: exit code %d\n%s", tool, args, r.code, r.stderr)
	}
	return r.out
}

// image is an image created by a kernel.
type image struct {
	name, path string
	sound      bool // apart from leaked data blocks
}

// largeImages take more time than all others together, and test nothing that the others do not.
var largeImages = []string{"huge-data", "medium"}

// images returns those of the corpus if it exists, else those of the project. Large ones are only
// included if named, or with THINPOOL_LONG.
func images(t *testing.T, large ...string) []image {
	t.Helper()
	shared.Optional(t, "kernel", "corpus")
	return slices.DeleteFunc(slices.Clone(unpacked()), func(im image) bool {
		return slices.Contains(largeImages, im.name) && !slices.Contains(large, im.name) && os.Getenv("THINPOOL_LONG") == ""
	})
}

var unpackedSums = map[string][sha256.Size]byte{}

// changed returns the images modified by a test: readers must not write.
func changed() (paths []string) {
	for path, sum := range unpackedSums {
		if sha256.Sum256(must(os.ReadFile(path))) != sum {
			paths = append(paths, path)
		}
	}
	return paths
}

// unpacked returns the images, unpacked once. Tests must not write to them.
var unpacked = sync.OnceValue(func() (all []image) {
	add := func(name string, content []byte, sound bool) {
		path := filepath.Join(work, name)
		if err := os.WriteFile(path, content, 0o444); err != nil {
			panic(err)
		}
		unpackedSums[path] = sha256.Sum256(content)
		all = append(all, image{name, path, sound})
	}
	if !shared.Has("kernel", "corpus") { // the project's own images
		truths := must(fixtures.Truths())
		for _, name := range fixtures.Names() {
			add(name, must(fixtures.Image(name)), truths[name].Verify != 1)
		}
		return all
	}
	index := must(os.ReadFile(filepath.Join(corpus, "INDEX.md")))
	verdict := regexp.MustCompile(`(?m)^\| ([a-z-]+) \|(?:[^|]*\|){5} (\d) \|`)
	for _, m := range verdict.FindAllStringSubmatch(string(index), -1) {
		packed := must(os.ReadFile(filepath.Join(corpus, m[1]+".img.zst")))
		add(m[1], unpack(packed), m[2] != "1")
	}
	if len(all) < 15 {
		panic(fmt.Sprintf("only %d images in the index of the corpus", len(all)))
	}
	return all
})

func unpack(packed []byte) []byte {
	dec := must(zstd.NewReader(nil))
	defer dec.Close()
	return must(dec.DecodeAll(packed, nil))
}

// restore restores a dump and returns the path of the new metadata.
func restore(t *testing.T, dump string, size int64) string {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "dump"), filepath.Join(dir, "new")
	if err := os.WriteFile(in, []byte(dump), 0o600); err != nil {
		t.Fatal(err)
	}
	empty(t, out, size)
	ours(t, "thin_restore", "-i", in, "-o", out)
	return out
}

func empty(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	return must(os.Stat(path)).Size()
}

// withoutFlag removes needs_check from a dump: the flag would be restored.
func withoutFlag(dump string) string { return strings.Replace(dump, ` flags="1"`, "", 1) }

// Metadata restored from a dump of any format has the same content and is optimal.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	many(t)
	for _, im := range images(t, largeImages...) {
		t.Run(im.name, func(t *testing.T) {
			before := run(t, filepath.Join(tools, "thin_check"), "-q", im.path)
			if (before.code == 0) != im.sound || before.out+before.stderr != "" {
				t.Errorf("thin_check -q: exit code %d, %q; sound: %v", before.code, before.out+before.stderr, im.sound)
			}
			flat := withoutFlag(ours(t, "thin_dump", "--style", "0.9", im.path))
			exclusive := ours(t, "thin_ls", "-o", "DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,HIGHEST_BLOCK,TRANSACTION,CREATE_TIME,SNAP_TIME", im.path)
			for _, args := range [][]string{{"-f", "xml"}, {"-f", "json"}} {
				dump := ours(t, "thin_dump", append(args, im.path)...)
				dump = strings.Replace(withoutFlag(dump), `"flags":1`, `"flags":0`, 1)
				made := restore(t, dump, size(t, im.path))
				// The flag word is the only thing that a dump of style 0.9 has and that was
				// removed.
				if diff := cmp.Diff(strings.Replace(flat, ` flags="0"`, "", 1), strings.Replace(ours(t, "thin_dump", "--style", "0.9", made), ` flags="0"`, "", 1)); diff != "" {
					t.Fatalf("%v: the dump of the restored image differs (-want +got):\n%.2000s", args, diff)
				}
				if diff := cmp.Diff(exclusive, ours(t, "thin_ls", "-o", "DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,HIGHEST_BLOCK,TRANSACTION,CREATE_TIME,SNAP_TIME", made)); diff != "" {
					t.Errorf("%v: sharing differs (-want +got):\n%s", args, diff)
				}
				keptShared(t, im.path, made)
				ours(t, "thin_check", "--strict", made)
				verify(t, made)
			}
		})
	}
}

// keptShared checks that the restored image shares leaves if the old one did, and uses no more
// blocks.
func keptShared(t *testing.T, old, made string) {
	t.Helper()
	if a, b := used(t, old), used(t, made); b > a {
		t.Errorf("%d blocks are used after restoring, %d before", b, a)
	}
	refs := func(path string) bool { return strings.Contains(ours(t, "thin_dump", path), "<ref ") }
	if refs(old) != refs(made) {
		t.Errorf("shared leaves before: %v, after: %v", refs(old), refs(made))
	}
}

// used returns the number of metadata blocks in use.
func used(t *testing.T, path string) uint64 {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(ours(t, "thin_check", "--format", "json", path)), "\n")
	var sum struct {
		Blocks uint64 `json:"metadata_blocks"`
		Free   uint64 `json:"metadata_free_blocks"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil {
		t.Fatal(err)
	}
	return sum.Blocks - sum.Free
}

// verify runs the independent checker, if it exists.
func verify(t *testing.T, path string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("python3 is not installed: not verified by the independent checker")
		return
	}
	verifier := shared.Optional(t, "design", "verify_format.py")
	if verifier == "" {
		return
	}
	if r := run(t, python, verifier, "--strict", path); r.code != 0 {
		t.Errorf("the independent checker exits with %d:\n%s%s", r.code, r.out, r.stderr)
	}
}

// peer is another implementation of the tools.
type peer struct {
	name, dir string
	style     string // style of its XML
}

func (p peer) tool(name string) string { return filepath.Join(p.dir, name) }

// peers returns those that are installed or can be fetched.
func peers(t *testing.T) []peer {
	t.Helper()
	var found []peer
	if _, err := os.Stat("/usr/sbin/thin_dump"); err == nil {
		if v := run(t, "/usr/sbin/thin_dump", "-V"); strings.HasPrefix(v.out, "0.9.") {
			found = append(found, peer{"0.9", "/usr/sbin", "0.9"})
		}
	}
	if shared.Optional(t, "bench", "get-peer") != "" {
		if dir, err := newerPeer(); err == nil {
			found = append(found, peer{"1.1", dir, "1.x"})
		} else {
			t.Logf("the newer peer cannot be had: %v", err)
		}
	}
	if len(found) == 0 {
		t.Skip("no other implementation is installed (apt-get install thin-provisioning-tools)")
	}
	return found
}

// newerPeer returns the folder with version 1.1 of the tools, fetched by a script.
var newerPeer = sync.OnceValues(func() (string, error) {
	out, err := exec.Command(shared.File("bench", "get-peer")).Output()
	return strings.TrimSpace(string(out)), err
})

// Other implementations can read our output, and we can read theirs.
func TestPeers(t *testing.T) {
	t.Parallel()
	many(t)
	others := peers(t)
	for _, im := range images(t) {
		for _, p := range others {
			t.Run(im.name+"/"+p.name, func(t *testing.T) {
				theirs := run(t, p.tool("thin_dump"), im.path)
				if theirs.code != 0 {
					t.Fatalf("their dump: %s", theirs.stderr)
				}
				exchange(t, p, im, theirs.out)
			})
		}
	}
}

// exchange restores their dump with our tool and ours with theirs.
func exchange(t *testing.T, p peer, im image, dump string) {
	made := restore(t, dump, size(t, im.path))
	if r := run(t, p.tool("thin_check"), "-q", made); r.code != 0 {
		t.Errorf("their check of what we restored: exit code %d", r.code)
	}
	flat := ours(t, "thin_dump", "--style", "0.9", im.path)
	if got := ours(t, "thin_dump", "--style", "0.9", made); withoutFlag(got) != withoutFlag(flat) && got != flat && !strings.Contains(flat, `flags="1"`) {
		t.Errorf("what we restored of their dump differs:\n%.2000s", cmp.Diff(flat, got))
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "dump"), filepath.Join(dir, "new")
	if err := os.WriteFile(in, []byte(ours(t, "thin_dump", "--style", p.style, im.path)), 0o600); err != nil {
		t.Fatal(err)
	}
	empty(t, out, 2*size(t, im.path))
	if r := run(t, p.tool("thin_restore"), "-i", in, "-o", out); r.code != 0 {
		t.Fatalf("their restore of our dump: %s", r.stderr)
	}
	if r := run(t, filepath.Join(tools, "thin_check"), out); r.code != 0 {
		t.Errorf("our check of what they restored: %s", r.stderr)
	}
}

// The packs contain metadata of a pool under LVM. We unpack them like the peer.
func TestPacks(t *testing.T) {
	t.Parallel()
	many(t)
	for name, free := range map[string]int{"tmeta": 16096, "tmeta_with_metadata_snap": 16095} {
		pack := shared.Path(t, "packs", name+".pack")
		path := filepath.Join(t.TempDir(), name)
		ours(t, "thin_metadata_unpack", "-i", pack, "-o", path)
		sum := fmt.Sprintf("%x", sha256.Sum256(must(os.ReadFile(path))))
		if want := map[string]string{"tmeta": "1f4e2df641bc6ec8", "tmeta_with_metadata_snap": "ac650601a9cf5481"}[name]; sum[:16] != want {
			t.Errorf("%s: unpacked, its sum begins with %s, want %s", name, sum[:16], want)
		}
		if direct := ours(t, "thin_dump", pack); direct != ours(t, "thin_dump", path) {
			t.Errorf("%s: the dump of the pack differs from that of what was unpacked", name)
		}
		if got, want := ours(t, "thin_check", path), fmt.Sprintf("TRANSACTION_ID=21\nMETADATA_FREE_BLOCKS=%d\n", free); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		ls := ours(t, "thin_ls", "--no-headers", "-o", "DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS", path)
		if !strings.HasPrefix(strings.Join(strings.Fields(ls), " "), "1 10713 64 10649 2 10353 49 10304 3 10368 2 10366") {
			t.Errorf("%s: list %s", name, ls)
		}
		dump := ours(t, "thin_dump", "--style", "1.x", path)
		if n := strings.Count(dump, "<def "); n != 135 || len(dump) != 853515 {
			t.Errorf("%s: %d defs, %d bytes; want 135 and 853515", name, n, len(dump))
		}
		if got := ours(t, "thin_dump", "--style", "0.9", path); len(got) != 2332694 {
			t.Errorf("%s: %d bytes in style 0.9, want 2332694", name, len(got))
		}
		if name == "tmeta" {
			continue
		}
		ours(t, "thin_check", "-m", path)
		for _, p := range peers(t) {
			if mine, theirs := ours(t, "thin_dump", "--style", p.style, "-m", path), run(t, p.tool("thin_dump"), "-m", path); mine != theirs.out {
				t.Errorf("dumps of the snapshot differ from that of %s", p.name)
			}
		}
	}
}

// The peer unpacks our packs to the same device, and we unpack theirs. The device sizes at which
// the peer loses blocks are tested with our tools only.
func TestPackPeer(t *testing.T) {
	t.Parallel()
	many(t)
	others := peers(t)
	i := slices.IndexFunc(others, func(p peer) bool { return p.name == "1.1" })
	if i < 0 {
		t.Skip("no other implementation here packs metadata")
	}
	for _, im := range images(t) {
		t.Run(im.name, func(t *testing.T) { packBothWays(t, others[i], im.path, true) })
	}
	for _, blocks := range []int64{5, 128, 1001} {
		t.Run(fmt.Sprintf("%d blocks", blocks), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "device")
			content := must(fixtures.Image("layers"))
			if err := os.WriteFile(path, content[:blocks*4096], 0o600); err != nil {
				t.Fatal(err)
			}
			packBothWays(t, others[i], path, false)
		})
	}
}

func packBothWays(t *testing.T, p peer, path string, they bool) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	theirTool := func(tool, from, to string) {
		t.Helper()
		if r := run(t, p.tool(tool), "-i", from, "-o", to); r.code != 0 {
			t.Fatalf("their %s: %s", tool, r.stderr)
		}
	}
	same := func(what, a, b string) {
		t.Helper()
		if !bytes.Equal(must(os.ReadFile(a)), must(os.ReadFile(b))) {
			t.Errorf("%s: not the same device", what)
		}
	}
	ours(t, "thin_metadata_pack", "-i", path, "-o", in("pack"))
	ours(t, "thin_metadata_unpack", "-i", in("pack"), "-o", in("valid")) // without invalid blocks
	theirTool("thin_metadata_unpack", in("pack"), in("theirs"))
	same("packed by us, unpacked by them", in("valid"), in("theirs"))
	ours(t, "thin_metadata_pack", "--all", "-i", path, "-o", in("all"))
	ours(t, "thin_metadata_unpack", "-i", in("all"), "-o", in("whole"))
	same("packed and unpacked by us", path, in("whole"))
	theirTool("thin_metadata_unpack", in("all"), in("their.all"))
	same("packed by us with --all, unpacked by them", in("valid"), in("their.all"))
	if they {
		theirTool("thin_metadata_pack", path, in("their.pack"))
		ours(t, "thin_metadata_unpack", "-i", in("their.pack"), "-o", in("ours"))
		same("packed by them, unpacked by us", in("valid"), in("ours"))
	}
}
