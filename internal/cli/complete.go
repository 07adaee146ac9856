package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Completions returns the shell completion files for thin_tools and all tools, by their paths below
// the folder for such files.
func (m Multi) Completions() (map[string]string, error) {
	var models []completion
	for _, t := range slices.Concat(m.Tools, m.Own) {
		parser, err := newParser(t, t.New())
		if err != nil {
			return nil, err
		}
		models = append(models, completion{t, parser.Model})
	}
	files := map[string]string{"bash/thin_tools": bashCompletion(models), "zsh/_thin_tools": zshCompletion(models)}
	for _, c := range models[:len(m.Tools)] {
		files["fish/"+c.tool.Name+".fish"] = c.fish()
	}
	files["fish/thin_tools.fish"] = completionHead + "\ncomplete -c thin_tools -n __fish_use_subcommand -a '" + firstWords(models) + "'\n"
	return files, nil
}

// Completions returns the files that make shells complete the command lines of a tool that has a binary of its
// own, by their paths below a folder of all such files.
func (t Tool) Completions() (map[string]string, error) {
	parser, err := newParser(t, t.New())
	if err != nil {
		return nil, err
	}
	c := completion{t, parser.Model}
	return map[string]string{
		"bash/" + t.Name:           completionHead + "\n_" + t.Name + "() {\n" + bashBegin + "    local tool=${1##*/}\n" + bashCases([]completion{c}) + "complete -o filenames -F _" + t.Name + " " + t.Name + "\n",
		"zsh/_" + t.Name:           "#compdef " + t.Name + "\n" + completionHead + "\n" + c.zsh(""),
		"fish/" + t.Name + ".fish": c.fish(),
	}, nil
}

type completion struct {
	tool  Tool
	model *kong.Application
}

// own reports whether only thin_tools has the command.
func (c completion) own() bool { return strings.Contains(c.tool.Name, " ") }

// firstWords lists what thin_tools accepts as its first word.
func firstWords(models []completion) string {
	var names []string
	for _, c := range models {
		names = append(names, c.tool.word())
	}
	return strings.Join(append(names, "help", "version"), " ")
}

// flags yields the options that are not hidden.
func (c completion) flags() func(yield func(*kong.Flag) bool) {
	return func(yield func(*kong.Flag) bool) {
		for _, f := range c.model.Flags {
			if !f.Hidden && !yield(f) {
				return
			}
		}
	}
}

// values lists the possible values of an option; "" if they cannot be listed.
func values(f *kong.Flag) string { return strings.TrimSpace(strings.ReplaceAll(f.Enum, ",", " ")) }

const completionHead = "# Completes the command lines of the thin_* tools. Made by make completions.\n"

// bashBegin is how a function begins that completes.
const bashBegin = `    local cur=$2 prev=$3 options='' values=''
    [[ $cur == '=' ]] && cur=
    [[ $prev == '=' ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}
    [[ $2 == '=' ]] && prev=${COMP_WORDS[COMP_CWORD - 1]}
`

func bashCompletion(models []completion) string {
	var s, names strings.Builder
	for _, c := range models {
		if !c.own() {
			names.WriteString(" " + c.tool.word())
		}
	}
	s.WriteString(completionHead + `
_thin_tools() {
` + bashBegin + `    local tool=${1##*/}
    if [[ $tool == thin_tools && $COMP_CWORD == 1 ]]; then
        values='` + firstWords(models) + `'
    elif [[ $tool == thin_tools ]]; then
        tool=${COMP_WORDS[1]}
    fi
` + bashCases(models) + "complete -o filenames -F _thin_tools thin_tools" + names.String() + "\n")
	return s.String()
}

// bashCases is the rest of the function: what the tools take, and the answer.
func bashCases(models []completion) string {
	var s strings.Builder
	s.WriteString("    case $tool in\n")
	for _, c := range models {
		pattern := c.tool.word()
		if !c.own() {
			pattern += " | " + strings.TrimPrefix(pattern, "thin_")
		}
		fmt.Fprintf(&s, "    %s)\n", pattern)
		var options []string
		for f := range c.flags() {
			options = append(options, "--"+f.Name)
		}
		fmt.Fprintf(&s, "        options='%s'\n        case $prev in\n", strings.Join(options, " "))
		for f := range c.flags() {
			if v := values(f); v != "" {
				fmt.Fprintf(&s, "        %s) values='%s' ;;\n", bashNames(f), v)
			}
		}
		s.WriteString("        esac\n        ;;\n")
	}
	s.WriteString(`    esac
    if [[ -n $values ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$values" -- "$cur")
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
}
`)
	return s.String()
}

func bashNames(f *kong.Flag) string {
	if f.Short != 0 {
		return fmt.Sprintf("-%c | --%s", f.Short, f.Name)
	}
	return "--" + f.Name
}

func zshCompletion(models []completion) string {
	var s, names strings.Builder
	for _, c := range models {
		if !c.own() {
			names.WriteString(" " + c.tool.Name)
		}
	}
	s.WriteString("#compdef thin_tools" + names.String() + "\n" + completionHead + `
if [[ $service == thin_tools ]]; then
    if ((CURRENT == 2)); then
        compadd ` + firstWords(models) + `
        return
    fi
    shift words
    ((CURRENT--))
    service=${words[1]}
fi
case $service in
`)
	for _, c := range models {
		pattern := c.tool.word()
		if !c.own() {
			pattern += "|" + strings.TrimPrefix(pattern, "thin_")
		}
		s.WriteString(pattern + ")\n" + c.zsh("    ") + "    ;;\n")
	}
	s.WriteString("esac\n")
	return s.String()
}

// zsh returns the code that completes the options of a tool.
func (c completion) zsh(indent string) string {
	var s strings.Builder
	s.WriteString(indent + "_arguments \\\n")
	for f := range c.flags() {
		s.WriteString(indent + "    " + zshOption(f) + " \\\n")
	}
	s.WriteString(indent + "    '*:file:_files'\n")
	return s.String()
}

// zshOption formats an option for _arguments.
func zshOption(f *kong.Flag) string {
	quote := strings.NewReplacer("'", "'\\''", "[", "\\[", "]", "\\]", ":", "\\:")
	equals, action := "=", ":"+strings.ToLower(placeholder(f))+":_files"
	switch v := values(f); {
	case takesNone(f):
		equals, action = "", ""
	case isOptional(f):
		equals, action = "=-", "::"+strings.ToLower(placeholder(f))+":"
	case v != "":
		action = ":" + f.Name + ":(" + v + ")"
	}
	text := "[" + quote.Replace(f.Help) + "]" + action + "'"
	if f.IsSlice() { // may be repeated
		return "'*--" + f.Name + equals + text
	}
	if f.Short == 0 {
		return "'--" + f.Name + equals + text
	}
	short := strings.TrimSuffix(equals, "-")
	if short == "=" {
		short = "+"
	}
	return fmt.Sprintf("'(-%c --%s)'{-%c%s,--%s%s}'%s", f.Short, f.Name, f.Short, short, f.Name, equals, text)
}

func (c completion) fish() string {
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	var s strings.Builder
	s.WriteString(completionHead + "\n")
	for f := range c.flags() {
		fmt.Fprintf(&s, "complete -c %s -l %s", c.tool.Name, f.Name)
		if f.Short != 0 {
			fmt.Fprintf(&s, " -s %c", f.Short)
		}
		switch v := values(f); {
		case v != "":
			fmt.Fprintf(&s, " -x -a '%s'", v)
		case !takesNone(f) && !isOptional(f):
			s.WriteString(" -r")
		}
		fmt.Fprintf(&s, " -d '%s'\n", quote.Replace(f.Help))
	}
	return s.String()
}
