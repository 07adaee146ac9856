// Command thin_tools is all tools in one, chosen by the name it is called by or
// by its first argument.
package main

import "thinpool/internal/command"

func main() { command.Multi().Main() }
