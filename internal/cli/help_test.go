package cli

import (
	"strings"
	"testing"
)

// explained has a default, a long text and optional values.
type explained struct {
	Format string `help:"Output format." default:"text" enum:"text,json" placeholder:"text|json"`
	None   string `help:"Nothing." default:"" enum:",some" placeholder:"some"`
	Long   bool   `help:"One two three four five six seven eight nine ten eleven twelve thirteen."`
	Common
}

func (*explained) Run(*Env) error { return nil }

func (*explained) Details() string {
	return `
First line of a paragraph that is wrapped by hand in the source,
where its second line is.

  kept   as it is

Last.`
}

func (*explained) Examples() string {
	return `
# Explain
explained --format=json`
}

var explainedTool = Tool{"explained", "Is explained.", func() Command { return new(explained) }}

func helpOf(t *testing.T, width int) string {
	t.Helper()
	parser, err := newParser(explainedTool, new(explained))
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	printHelp(&s, explainedTool, parser.Model, width)
	return s.String()
}

// Texts are wrapped to the width, examples are not; defaults are shown.
func TestHelp(t *testing.T) {
	for width, want := range map[int][]string{
		80: {
			"Usage: explained [OPTION]...\n\nIs explained.\n\nOptions:\n",
			"      --format=text|json        Output format. Default: text.\n",
			"      --none=some               Nothing.\n",
			"      --long                    One two three four five six seven eight nine ten\n                                eleven twelve thirteen.\n",
			"\nFirst line of a paragraph that is wrapped by hand in the source, where its\nsecond line is.\n\n  kept   as it is\n\nLast.\n",
			"\nExamples:\n  # Explain\n  explained --format=json\n\nExit codes: 0 success, ",
		},
		60: {
			"      --long                    One two three four five six\n                                seven eight nine ten eleven\n                                twelve thirteen.\n",
			"\nFirst line of a paragraph that is wrapped by hand in the\nsource, where its second line is.\n",
			"  kept   as it is\n",
		},
		120: {
			"      --long                    One two three four five six seven eight nine ten eleven twelve thirteen.\n",
			"in the source, where its second line is.\n",
		},
	} {
		help := helpOf(t, width)
		for _, text := range want {
			if !strings.Contains(help, text) {
				t.Errorf("width %d: no %q in\n%s", width, text, help)
			}
		}
		for line := range strings.Lines(help) {
			if len(strings.TrimSuffix(line, "\n")) > width {
				t.Errorf("width %d: %q", width, line)
			}
		}
	}
}

// Programs that read the help get the same lines everywhere.
func TestHelpWidthOfPipe(t *testing.T) {
	t.Setenv("COLUMNS", "200")
	if got := helpWidth(new(strings.Builder)); got != 80 {
		t.Errorf("%d columns", got)
	}
}

// An error in the command line prints one line about it and one about --help.
func TestUsageHint(t *testing.T) {
	for _, args := range [][]string{{"--no-such"}, {"--format"}, {"--format=xml"}, {"-x"}, {"spare"}} {
		var out, errs strings.Builder
		code := Run(t.Context(), explainedTool, args, nil, &out, &errs)
		lines := strings.Split(errs.String(), "\n")
		if code != 2 || out.Len() > 0 || len(lines) != 3 || !strings.HasPrefix(lines[0], "explained: ") || lines[1] != "Try 'explained --help'." || lines[2] != "" {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, out.String(), errs.String())
		}
	}
}
