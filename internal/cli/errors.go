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
	exitFailure = 1 // faults or a loss were found, or what was asked for cannot be done with what was read
	exitUsage   = 2
	exitAccess  = 3   // the system refused: something cannot be opened, read or written
	exitSignal  = 128 // and the signal's number
)

// ErrReported is returned by a command that failed and has said why.
var ErrReported = errors.New("failed")

// errPipeClosed says that standard output has no reader any more.
var errPipeClosed = errors.New("standard output is closed")

// A UsageError is a wrong command line.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong with it.
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

type interruptError struct{ signal os.Signal }

func (e interruptError) Error() string { return "interrupted" }

// usage says what is wrong with the command line, even with -q.
func usage(stderr io.Writer, name string, err error) int {
	fmt.Fprintf(stderr, "%s: %v\nTry '%s --help'.\n", name, err, name)
	return exitUsage
}

// exitCode says what err is, on stderr, and returns the exit code for it.
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
			continue // a filter whose reader has enough has done its work
		case !errors.Is(err, ErrReported):
			fmt.Fprintf(stderr, "%s: %s\n", name, strings.TrimSuffix(err.Error(), "\n"))
		}
		code = max(code, failureCode(err))
	}
	return code
}

// An accessError is about what cannot be opened, where no error of the system says so.
type accessError struct{ error }

func (e *accessError) Unwrap() error { return e.error }

// Accessf returns an error about something that is not there or cannot be opened.
func Accessf(format string, args ...any) error { return &accessError{fmt.Errorf(format, args...)} }

// failureCode tells what the system refused from what was read and is not as it should be: a
// monitor has to know whether metadata is damaged or was not there to be looked at.
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

// unjoin takes apart what errors.Join has joined.
func unjoin(err error) []error {
	// An error of fmt.Errorf with several %w is one message all the same.
	if reflect.TypeOf(err) != reflect.TypeOf(errors.Join(ErrReported)) {
		return []error{err}
	}
	var all []error
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		all = append(all, unjoin(e)...)
	}
	return all
}
