// Command thin_files is described by its --help.
package main

import (
	"thinpool/internal/cli"
	"thinpool/internal/command"
)

func main() { cli.Main(command.FilesTool) }
