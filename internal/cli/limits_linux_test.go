package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stderrOf returns what f writes to the standard error of the process.
func stderrOf(t *testing.T, f func()) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	old := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = old }()
	f()
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// If the child ran out of memory, the parent says so and fails. Anything else is passed on, with
// the exit code.
func TestVerdict(t *testing.T) {
	const code = 4
	for name, tc := range map[string]struct {
		trace string
		code  int
		said  string
	}{
		"silent":        {"", code, ""},
		"out of memory": {"fatal error: runtime: cannot allocate memory\n\ngoroutine 1\n", exitAccess, "does: out of memory: raise the limits (ulimit -v, ulimit -d)\n"},
		"our fault":     {"panic: wrong\nfatal error: \n", code, "panic: wrong\nfatal error: \n"},
		"a deadlock":    {"fatal error: all goroutines are asleep - deadlock!\n", code, "fatal error: all goroutines are asleep - deadlock!\n"},
		"a message":     {"warning\n", code, "warning\n"},
	} {
		got := -1
		said := stderrOf(t, func() { got = verdict("does", syscall.WaitStatus(code<<8), tc.trace) })
		if got != tc.code || said != tc.said {
			t.Errorf("%s: exit code %d, %q; want %d, %q", name, got, said, tc.code, tc.said)
		}
	}
}

// Only the start of a long trace is kept, but all of it is consumed.
func TestHead(t *testing.T) {
	var h head
	for range 100 {
		if n, err := h.Write(make([]byte, 1000)); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if h.Len() != 64<<10 {
		t.Errorf("%d bytes are kept", h.Len())
	}
}

// If no file can be opened, the runtime would die: a message says so first.
func TestSpareDescriptors(t *testing.T) {
	if err := spareDescriptors(); err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	none := old
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	err := spareDescriptors()
	var code int
	said := stderrOfDescriptors(t, &old, func() { code = withinLimits("does", func(io.Writer) int { panic("runs") }) })
	if err == nil || !strings.Contains(err.Error(), "too many open files: raise the limit on them (ulimit -n)") {
		t.Errorf("error %v", err)
	}
	if code != exitAccess || !strings.HasPrefix(said, "does: too many open files") {
		t.Errorf("exit code %d, %q", code, said)
	}
}

// stderrOfDescriptors is stderrOf under a limit that allows no open file; old is restored
// afterwards.
func stderrOfDescriptors(t *testing.T, old *unix.Rlimit, f func()) string {
	t.Helper()
	var none unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, old); err != nil {
			t.Fatal(err)
		}
	}
	defer restore()
	restore()
	return stderrOf(t, func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
			t.Fatal(err)
		}
		f()
		restore()
	})
}

func TestLimited(t *testing.T) {
	if !limited(unix.RLIMIT_NOFILE) {
		t.Error("descriptors are not limited")
	}
	if limited(9999) {
		t.Error("a resource that does not exist is limited")
	}
}

// A supervised process writes messages to the given descriptor. Its own children do not inherit
// that.
func TestErrorsElsewhere(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "messages"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(errorsAt, strconv.Itoa(fd))
	code := withinLimits("does", func(stderr io.Writer) int {
		if _, told := os.LookupEnv(errorsAt); told {
			t.Error("the variable is still set")
		}
		fmt.Fprint(stderr, "a message")
		return 5
	})
	text, err := os.ReadFile(file.Name())
	if err != nil || code != 5 || string(text) != "a message" {
		t.Errorf("exit code %d, %q, %v", code, text, err)
	}
}

// The same command line runs in a child, whose exit code is returned.
func TestSupervise(t *testing.T) {
	if os.Getenv(errorsAt) != "" { // in the child
		fmt.Fprintln(os.Stderr, "the child says something")
		os.Exit(7)
	}
	args := os.Args
	defer func() { os.Args = args }()
	os.Args = []string{args[0], "-test.run=^TestSupervise$"}
	var code int
	var err error
	said := stderrOf(t, func() { code, err = supervise("does") })
	signal.Reset(stopSignals...)
	if err != nil || code != 7 || !strings.Contains(said, "the child says something\n") {
		t.Errorf("exit code %d, %q, %v", code, said, err)
	}
}

// The first signal to stop ends the context and is recorded in it.
func TestMainContext(t *testing.T) {
	defer signal.Reset(syscall.SIGPIPE)
	ctx := mainContext()
	sig := syscall.SIGHUP
	if signal.Ignored(sig) { // under nohup
		sig = syscall.SIGTERM
	}
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("the signal does not stop it")
	}
	if cause, ok := context.Cause(ctx).(interruptError); !ok || cause.signal != sig || cause.Error() != "interrupted" {
		t.Errorf("the cause is %v", context.Cause(ctx))
	}
}

// A write fails if standard output was closed when the process started.
func TestClosedOutput(t *testing.T) {
	if _, err := (closedOutput{}).Write([]byte("x")); err == nil || !strings.Contains(err.Error(), "standard output: it is closed") {
		t.Errorf("error %v", err)
	}
}
