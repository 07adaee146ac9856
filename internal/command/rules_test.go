package command

import (
	"slices"
	"strings"
	"testing"

	"thinpool/internal/cli"
)

// ruleValues has values for options that take neither numbers, sizes nor words.
var ruleValues = map[string]string{"--seqno": "1", "--region": "1..2", "--range": "1..2", "--thin1": "1", "--adopt": "1=1"}

// optionArg returns a rule's option as a command line argument.
func optionArg(t *testing.T, flags map[string]string, option string) string {
	t.Helper()
	if option == strings.ToUpper(option) {
		return "x" // a positional argument
	}
	name, value, valued := strings.Cut("--"+option, "=")
	spelling, ok := flags[name]
	switch {
	case !ok:
		t.Fatalf("%s is not an option", name)
	case valued:
		return name + "=" + value
	case ruleValues[name] != "":
		return name + "=" + ruleValues[name]
	case strings.Contains(spelling, "[="), !strings.Contains(spelling, "="):
		return name
	}
	_, values, _ := strings.Cut(spelling, "=")
	if first, _, several := strings.Cut(values, "|"); several || values == strings.ToLower(values) {
		return name + "=" + first
	}
	return name + "=1"
}

// flagsOf returns the options in a tool's help, with their spelling.
func flagsOf(t *testing.T, tool cli.Tool) map[string]string {
	t.Helper()
	_, help, _ := runTool(t, tool, "--help")
	flags := map[string]string{}
	for line := range strings.Lines(help) {
		for i, word := range strings.Fields(line) {
			// Lines start with "-o, --output=FILE" or "--output=FILE"; the rest is text.
			if name, ok := strings.CutPrefix(word, "--"); ok && (i == 0 || i == 1 && strings.HasPrefix(line, "  -")) && strings.HasPrefix(line, "  ") {
				flags["--"+name[:strings.IndexAny(name+"=", "=[")]] = word
			}
		}
	}
	return flags
}

// Every rule of every tool names existing options. Breaking it gives a message that names them, and
// exit code 2, before any file is opened.
func TestRules(t *testing.T) {
	rules := 0
	for _, tool := range slices.Concat(Tools(), Apart()) {
		ruler, ok := tool.New().(cli.Ruler)
		if !ok {
			continue
		}
		flags := flagsOf(t, tool)
		refused := func(t *testing.T, options []string) string {
			t.Helper()
			var args []string
			for _, o := range options {
				args = append(args, optionArg(t, flags, o))
			}
			for _, o := range []string{"--input", "--metadata-dev", "--nr-blocks"} {
				if required := strings.Contains(usageLine(t, tool), o+"="); required && !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, o+"=") }) {
					args = append(args, o+"=1")
				}
			}
			if strings.Contains(usageLine(t, tool), " INPUT") || strings.Contains(usageLine(t, tool), " IMAGE...") {
				args = append(args, "/nowhere/x")
			}
			code, stdout, stderr := runTool(t, tool, args...)
			if code != 2 || stdout != "" {
				t.Errorf("%s %q: exit code %d, stdout %q, stderr %q", tool.Name, args, code, stdout, stderr)
			}
			return stderr
		}
		for _, r := range ruler.Rules() {
			rules++
			for _, other := range r.Not {
				options := append(slices.Clone(r.If), other)
				stderr := refused(t, options)
				for _, o := range options {
					if !strings.Contains(stderr, "--"+o) && !strings.Contains(stderr, o+" and") || !strings.Contains(stderr, "cannot go together") {
						t.Errorf("%s %q: stderr %q", tool.Name, options, stderr)
					}
				}
			}
			if r.Needs != nil {
				if stderr := refused(t, r.If); !strings.Contains(stderr, "need") && !strings.Contains(stderr, "is missing") {
					t.Errorf("%s %q: stderr %q", tool.Name, r.If, stderr)
				}
			}
			for _, o := range slices.Concat(r.Needs, r.Unless) {
				optionArg(t, flags, o)
			}
		}
	}
	if rules < 50 {
		t.Errorf("only %d rules", rules)
	}
}

func usageLine(t *testing.T, tool cli.Tool) string {
	t.Helper()
	_, help, _ := runTool(t, tool, "--help")
	first, _, _ := strings.Cut(help, "\n")
	return first
}
