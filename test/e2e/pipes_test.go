//go:build unix

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"thinpool/fixtures"
)

// If a tool waits for the other end of a pipe, the first signal ends it.
func TestSignalAtPipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := filepath.Join(dir, "pool")
	if err := os.WriteFile(pool, must(fixtures.Image("layers")), 0o600); err != nil {
		t.Fatal(err)
	}
	empty(t, filepath.Join(dir, "data"), 1<<40)
	const fifo, output = "FIFO", "NEW" // each command has its own
	for _, args := range [][]string{
		{"thin_dump", "-o", fifo, pool},
		{"thin_export", "--metadata", pool, "--data", "data", "--dev-id", "1", "-o", fifo},
		{"thin_metadata_size", "--from", fifo},
		{"thin_restore", "-i", fifo, "-o", output},
		{"thin_volumes", "--lvm-metadata", fifo, pool},
		{"thin_metadata_pack", "-i", pool, "-o", fifo},
	} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			t.Run(args[0]+" "+sig.String(), func(t *testing.T) {
				t.Parallel()
				pipe := filepath.Join(t.TempDir(), "fifo")
				if err := syscall.Mkfifo(pipe, 0o600); err != nil {
					t.Fatal(err)
				}
				args := slices.Clone(args)
				args[slices.Index(args, fifo)] = pipe
				if i := slices.Index(args, output); i >= 0 {
					args[i] = pipe + ".new"
					empty(t, args[i], 1<<20)
				}
				// On a busy machine, a tool may not even have installed its handler yet.
				e, wait := end{signal: sig}, 300*time.Millisecond
				for e.signal == sig && wait < time.Minute {
					e = writer{args: args}.stopped(t, dir, wait, sig)
					wait *= 2
				}
				if e.code != 128+int(sig) || !strings.HasSuffix(e.stderr, ": interrupted\n") {
					t.Errorf("exit code %d, signal %v, %q", e.code, e.signal, e.stderr)
				}
			})
		}
	}
}

// An undo file needs random access: a pipe is refused without waiting.
func TestUndoFromPipe(t *testing.T) {
	t.Parallel()
	pool, fifo := filepath.Join(t.TempDir(), "pool"), filepath.Join(t.TempDir(), "fifo")
	empty(t, pool, 1<<20)
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, filepath.Join(tools, "thin_check"), "--apply-undo", fifo, pool)
	if r.code != 3 || !strings.Contains(r.stderr, fifo+": not a regular file") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
}

// A pipe is read once, from its start.
func TestSizeFromPipe(t *testing.T) {
	t.Parallel()
	pool := filepath.Join(t.TempDir(), "pool")
	if err := os.WriteFile(pool, must(fixtures.Image("layers")), 0o600); err != nil {
		t.Fatal(err)
	}
	dump := pool + ".xml"
	ours(t, "thin_dump", "-o", dump, pool)
	want := strings.Replace(ours(t, "thin_metadata_size", "--from", dump), dump, "/dev/fd/63", 1)
	size := filepath.Join(tools, "thin_metadata_size")
	if got := run(t, "/bin/bash", "-c", size+" --from <(cat "+dump+")"); got.out != want {
		t.Errorf("%q, %s, want %q", got.out, got.stderr, want)
	}
}

// A tool that ignores SIGHUP keeps running.
func TestNohup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool, fifo := filepath.Join(dir, "pool"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(pool, must(fixtures.Image("layers")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `trap "" HUP; exec "$0" "$@"`, filepath.Join(tools, "thin_dump"), "-o", fifo, pool)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if got := must(os.ReadFile(fifo)); !strings.HasPrefix(string(got), "<superblock") {
		t.Errorf("%.100q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A shell redirection onto the input would destroy it.
func TestOutputIsInput(t *testing.T) {
	t.Parallel()
	pool := filepath.Join(t.TempDir(), "pool")
	if err := os.WriteFile(pool, must(fixtures.Image("layers")), 0o600); err != nil {
		t.Fatal(err)
	}
	before := sum(t, pool)
	for _, redirect := range []string{">> " + pool, "1<> " + pool, "2>> " + pool} {
		for _, tool := range []string{"thin_dump", "thin_check", "thin_ls", "thin_stat", "thin_scan"} {
			r := run(t, "/bin/bash", "-c", filepath.Join(tools, tool)+" "+pool+" "+redirect)
			if r.code != 2 || sum(t, pool) != before {
				t.Errorf("%s %s: exit code %d, %s", tool, redirect, r.code, r.stderr)
			}
		}
	}
}

// Output that cannot be printed is an error. Without output, a closed stream does not matter.
func TestClosedOutput(t *testing.T) {
	t.Parallel()
	if entry() == "" {
		t.Skip("on this processor the tools cannot tell a closed standard output from /dev/null")
	}
	pool := filepath.Join(t.TempDir(), "pool")
	if err := os.WriteFile(pool, must(fixtures.Image("layers")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command string
		code    int
	}{
		{"thin_dump " + pool + " >&-", 3},
		{"thin_ls " + pool + " >&-", 3},
		{"thin_check " + pool + " >&-", 3},
		{"thin_check -q " + pool + " >&-", 0},
		{"thin_dump -o " + pool + ".xml " + pool + " >&-", 0},
		{"thin_dump " + pool + " <>/dev/null >&0", 0}, // as in daemons
	} {
		r := run(t, "/bin/bash", "-c", filepath.Join(tools, c.command))
		if r.code != c.code || strings.Contains(r.stderr, "standard output: it is closed") != (c.code == 3) {
			t.Errorf("%s: exit code %d, %s", c.command, r.code, r.stderr)
		}
	}
}
