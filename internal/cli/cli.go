// Package cli is what the commands have in common: how a command line is read,
// what the exit codes are, what goes to which stream, progress, sizes, and
// recognising inputs that are something else.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// Version is what -V prints, alone on its line: programs parse it.
const Version = "1.0.0"

// Exit codes. Callers compare with 0.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// A Tool is a command and what it is called.
type Tool struct {
	Name, Summary string
	New           func() Command // with the defaults of its options
}

// A Command is a struct whose fields are options, as kong reads them.
type Command interface {
	Run(*Env) error
	// CommonOptions gives those that every command has: embed [Common].
	CommonOptions() *Common
}

// Common is the options that every command has.
type Common struct {
	Quiet    bool   `help:"Print nothing, only set the exit code." short:"q"`
	Verbose  int    `help:"Log what is done, with times." short:"v" type:"counter"`
	IOEngine string `help:"Ignored." hidden:"" name:"io-engine"`
	Help     bool   `help:"Print this help." short:"h"`
	Version  bool   `help:"Print the version." short:"V"`
}

// CommonOptions implements [Command].
func (c *Common) CommonOptions() *Common { return c }

// An Env is what a command has to do with the world.
type Env struct {
	context.Context
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Log            *slog.Logger // shown with -v

	progress *progress
	quiet    bool
}

// ErrReported is returned by a command that failed and has said why.
var ErrReported = errors.New("failed")

// Main runs a tool as a process.
func Main(t Tool) { os.Exit(process(t, os.Args[1:])) }

func process(t Tool, args []string) int {
	// The first signal asks the tool to end, the second one ends it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	// Writing to a closed pipe is an error to handle, not a signal to die of.
	signal.Ignore(syscall.SIGPIPE)
	return Run(ctx, t, args, os.Stdin, os.Stdout, os.Stderr)
}

// MultiMain runs the tool that the process was called as, or that its first
// argument names.
func MultiMain(tools []Tool) { os.Exit(multi(tools, os.Args)) }

func multi(tools []Tool, args []string) int {
	find := func(name string) *Tool {
		for i := range tools {
			if tools[i].Name == name {
				return &tools[i]
			}
		}
		return nil
	}
	if t := find(filepath.Base(args[0])); t != nil {
		return process(*t, args[1:])
	}
	list := func(w io.Writer) {
		fmt.Fprintf(w, "Usage: %s TOOL [OPTION]...\n\nTools:\n", filepath.Base(args[0]))
		for _, t := range tools {
			fmt.Fprintf(w, "  %-22s %s\n", t.Name, t.Summary)
		}
	}
	if len(args) < 2 {
		list(os.Stderr)
		return exitUsage
	}
	switch args[1] {
	case "-h", "--help":
		list(os.Stdout)
		return exitOK
	case "-V", "--version":
		fmt.Println(Version)
		return exitOK
	}
	if t := find(args[1]); t != nil {
		return process(*t, args[2:])
	}
	fmt.Fprintf(os.Stderr, "unknown tool %q\n", args[1])
	list(os.Stderr)
	return exitUsage
}

// Run runs a tool and returns its exit code.
func Run(ctx context.Context, t Tool, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	command := t.New()
	parser, err := kong.New(command, kong.Name(t.Name), kong.NoDefaultHelp())
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", t.Name, err)
		return exitFailure
	}
	switch wanted(args) {
	case "help":
		printHelp(stdout, t, parser.Model)
		return exitOK
	case "version":
		fmt.Fprintln(stdout, Version)
		return exitOK
	}
	if err := parse(parser, args); err != nil {
		return finish(t, stderr, err, false)
	}
	c := command.CommonOptions()
	env := &Env{Context: ctx, Stdin: stdin, Stdout: stdout, Stderr: stderr, quiet: c.Quiet}
	env.Log = logger(stderr, c)
	env.progress = newProgress(stderr, c.Quiet)
	if c.Quiet {
		env.Stderr = io.Discard
	}
	started := time.Now()
	err = command.Run(env)
	env.progress.stop()
	env.Log.Info("done", "seconds", time.Since(started).Seconds())
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		err = errors.New("interrupted")
	}
	return finish(t, stderr, err, c.Quiet)
}

// wanted tells whether help or the version is asked for, whatever else is.
func wanted(args []string) string {
	for _, arg := range args {
		switch arg {
		case "-h", "--help":
			return "help"
		case "-V", "--version":
			return "version"
		case "--":
			return ""
		}
	}
	return ""
}

// finish says what went wrong and returns the exit code.
func finish(t Tool, stderr io.Writer, err error, quiet bool) int {
	usage, isUsage := errors.AsType[*UsageError](err)
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE):
		return exitOK // who closes our output has seen enough
	case isUsage:
		fmt.Fprintf(stderr, "%s: %v\nTry '%s --help'.\n", t.Name, usage, t.Name)
		return exitUsage
	case !quiet && !errors.Is(err, ErrReported):
		fmt.Fprintf(stderr, "%s: %v\n", t.Name, err)
	}
	return exitFailure
}

func logger(stderr io.Writer, c *Common) *slog.Logger {
	level := slog.LevelError + 1
	switch {
	case c.Quiet:
	case c.Verbose == 1:
		level = slog.LevelInfo
	case c.Verbose > 1:
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
}
