package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"thinpool/metadata/block"
)

// talks is a command whose output is set by the test, with the options that select the output
// format.
type talks struct {
	Common
	Format   string `default:"text"`
	Compress string `default:""`

	do func(*Env) error
}

func (d *talks) Run(env *Env) error { return d.do(env) }

// With --format json the last line says what failed, and no line is truncated.
func TestFailureInJSON(t *testing.T) {
	prints := func(text string, err error) func(*Env) error {
		return func(env *Env) error {
			fmt.Fprint(env.Stdout, text[:len(text)/2])
			fmt.Fprint(env.Product, text[len(text)/2:])
			return err
		}
	}
	bad := errors.New("bad \"luck\"")
	const lines = "{\"n\":1}\n{\"n\":2}\n"
	for name, tc := range map[string]struct {
		args string
		do   func(*Env) error
		code int
		out  string
	}{
		"success":        {"--format json", prints(lines, nil), 0, lines},
		"no newline":     {"--format json", prints(lines+"x", nil), 0, lines + "x"},
		"failure":        {"--format json", prints(lines, bad), 1, lines + `{"type":"error","message":"bad \"luck\"","exit_code":1}` + "\n"},
		"cut line":       {"--format json", prints(lines+`{"n":`, bad), 1, lines + `{"type":"error","message":"bad \"luck\"","exit_code":1}` + "\n"},
		"no access":      {"--format json", prints(lines, fmt.Errorf("x: %w", block.ErrBusy)), 3, lines + `{"type":"error","message":"x: device is in use","exit_code":3}` + "\n"},
		"several":        {"--format json", prints("", errors.Join(bad, ErrReported, errors.New("b\u009b"))), 1, `{"type":"error","message":"bad \"luck\"\nb\u009b","exit_code":1}` + "\n"},
		"wrong line":     {"--format json", prints("", Usagef("no")), 2, `{"type":"error","message":"no","exit_code":2}` + "\n"},
		"reported":       {"--format json", prints(lines, ErrReported), 1, lines},
		"quiet":          {"-q --format json", prints(lines, bad), 1, lines},
		"text":           {"", prints(lines+"x", bad), 1, lines + "x"},
		"compressed":     {"--format json --compress gzip", prints("\x1f\n\x02", bad), 1, "\\u001f\n\x02"},
		"not understood": {"--format json --bogus", prints(lines, nil), 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			tool := Tool{"talks", "Says what a test wants.", func() Command { return &talks{do: tc.do} }}
			code := Run(t.Context(), tool, strings.Fields(tc.args), strings.NewReader(""), &out, io.Discard)
			if code != tc.code || out.String() != tc.out {
				t.Errorf("exit code %d, %q, want %d, %q", code, out.String(), tc.code, tc.out)
			}
		})
	}
}
