package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write returns the path of a new file with content.
func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// named is a command that takes file names in every form.
type named struct {
	Common
	Output string   `short:"o" placeholder:"FILE"`
	PV     []string `sep:"none" placeholder:"IMAGE"`
	ID     string   `placeholder:"ID"`
	Input  string   `arg:""`
}

func (*named) Run(*Env) error { return nil }

func TestSeparateStreams(t *testing.T) {
	path := write(t, []byte("content"))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other := write(t, nil)
	var buf bytes.Buffer
	for name, c := range map[string]struct {
		args           []string
		stdin          io.Reader
		stdout, stderr io.Writer
		want           string // in the error; "": none
	}{
		"elsewhere":         {[]string{other}, f, &buf, &buf, ""},
		"input, appended":   {[]string{path}, &buf, f, &buf, "standard output is " + path},
		"error output":      {[]string{path}, &buf, &buf, f, "standard error is " + path},
		"both":              {[]string{path}, &buf, f, f, "standard output is " + path},
		"an option":         {[]string{"-o", path, other}, &buf, f, &buf, "standard output is " + path},
		"a list":            {[]string{"--pv", other, "--pv", "pv0=" + path, other}, &buf, f, &buf, "standard output is " + path},
		"with an offset":    {[]string{path + "@4096"}, &buf, f, &buf, "standard output is " + path},
		"read and replaced": {[]string{"-o", path, "-"}, f, &buf, &buf, "standard input is " + path},
		"an id":             {[]string{"--id", path, other}, &buf, f, &buf, ""},
		"by its number":     {[]string{"-o", "/dev/stdout", other}, &buf, f, &buf, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tool := Tool{Name: "thin_named", New: func() Command { return new(named) }}
			command := tool.New()
			parser, err := newParser(tool, command)
			if err != nil {
				t.Fatal(err)
			}
			if err := split(parser.Model.Node, c.args).parse(parser); err != nil {
				t.Fatal(err)
			}
			messages, err := separateStreams(parser.Model.Node, c.stdin, c.stdout, c.stderr)
			if err != nil {
				usage(messages, tool.Name, err)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if text, _ := os.ReadFile(path); string(text) != "content" {
				t.Errorf("the file is %q now", text)
			}
		})
	}
}

type styled struct {
	Common
	Style string `default:"a" enum:"a,b" env:"THIN_TEST_STYLE"`
}

func (*styled) Run(*Env) error { return nil }

// An empty variable counts as unset.
func TestEmptyVariable(t *testing.T) {
	for value, want := range map[string]string{"": "a", "b": "b"} {
		t.Setenv("THIN_TEST_STYLE", value)
		command := new(styled)
		tool := Tool{Name: "thin_styled", New: func() Command { return command }}
		if code := Run(t.Context(), tool, nil, nil, io.Discard, io.Discard); code != 0 || command.Style != want {
			t.Errorf("%q: exit code %d, style %q, want %q", value, code, command.Style, want)
		}
	}
}
