// Package cli has what all commands share and what does not depend on metadata: command line
// parsing, output, and the mapping from errors to exit codes.
//
// A tool is a [Tool]. Its main function is one call of [Main].
//
// Text from outside is data. Commands print through a writer that escapes everything unsafe on a
// terminal (Env.Stdout, Env.Stderr). Bytes that must not change go to Env.Product, which escapes
// only on a terminal.
//
// Hitting a limit is not a crash. If the Go runtime cannot get memory, it prints a trace and exits
// with 2, the code for a wrong command line, and the process cannot change that. So where memory is
// limited (ulimit -v, -d), a tool runs as its own child, and the parent turns this kind of exit
// into a message and exit code 3. See limits_linux.go.
package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// Version is what -V prints. Clients compare it with 0.7.4 as text and with 0.5.1 as a version, so
// it must never fall below 1.0.0.
const Version = "1.0.0"

// A Tool is a command and its name.
type Tool struct {
	Name, Summary string
	New           func() Command // sets the defaults of its options
}

// A Command is a struct whose fields are options, parsed by kong.
type Command interface {
	Run(*Env) error
	// CommonOptions returns the options that every command has, after parsing. Embed [Common] to
	// implement it.
	CommonOptions() *Common
}

// Common has the options that every command has.
type Common struct {
	Verbose int `group:"common" help:"Log what is done, with timestamps; repeat for more detail." short:"v" type:"counter"`
	Basic
}

// Basic has those options of [Common] that mean the same in every command. The --verbose of
// thin_delta has always had another meaning.
type Basic struct {
	Quiet    bool   `group:"common" help:"Suppress all messages." short:"q"`
	Progress bool   `group:"common" help:"Print progress even if standard error is not a terminal: a line every 5 seconds." late:""`
	IOEngine string `group:"common" help:"Ignored." hidden:"" name:"io-engine"`
	Help     bool   `group:"common" help:"Print this help." short:"h"`
	Version  bool   `group:"common" help:"Print the version." short:"V"`
}

// CommonOptions implements [Command].
func (c *Common) CommonOptions() *Common { return c }

// An Env is the environment of a command. It is a context that ends with the first signal to stop.
type Env struct {
	context.Context
	Stdin   io.Reader
	Stdout  io.Writer    // text and JSON, with control characters escaped; not buffered
	Product io.Writer    // standard output too, for bytes that must not change: escaped only on a terminal
	Stderr  io.Writer    // messages; discarded with -q
	Log     *slog.Logger // shown with -v
	Named   []string     // words of the command line that may be file names

	// Terminal says that standard output is one.
	Terminal bool

	progress *progress
}

// gcPercent is how much the heap may grow before a garbage collection. The tools produce little
// garbage, and rescue systems have little memory.
const gcPercent = 25

// collectOften sets gcPercent when the heap first reaches the 4 MiB at which the runtime collects
// by default. LVM starts tools that end before they need as much.
func collectOften() {
	runtime.AddCleanup(new([16]byte), func(percent int) { debug.SetGCPercent(percent) }, gcPercent)
}

// Main runs a tool as a process.
func Main(t Tool) {
	collectOften()
	os.Exit(withinLimits(t.Name, func(stderr io.Writer) int {
		return Run(mainContext(), t, os.Args[1:], os.Stdin, standardOutput(), stderr)
	}))
}

// Main runs the tool that the process was called as, or the one named by its first argument.
func (m Multi) Main() {
	collectOften()
	os.Exit(withinLimits(filepath.Base(os.Args[0]), func(stderr io.Writer) int {
		return m.Run(mainContext(), os.Args, os.Stdin, standardOutput(), stderr)
	}))
}

// standardOutput returns the standard output of the process.
func standardOutput() io.Writer {
	if stdoutClosed {
		return closedOutput{}
	}
	return os.Stdout
}

var stopSignals = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}

// mainContext returns a context that ends with the first signal to stop. A second signal kills the
// process at once.
func mainContext() context.Context {
	// Turn a write to a closed pipe into an error instead of a signal that kills us.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := make(chan os.Signal, 1)
	for _, sig := range stopSignals {
		if !signal.Ignored(sig) { // for example, nohup ignores SIGHUP
			signal.Notify(stop, sig)
		}
	}
	go func() {
		sig := <-stop
		signal.Reset(stopSignals...)
		cancel(interruptError{sig})
	}()
	return ctx
}

// Run runs a tool and returns its exit code.
func Run(ctx context.Context, t Tool, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	command := t.New()
	messages := newText(stderr, args)
	defer messages.flush()
	parser, err := newParser(t, command)
	if err != nil {
		panic(err) // a struct tag is wrong
	}
	out := newStdout(ctx, stdout)
	words := split(parser.Model.Node, args)
	switch words.action {
	case "help":
		printHelp(out, t, parser.Model, helpWidth(stdout))
	case "version":
		_ = printVersion(out, isVerbose(args)) // out remembers errors
	default:
		err := words.set(parser, command)
		if err == nil {
			stderr, err = separateStreams(parser.Model.Node, stdin, stdout, stderr)
		}
		if err != nil {
			messages := newText(stderr, args)
			defer messages.flush()
			return usage(messages, t.Name, err)
		}
		return start(ctx, t, command, args, stdin, out, stderr, parser.Model.Node)
	}
	return exitCode(ctx, messages, t.Name, out.failed())
}

// start runs command, whose options have been set from args and are described by node. If the
// output is JSON lines, the last line says what failed.
func start(ctx context.Context, t Tool, command Command, args []string, stdin io.Reader, out *stdout, stderr io.Writer, node *kong.Node) int {
	json := printsLines(node)
	common := command.CommonOptions()
	shown := stderr
	if common.Quiet {
		shown = io.Discard
	}
	line := newProgress(shown, t.Name, common.Progress && !common.Quiet)
	defer line.close()
	lines := &wholeLines{w: out}
	printed := io.Writer(out)
	if json {
		printed = lines
	}
	product, messages := line.beside(printed, out.w), newText(line.beside(shown, shown), args)
	text := newText(product, args)
	defer messages.flush()
	if isTerminal(out.w) {
		product = text
	}
	env := &Env{Context: ctx, Stdin: stdin, Stdout: text, Product: product, Stderr: messages, Named: fileNames(node), Terminal: isTerminal(out.w), progress: line}
	env.Log = logger(env.Stderr, common.Verbose)
	line.log = env.Log

	began := time.Now()
	err := command.Run(env)
	line.close()
	env.Log.Info("done", "took", time.Since(began))
	text.flush()
	if err == nil {
		err = out.failed() // catches errors that the command ignored
	}
	code := exitUsage
	if _, ok := errors.AsType[*UsageError](err); ok {
		usage(newText(stderr, args), t.Name, err)
	} else {
		code = exitCode(ctx, env.Stderr, t.Name, err)
	}
	if json && ctx.Err() == nil && (err == nil || !common.Quiet) {
		lines.end(err, code)
	}
	return code
}

func logger(w io.Writer, verbose int) *slog.Logger {
	if verbose == 0 {
		return slog.New(slog.DiscardHandler)
	}
	level := slog.LevelInfo
	if verbose > 1 {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
