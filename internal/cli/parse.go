package cli

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// newParser creates a kong parser for the fields of command.
func newParser(t Tool, command Command) (*kong.Kong, error) {
	options := []kong.Option{kong.Name(t.Name), kong.NoDefaultHelp(), kong.KindMapper(reflect.String, kong.MapperFunc(wordMapper))}
	for kind, bits := range map[reflect.Kind]int{
		reflect.Uint: 64, reflect.Uint8: 8, reflect.Uint16: 16, reflect.Uint32: 32, reflect.Uint64: 64,
	} {
		options = append(options, kong.KindMapper(kind, numberMapper(bits)))
	}
	return kong.New(command, options...)
}

// words is a command line split by the rules of getopt_long and clap combined, which kong lacks.
// Kong then sees only "--name=value" and "--".
type words struct {
	node        *kong.Node
	action      string   // "help" or "version" if requested
	options     []string // as --name or --name=value
	positionals []string
	// maybe is the index in options of an optional number whose value may be positionals[maybeAt];
	// -1: none.
	maybe, maybeAt int
	seen           map[*kong.Flag]bool
	err            error // the first error
}

// split splits args. It continues after an error, because --help and --version count in any position.
func split(node *kong.Node, args []string) *words {
	w := &words{node: node, maybe: -1, seen: map[*kong.Flag]bool{}}
	for len(args) > 0 && w.action == "" {
		word := args[0]
		args = args[1:]
		switch {
		case word == "--":
			w.positionals = append(w.positionals, args...)
			args = nil
		case strings.HasPrefix(word, "--"):
			args = w.long(word[2:], args)
		case len(word) > 1 && word[0] == '-':
			args = w.short(word[1:], args)
		default:
			w.positionals = append(w.positionals, word)
		}
	}
	if w.maybe >= 0 && len(w.positionals) > 1 {
		w.options[w.maybe] += "=" + w.positionals[w.maybeAt]
		w.positionals = slices.Delete(w.positionals, w.maybeAt, w.maybeAt+1)
	}
	return w
}

// long parses an option without its dashes and returns the remaining words.
func (w *words) long(word string, rest []string) []string {
	name, value, hasValue := strings.Cut(word, "=")
	flag := w.find(name)
	switch {
	case flag == nil:
		return rest
	case hasValue && takesNone(flag):
		w.fail("--%s takes no value", flag.Name)
	case hasValue:
		w.add(flag, &value)
	case takesNone(flag):
		w.add(flag, nil)
	case isOptional(flag):
		w.add(flag, nil)
		w.expectNumber(flag, rest)
	default:
		return w.next(flag, rest)
	}
	return rest
}

// short parses single-letter options that share a word, without the dash.
func (w *words) short(word string, rest []string) []string {
	for word != "" {
		letter := []rune(word)[0]
		word = strings.TrimPrefix(word, string(letter))
		i := slices.IndexFunc(w.node.Flags, func(f *kong.Flag) bool { return f.Short == letter })
		if i < 0 {
			w.fail("unknown option -%c", letter)
			return rest
		}
		flag := w.node.Flags[i]
		value := strings.TrimPrefix(word, "=")
		switch {
		case takesNone(flag) && value != word:
			w.fail("-%c takes no value", letter)
			return rest
		case takesNone(flag):
			w.add(flag, nil)
		case isOptional(flag) && word == "":
			w.add(flag, nil)
			w.expectNumber(flag, rest)
		case isNumberMaybe(flag) && value == word && !isNumber(word):
			w.add(flag, nil) // the next letter is another option
		case word == "":
			return w.next(flag, rest)
		default:
			w.add(flag, &value)
			return rest
		}
	}
	return rest
}

// next uses the next word as the value of flag, even if it looks like an option.
func (w *words) next(flag *kong.Flag, rest []string) []string {
	if len(rest) == 0 {
		w.fail("--%s needs a value", flag.Name)
		return nil
	}
	w.add(flag, &rest[0])
	return rest[1:]
}

// expectNumber records that a number after flag may be its value. Older tools treated it as an
// extra positional argument, so it is the value only if there is another one.
func (w *words) expectNumber(flag *kong.Flag, rest []string) {
	if isNumberMaybe(flag) && len(rest) > 0 && isNumber(rest[0]) {
		w.maybe, w.maybeAt = len(w.options)-1, len(w.positionals)
	}
}

// add adds an option. Flags and counters may be repeated. An option with a value may be repeated
// only if it is a list.
func (w *words) add(flag *kong.Flag, value *string) {
	if w.seen[flag] && !takesNone(flag) && !flag.IsCumulative() {
		w.fail("--%s is given twice", flag.Name)
	}
	if value != nil && flag.Enum != "" && !slices.Contains(flag.EnumSlice(), *value) {
		w.fail("--%s must be one of %s but got %q%s", flag.Name, quoted(flag.EnumSlice()), *value, DidYouMean(*value, flag.EnumSlice()))
	}
	w.seen[flag] = true
	if flag.Name == "help" || flag.Name == "version" {
		w.action = flag.Name
	}
	word := "--" + flag.Name
	if value != nil {
		word += "=" + *value
	}
	w.options = append(w.options, word)
}

// quoted lists the values of an option in quotes.
func quoted(values []string) string {
	var all []string
	for _, v := range values {
		if v != "" {
			all = append(all, strconv.Quote(v))
		}
	}
	return strings.Join(all, ",")
}

// find finds an option by name or unique prefix. Hidden options do not make a prefix ambiguous. Nor
// do late ones, which were added to all tools after scripts had begun to use prefixes.
func (w *words) find(name string) *kong.Flag {
	var visible, hidden, late []*kong.Flag
	for _, f := range w.node.Flags {
		names := append([]string{f.Name}, f.Aliases...)
		if slices.Contains(names, name) {
			return f
		}
		if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, name) }) {
			continue
		}
		switch {
		case f.Tag.Has("late"):
			late = append(late, f)
		case f.Hidden:
			hidden = append(hidden, f)
		default:
			visible = append(visible, f)
		}
	}
	for _, others := range [][]*kong.Flag{hidden, late} {
		if len(visible) == 0 {
			visible = others
		}
	}
	switch {
	case len(visible) == 1 && name != "":
		return visible[0]
	case len(visible) == 0 || name == "":
		w.fail("unknown option --%s%s", name, w.meant(name))
	default:
		var names []string
		for _, f := range visible {
			names = append(names, "--"+f.Name)
		}
		w.fail("--%s is ambiguous: %s", name, strings.Join(names, ", "))
	}
	return nil
}

// meant returns the end of a message about an unknown option.
func (w *words) meant(name string) string {
	var names []string
	for _, f := range w.node.Flags {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	like := closest(name, names)
	for i := range like {
		like[i] = "--" + like[i]
	}
	return didYouMean(like)
}

func (w *words) fail(format string, args ...any) {
	if w.err == nil {
		w.err = Usagef(format, args...)
	}
}

// CheckArgs validates a command line without running the tool.
func CheckArgs(t Tool, args []string) error {
	command := t.New()
	parser, err := newParser(t, command)
	if err != nil {
		return err
	}
	return split(parser.Model.Node, args).set(parser, command)
}

// set sets the fields of the command and checks its rules.
func (w *words) set(k *kong.Kong, command Command) error {
	if err := w.parse(k); err != nil {
		return err
	}
	if ruler, ok := command.(Ruler); ok {
		return w.checkRules(ruler.Rules())
	}
	return nil
}

// parse sets the fields of the command.
func (w *words) parse(k *kong.Kong) error {
	w.checkComplete()
	if w.err != nil {
		return w.err
	}
	if err := unsetEmpty(w.node); err != nil {
		return err
	}
	_, err := k.Parse(slices.Concat(w.options, []string{"--"}, w.positionals))
	if wrong, ok := errors.AsType[*kong.ParseError](err); ok {
		err = wrong.Unwrap()
	}
	return err
}

// unsetEmpty unsets empty environment variables of options, because an empty one means no value.
func unsetEmpty(node *kong.Node) error {
	for _, flag := range node.Flags {
		for _, name := range flag.Envs {
			if os.Getenv(name) == "" {
				if err := os.Unsetenv(name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkComplete looks for missing and extra arguments.
func (w *words) checkComplete() {
	for _, f := range w.node.Flags {
		if f.Required && !w.seen[f] {
			w.fail("--%s is missing", f.Name)
		}
	}
	most := len(w.node.Positional)
	for i, p := range w.node.Positional {
		if p.Required && i >= len(w.positionals) {
			w.fail("%s is missing", strings.ToUpper(p.Name))
		}
		if p.IsCumulative() {
			most = len(w.positionals)
		}
	}
	if len(w.positionals) > most {
		w.fail("unexpected argument %q", w.positionals[most])
	}
}

// takesNone reports whether a flag takes no value.
func takesNone(f *kong.Flag) bool { return f.IsCounter() || f.IsBool() && !isOptional(f) }

// isOptional reports whether the value of a flag is optional.
func isOptional(f *kong.Flag) bool { return f.Target.Type() == reflect.TypeFor[Optional]() }

// isNumberMaybe reports whether a flag takes an optional number.
func isNumberMaybe(f *kong.Flag) bool { return isOptional(f) && f.Tag.Has("number") }
