// Command thin_tools has all tools in one binary. The name it is called by, or its first argument,
// selects one.
package main

import "thinpool/internal/command"

func main() { command.Multi().Main() }
