package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A docBlock is a fenced block in a document, preceded by a comment that says what it is:
//
//	<!-- run: NAME -->     commands that the test NAME runs, in order
//	<!-- output: NAME -->  lines that the preceding commands of NAME have printed, in this order
//	<!-- root -->          commands that need root or LVM: they are not run
//
// If lines of a block start with "$ ", these are commands, and the other lines are their complete
// output. In it, "..." stands for any lines, or for the rest of a line.
type docBlock struct {
	kind, name string
	lines      []string
	line       int
}

var docMark = regexp.MustCompile(`^<!-- (run|output|root)(?:: ([a-z0-9-]+))? -->$`)

// docBlocks returns the marked blocks of a document, and the line numbers of the others.
func docBlocks(t *testing.T, path string) (blocks []docBlock, unmarked []int) {
	t.Helper()
	lines := strings.Split(string(must(os.ReadFile(path))), "\n")
	for i := 0; i < len(lines); i++ {
		if !strings.HasPrefix(lines[i], "```") {
			continue
		}
		begin := i
		for i++; lines[i] != "```"; i++ {
		}
		m := docMark.FindStringSubmatch(lines[begin-1])
		if m == nil {
			unmarked = append(unmarked, begin+1)
			continue
		}
		if (m[2] == "") != (m[1] == "root") {
			t.Errorf("%s:%d: wrong mark", path, begin)
		}
		blocks = append(blocks, docBlock{m[1], m[2], lines[begin+1 : i], begin + 2})
	}
	return blocks, unmarked
}

// A docCase is a situation in which the commands of some blocks are run.
type docCase struct {
	name  string            // name of the blocks
	after string            // run the blocks of this case first, in its situation
	words map[string]string // values of the words in capitals
	// start creates the files and returns a function that checks the result. dir is the current
	// folder.
	start func(t *testing.T, dir string) (end func())
}

// Every recipe in docs/recovery.md works on damage of its kind.
func TestDocs_recovery(t *testing.T) {
	t.Parallel()
	blocks, unmarked := docBlocks(t, "../../docs/recovery.md")
	if len(unmarked) > 0 {
		t.Errorf("lines %d: blocks without a mark", unmarked)
	}
	checkCases(t, blocks, recoveryCases)
	many(t)
	for _, c := range recoveryCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			runCase(t, blocks, recoveryCases, c, t.TempDir())
		})
	}
}

// checkCases checks that every block has a case and every case a block.
func checkCases(t *testing.T, blocks []docBlock, cases []docCase) {
	t.Helper()
	named := map[string]bool{}
	for _, b := range blocks {
		if b.kind == "root" {
			continue
		}
		if b.kind == "run" {
			named[b.name] = true
		}
		if !slices.ContainsFunc(cases, func(c docCase) bool { return c.name == b.name }) {
			t.Errorf("line %d: nothing runs the block %s", b.line, b.name)
		}
	}
	for _, c := range cases {
		if !named[c.name] {
			t.Errorf("there is no block %s", c.name)
		}
	}
}

func runCase(t *testing.T, blocks []docBlock, all []docCase, c docCase, dir string) {
	words := maps.Clone(c.words)
	if c.after != "" {
		before := all[slices.IndexFunc(all, func(b docCase) bool { return b.name == c.after })]
		runCase(t, blocks, all, before, dir)
		for word, name := range before.words {
			if words == nil {
				words = map[string]string{}
			}
			if _, ok := words[word]; !ok {
				words[word] = name
			}
		}
	}
	end := c.start(t, dir)
	var printed []string
	for _, b := range blocks {
		switch {
		case b.name != c.name:
		case b.kind == "run":
			printed = append(printed, runBlock(t, b, words, dir)...)
		default:
			wantLines(t, b, printed)
		}
	}
	if end != nil {
		end()
	}
}

// wantLines checks that lines were printed, in this order.
func wantLines(t *testing.T, b docBlock, printed []string) {
	t.Helper()
	for i, line := range b.lines {
		at := slices.Index(printed, line)
		if at < 0 {
			t.Fatalf("line %d: not printed: %s\nprinted:\n%s", b.line+i, line, strings.Join(printed, "\n"))
		}
		printed = printed[at+1:]
	}
}

var (
	docWord = regexp.MustCompile(`\b[A-Z][A-Z0-9]+\b`)
	docCode = regexp.MustCompile(`# exit code (\d)(?: or (\d))?`)
)

// runBlock runs the commands of a block, each of which must end as the block says.
func runBlock(t *testing.T, b docBlock, words map[string]string, dir string) (printed []string) {
	t.Helper()
	if strings.HasPrefix(b.lines[0], "$ ") {
		runConsole(t, b, dir)
		return nil
	}
	command := ""
	for i, line := range b.lines {
		command += docWord.ReplaceAllStringFunc(line, func(word string) string {
			if _, ok := words[word]; !ok {
				t.Fatalf("line %d: what is %s?", b.line+i, word)
			}
			return words[word]
		}) + "\n"
		if strings.HasSuffix(line, `\`) || exec.CommandContext(t.Context(), "bash", "-n", "-c", command).Run() != nil {
			continue // it continues on the next line
		}
		printed = append(printed, runCommand(t, command, b.line+i, dir)...)
		command = ""
	}
	if command != "" {
		t.Fatalf("line %d: not a command: %s", b.line, command)
	}
	return printed
}

// runCommand runs a command, checks its exit code against its comment, and returns the lines it
// prints.
func runCommand(t *testing.T, command string, line int, dir string) []string {
	t.Helper()
	out, code := runShell(t, command, dir)
	want := []string{"0"}
	if m := docCode.FindStringSubmatch(command); m != nil {
		want = m[1:]
	}
	if !slices.Contains(want, strconv.Itoa(code)) {
		t.Fatalf("line %d: exit code %d, want %v: %s%s", line, code, want, command, out)
	}
	if out == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
}

// runConsole runs the commands of a block that shows their complete output.
func runConsole(t *testing.T, b docBlock, dir string) {
	t.Helper()
	for i := 0; i < len(b.lines); {
		command, line := strings.TrimPrefix(b.lines[i], "$ "), b.line+i
		var want []string
		for i++; i < len(b.lines) && !strings.HasPrefix(b.lines[i], "$ "); i++ {
			want = append(want, b.lines[i])
		}
		if got := runCommand(t, command, line, dir); !printsLike(got, want) {
			t.Errorf("line %d: %s prints\n%s\nnot\n%s", line, command, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// printsLike compares lines with those in a document, where "..." matches anything.
func printsLike(got, want []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if want[0] == "..." {
		return printsLike(got, want[1:]) || len(got) > 0 && printsLike(got[1:], want)
	}
	if len(got) == 0 {
		return false
	}
	begin, cut := strings.CutSuffix(want[0], " ...")
	return (got[0] == want[0] || cut && strings.HasPrefix(got[0], begin)) && printsLike(got[1:], want[1:])
}

// runShell runs a command as typed in a shell, with our tools.
func runShell(t *testing.T, command, dir string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+tools+string(os.PathListSeparator)+os.Getenv("PATH"), "LC_ALL=C")
	both, err := cmd.CombinedOutput()
	if _, exit := err.(*exec.ExitError); err != nil && !exit {
		t.Fatal(err)
	}
	return string(both), cmd.ProcessState.ExitCode()
}

// Commands that need root or LVM are not run here. They are listed and use only these programs.
func TestDocs_root(t *testing.T) {
	t.Parallel()
	const want = 21 // blocks in docs/recovery.md: keep in sync
	known := strings.Fields(`cryptsetup dd dmsetup grep losetup ls lvchange lvconvert lvcreate lvextend lvmconfig lvmdevices lvs mdadm pvcreate pvs
		qemu-nbd thin_check thin_dump thin_restore thin_volumes vgcfgbackup vgcfgrestore vgchange vgimportdevices vgs`)
	used := map[string]bool{}
	blocks, _ := docBlocks(t, "../../docs/recovery.md")
	found := 0
	for _, b := range blocks {
		if b.kind != "root" {
			continue
		}
		found++
		for i, line := range b.lines {
			for _, part := range strings.Split(line, "|") {
				name := strings.Fields(part)[0]
				used[name] = true
				if !slices.Contains(known, name) {
					t.Errorf("line %d: %s", b.line+i, line)
				}
			}
		}
		t.Logf("not run: line %d: %s", b.line, strings.Join(b.lines, "; "))
	}
	if found != want {
		t.Errorf("%d blocks need root or LVM, want %d", found, want)
	}
	for _, name := range known {
		if !used[name] {
			t.Errorf("nothing uses %s", name)
		}
	}
}

// The output in README.md and docs/guide.md matches the tools.
func TestDocs_examples(t *testing.T) {
	t.Parallel()
	many(t)
	for _, path := range []string{"../../README.md", "../../docs/guide.md"} {
		blocks, _ := docBlocks(t, path)
		if len(blocks) < 3 {
			t.Errorf("%s: only %d blocks", path, len(blocks))
		}
		for _, b := range blocks {
			t.Run(filepath.Base(path)+"/"+b.name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				exampleFiles(t, path, dir)
				if strings.Contains(strings.Join(b.lines, " "), "disk.img") {
					newDisk(t, dir)
				}
				if b.kind != "run" {
					t.Fatal("it is not run")
				}
				runBlock(t, b, nil, dir)
			})
		}
	}
}

// exampleFiles creates the files used in the examples of a document.
func exampleFiles(t *testing.T, path, dir string) {
	t.Helper()
	damaged := "damaged.meta"
	if strings.HasSuffix(path, "README.md") {
		damaged = "pool.meta"
	}
	for name, image := range map[string]string{"pool.meta": "metadata-snap", "leaky.meta": "powercut", damaged: "odd-blocks"} {
		write(t, filepath.Join(dir, name), must(fixtures.Image(image)))
	}
	wipeBlocks(t, filepath.Join(dir, damaged), 81)
	write(t, filepath.Join(dir, "new.meta"), make([]byte, 8<<20))
}

// The output in docs/json.md matches the tools.
func TestDocs_json(t *testing.T) {
	t.Parallel()
	many(t)
	images := map[string]func(string){
		"thin_dump":   func(path string) { write(t, path, must(fixtures.Image("sequential"))) },
		"thin_export": func(path string) { write(t, path, must(fixtures.Image("sequential"))) },
		"thin_delta":  func(path string) { write(t, path, must(fixtures.Image("metadata-snap"))) },
		"thin_repair": func(path string) { write(t, path, twoOrphans(t)) },
		"thin_files": func(path string) {
			write(t, filepath.Join(filepath.Dir(path), "home.img"), unpackFileSystem(t, "ext4-inline"))
		},
	}
	text := string(must(os.ReadFile("../../docs/json.md")))
	examples := regexp.MustCompile(`(?m)^    \$ ((\w+) .*)\n((?:    \{.*\n)+)`).FindAllStringSubmatch(text, -1)
	for _, m := range examples {
		dir := t.TempDir()
		images[m[2]](filepath.Join(dir, "pool.meta"))
		delete(images, m[2])
		out, _ := runShell(t, m[1]+" 2>/dev/null", dir)
		if want := strings.ReplaceAll(m[3], "    {", "{"); out != want {
			t.Errorf("%s prints\n%snot\n%s", m[1], out, want)
		}
	}
	if len(images) > 0 {
		t.Errorf("%d examples; none of %v", len(examples), slices.Collect(maps.Keys(images)))
	}
}

// twoOrphans creates metadata whose devices 1 and 2 have the same number of mappings, and whose
// top-level tree is lost.
func twoOrphans(t *testing.T) []byte {
	t.Helper()
	f := fixtures.NewForge(t, 64, 1000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200}))
	f.Device(2, f.Leaf(metadata.Run{Thin: 0, Data: 300, Len: 200}))
	image := f.Finish()
	if err := block.Write(image, f.Superblock.MappingRoot, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	return image.Contents()
}

// The program in docs/library.md builds and prints what the page says.
func TestDocs_library(t *testing.T) {
	t.Parallel()
	many(t)
	text := string(must(os.ReadFile("../../docs/library.md")))
	m := regexp.MustCompile("(?s)```go\n(.*?)```.*?```\n(.*?)```").FindStringSubmatch(text)
	if m == nil {
		t.Fatal("there is no example")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.go"), []byte(m[1]))
	write(t, filepath.Join(dir, "pool.meta"), must(fixtures.Image("sequential")))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "example"), filepath.Join(dir, "main.go"))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, code := runShell(t, "./example", dir); code != 0 || out != m[2] {
		t.Errorf("exit code %d: %s\nwant %s", code, out, m[2])
	}
}

// Check that the test of documents can fail.
func TestDocs_fail(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "doc.md")
	text := "<!-- run: a -->\n```\nfalse # exit code 1\nfor x in 1 2; do\n  echo $x\ndone\n```\n\n```\nunmarked\n```\n<!-- root -->\n```\nlvs\n```\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	blocks, unmarked := docBlocks(t, path)
	if len(blocks) != 2 || !slices.Equal(unmarked, []int{9}) {
		t.Fatalf("blocks %v, unmarked %v", blocks, unmarked)
	}
	if got := runBlock(t, blocks[0], nil, t.TempDir()); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("printed %q", got)
	}
	for _, tc := range []struct {
		got, want string
		like      bool
	}{
		{"a b", "a b", true},
		{"a b", "a", false},
		{"a", "a b", false},
		{"a b c", "a ... c", true},
		{"a b c", "...", true},
		{"a b c", "... b", false},
	} {
		if got := printsLike(strings.Fields(tc.got), strings.Fields(tc.want)); got != tc.like {
			t.Errorf("%q is like %q: %v", tc.got, tc.want, got)
		}
	}
}
