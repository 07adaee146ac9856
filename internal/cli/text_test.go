package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

const (
	hostile = "\x1b]0;pwned\a\r\x7f\u009b31m\u202e\x9b\u200b"
	escaped = `\u001b]0;pwned\u0007\u000d\u007f\u009b31m\u202e\x9b\u200b`
)

// Whatever a command prints, no control character reaches the terminal. Lines and columns survive,
// and so do the bytes of products.
func TestNothingRaw(t *testing.T) {
	var out bytes.Buffer
	code, stderr := run(t.Context(), &out, "-v", func(env *Env) error {
		fmt.Fprintf(env.Stdout, "a\t%s\nü 日本\n", hostile)
		fmt.Fprintf(env.Product, "%s\xff\x00\n", hostile)
		fmt.Fprintf(env.Stderr, "note: %s\n", hostile)
		env.Log.Info(hostile, "key", hostile)
		return fmt.Errorf("ü\n  %s\xc3", hostile)
	})
	if want := "a\t" + escaped + "\nü 日本\n" + hostile + "\xff\x00\n"; code != 1 || out.String() != want {
		t.Errorf("exit code %d, stdout %q, want %q", code, out.String(), want)
	}
	if !strings.HasPrefix(stderr, "note: "+escaped+"\n") || !strings.HasSuffix(stderr, "does: ü\n  "+escaped+`\xc3`+"\n") || strings.ContainsAny(stderr, "\x1b\a\r\x7f\u009b\u202e\u200b") {
		t.Errorf("stderr %q", stderr)
	}
	out.Reset()
	_, _ = run(t.Context(), &out, "", func(env *Env) error { _, err := io.WriteString(env.Stdout, "ends in \xe6\x97"); return err })
	if out.String() != `ends in \xe6\x97` {
		t.Errorf("%q", out.String())
	}
}

// A file name cannot forge lines of output.
func TestNamesOfFiles(t *testing.T) {
	const name, shown = "x\n\tall is well", `x\u000a\u0009all is well`
	for _, args := range [][]string{{name}, {"--", name}, {name + "@512"}, {"pv0=" + name + "@4k@2"}, {"a/" + name + "/b=c"}, {"\n/" + name}} {
		var out, errs bytes.Buffer
		code := Run(t.Context(), tool("does", func(env *Env) error {
			fmt.Fprintf(env.Stdout, "%s is read\n", name)
			return fmt.Errorf("%s: no such file:\n  look", name)
		}), args, nil, &out, &errs)
		if want := shown + " is read\n"; code != 1 || out.String() != want || errs.String() != "does: "+shown+": no such file:\n  look\n" {
			t.Errorf("%q: exit code %d, %q, %q", args, code, out.String(), errs.String())
		}
	}
	for _, args := range [][]string{{"--" + name}, {"a", name}, {"-\x1b"}, {"--x\x1b="}} {
		var errs bytes.Buffer
		if code := Run(t.Context(), tool("does", nil), args, nil, io.Discard, &errs); code != 2 || strings.Count(errs.String(), "\n") != 2 || strings.Contains(errs.String(), "\x1b") {
			t.Errorf("%q: exit code %d, %q", args, code, errs.String())
		}
		errs.Reset()
		if code := (Multi{}).Run(t.Context(), append([]string{hostile}, args...), nil, io.Discard, &errs); code != 2 || strings.ContainsAny(errs.String(), "\x1b\x7f\r") {
			t.Errorf("%q: exit code %d, %q", args, code, errs.String())
		}
	}
}
