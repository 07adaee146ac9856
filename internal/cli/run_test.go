package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"thinpool/metadata/block"
)

// does is a command that runs a function of the test.
type does struct {
	Common
	Input string `arg:"" optional:""`
	do    func(*Env) error
}

func (d *does) Run(env *Env) error { return d.do(env) }

func tool(name string, do func(*Env) error) Tool {
	return Tool{name, "Does what a test wants.", func() Command { return &does{do: do} }}
}

func run(ctx context.Context, stdout io.Writer, args string, do func(*Env) error) (code int, stderr string) {
	var errs strings.Builder
	code = Run(ctx, tool("does", do), strings.Fields(args), strings.NewReader("in"), stdout, &errs)
	return code, errs.String()
}

// failing is a writer that always fails.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestExitCodes(t *testing.T) {
	full, closed := failing{syscall.ENOSPC}, failing{&os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}}
	hello := func(env *Env) error { _, err := io.WriteString(env.Stdout, "hello"); return err }
	heedless := func(env *Env) error { fmt.Fprint(env.Stdout, "hello"); return nil }
	fails := func(err error) func(*Env) error { return func(*Env) error { return err } }
	bad := errors.New("bad luck")
	for name, tc := range map[string]struct {
		stdout io.Writer
		args   string
		do     func(*Env) error
		code   int
		stderr string
	}{
		"success":            {io.Discard, "", hello, 0, ""},
		"failure":            {io.Discard, "", fails(bad), 1, "does: bad luck\n"},
		"several":            {io.Discard, "", fails(errors.Join(bad, fmt.Errorf("%w, %w", bad, bad))), 1, "does: bad luck\ndoes: bad luck, bad luck\n"},
		"quiet failure":      {io.Discard, "-q", fails(bad), 1, ""},
		"reported":           {io.Discard, "", fails(ErrReported), 1, ""},
		"wrong line":         {io.Discard, "--bogus", hello, 2, "does: unknown option --bogus\nTry 'does --help'.\n"},
		"quiet wrong line":   {io.Discard, "-q a b", hello, 2, "does: unexpected argument \"b\"\nTry 'does --help'.\n"},
		"found later":        {io.Discard, "-q", fails(Usagef("no %s", "good")), 2, "does: no good\nTry 'does --help'.\n"},
		"full":               {full, "", hello, 3, "does: no space left on device\n"},
		"full, not noticed":  {full, "", heedless, 3, "does: no space left on device\n"},
		"full, version":      {full, "-V", hello, 3, "does: no space left on device\n"},
		"full, help":         {full, "-h", hello, 3, "does: no space left on device\n"},
		"closed":             {closed, "", hello, 0, ""},
		"closed, not noted":  {closed, "", heedless, 0, ""},
		"closed and failure": {closed, "", func(env *Env) error { return errors.Join(hello(env), bad) }, 1, "does: bad luck\n"},
		"missing":            {io.Discard, "", func(*Env) error { _, err := os.Open("no/such"); return err }, 3, "does: open no/such: no such file or directory\n"},
		"in use":             {io.Discard, "", fails(fmt.Errorf("dev: %w by x", block.ErrBusy)), 3, "does: dev: device is in use by x\n"},
		"locked":             {io.Discard, "", fails(fmt.Errorf("file: %w", block.ErrLocked)), 3, "does: file: file is in use\n"},
		"wrong kind":         {io.Discard, "", fails(fmt.Errorf("x: %w", block.ErrNotBlocks)), 3, "does: x: not a block device or regular file\n"},
		"no access":          {io.Discard, "", fails(fmt.Errorf("x: %w", Accessf("is a directory"))), 3, "does: x: is a directory\n"},
		"device fails":       {io.Discard, "", fails(fmt.Errorf("block 3: %w", syscall.EIO)), 3, "does: block 3: input/output error\n"},
		"damaged":            {io.Discard, "", fails(fmt.Errorf("block 3: %w", block.ErrCorrupt)), 1, "does: block 3: metadata damaged\n"},
		"faults, then full":  {io.Discard, "", fails(errors.Join(ErrReported, syscall.ENOSPC)), 3, "does: no space left on device\n"},
		"another pipe":       {io.Discard, "", fails(closed.err), 3, "does: write |1: broken pipe\n"},
		"own cancellation":   {io.Discard, "", fails(context.Canceled), 1, "does: context canceled\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, stderr := run(t.Context(), tc.stdout, tc.args, tc.do); code != tc.code || stderr != tc.stderr {
				t.Errorf("exit code %d, stderr %q, want %d, %q", code, stderr, tc.code, tc.stderr)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	var out strings.Builder
	code, stderr := run(t.Context(), &out, "--bogus a b -qV", func(*Env) error { panic("runs") })
	if code != 0 || out.String() != "1.0.0\n" || stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out.String(), stderr)
	}
}

func TestInterrupt(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		ctx, cancel := context.WithCancelCause(t.Context())
		code, stderr := run(ctx, io.Discard, "", func(env *Env) error {
			cancel(interruptError{sig})
			return fmt.Errorf("reading: %w", env.Err())
		})
		if code != want || stderr != "does: interrupted\n" {
			t.Errorf("%v: exit code %d, stderr %q", sig, code, stderr)
		}
	}
}

func TestLog(t *testing.T) {
	phases := func(env *Env) error {
		env.Progress("first", 1, 2)
		env.Progress("first", 2, 2)
		env.Progress("second", 0, 0)
		env.Log.Debug("detail")
		return nil
	}
	for args, want := range map[string][]string{
		"":    nil,
		"-q":  nil,
		"-vq": nil,
		"-v":  {"msg=first took=", "msg=second took=", "msg=done took="},
		"-vv": {"msg=first took=", "msg=detail", "msg=second took=", "msg=done took="},
	} {
		_, stderr := run(t.Context(), io.Discard, args, phases)
		lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
		if stderr == "" {
			lines = nil
		}
		ok := len(lines) == len(want)
		for i := 0; ok && i < len(want); i++ {
			ok = strings.Contains(lines[i], want[i])
		}
		if !ok {
			t.Errorf("%q: stderr\n%s\nwant %q", args, stderr, want)
		}
	}
}

func TestMulti(t *testing.T) {
	says := func(name string) Tool {
		return tool(name, func(env *Env) error { _, err := io.WriteString(env.Stdout, name); return err })
	}
	multi := Multi{[]Tool{says("thin_a"), says("thin_b")}, []Tool{says("thin_tools own-word")}, "MIT"}
	for line, want := range map[string]struct {
		code           int
		stdout, stderr string // their start
	}{
		"/usr/sbin/thin_a":         {0, "thin_a", ""},
		"thin_b x":                 {0, "thin_b", ""},
		"thin_b thin_a":            {0, "thin_b", ""},
		"thin_tools thin_b x":      {0, "thin_b", ""},
		"pdata_tools thin_a":       {0, "thin_a", ""},
		"thin_tools thin_b x y":    {2, "", "thin_b: unexpected"},
		"thin_tools thin_a -V":     {0, "1.0.0\n", ""},
		"thin_tools -V":            {0, "1.0.0\n", ""},
		"thin_tools --help":        {0, "Usage: thin_tools TOOL", ""},
		"thin_tools":               {2, "", "Usage: thin_tools TOOL"},
		"thin_tools thin_c thin_a": {2, "", "thin_tools: there is no tool \"thin_c\": did you mean thin_a or thin_b?\n\nUsage: "},
		"":                         {2, "", "Usage: thin_tools TOOL"},
		"thin_tools a x":           {0, "thin_a", ""},
		"thin_tools own-word":      {0, "thin_tools own-word", ""},
		"thin_tools own-word y z":  {2, "", "thin_tools own-word: unexpected"},
		"thin_tools own-wrod":      {2, "", "thin_tools: there is no tool \"own-wrod\": did you mean own-word?"},
		"own-word":                 {2, "", "Usage: own-word TOOL"},
		"thin_tools help":          {0, "Usage: thin_tools TOOL", ""},
		"thin_tools help b":        {0, "Usage: thin_b ", ""},
		"thin_tools help own-word": {0, "Usage: thin_tools own-word ", ""},
		"thin_tools help c":        {2, "", "thin_tools: there is no tool \"c\""},
		"thin_tools version":       {0, "1.0.0\nthinpool, commit", ""},
		"thin_tools -V -v":         {0, "1.0.0\nthinpool, commit", ""},
		"thin_a --version -v":      {0, "1.0.0\nthinpool, commit", ""},
		"thin_tools --licenses":    {0, "MIT", ""},
	} {
		var out, errs strings.Builder
		code := multi.Run(t.Context(), strings.Fields(line), nil, &out, &errs)
		if code != want.code || !begins(out.String(), want.stdout) || !begins(errs.String(), want.stderr) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", line, code, out.String(), errs.String())
		}
	}
}

// begins is strings.HasPrefix, except that an empty prefix matches only an empty string.
func begins(s, prefix string) bool { return strings.HasPrefix(s, prefix) && (prefix != "" || s == "") }
