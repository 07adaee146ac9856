// Command thin_migrate is described by its --help.
package main

import (
	"thinpool/internal/cli"
	"thinpool/internal/command"
)

func main() { cli.Main(command.MigrateTool) }
