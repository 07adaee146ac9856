// Command thin_explore is described by its --help. It is a module of its own, so that what draws on a terminal is
// not among the requirements of the library, nor linked into thin_tools.
package main

import (
	"charm.land/lipgloss/v2"

	"thinpool/internal/cli"
	"thinpool/internal/command"
)

func main() {
	width := func(r rune) int { return lipgloss.Width(string(r)) }
	cli.Main(command.ExploreTool(command.Screen{Show: show, CellWidth: width}))
}
