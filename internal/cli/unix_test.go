//go:build unix

package cli

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Whoever waits for a pipe can be interrupted.
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
			in, err := env.OpenText("-")
			if err == nil {
				_, err = io.ReadAll(in)
			}
			return err
		},
		"opening": func(env *Env) error { _, err := env.OpenText(fifo); return err },
		"writing": func(env *Env) error { _, err := env.Stdout.Write(make([]byte, 1<<20)); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		code, stderr := run(ctx, w, "", do)
		if code != 130 || stderr != "does: interrupted\n" {
			t.Errorf("%s: exit code %d, stderr %q", name, code, stderr)
		}
		cancel()
	}
	// Ends the open that is still waiting.
	if f, err := os.OpenFile(fifo, os.O_RDWR, 0); err == nil {
		f.Close()
	}
}

func TestOpenMetadataRefuses(t *testing.T) {
	dir := t.TempDir()
	pipe, socket, empty := filepath.Join(dir, "pipe"), filepath.Join(dir, "socket"), write(t, nil)
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	missing := filepath.Join(dir, "missing")
	for path, want := range map[string]string{
		missing:     missing + ": no such file or device",
		dir:         "Not a block device or regular file '" + dir + "'.",
		"/dev/null": "Not a block device or regular file '/dev/null'.",
		pipe:        "Not a block device or regular file '" + pipe + "'.",
		socket:      "Not a block device or regular file '" + socket + "'.",
		empty:       empty + ": Metadata device/file too small.  Is this binary metadata?",
	} {
		if _, err := OpenMetadata(path, false); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}
