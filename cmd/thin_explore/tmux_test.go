package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"thinpool/fixtures"
	"thinpool/metadata/block"
)

// A terminal is a tmux session that runs the real binary.
type terminal struct {
	t      *testing.T
	socket string
}

// start runs thin_explore on a terminal of 80x24.
func start(t *testing.T, dir, command string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed")
	}
	term := &terminal{t, filepath.Join(dir, "tmux")}
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-c", dir, command+"; echo exit code $?; sleep 1000")
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", term.socket, "kill-server").Run() })
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", term.socket}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func (term *terminal) press(keys ...string) { term.tmux(append([]string{"send-keys"}, keys...)...) }

// shows waits until the screen contains a text, and returns the screen.
func (term *terminal) shows(text string) string {
	term.t.Helper()
	var screen string
	for range 600 {
		if screen = term.tmux("capture-pane", "-p"); strings.Contains(screen, text) {
			return screen
		}
		time.Sleep(50 * time.Millisecond)
	}
	term.t.Fatalf("no %q in\n%s", text, screen)
	return ""
}

// build builds the binaries of this module and of the main one.
func build(t *testing.T, dir string) {
	t.Helper()
	for from, packages := range map[string][]string{".": {"."}, "../..": {"./cmd/thin_restore", "./cmd/thin_ls", "./cmd/thin_check"}} {
		cmd := exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...)
		cmd.Dir = from
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// damaged writes an image made by a kernel, with one leaf lost.
func damaged(t *testing.T, path string) {
	t.Helper()
	dev := fixtures.Mem(t, "odd-blocks")
	if err := block.Write(dev, 81, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, dev.Contents(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A user finds a damaged leaf, what leads to it and its bytes, and saves what is around it.
func TestOnATerminal(t *testing.T) {
	dir := t.TempDir()
	term := start(t, dir, "while [ ! -e ready ]; do sleep 0.1; done; ./thin_explore pool.meta")
	build(t, dir)
	damaged(t, filepath.Join(dir, "pool.meta"))
	before, err := os.ReadFile(filepath.Join(dir, "pool.meta"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ready"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	term.shows("superblock, block 0")
	term.press("f")
	if screen := term.shows("fault 1 of 2: node-damaged"); !strings.Contains(screen, "pool.meta  0 > 68 > 72 > 81") {
		t.Errorf("not the way to block 81:\n%s", screen)
	}
	term.press("x")
	term.shows("0000  4096 bytes")
	term.press("x", "o")
	if screen := term.shows("owners of block 81"); !strings.Contains(screen, "internal node, entry 9  > block 72  in use") {
		t.Errorf("not what leads to block 81:\n%s", screen)
	}
	term.press("h", "h", "x")
	if screen := term.shows("bytes of block 72 (internal node)"); !strings.Contains(screen, "0010  16 00 00 00              nr_entries             22") {
		t.Errorf("not the bytes of block 72:\n%s", screen)
	}
	term.press("x", "e")
	term.shows("export to file: block-72.xml")
	term.press("C-u")
	term.press("saved.xml", "Enter")
	term.shows("saved.xml: 4634 mappings of one device; 1 block could not be used")
	term.tmux("resize-window", "-x", "50", "-y", "15")
	term.shows("Enter open  h back  Tab about  ? help")
	term.press("q")
	term.shows("exit code 0")

	if after, err := os.ReadFile(filepath.Join(dir, "pool.meta")); err != nil || string(after) != string(before) {
		t.Errorf("the metadata has changed (%v)", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new.meta"), make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"thin_restore -q -i saved.xml -o new.meta", "thin_check -q new.meta", "thin_ls --no-headers -o DEV,MAPPED_BLOCKS new.meta"} {
		words := strings.Fields(line)
		cmd := exec.Command(filepath.Join(dir, words[0]), words[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		if words[0] == "thin_ls" && strings.Join(strings.Fields(string(out)), " ") != "2 4634" {
			t.Errorf("restored: %s", out)
		}
	}
}

// thin_explore obeys NO_COLOR; without it, damage is red.
func TestColors(t *testing.T) {
	dir := t.TempDir()
	build(t, dir)
	damaged(t, filepath.Join(dir, "pool.meta"))
	for _, tc := range []struct {
		env   string
		color bool
	}{{"TERM=xterm-256color", true}, {"TERM=xterm-256color NO_COLOR=1", false}} {
		t.Run(tc.env, func(t *testing.T) {
			short, err := os.MkdirTemp("", "explore")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(short)
			term := start(t, short, "cd "+dir+" && env "+tc.env+" ./thin_explore pool.meta")
			term.press("f")
			term.shows("fault 1 of 2: node-damaged")
			screen := term.tmux("capture-pane", "-p", "-e")
			if red := strings.Contains(screen, "\x1b[31m") || strings.Contains(screen, ";31m"); red != tc.color {
				t.Errorf("red %v, want %v: %q", red, tc.color, screen)
			}
			term.press("q")
			term.shows("exit code 0")
		})
	}
}
