package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
)

// RunMulti runs the tool that the base name of args[0] names, or else args[1].
func RunMulti(ctx context.Context, tools []Tool, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	name, first := "thin_tools", ""
	messages := newText(stderr, args)
	defer messages.flush()
	for i, word := range args[:min(2, len(args))] {
		for _, t := range tools {
			if t.Name == filepath.Base(word) {
				return Run(ctx, t, args[i+1:], stdin, stdout, stderr)
			}
		}
		if i == 0 {
			name = filepath.Base(word)
		} else {
			first = word
		}
	}
	switch {
	case slices.Contains([]string{"-h", "--help"}, first):
		return exitCode(ctx, messages, name, listTools(newText(stdout, args), helpWidth(stdout), name, tools))
	case slices.Contains([]string{"-V", "--version"}, first):
		_, err := io.WriteString(stdout, Version+"\n")
		return exitCode(ctx, messages, name, err)
	case first != "":
		fmt.Fprintf(messages, "%s: there is no tool %q%s\n\n", name, first, DidYouMean(first, toolNames(tools)))
	}
	_ = listTools(messages, helpWidth(stderr), name, tools)
	return exitUsage
}

func toolNames(tools []Tool) []string {
	var names []string
	for _, t := range tools {
		names = append(names, t.Name)
	}
	return names
}

func listTools(w io.Writer, width int, name string, tools []Tool) error {
	h := &help{width: width}
	fmt.Fprintf(h, "Usage: %s TOOL [options]\n\nTools, each with its own --help:\n", name)
	column := 0
	for _, t := range tools {
		column = max(column, len("  ")+len(t.Name)+len("  "))
	}
	for _, t := range tools {
		h.item(t.Name, t.Summary, column)
	}
	fmt.Fprintf(h, "\nA link to %s with the name of a tool runs that tool.\n", name)
	_, err := io.WriteString(w, h.String())
	return err
}
