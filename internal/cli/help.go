package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

const (
	helpWidth  = 80
	helpIndent = 32 // where the text of an option starts
)

// A Detailer has more to say in its help: examples, formats.
type Detailer interface{ Details() string }

// printHelp prints what a tool's model says of it. Kong's own printer shows
// neither optional values nor exit codes.
func printHelp(w io.Writer, t Tool, model *kong.Application) {
	var s strings.Builder
	fmt.Fprintf(&s, "Usage: %s [OPTION]...", t.Name)
	for _, f := range model.Flags {
		if f.Required {
			fmt.Fprintf(&s, " --%s=%s", f.Name, placeholder(f))
		}
	}
	var shown []*kong.Positional
	for _, p := range model.Positional {
		if p.Tag.Hidden {
			continue
		}
		shown = append(shown, p)
		format := " %s"
		switch {
		case p.IsCumulative():
			format = " %s..."
		case !p.Required:
			format = " [%s]"
		}
		fmt.Fprintf(&s, format, strings.ToUpper(p.Name))
	}
	fmt.Fprintf(&s, "\n\n%s\n\n", t.Summary)
	for _, p := range shown {
		helpLine(&s, strings.ToUpper(p.Name), p.Help)
	}
	if len(shown) > 0 {
		s.WriteByte('\n')
	}
	s.WriteString("Options:\n")
	helpGroup(&s, model, "")
	helpGroup(&s, model, "common")
	var images strings.Builder
	if helpGroup(&images, model, "images"); images.Len() > 0 {
		s.WriteString("\nFor a disk, or an image of one, that has LVM on it:\n" + images.String())
	}
	if d, ok := t.New().(Detailer); ok {
		fmt.Fprintf(&s, "\n%s\n", strings.TrimSpace(d.Details()))
	}
	fmt.Fprintln(&s, "\nExit codes: 0 success, 1 failure, 2 wrong command line.")
	_, _ = io.WriteString(w, s.String()) // w remembers
}

// helpGroup writes the options of a group; "" are those of the tool alone.
func helpGroup(s *strings.Builder, model *kong.Application, group string) {
	for _, f := range model.Flags {
		key := ""
		if f.Group != nil {
			key = f.Group.Key
		}
		if !f.Hidden && key == group {
			helpLine(s, Spelling(f), f.Help)
		}
	}
}

// Spelling is how an option is written: -o, --output=FILE.
func Spelling(f *kong.Flag) string {
	s := "    --" + f.Name
	if f.Short != 0 {
		s = fmt.Sprintf("-%c, --%s", f.Short, f.Name)
	}
	switch {
	case takesNone(f):
		return s
	case isOptional(f):
		return s + "[=" + placeholder(f) + "]"
	}
	return s + "=" + placeholder(f)
}

func placeholder(f *kong.Flag) string {
	if f.PlaceHolder != "" {
		return f.PlaceHolder
	}
	return strings.ToUpper(f.Name)
}

// helpLine writes what stands left and the text right of it, wrapped.
func helpLine(s *strings.Builder, left, text string) {
	line := "  " + left
	if len(line) > helpIndent-2 || text == "" {
		s.WriteString(line + "\n")
		line = ""
	}
	if text == "" {
		return
	}
	pad := func() { line += strings.Repeat(" ", helpIndent-len(line)) }
	pad()
	for _, word := range strings.Fields(text) {
		if len(line)+len(word) > helpWidth && len(line) > helpIndent {
			s.WriteString(strings.TrimRight(line, " ") + "\n")
			line = ""
			pad()
		}
		line += word + " "
	}
	s.WriteString(strings.TrimRight(line, " ") + "\n")
}
