// Command thin_report is described by its --help.
package main

import (
	"thinpool/internal/cli"
	"thinpool/internal/command"
)

func main() { cli.Main(command.ReportTool) }
