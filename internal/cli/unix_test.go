//go:build unix

package cli

import (
	"context"
	"io"
	"os"
	"syscall"
	"testing"
	"time"
)

// Waiting for a pipe can be interrupted.
func TestInterruptPipes(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fifo := t.TempDir() + "/fifo"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(*Env) error{
		"reading": func(env *Env) error {
			env.Stdin = r
			_, err := io.ReadAll(env.Patient(env.Stdin))
			return err
		},
		"opening": func(env *Env) error { _, err := env.OpenFile(fifo); return err },
		"writing": func(env *Env) error { _, err := env.Stdout.Write(make([]byte, 1<<20)); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		code, stderr := run(ctx, w, "", do)
		if code != 130 || stderr != "does: interrupted\n" {
			t.Errorf("%s: exit code %d, stderr %q", name, code, stderr)
		}
		cancel()
	}
	// Ends the open that is still blocked.
	if f, err := os.OpenFile(fifo, os.O_RDWR, 0); err == nil {
		f.Close()
	}
}
