package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// poolSize is the size of the metadata in bytes.
const poolSize = 8 << 20

// pool creates metadata of a pool that depends on seed.
func pool(t *testing.T, path string, seed int, more ...string) {
	t.Helper()
	empty(t, path, poolSize)
	ours(t, "thin_generate", append([]string{"-o", path, "--devices", "4", "--mappings", "20000", "--snapshots", "4", "--divergence", "5", "--seed", fmt.Sprint(seed)}, more...)...)
}

// If two thin_restore write to one file at the same time, one is refused or waits. The file never
// gets a valid superblock over a mix of both.
func TestOneRestore(t *testing.T) {
	t.Parallel()
	many(t)
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	var dumps [2]string
	whole := map[string]bool{}
	for i := range dumps {
		made := filepath.Join(dir, "made")
		pool(t, made, i+1)
		dumps[i] = filepath.Join(dir, fmt.Sprint("dump", i))
		ours(t, "thin_dump", "-o", dumps[i], made)
		empty(t, target, poolSize)
		ours(t, "thin_restore", "-i", dumps[i], "-o", target)
		whole[ours(t, "thin_dump", target)] = true
	}
	busy := 0
	for range times(60, 200) {
		var results [2]result
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() { results[i] = run(t, filepath.Join(tools, "thin_restore"), "-i", dumps[i], "-o", target) })
		}
		wg.Wait()
		for i, r := range results {
			switch {
			case r.code == 0:
			case r.code == 3 && results[1-i].code == 0 && strings.Contains(r.stderr, "target: file is in use by"):
				busy++
			default:
				t.Fatalf("exit code %d, %s", r.code, r.stderr)
			}
		}
		if !whole[ours(t, "thin_dump", target)] {
			t.Fatal("the file holds metadata of both")
		}
	}
	if busy == 0 {
		t.Error("no two of them ever met")
	}
	t.Logf("%d were refused", busy)
}

// The message names the process that uses the file, even if it only holds a lock.
func TestBusyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pool")
	pool(t, path, 1)
	dump := ours(t, "thin_dump", path)
	in := path + ".xml"
	if err := os.WriteFile(in, []byte(dump), 0o600); err != nil {
		t.Fatal(err)
	}
	f := must(os.OpenFile(path, os.O_RDWR, 0))
	defer f.Close()
	if err := block.Lock(f); err != nil {
		t.Fatal(err)
	}
	who := fmt.Sprintf("file is in use by %q (process %d)", filepath.Base(os.Args[0]), os.Getpid())
	for _, args := range [][]string{
		{"thin_restore", "-i", in, "-o", path},
		{"thin_check", "--auto-repair", path},
		{"thin_check", "--clear-needs-check-flag", path},
		{"thin_generate", "-o", path},
		{"thin_repair", "-i", path, "--in-place", "--undo", in + ".undo"},
		{"thin_dump", "-o", path, in},
		{"thin_metadata_pack", "-f", "-i", in, "-o", path},
		{"thin_trim", "--metadata-dev", in, "--data-dev", path},
	} {
		t.Run(args[0], func(t *testing.T) {
			if args[0] != "thin_restore" { // their input is metadata
				pool(t, in, 2)
			}
			before := sum(t, path)
			r := run(t, filepath.Join(tools, args[0]), args[1:]...)
			// The kernel keeps 15 bytes of a command's name.
			if r.code != 3 || !strings.Contains(r.stderr, who[:len("file is in use by \"")+15]) || !strings.Contains(r.stderr, fmt.Sprintf("process %d", os.Getpid())) {
				t.Errorf("exit code %d, %s; want %s", r.code, r.stderr, who)
			}
			if sum(t, path) != before {
				t.Error("the file has changed")
			}
		})
	}
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	return sha256.Sum256(must(os.ReadFile(path)))
}

// A writer is a tool that writes, in a folder of its own.
type writer struct {
	name string
	args []string // the first is the name of the tool
	// outputs lists files it may create.
	outputs []string
	// target is the file in which it writes metadata in place; "": none.
	target   string
	replaces bool // it replaces the target with a new file
}

var writers = []writer{
	{"restore", []string{"thin_restore", "-i", "new.xml", "-o", "old"}, nil, "old", false},
	{"repair", []string{"thin_repair", "-i", "damaged", "-o", "old", "--accept-loss", "--report", "report", "--report-html", "page"}, []string{"report", "page"}, "old", false},
	{"repair in place", []string{"thin_repair", "-i", "damaged", "--in-place", "--undo", "undo", "--accept-loss"}, []string{"undo"}, "damaged", false},
	{"check", []string{"thin_check", "--auto-repair", "--undo", "undo", "leaking"}, []string{"undo"}, "leaking", false},
	{"shrink", []string{"thin_shrink", "-i", "new", "-o", "old", "--no-copy", "--nr-blocks", "400000"}, nil, "old", false},
	{"unpack", []string{"thin_metadata_unpack", "-f", "-i", "new.pack", "-o", "old"}, nil, "old", true},
	{"pack", []string{"thin_metadata_pack", "-f", "-i", "new", "-o", "out"}, []string{"out"}, "", false},
	{"dump", []string{"thin_dump", "-o", "out", "new"}, []string{"out"}, "", false},
	{"export", []string{"thin_export", "--metadata", "new", "--data", "data", "--dev-id", "1", "--size", "64m", "-o", "out"}, []string{"out", "out.resume", "out.state"}, "", false},
	{"generate", []string{"thin_generate", "-o", "old", "--devices", "4", "--mappings", "20000"}, nil, "old", false},
}

// writersFiles creates the writers' inputs, once.
func writersFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	pool(t, in("old"), 1)
	pool(t, in("new"), 2)
	pool(t, in("damaged"), 3, "--damage", "zero=20")
	pool(t, in("leaking"), 4)
	ours(t, "thin_dump", "-o", in("new.xml"), in("new"))
	ours(t, "thin_metadata_pack", "-i", in("new"), "-o", in("new.pack"))
	overcount(t, in("leaking"))
	empty(t, in("data"), 1<<40) // sparse
	return dir
}

// overcount raises the counts of unused blocks in the metadata at path.
func overcount(t *testing.T, path string) {
	t.Helper()
	dev := must(block.Open(path, block.Options{Write: true}))
	defer dev.Close()
	sb := must(metadata.Open(dev, metadata.Options{})).Live
	var index, bitmap block.Data
	if err := block.Read(dev, sb.MetadataSpaceMap.BitmapRoot, &index); err != nil {
		t.Fatal(err)
	}
	const firstEntry, header = 16, 16
	nr := block.Nr(index[firstEntry]) | block.Nr(index[firstEntry+1])<<8
	if err := block.Read(dev, nr, &bitmap); err != nil {
		t.Fatal(err)
	}
	for i := 700; i < 800; i++ { // 4 counts each
		bitmap[header+i] |= 0b01010101 &^ (bitmap[header+i] | bitmap[header+i]>>1)
	}
	block.Reseal(&bitmap, block.Bitmap)
	if err := block.Write(dev, nr, &bitmap); err != nil {
		t.Fatal(err)
	}
}

// names lists the files in a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, e := range must(os.ReadDir(dir)) {
		all = append(all, e.Name())
	}
	return all
}

// folder creates a folder with the writer's inputs and a target of its own.
func (w writer) folder(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range names(t, from) {
		if name == w.target {
			must(exec.Command("cp", "--sparse=always", filepath.Join(from, name), to).Output())
		} else if err := os.Link(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// sums returns the checksums of the files in a folder, except the empty data device.
func sums(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	all := map[string][sha256.Size]byte{}
	for _, name := range names(t, dir) {
		if name != "data" {
			all[name] = sum(t, filepath.Join(dir, name))
		}
	}
	return all
}

// end is the result of a writer that was stopped.
type end struct {
	code   int
	signal syscall.Signal
	stderr string
}

// stopped runs a writer and stops it after a while.
func (w writer) stopped(t *testing.T, dir string, after time.Duration, sig syscall.Signal) end {
	t.Helper()
	cmd, stderr := w.start(t, dir)
	time.Sleep(after)
	_ = cmd.Process.Signal(sig)
	return ended(t, cmd, stderr)
}

// start starts a writer.
func (w writer) start(t *testing.T, dir string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(filepath.Join(tools, w.args[0]), w.args[1:]...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &stderr
}

// ended waits for the end of what was started.
func ended(t *testing.T, cmd *exec.Cmd, stderr *bytes.Buffer) end {
	t.Helper()
	err := cmd.Wait()
	if _, exit := errors.AsType[*exec.ExitError](err); err != nil && !exit {
		t.Fatal(err)
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	e := end{code: status.ExitStatus(), stderr: stderr.String()}
	if status.Signaled() {
		e.signal = status.Signal()
	}
	return e
}

// complete runs a writer to its end. It returns the time it took and the resulting target.
func (w writer) complete(t *testing.T, dir string) (time.Duration, state) {
	t.Helper()
	began := time.Now()
	cmd := exec.Command(filepath.Join(tools, w.args[0]), w.args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := time.Since(began)
	if w.target == "" {
		return took, state{}
	}
	return took, stateOf(t, filepath.Join(dir, w.target))
}

// judge checks that the target is unchanged, complete, or refused, and that only files named by the
// writer are left. After SIGKILL there may be one other file: the complete new file that was about
// to replace the target (see package newfile).
func (w writer) judge(t *testing.T, dir string, before []string, old, made state, sig syscall.Signal) string {
	t.Helper()
	for _, name := range names(t, dir) {
		switch {
		case slices.Contains(before, name), slices.Contains(w.outputs, name):
		case sig == syscall.SIGKILL && w.replaces && strings.HasPrefix(name, "."+w.target+".") &&
			sum(t, filepath.Join(dir, name)) == made.bytes:
		default:
			t.Errorf("%s is left", name)
		}
	}
	if w.target == "" {
		return "-"
	}
	got := stateOf(t, filepath.Join(dir, w.target))
	switch {
	case got.bytes == made.bytes:
		return "new"
	case got.bytes == old.bytes, got.dump != "" && got.dump == old.dump:
		return "old"
	case got.valid && got.dump != made.dump:
		t.Errorf("%s has a valid superblock, and is neither the old metadata nor the new", w.target)
	}
	return "refused"
}

// A state identifies the content of a metadata device.
type state struct {
	bytes [sha256.Size]byte
	valid bool   // it has a valid superblock
	dump  string // "": damaged
}

func stateOf(t *testing.T, path string) state {
	t.Helper()
	content := must(os.ReadFile(path))
	s := state{bytes: sha256.Sum256(content)}
	var b block.Data
	copy(b[:], content)
	_, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, &b)
	if s.valid = err == nil; s.valid {
		s.dump = run(t, filepath.Join(tools, "thin_dump"), path).out
	}
	return s
}

// unchanged checks that no writer changed another file.
func unchanged(t *testing.T, dir string, content map[string][sha256.Size]byte) {
	t.Helper()
	if !maps.Equal(sums(t, dir), content) {
		t.Error("writers have changed what they only read")
	}
}

// However and whenever a writer is stopped, it leaves the old metadata, the new metadata, or
// something that is refused, and no unnamed file.
func TestStoppedWriters(t *testing.T) {
	t.Parallel()
	many(t)
	from := writersFiles(t)
	before, content := names(t, from), sums(t, from)
	t.Cleanup(func() { unchanged(t, from, content) })
	kills := times(7, 30) // per writer, at random moments
	for _, w := range writers {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			dir := w.folder(t, from)
			var old state
			if w.target != "" {
				old = stateOf(t, filepath.Join(dir, w.target))
			}
			took, made := w.complete(t, dir)
			states := map[string]int{}
			random := rand.New(rand.NewPCG(1, 2))
			for i := range kills + 2 {
				dir := w.folder(t, from)
				sig := syscall.SIGKILL
				if i >= kills {
					sig = []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP}[i-kills]
				}
				e := w.stopped(t, dir, time.Duration(random.Int64N(int64(took))), sig)
				switch {
				case e.signal == syscall.SIGKILL, e.code == 0:
				case e.signal == sig: // before the handler was installed
				case e.code != 128+int(sig) || !strings.Contains(e.stderr, "interrupted"):
					t.Errorf("%v: exit code %d, %s", sig, e.code, e.stderr)
				}
				states[w.judge(t, dir, before, old, made, sig)]++
				os.RemoveAll(dir)
			}
			t.Logf("%v for %v", states, took)
		})
	}
}

// A writer that runs out of space, or is not allowed to write, says so, and leaves the same as one
// that is stopped.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	many(t)
	from := writersFiles(t)
	before, content := names(t, from), sums(t, from)
	t.Cleanup(func() { unchanged(t, from, content) })
	for _, w := range writers {
		if w.name == "export" { // it writes holes
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			dir := w.folder(t, from)
			var old state
			if w.target != "" {
				old = stateOf(t, filepath.Join(dir, w.target))
			}
			_, made := w.complete(t, dir)
			for _, kib := range []int{4, 64, 400} {
				dir := w.folder(t, from)
				cmd := exec.Command("bash", append([]string{"-c", fmt.Sprintf(`ulimit -f %d; exec "$0" "$@"`, kib), filepath.Join(tools, w.args[0])}, w.args[1:]...)...)
				cmd.Dir = dir
				out, _ := cmd.CombinedOutput()
				if code := cmd.ProcessState.ExitCode(); code == 0 && kib < 400 || code != 0 && code != 3 || code == 3 && !strings.Contains(string(out), "file too large") {
					t.Errorf("%d KiB: exit code %d, %s", kib, code, out)
				}
				w.judge(t, dir, before, old, made, 0)
			}
		})
	}
}
