package cli

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// The command lines that scripts have are those of getopt and of clap, which
// differ from kong's in details: prefixes of long options, -o=value, optional
// values, options given twice. normalize rewrites them to the form that kong
// takes without doubt: --long or --long=value, one word an option.

// An Optional is an option that may stand alone or have a value: -m, -m7, -m=7,
// --metadata-snap=7.
type Optional struct {
	Set   bool
	Value string // "" if there is none
}

// Decode implements kong.MapperValue.
func (o *Optional) Decode(ctx *kong.DecodeContext) error {
	o.Set = true
	return ctx.Scan.PopValueInto("value", &o.Value)
}

// A UsageError is a wrong command line.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// normalizer rewrites one command line.
type normalizer struct {
	flags []*kong.Flag
	args  []string
	out   []string
	seen  map[*kong.Flag]bool
	words int // that are no options
	// maybe is a word of digits after an option whose value it may be, if the
	// command line has another word: its place in out, and the option.
	maybe     int
	maybeFlag *kong.Flag
}

func normalize(model *kong.Application, args []string) ([]string, error) {
	n := normalizer{flags: model.Flags, args: args, seen: map[*kong.Flag]bool{}, maybe: -1}
	for len(n.args) > 0 {
		arg := n.args[0]
		n.args = n.args[1:]
		var err error
		switch {
		case arg == "--":
			n.out = append(append(n.out, arg), n.args...)
			n.words += len(n.args)
			n.args = nil
		case strings.HasPrefix(arg, "--"):
			err = n.long(arg[2:])
		case len(arg) > 1 && arg[0] == '-':
			err = n.short(arg[1:])
		default:
			n.out = append(n.out, arg)
			n.words++
		}
		if err != nil {
			return nil, err
		}
	}
	if n.maybe >= 0 && n.words >= 2 {
		n.out[n.maybe] = "--" + n.maybeFlag.Name + "=" + n.out[n.maybe]
		n.out = slices.Delete(n.out, n.maybe-1, n.maybe) // the option that stood alone
	}
	return n.out, nil
}

func isOptional(f *kong.Flag) bool { return f.Target.Type() == reflect.TypeFor[Optional]() }

func isRepeatable(f *kong.Flag) bool { return f.IsSlice() || f.IsBool() || f.IsCounter() }

// long takes an option without its two dashes.
func (n *normalizer) long(arg string) error {
	name, value, hasValue := strings.Cut(arg, "=")
	f, err := n.find(name)
	if err != nil {
		return err
	}
	return n.option(f, "--"+f.Name, value, hasValue)
}

// find finds the option of that name, or the only one that begins so.
func (n *normalizer) find(name string) (*kong.Flag, error) {
	var found []*kong.Flag
	var names []string
	for _, f := range n.flags {
		for _, full := range append([]string{f.Name}, f.Aliases...) {
			if full == name {
				return f, nil
			}
			if strings.HasPrefix(full, name) && name != "" {
				names = append(names, "--"+full)
				if !slices.Contains(found, f) {
					found = append(found, f)
				}
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, Usagef("unknown option --%s", name)
	case 1:
		return found[0], nil
	}
	return nil, Usagef("option --%s is ambiguous: %s", name, strings.Join(names, ", "))
}

// short takes one-letter options without their dash; the last may have a value.
func (n *normalizer) short(arg string) error {
	for i, letter := range arg {
		var f *kong.Flag
		for _, g := range n.flags {
			if g.Short == letter {
				f = g
			}
		}
		if f == nil {
			return Usagef("unknown option -%c", letter)
		}
		rest := arg[i+len(string(letter)):]
		if !f.IsBool() && !f.IsCounter() {
			return n.option(f, "-"+string(letter), strings.TrimPrefix(rest, "="), rest != "")
		}
		if err := n.option(f, "-"+string(letter), "", false); err != nil {
			return err
		}
	}
	return nil
}

// option appends option f, as it was spelled, with its value.
func (n *normalizer) option(f *kong.Flag, spelled, value string, hasValue bool) error {
	if n.seen[f] && !isRepeatable(f) {
		return Usagef("option %s is given twice", spelled)
	}
	n.seen[f] = true
	switch {
	case f.IsBool() || f.IsCounter():
		if hasValue {
			return Usagef("option %s takes no value", spelled)
		}
		n.out = append(n.out, "--"+f.Name)
		return nil
	case isOptional(f):
		n.out = append(n.out, "--"+f.Name+"="+value)
		if f.Tag.Has("word") && !hasValue && len(n.args) > 0 && isDigits(n.args[0]) {
			n.maybe, n.maybeFlag = len(n.out), f
			n.out = append(n.out, n.args[0])
			n.args = n.args[1:]
			n.words++
		}
		return nil
	case !hasValue && len(n.args) == 0:
		return Usagef("option %s needs a value", spelled)
	case !hasValue:
		value, n.args = n.args[0], n.args[1:]
	}
	n.out = append(n.out, "--"+f.Name+"="+value)
	return nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// parse fills in command from the command line.
func parse(parser *kong.Kong, args []string) error {
	args, err := normalize(parser.Model, args)
	if err != nil {
		return err
	}
	_, err = parser.Parse(args)
	if wrong, ok := errors.AsType[*kong.ParseError](err); ok {
		err = wrong.Unwrap()
	}
	if err != nil {
		return &UsageError{err}
	}
	return nil
}
