// Package models checks with spin that the order of writes and flushes keeps metadata safe.
package models

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// After a power failure or the death of a process at any time, a superblock that the kernel accepts
// leads to its own, complete metadata. Without flushes this is false, which shows that the models
// can fail.
func TestPowerCuts(t *testing.T) {
	for _, program := range []string{"spin", "cc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	for _, model := range []string{"rewrite.pml", "inplace.pml"} {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			if out := verify(t, model); !strings.Contains(out, "errors: 0") || !strings.Contains(out, "states, stored") {
				t.Errorf("spin: %s", out)
			}
		})
		t.Run(model+" without flushes", func(t *testing.T) {
			t.Parallel()
			if out := verify(t, model, "-DWITHOUT_FLUSH"); !strings.Contains(out, "assertion violated") {
				t.Errorf("spin finds no error: %s", out)
			}
		})
	}
}

// verify explores all states of a model and returns the output of spin.
func verify(t *testing.T, model string, options ...string) string {
	t.Helper()
	path, err := filepath.Abs(model)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return string(out)
	}
	run("spin", append(append([]string{"-a"}, options...), path)...)
	run("cc", "-O1", "-w", "-o", "pan", "pan.c")
	return run("./pan", "-a", "-N", "safe")
}
