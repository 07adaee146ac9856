// Command thin_explore: see its --help. It is a module of its own, so that the library does not require the
// packages that draw on a terminal, and thin_tools does not link them.
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
