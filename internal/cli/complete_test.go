package cli

import (
	"slices"
	"strings"
	"testing"
)

// completed has one option of each kind that shells treat differently.
type completed struct {
	Common
	Format string   `short:"f" enum:"text,json" default:"text" help:"How: it's [one] of two."`
	Snap   Optional `short:"m" name:"metadata-snap" number:"" help:"Where."`
	ID     []uint64 `name:"dev-id" sep:"none" help:"Which."`
	Output string   `help:"Whither." placeholder:"FILE"`
	Force  bool     `help:"Anyway."`
	Secret bool     `hidden:""`
}

func (*completed) Run(*Env) error { return nil }

// Each shell knows every visible option, whether it takes a value, and which values.
func TestCompletions(t *testing.T) {
	files, err := Multi{
		Tools: []Tool{{"thin_does", "", func() Command { return new(completed) }}, {"other", "", func() Command { return new(does) }}},
		Own:   []Tool{{"thin_tools own", "", func() Command { return new(does) }}},
	}.Completions()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"bash/thin_tools": {
			"    thin_does | does)",
			"        options='--verbose --quiet --progress --help --version --format --metadata-snap --dev-id --output --force'",
			"        -f | --format) values='text json' ;;",
			"    other | other)",
			"    own)",
			"        values='thin_does other own help version'",
			"complete -o filenames -F _thin_tools thin_tools thin_does other",
		},
		"zsh/_thin_tools": {
			"#compdef thin_tools thin_does other",
			"thin_does|does)",
			`        '(-f --format)'{-f+,--format=}'[How\: it'\''s \[one\] of two.]:format:(text json)' \`,
			`        '(-m --metadata-snap)'{-m+,--metadata-snap=-}'[Where.]::metadata-snap:' \`,
			`        '*--dev-id=[Which.]:dev-id:_files' \`,
			`        '--output=[Whither.]:file:_files' \`,
			`        '--force[Anyway.]' \`,
		},
		"fish/thin_does.fish": {
			`complete -c thin_does -l format -s f -x -a 'text json' -d 'How: it\'s [one] of two.'`,
			"complete -c thin_does -l metadata-snap -s m -d 'Where.'",
			"complete -c thin_does -l dev-id -r -d 'Which.'",
			"complete -c thin_does -l force -d 'Anyway.'",
		},
		"fish/thin_tools.fish": {"complete -c thin_tools -n __fish_use_subcommand -a 'thin_does other own help version'"},
		"fish/other.fish":      {"complete -c other -l quiet -s q -d 'Suppress all messages.'"},
	} {
		lines := strings.Split(files[name], "\n")
		for _, line := range want {
			if !slices.Contains(lines, line) {
				t.Errorf("%s lacks %q:\n%s", name, line, files[name])
			}
		}
		if strings.Contains(files[name], "secret") {
			t.Errorf("%s tells a secret", name)
		}
	}
	if len(files) != 5 {
		t.Errorf("%d files, want 5", len(files))
	}
}
