//go:build unix

package e2e

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A signal ends a command at once, even if it waits for a silent NBD server.
func TestSignalAtSilentServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	connected := make(chan struct{})
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		close(connected)
		_, _ = io.Copy(io.Discard, c) // until the command hangs up
	}()
	w := writer{args: []string{"thin_check", "nbd+unix://" + filepath.Join(dir, "socket")}}
	cmd, stderr := w.start(t, dir)
	select {
	case <-connected:
	case <-time.After(time.Minute):
		t.Error("it does not connect")
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	if e := ended(t, cmd, stderr); e.code != 128+int(syscall.SIGINT) || !strings.HasSuffix(e.stderr, ": interrupted\n") {
		t.Errorf("exit code %d, signal %v, %q", e.code, e.signal, e.stderr)
	}
}
