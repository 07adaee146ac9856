package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// A Detailer has more to say in its help: examples, formats.
type Detailer interface{ Details() string }

// printHelp prints what a tool's model says of it.
func printHelp(w io.Writer, t Tool, model *kong.Application) {
	fmt.Fprintf(w, "Usage: %s [OPTION]...", t.Name)
	for _, p := range model.Positional {
		name := strings.ToUpper(p.Name)
		if !p.Required {
			name = "[" + name + "]"
		}
		fmt.Fprintf(w, " %s", name)
	}
	fmt.Fprintf(w, "\n\n%s\n\n", t.Summary)
	for _, p := range model.Positional {
		fmt.Fprintf(w, "  %-30s %s\n", strings.ToUpper(p.Name), p.Help)
	}
	if len(model.Positional) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "Options:")
	for _, f := range model.Flags {
		if !f.Hidden {
			fmt.Fprintf(w, "  %-30s %s\n", Spelling(f), f.Help)
		}
	}
	if d, ok := t.New().(Detailer); ok {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(d.Details()))
	}
	fmt.Fprintln(w, "\nExit codes: 0 success, 1 failure, 2 wrong command line.")
}

// Spelling is how an option is written: -o, --output=FILE.
func Spelling(f *kong.Flag) string {
	s := "    --" + f.Name
	if f.Short != 0 {
		s = fmt.Sprintf("-%c, --%s", f.Short, f.Name)
	}
	value := f.PlaceHolder
	if value == "" {
		value = strings.ToUpper(f.Name)
	}
	switch {
	case f.IsBool() || f.IsCounter():
	case isOptional(f):
		s += "[=" + value + "]"
	default:
		s += "=" + value
	}
	return s
}
