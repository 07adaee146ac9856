package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// A Multi is one binary with several tools.
type Multi struct {
	Tools    []Tool
	Own      []Tool // subcommands of this binary only, named with its name in front
	Licenses string // what --licenses prints
}

// word returns the name of a tool as a subcommand of thin_tools: the last word of its name.
func (t Tool) word() string { return t.Name[strings.LastIndexByte(t.Name, ' ')+1:] }

// lookup finds a tool by its name. The prefix thin_ may be omitted.
func (m Multi) lookup(word string) (Tool, bool) {
	for _, t := range slices.Concat(m.Own, m.Tools) {
		short := t.word()
		if word == short || word == strings.TrimPrefix(short, "thin_") {
			return t, true
		}
	}
	return Tool{}, false
}

// Run runs the tool named by the base name of args[0], or else by args[1].
func (m Multi) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	name, rest := "thin_tools", args
	if len(args) > 0 {
		name, rest = filepath.Base(args[0]), args[1:]
	}
	for _, t := range m.Tools {
		if t.Name == name {
			return Run(ctx, t, rest, stdin, stdout, stderr)
		}
	}
	messages := newText(stderr, args)
	defer messages.flush()
	if len(rest) == 0 {
		_ = m.list(messages, helpWidth(stderr), name)
		return exitUsage
	}
	first, rest := rest[0], rest[1:]
	if t, ok := m.lookup(filepath.Base(first)); ok {
		return Run(ctx, t, rest, stdin, stdout, stderr)
	}
	var err error
	switch first {
	case "help":
		if t, ok := m.lookup(cmp.Or(append(rest, "")...)); ok {
			return Run(ctx, t, []string{"--help"}, stdin, stdout, stderr)
		}
		if len(rest) > 0 {
			return m.unknown(messages, helpWidth(stderr), name, rest[0])
		}
		err = m.list(newText(stdout, args), helpWidth(stdout), name)
	case "-h", "--help":
		err = m.list(newText(stdout, args), helpWidth(stdout), name)
	case "version":
		err = printVersion(stdout, true)
	case "-V", "--version":
		err = printVersion(stdout, isVerbose(rest))
	case "--licenses":
		_, err = io.WriteString(stdout, m.Licenses)
	default:
		return m.unknown(messages, helpWidth(stderr), name, first)
	}
	return exitCode(ctx, messages, name, err)
}

func (m Multi) unknown(w io.Writer, width int, name, word string) int {
	known := []string{"help", "version"}
	for _, t := range slices.Concat(m.Tools, m.Own) {
		known = append(known, t.word())
	}
	fmt.Fprintf(w, "%s: there is no tool %q%s\n\n", name, word, DidYouMean(word, known))
	_ = m.list(w, width, name)
	return exitUsage
}

func (m Multi) list(w io.Writer, width int, name string) error {
	h := &help{width: width}
	fmt.Fprintf(h, "Usage: %s TOOL [options]\n\nTools, each with its own --help:\n", name)
	column := 0
	for _, t := range m.Tools {
		column = max(column, len("  ")+len(t.Name)+len("  "))
	}
	for _, t := range m.Tools {
		h.item(t.Name, t.Summary, column)
	}
	h.WriteString("\nAlso:\n")
	for _, t := range m.Own {
		h.item(t.word(), t.Summary, column)
	}
	h.item("help TOOL", "Print the help of a tool.", column)
	h.item("version", "Print the version, the commit and what is linked in.", column)
	h.item("--licenses", "Print all licences.", column)
	fmt.Fprintf(h, "\nThe beginning thin_ may be left out: %s check is thin_check.\n", name)
	fmt.Fprintf(h, "A link to %s with the name of a tool runs that tool.\n", name)
	_, err := io.WriteString(w, h.String())
	return err
}
