package command

import (
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"thinpool/internal/cli"
)

// meansAnother lists the options whose meaning differs between tools, and why.
var meansAnother = map[string]string{
	"input":    "metadata, a dump or a pack",
	"output":   "text, metadata or the content of a device",
	"mapfile":  "written, or read",
	"onto":     "a copy of a volume, or a pool",
	"format":   "some formats are not of the output as a whole",
	"data":     "read, or copied within",
	"metadata": "read, or written", "resume": "an export, or a receive", "journal": "likewise",
	"compress":        "a text, or data",
	"force":           "metadata, or any file",
	"dev-id":          "one device, or several",
	"repair":          "metadata, or data too",
	"size":            "a limit, or how much to export",
	"skip-mappings":   "checked, or dumped",
	"verbose":         "a format in thin_delta",
	"data-block-size": "thin_generate has nothing to override", "transaction-id": "likewise", "nr-data-blocks": "likewise",
	"snapshots": "made, or counted", "divergence": "likewise",
	"ranges": "written, or read", "report": "likewise", "changed-since": "exported, or searched",
	"unit": "of a size, or of all offsets",
	"lv":   "what is used, or looked into", "inside": "a volume too, or a partition only",
}

func modelOf(t *testing.T, tool cli.Tool) *kong.Application {
	t.Helper()
	parser, err := kong.New(tool.New(), kong.NoDefaultHelp())
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

// An option has the same help text in all tools.
func TestSameOptionSameWords(t *testing.T) {
	words := map[string]string{}
	for _, tool := range slices.Concat(Tools(), Apart()) {
		for _, f := range modelOf(t, tool).Flags {
			if before, ok := words[f.Name]; ok && before != f.Help && meansAnother[f.Name] == "" {
				t.Errorf("%s: --%s is %q here, and was %q", tool.Name, f.Name, f.Help, before)
			}
			words[f.Name] = f.Help
		}
	}
	for name := range meansAnother {
		if words[name] == "" {
			t.Errorf("no tool has --%s", name)
		}
	}
}

// An option's help takes at most two lines, and only the usage line is wider than 80 columns.
func TestHelpIsShort(t *testing.T) {
	const twoLines = 2 * (80 - 32)
	for _, tool := range slices.Concat(Tools(), Multi().Own, Apart()) {
		_, help, _ := runTool(t, tool, "--help")
		for i, line := range strings.Split(help, "\n") {
			if i > 0 && len(line) > 80 {
				t.Errorf("%s: %q is too wide", tool.Name, line)
			}
		}
		for _, f := range modelOf(t, tool).Flags {
			if text := cli.OptionHelp(f); !f.Hidden && (len(text) > twoLines) {
				t.Errorf("%s: --%s: %d characters: %s", tool.Name, f.Name, len(text), text)
			}
			if f.Default != "" && !strings.Contains(help, "Default: "+f.Default+".") && !strings.Contains(strings.Join(strings.Fields(help), " "), "Default: "+f.Default+".") {
				t.Errorf("%s: the help does not show the default of --%s", tool.Name, f.Name)
			}
		}
	}
}

// toolCommands returns the command lines of our tools in a script, split into words.
func toolCommands(script string) [][]string {
	var all [][]string
	script = strings.ReplaceAll(script, "\\\n", " ")
	for line := range strings.Lines(script) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "# ")
		for _, part := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune("|;&", r) }) {
			part, _, _ = strings.Cut(part, ">")
			words := strings.Fields(strings.ReplaceAll(part, "'", ""))
			if len(words) > 0 && strings.HasPrefix(words[0], "thin_") {
				all = append(all, words)
			}
		}
	}
	return all
}

// checkCommands parses command lines with the tools they name.
func checkCommands(t *testing.T, commands [][]string) {
	t.Helper()
	for _, words := range commands {
		found := false
		if words[0] == "thin_tools" && len(words) > 1 {
			words = append([]string{"thin_tools " + words[1]}, words[2:]...)
		}
		for _, tool := range slices.Concat(Tools(), Multi().Own, Apart()) {
			if tool.Name != words[0] {
				continue
			}
			found = true
			if err := cli.CheckArgs(tool, words[1:]); err != nil {
				t.Errorf("%q: %v", words, err)
			}
		}
		if !found {
			t.Errorf("%q: there is no such tool", words)
		}
	}
}

// Every tool has two or three examples, and can parse them.
func TestHelpExamples(t *testing.T) {
	for _, tool := range slices.Concat(Tools(), Multi().Own, Apart()) {
		e, ok := tool.New().(cli.Exampler)
		if !ok {
			t.Errorf("%s has no examples", tool.Name)
			continue
		}
		lines := strings.Split(e.Examples(), "\n")
		if len(lines) < 4 || len(lines) > 6 {
			t.Errorf("%s: %d lines", tool.Name, len(lines))
		}
		for i, line := range lines {
			if comment := strings.HasPrefix(line, "# "); comment != (i%2 == 0) || !comment && !strings.Contains(line, tool.Name+" ") {
				t.Errorf("%s: %q is not a comment or not a command", tool.Name, line)
			}
		}
		checkCommands(t, toolCommands(e.Examples()))
	}
}

// Mistakes in examples are detected.
func TestCheckArgs(t *testing.T) {
	for line, want := range map[string]string{
		"thin_check a":                                   "",
		"thin_check":                                     "INPUT is missing",
		"thin_check --no-such a":                         "unknown option --no-such",
		"thin_delta --thin1 1 a":                         "--thin2 or --root2 is missing",
		"thin_check --auto-repair -m a":                  "cannot go together",
		"thin_dump a | thin_restore -i - -o b >c":        "",
		"thin_dump a | thin_restore -i -":                "--output is missing",
		"lvs; thin_check --undo=f a   # with a comment":  "--undo needs",
		"thin_rmap --region 5..5 a":                      "region",
		"thin_metadata_size -b64k -s1t -m1 --rule=stone": "--rule must be one of",
		// Abbreviations stay what they were before all tools had --progress.
		"thin_check --p a": "--pv, --part",
		"thin_check --pro": "INPUT is missing",
		"thin_trim --p --metadata-dev m --data-dev d": "",
	} {
		var got string
		for _, words := range toolCommands(line) {
			for _, tool := range slices.Concat(Tools(), Apart()) {
				if tool.Name == words[0] {
					if err := cli.CheckArgs(tool, words[1:]); err != nil {
						got = err.Error()
					}
				}
			}
		}
		if got == "" != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: error %q, want %q", line, got, want)
		}
	}
}
