package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata/block"
)

// Limits for a tool on hostile metadata of 1 MiB, whatever it claims. They detect unbounded growth
// and leave room for slow machines.
const (
	mostSeconds = "20" // CPU time
	mostKiB     = 768 << 10
)

// hostileCommands returns the tools that read metadata, and those that repair it into out.
func hostileCommands(path, copied, out, data string) [][]string {
	dir := filepath.Dir(copied)
	return [][]string{
		{"thin_check", path},
		{"thin_check", "-m", path},
		{"thin_check", "--auto-repair", copied},
		{"thin_dump", path},
		{"thin_dump", "-m", path},
		{"thin_dump", "--repair", path},
		{"thin_repair", "-i", path, "-o", out},
		{"thin_repair", "--dry-run", "--format", "json", "-i", path},
		{"thin_repair", "--list-states", "-i", path},
		{"thin_ls", "-o", "json", path},
		{"thin_rmap", "--region", "0..-1", path},
		{"thin_delta", "--thin1", "1", "--thin2", "2", path},
		{"thin_report", "-o", filepath.Join(dir, "page"), path},
		{"thin_report", "-m", "--format", "prometheus", path},
		{"thin_scan", path},
		{"thin_stat", path},
		{"thin_stat", "--op", "devices", path},
		{"thin_trim", "--dry-run", "--metadata-dev", path},
		{"thin_metadata_pack", "-f", "-i", path, "-o", filepath.Join(dir, "pack")},
		{"thin_shrink", "--dry-run", "--nr-blocks", "1000", "-i", path},
		{"thin_export", "--repair", "-f", "--size", "64m", "--dev-id", "1", "--metadata", path, "--data", data, "-o", filepath.Join(dir, "volume")},
		{"thin_volumes", path},
		{"thin_files", "--range", "0..-1", path},
	}
}

// hostileRepairs returns the tools with the most work.
func hostileRepairs(path, _, out, _ string) [][]string {
	return [][]string{{"thin_check", path}, {"thin_repair", "-i", path, "-o", out}}
}

// With hostile metadata, every tool finishes in time, within memory in proportion to the device,
// and with a message: no panic, no internal error, exit code 0 to 3.
func TestHostile(t *testing.T) {
	if testing.Short() {
		t.Skip("many images")
	}
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if seed < 8 {
				hostile(t, seed, 64, hostileCommands)
				return
			}
			hostile(t, seed, 64+block.Nr(seed)*3, hostileRepairs)
		})
	}
}

// hostile runs commands on a hostile image.
func hostile(t *testing.T, seed uint64, blocks block.Nr, commands func(path, copied, out, data string) [][]string) {
	t.Helper()
	dir := t.TempDir()
	path, copied, out, data := filepath.Join(dir, "meta"), filepath.Join(dir, "copy"), filepath.Join(dir, "out"), filepath.Join(dir, "data")
	empty(t, data, 64<<20)
	empty(t, out, 64<<20)
	dev := fixtures.Hostile(t, seed, blocks)
	image := make([]byte, dev.Size())
	if _, err := dev.ReadAt(image, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, copied} {
		if err := os.WriteFile(name, image, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range commands(path, copied, out, data) {
		runHostile(t, seed, args)
	}
}

// runHostile runs a tool with limits.
func runHostile(t *testing.T, seed uint64, args []string) {
	t.Helper()
	tool := filepath.Join(tools, args[0])
	cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", `ulimit -t ` + mostSeconds + `; exec "$0" "$@"`, tool}, args[1:]...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if _, exit := err.(*exec.ExitError); err != nil && !exit {
		t.Fatal(err)
	}
	text := stderr.String()
	switch code := cmd.ProcessState.ExitCode(); {
	case code < 0 || code > 3:
		t.Errorf("seed %d: %q: %v\n%.2000s", seed, args, cmd.ProcessState, text)
	case strings.Contains(text, "internal error"), strings.Contains(text, "panic:"):
		t.Errorf("seed %d: %q: %.2000s", seed, args, text)
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && usage.Maxrss > mostKiB {
		t.Errorf("seed %d: %q took %d MiB", seed, args, usage.Maxrss>>10)
	}
}
