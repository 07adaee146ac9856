package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"syscall"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // faults or losses were found, or the input does not allow what was asked
	exitUsage   = 2
	exitAccess  = 3   // the system refused to open, read or write something
	exitSignal  = 128 // plus the signal number
)

// ErrReported is returned by a command that failed and has printed why.
var ErrReported = errors.New("failed")

// errPipeClosed means that the reader of standard output is gone.
var errPipeClosed = errors.New("standard output is closed")

// A UsageError is an error in the command line.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

type interruptError struct{ signal os.Signal }

func (e interruptError) Error() string { return "interrupted" }

// usage prints an error in the command line, even with -q.
func usage(stderr io.Writer, name string, err error) int {
	fmt.Fprintf(stderr, "%s: %v\nTry '%s --help'.\n", name, err, name)
	return exitUsage
}

// exitCode prints err to stderr and returns the exit code for it.
func exitCode(ctx context.Context, stderr io.Writer, name string, err error) int {
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		fmt.Fprintf(stderr, "%s: interrupted\n", name)
		code := exitSignal + int(syscall.SIGINT)
		if e, ok := errors.AsType[interruptError](context.Cause(ctx)); ok {
			if sig, ok := e.signal.(syscall.Signal); ok {
				code = exitSignal + int(sig)
			}
		}
		return code
	}
	code := exitOK
	for _, err := range unjoin(err) {
		switch {
		case errors.Is(err, errPipeClosed):
			continue // a reader that closes the pipe has what it wants
		case !errors.Is(err, ErrReported):
			fmt.Fprintf(stderr, "%s: %s\n", name, strings.TrimSuffix(err.Error(), "\n"))
		}
		code = max(code, failureCode(err))
	}
	return code
}

// An accessError is a failure to open something that no error of the system reports.
type accessError struct{ error }

func (e *accessError) Unwrap() error { return e.error }

// Accessf returns an error about something that is missing or cannot be opened.
func Accessf(format string, args ...any) error { return &accessError{fmt.Errorf(format, args...)} }

// failureCode distinguishes access errors of the system from problems in what was read. A monitor
// must know whether metadata is damaged or could not be read at all.
func failureCode(err error) int {
	_, access := errors.AsType[*accessError](err)
	_, path := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	_, call := errors.AsType[syscall.Errno](err)
	if access || path || link || call || errors.Is(err, fs.ErrNotExist) {
		return exitAccess
	}
	return exitFailure
}

// unjoin splits an error from errors.Join into its parts.
func unjoin(err error) []error {
	// An error from fmt.Errorf with several %w is still one message.
	if reflect.TypeOf(err) != reflect.TypeOf(errors.Join(ErrReported)) {
		return []error{err}
	}
	var all []error
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		all = append(all, unjoin(e)...)
	}
	return all
}
