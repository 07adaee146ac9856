package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

const (
	plainWidth  = 80 // if the output is not a terminal
	leastWidth  = 60
	mostWidth   = 120 // longer lines are hard to read
	optionsText = 32  // column where the text of an option starts
)

// A Detailer has more to say in its help, such as formats or what is written when. Paragraphs are
// wrapped to the width of the terminal; lines that begin with a space stay as they are.
type Detailer interface{ Details() string }

// An Exampler has examples in its help: command lines, and comments that begin with "# ".
type Exampler interface{ Examples() string }

// help builds the help text of a tool.
type help struct {
	strings.Builder
	width int // in columns
}

// helpWidth returns the width for output to w: that of the terminal, which COLUMNS overrides.
func helpWidth(w io.Writer) int {
	if !isTerminal(w) {
		return plainWidth
	}
	width, err := strconv.Atoi(os.Getenv("COLUMNS"))
	if err != nil || width <= 0 {
		width = terminalWidth(w)
	}
	if width <= 0 {
		return plainWidth
	}
	return min(max(width, leastWidth), mostWidth)
}

// printHelp prints the help of a tool from its model. Kong's own printer shows neither optional
// values nor exit codes.
func printHelp(w io.Writer, t Tool, model *kong.Application, width int) {
	h := &help{width: width}
	shown := h.usage(t, model)
	h.WriteByte('\n')
	h.paragraphs(t.Summary)
	h.WriteByte('\n')
	for _, p := range shown {
		h.item(strings.ToUpper(p.Name), p.Help, optionsText)
	}
	if len(shown) > 0 {
		h.WriteByte('\n')
	}
	h.WriteString("Options:\n")
	h.options(model, "")
	h.options(model, "common")
	if slices.ContainsFunc(model.Flags, func(f *kong.Flag) bool { return inGroup(f, "images") }) {
		h.WriteString("\nOptions for disks, and images of disks, that hold LVM volumes:\n")
		h.options(model, "images")
	}
	command := t.New()
	if d, ok := command.(Detailer); ok {
		h.WriteByte('\n')
		h.paragraphs(d.Details())
	}
	if e, ok := command.(Exampler); ok {
		h.WriteString("\nExamples:\n")
		for line := range strings.Lines(strings.TrimSpace(e.Examples())) {
			h.WriteString("  " + strings.TrimSpace(line) + "\n")
		}
	}
	h.WriteByte('\n')
	h.paragraphs("Exit codes: 0 success, 1 failure, 2 wrong command line, 3 access or I/O error.")
	_, _ = io.WriteString(w, h.String()) // w remembers errors
}

// usage writes the first line, which is never wrapped, and returns the arguments it shows.
func (h *help) usage(t Tool, model *kong.Application) []*kong.Positional {
	fmt.Fprintf(h, "Usage: %s [OPTION]...", t.Name)
	for _, f := range model.Flags {
		if f.Required {
			fmt.Fprintf(h, " --%s=%s", f.Name, placeholder(f))
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
		fmt.Fprintf(h, format, strings.ToUpper(p.Name))
	}
	h.WriteByte('\n')
	return shown
}

func inGroup(f *kong.Flag, group string) bool {
	key := ""
	if f.Group != nil {
		key = f.Group.Key
	}
	return !f.Hidden && key == group
}

// options writes the options of a group; "" is the group of the tool itself.
func (h *help) options(model *kong.Application, group string) {
	for _, f := range model.Flags {
		if inGroup(f, group) {
			h.item(Spelling(f), OptionHelp(f), optionsText)
		}
	}
}

// OptionHelp returns the help text of an option, including its default.
func OptionHelp(f *kong.Flag) string {
	if f.Default == "" {
		return f.Help
	}
	return f.Help + " Default: " + f.Default + "."
}

// Spelling returns how to write an option: -o, --output=FILE.
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

// item writes left, then text starting at column.
func (h *help) item(left, text string, column int) {
	line := "  " + left
	if len(line) > column-2 && text != "" {
		h.WriteString(line + "\n")
		line = ""
	}
	h.wrap(line, text, column)
}

// paragraphs writes text that may have several paragraphs.
func (h *help) paragraphs(text string) {
	var words []string
	end := func() {
		if len(words) > 0 {
			h.wrap("", strings.Join(words, " "), 0)
		}
		words = nil
	}
	for line := range strings.Lines(strings.TrimSpace(text)) {
		switch trimmed := strings.TrimSpace(line); {
		case trimmed != "" && trimmed[0] == line[0]:
			words = append(words, trimmed)
		default:
			end()
			h.WriteString(strings.TrimRight(line, " \n") + "\n")
		}
	}
	end()
}

// wrap writes left, then text wrapped between column and the right margin.
func (h *help) wrap(left, text string, column int) {
	line := left
	for _, word := range strings.Fields(text) {
		switch {
		case len(line) <= column:
			line += strings.Repeat(" ", column-len(line))
		case len(line)+1+len(word) > h.width:
			h.WriteString(line + "\n")
			line = strings.Repeat(" ", column)
		default:
			line += " "
		}
		line += word
	}
	h.WriteString(line + "\n")
}
