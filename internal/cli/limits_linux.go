package cli

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// errorsAt names the descriptor for messages if another process supervises this one.
const errorsAt = "THINPOOL_STDERR"

// withinLimits runs a tool and returns its exit code. run gets the writer for messages.
//
// If memory runs out, the Go runtime prints a trace and exits with the code for a wrong command
// line. The process cannot change that. So if memory is limited, the tool runs in a child, whose
// runtime writes to a standard error of its own.
func withinLimits(name string, run func(stderr io.Writer) int) int {
	if err := spareDescriptors(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return exitAccess
	}
	if fd, err := strconv.Atoi(os.Getenv(errorsAt)); err == nil {
		os.Unsetenv(errorsAt)
		unix.CloseOnExec(fd)
		return run(os.NewFile(uintptr(fd), os.Stderr.Name()))
	}
	if limited(unix.RLIMIT_AS) || limited(unix.RLIMIT_DATA) {
		if code, err := supervise(name); err == nil {
			return code
		}
	}
	return run(os.Stderr)
}

func limited(resource int) bool {
	var limit unix.Rlimit
	return unix.Getrlimit(resource, &limit) == nil && limit.Cur != unix.RLIM_INFINITY
}

// spareDescriptors makes the runtime open the descriptors it needs for polling. The runtime does
// that when the first file is opened, and dies if none are left.
func spareDescriptors() error {
	const needed = 3 // the file and two for the runtime
	if err := tryDescriptors(needed); err != nil {
		return fmt.Errorf("%w: raise the limit on them (ulimit -n)", err)
	}
	if null, err := os.Open(os.DevNull); err == nil {
		null.Close()
	}
	return nil
}

func tryDescriptors(n int) error {
	for range n {
		fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
	}
	return nil
}

// supervise runs the same command line in a child and returns its exit code. It returns an error if
// the child could not be started.
func supervise(name string) (int, error) {
	runtime.LockOSThread() // the child's parent death signal follows this thread
	defer runtime.UnlockOSThread()
	fd, err := unix.FcntlInt(uintptr(syscall.Stderr), unix.F_DUPFD, 3)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var trace head
	child := exec.Command("/proc/self/exe")
	child.Args = os.Args
	child.Env = append(os.Environ(), errorsAt+"="+strconv.Itoa(fd))
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, &trace
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 1)
	for _, sig := range stopSignals {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	if err := child.Start(); err != nil {
		signal.Reset(stopSignals...)
		return 0, err
	}
	go func() {
		for sig := range signals {
			if !fromTerminal(sig) {
				_ = child.Process.Signal(sig)
			}
		}
	}()
	_ = child.Wait()
	return verdict(name, child.ProcessState.Sys().(syscall.WaitStatus), trace.String()), nil
}

// fromTerminal reports whether the terminal has also sent the signal to the child.
func fromTerminal(sig os.Signal) bool {
	if sig != syscall.SIGINT {
		return false
	}
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// ours matches what the runtime prints if our code has a bug.
var ours = regexp.MustCompile(`panic: |concurrent map|goroutines are asleep|unexpected signal`)

// verdict returns the exit code for a finished child. trace is what its runtime may have printed.
func verdict(name string, status syscall.WaitStatus, trace string) int {
	switch {
	case status.Signaled():
		signal.Reset(status.Signal())
		_ = unix.Kill(unix.Getpid(), status.Signal())
		return exitSignal + int(status.Signal())
	case strings.Contains(trace, "fatal error: ") && !ours.MatchString(trace):
		fmt.Fprintf(os.Stderr, "%s: out of memory: raise the limits (ulimit -v, ulimit -d)\n", name)
		return exitAccess
	}
	_, _ = io.WriteString(os.Stderr, trace)
	return status.ExitStatus()
}

// A head keeps the start of what is written to it.
type head struct{ strings.Builder }

func (h *head) Write(p []byte) (int, error) {
	const most = 64 << 10
	h.Builder.Write(p[:min(len(p), max(0, most-h.Len()))])
	return len(p), nil
}
