package cli

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// A Ruler is a command whose options depend on each other.
type Ruler interface{ Rules() []Rule }

// A Rule says what options exclude or require. Options are named without dashes. format=json means
// that option with that value; IMAGE is an argument.
type Rule struct {
	If     []string // if all of these are given, or always if empty,
	Not    []string // none of these may be given,
	Needs  []string // and one of these must be,
	Unless []string // unless one of these is given
	Why    string
}

// Exclusive says that option excludes all others.
func Exclusive(option string, others ...string) Rule {
	return Rule{If: []string{option}, Not: others}
}

// Requires says that option requires one of others.
func Requires(option string, others ...string) Rule {
	return Rule{If: []string{option}, Needs: others}
}

// OneOf says that one of options must be given.
func OneOf(options ...string) Rule { return Rule{Needs: options} }

// EachRequires returns a [Requires] rule for each of options.
func EachRequires(options []string, others ...string) []Rule {
	var rules []Rule
	for _, o := range options {
		rules = append(rules, Requires(o, others...))
	}
	return rules
}

// checkRules returns the error for the first rule that is broken. Exclusions come before missing
// options.
func (w *words) checkRules(rules []Rule) error {
	apply := func(r Rule) bool {
		return !slices.ContainsFunc(r.Unless, w.given) && !slices.ContainsFunc(r.If, func(o string) bool { return !w.given(o) })
	}
	rules = slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return !apply(r) })
	for _, r := range rules {
		if i := slices.IndexFunc(r.Not, w.given); i >= 0 {
			return r.error(listed(append(slices.Clone(r.If), r.Not[i]), "and") + " cannot go together")
		}
	}
	for _, r := range rules {
		if r.Needs == nil || slices.ContainsFunc(r.Needs, w.given) {
			continue
		}
		if r.If == nil {
			return r.error(listed(r.Needs, "or") + " is missing" + r.exceptions())
		}
		need := "needs"
		if len(r.If) > 1 {
			need = "need"
		}
		return r.error(fmt.Sprintf("%s %s %s", listed(r.If, "and"), need, listed(r.Needs, "or")))
	}
	return nil
}

func (r *Rule) error(text string) error {
	if r.Why != "" {
		text += ": " + r.Why
	}
	return Usagef("%s", text)
}

// exceptions lists the options that lift the requirement.
func (r *Rule) exceptions() string {
	switch len(r.Unless) {
	case 0:
		return ""
	case 1:
		return "; " + listed(r.Unless, "and") + " needs none"
	}
	return "; " + listed(r.Unless, "and") + " need none"
}

// listed lists options as they are spelled on the command line.
func listed(options []string, and string) string {
	var all []string
	for _, o := range options {
		if o != strings.ToUpper(o) {
			o = "--" + o
		}
		all = append(all, o)
	}
	last := len(all) - 1
	if last == 0 {
		return all[0]
	}
	return strings.Join(all[:last], ", ") + " " + and + " " + all[last]
}

// given reports whether an option named in a rule is given.
func (w *words) given(option string) bool {
	name, value, valued := strings.Cut(option, "=")
	for i, p := range w.node.Positional {
		if strings.ToUpper(p.Name) == name {
			return i < len(w.positionals) && w.positionals[i] != ""
		}
	}
	flag := w.flag(name)
	if valued {
		return fmt.Sprint(flag.Target.Interface()) == value
	}
	return w.seen[flag] && (flag.Target.Kind() != reflect.String || flag.Target.String() != "")
}

// flag returns the option with that name. It panics if there is none: the rule is wrong.
func (w *words) flag(name string) *kong.Flag {
	i := slices.IndexFunc(w.node.Flags, func(f *kong.Flag) bool { return f.Name == name })
	if i < 0 {
		panic("a rule is about --" + name + ", which is not an option") // the rule is wrong
	}
	return w.node.Flags[i]
}
